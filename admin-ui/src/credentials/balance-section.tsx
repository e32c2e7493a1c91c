import { useTranslation } from "react-i18next"
import { Facts, Section } from "@/parts/section"
import type { Credential } from "@/api/types"
import { dateTime, decimal, relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
import { BalanceBar } from "./balance-bar"

function BalanceSection({ item }: { item: Credential }) {
  const { t, i18n } = useTranslation()
  const now = useNow(10_000)
  const balance = item.balance
  const reset = balance?.nextResetAt ? new Date(balance.nextResetAt * 1000).toISOString() : null
  return (
    <Section title={t("detail.balance")}>
      {balance ? (
        <>
          <BalanceBar balance={balance} className="mb-3" />
          <Facts
            rows={[
              [t("detail.plan"), balance.subscriptionTitle],
              [t("detail.remaining"), decimal(balance.remaining, i18n.language)],
              [t("detail.resets"), dateTime(reset, i18n.language)],
              [t("detail.fetched"), relative(balance.fetchedAt, now, i18n.language)],
            ]}
          />
        </>
      ) : (
        <p className="text-[0.8125rem] text-muted">{t("detail.noBalance")}</p>
      )}
    </Section>
  )
}

export { BalanceSection }
