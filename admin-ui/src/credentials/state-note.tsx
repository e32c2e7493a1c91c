import { useTranslation } from "react-i18next"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { countdown, dateTime, day, relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
import { useKnown } from "@/i18n/use-known"
import { endsAt, stateColor } from "./states"

/** Why the credential is not in use, in a few words. */
function useReason() {
  const known = useKnown()
  return (item: Credential): string | null => {
    if (item.state === "ready" || item.state === "refreshing") return null
    const reason = item.state === "cooling" ? item.cooldownReason : item.disabledReason
    if (!reason) return null
    return known(`credentials.reasons.${reason}`) ?? reason
  }
}

function Countdown({ until }: { until: number }) {
  const { t, i18n } = useTranslation()
  const now = useNow()
  if (until <= now) return <span className="num">{t("credentials.soon")}</span>
  return (
    <time
      dateTime={new Date(until).toISOString()}
      title={dateTime(new Date(until).toISOString(), i18n.language)}
      className="num"
    >
      {until - now > 7 * 86_400_000 ? day(until, i18n.language) : countdown(until, now)}
    </time>
  )
}

/** A dot, a word, and behind them why and until when. Two lines, the second may be empty. */
function StateNote({ item, className }: { item: Credential; className?: string }) {
  const { t } = useTranslation()
  const reason = useReason()(item)
  const until = item.disabled ? null : endsAt(item)
  return (
    <div data-slot="state-note" className={cn("min-w-0", className)}>
      <p className="flex items-center gap-2 text-[0.8125rem]">
        <span aria-hidden className={cn("size-2 shrink-0 rounded-full", stateColor[item.state])} />
        <span className="truncate">{t(`credentials.states.${item.state}`)}</span>
        {until !== null && (
          <span className="shrink-0 text-xs text-muted">
            <Countdown until={until} />
          </span>
        )}
      </p>
      <p className="truncate pl-4 text-xs text-muted" title={reason ?? undefined}>
        {reason ?? <LastUse item={item} />}
      </p>
    </div>
  )
}

function LastUse({ item }: { item: Credential }) {
  const { t, i18n } = useTranslation()
  const now = useNow(10_000)
  if (item.inFlight) return t("credentials.inFlight", { count: item.inFlight })
  if (!item.lastUsedAt) return t("credentials.neverUsed")
  return t("credentials.usedAt", { time: relative(item.lastUsedAt, now, i18n.language) })
}

export { Countdown, StateNote, useReason }
