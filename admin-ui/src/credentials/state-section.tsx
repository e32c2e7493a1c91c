import { useTranslation } from "react-i18next"
import { Section } from "@/parts/section"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { dateTime, relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
import { useKnown } from "@/i18n/use-known"
import { EnableSwitch } from "./credential-actions"
import { Countdown, useReason } from "./state-note"
import { endsAt, stateColor } from "./states"

/** What the state asks of the reader; the reason is more exact than the state where there is one. */
function useAdvice() {
  const { t } = useTranslation()
  const known = useKnown()
  return (item: Credential): string =>
    (item.disabledReason && known(`detail.advice.${item.disabledReason}`)) ||
    t(`detail.advice.${item.state}`)
}

function StateSection({ item }: { item: Credential }) {
  const { t, i18n } = useTranslation()
  const now = useNow(10_000)
  const reason = useReason()(item)
  const advice = useAdvice()(item)
  const until = item.disabled ? null : endsAt(item)
  return (
    <Section title={t("detail.state")} aside={<EnableSwitch item={item} />}>
      <p className="flex items-center gap-2 text-[0.8125rem]">
        <span aria-hidden className={cn("size-2 rounded-full", stateColor[item.state])} />
        <span className="font-medium">{t(`credentials.states.${item.state}`)}</span>
        {until !== null && (
          <span className="text-muted">
            <Countdown until={until} />
          </span>
        )}
      </p>
      <p className="mt-1 text-[0.8125rem] text-muted">
        {reason && <span className="text-text">{reason}. </span>}
        {advice}
      </p>
      {item.disabledAt && (
        <p className="num mt-1 text-xs text-muted">
          {t("detail.since", { time: dateTime(item.disabledAt, i18n.language) })}
        </p>
      )}
      {item.lastError && (
        <div className="mt-3 rounded-xl bg-sunken px-3.5 py-2.5">
          <p className="flex gap-2 text-xs text-muted">
            <span>{t("detail.lastError")}</span>
            <time dateTime={item.lastError.at} className="num ml-auto">
              {relative(item.lastError.at, now, i18n.language)}
            </time>
          </p>
          <p className="mt-0.5 text-[0.8125rem] break-words">
            {item.lastError.status !== null && (
              <span className="num font-medium">{item.lastError.status} </span>
            )}
            {item.lastError.message || item.lastError.type}
          </p>
        </div>
      )}
    </Section>
  )
}

export { StateSection }
