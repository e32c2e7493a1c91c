import { useTranslation } from "react-i18next"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { useKnown } from "@/i18n/use-known"
import { Badge } from "@/ui/surface"
import { labelOf } from "./states"

function Name({
  item,
  onOpen,
  className,
}: {
  item: Credential
  onOpen: (id: number) => void
  className?: string
}) {
  const { t } = useTranslation()
  return (
    <div className={cn("flex min-w-0 items-center gap-2", className)}>
      <button
        type="button"
        onClick={() => onOpen(item.id)}
        className="truncate rounded-sm text-left text-[0.8125rem] font-medium underline-offset-4 hover:underline"
        title={labelOf(item)}
      >
        {labelOf(item)}
      </button>
      {item.isCurrent && <Badge tone="accent">{t("credentials.current")}</Badge>}
    </div>
  )
}

function useMethodName() {
  const { t } = useTranslation()
  const known = useKnown()
  return (method: string | null) =>
    known(`credentials.methods.${method}`) ?? method ?? t("credentials.methods.unknown")
}

function MethodBadge({ item }: { item: Credential }) {
  const name = useMethodName()(item.authMethod)
  return <Badge>{name}</Badge>
}

function PlanBadge({ item }: { item: Credential }) {
  const plan = item.balance?.subscriptionTitle
  return plan ? <Badge className="min-w-0 shrink truncate">{plan}</Badge> : null
}

export { MethodBadge, Name, PlanBadge, useMethodName }
