import { useTranslation } from "react-i18next"
import type { Balance } from "@/api/types"
import { cn } from "@/format/class-names"
import { decimal, percent } from "@/format/numbers"
import { Meter } from "@/ui/surface"

function toneOf(share: number) {
  if (share >= 1) return "bad" as const
  return share >= 0.85 ? ("warn" as const) : ("accent" as const)
}

/** What is used of the plan. Unknown takes the same room as known. */
function BalanceBar({ balance, className }: { balance: Balance | null; className?: string }) {
  const { t, i18n } = useTranslation()
  if (!balance) {
    return (
      <div className={cn("min-w-0", className)}>
        <p className="truncate text-xs text-muted">{t("credentials.balanceUnknown")}</p>
        <div aria-hidden className="mt-2 h-1.5 rounded-full bg-hover" />
      </div>
    )
  }
  const share = balance.usageLimit > 0 ? balance.currentUsage / balance.usageLimit : 0
  return (
    <div className={cn("min-w-0", className)}>
      <p className="num flex items-baseline gap-2 text-xs">
        <span className="truncate">
          <span className="font-medium">{decimal(balance.currentUsage, i18n.language, 1)}</span>
          <span className="text-muted"> / {decimal(balance.usageLimit, i18n.language, 1)}</span>
        </span>
        <span className="ml-auto shrink-0 text-muted">{percent(share, i18n.language)}</span>
      </p>
      <Meter
        value={share}
        tone={toneOf(share)}
        label={t("credentials.balanceUsed")}
        className="mt-1.5"
      />
    </div>
  )
}

export { BalanceBar }
