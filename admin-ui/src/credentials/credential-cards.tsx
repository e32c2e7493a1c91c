import { memo, useRef } from "react"
import { useWindowVirtualizer } from "@tanstack/react-virtual"
import { useTranslation } from "react-i18next"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { compact } from "@/format/numbers"
import { useMedia } from "@/parts/use-media"
import { Card } from "@/ui/surface"
import { Checkbox } from "@/ui/toggle"
import { BalanceBar } from "./balance-bar"
import { EnableSwitch, RowMenu } from "./credential-actions"
import type { ListProps } from "./credentials-page"
import { MethodBadge, Name, PlanBadge } from "./identity"
import { StateNote } from "./state-note"
import { useOffsetTop } from "./use-offset-top"

const HEIGHT = 208
const GAP = 12

const CredentialCard = memo(function CredentialCard({
  item,
  chosen,
  onChoose,
  onOpen,
}: {
  item: Credential
  chosen: boolean
} & Pick<ListProps, "onChoose" | "onOpen">) {
  const { t, i18n } = useTranslation()
  const failures = item.failureCount + item.refreshFailureCount
  return (
    <Card
      role="listitem"
      data-credential={item.id}
      className={cn(
        "flex h-52 min-w-0 flex-col px-4 py-3.5",
        chosen && "border-accent/60 ring-1 ring-accent/60",
      )}
    >
      <div className="flex items-center gap-3">
        <Checkbox
          checked={chosen}
          onCheckedChange={(on) => onChoose([item.id], on === true)}
          aria-label={t("credentials.choose", { name: item.email ?? `#${item.id}` })}
        />
        <Name item={item} onOpen={onOpen} className="flex-1" />
        <EnableSwitch item={item} />
        <RowMenu item={item} onOpen={onOpen} className="-mr-2" />
      </div>
      <p className="mt-1.5 flex items-center gap-1.5 overflow-hidden">
        <MethodBadge item={item} />
        <PlanBadge item={item} />
      </p>
      <StateNote item={item} className="mt-3" />
      <BalanceBar balance={item.balance} className="mt-auto" />
      <p className="num mt-2.5 flex gap-3 truncate text-xs text-muted">
        <span>{t("credentials.successes", { count: compact(item.successCount, i18n.language) })}</span>
        <span className={cn(failures > 0 && "text-bad-text")}>
          {t("credentials.failures", { count: failures })}
        </span>
        <span className="ml-auto">{t("credentials.priorityOf", { priority: item.priority })}</span>
      </p>
    </Card>
  )
})

function useColumns(): number {
  const two = useMedia("(min-width: 40rem)")
  const three = useMedia("(min-width: 72rem)")
  return three ? 3 : two ? 2 : 1
}

function CredentialCards({ items, chosen, onChoose, onOpen }: ListProps) {
  const { t } = useTranslation()
  const body = useRef<HTMLDivElement>(null)
  const columns = useColumns()
  const scrollMargin = useOffsetTop(body)
  const rows = useWindowVirtualizer({
    count: Math.ceil(items.length / columns),
    estimateSize: () => HEIGHT,
    gap: GAP,
    overscan: 4,
    scrollMargin,
  })
  return (
    <div
      ref={body}
      role="list"
      aria-label={t("nav.credentials")}
      className="relative"
      style={{ height: rows.getTotalSize() }}
    >
      {rows.getVirtualItems().map((row) => (
        <div
          key={row.key}
          role="presentation"
          className="absolute inset-x-0 top-0 grid gap-3"
          style={{
            transform: `translateY(${row.start - rows.options.scrollMargin}px)`,
            gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
          }}
        >
          {items.slice(row.index * columns, (row.index + 1) * columns).map((item) => (
            <CredentialCard
              key={item.id}
              item={item}
              chosen={chosen.has(item.id)}
              onChoose={onChoose}
              onOpen={onOpen}
            />
          ))}
        </div>
      ))}
    </div>
  )
}

export { CredentialCards }
