import { useState } from "react"
import { BadgeCheck, Pencil, RefreshCw, RotateCcw, Trash2, Wallet } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import type { Credential } from "@/api/types"
import { count, dateTime } from "@/format/numbers"
import { CopyButton } from "@/parts/copy-button"
import { Facts, Section } from "@/parts/section"
import { Button } from "@/ui/button"
import { Dialog, SheetPanel } from "@/ui/dialog"
import { Skeleton } from "@/ui/surface"
import { BalanceSection } from "./balance-section"
import { DeleteDialog, useCredentialAction } from "./credential-actions"
import { EditDialog } from "./edit-dialog"
import { MethodBadge, PlanBadge } from "./identity"
import { ModelSection } from "./model-section"
import { labelOf } from "./states"
import { StateSection } from "./state-section"

function Actions({ item, onClose }: { item: Credential; onClose: () => void }) {
  const { t } = useTranslation()
  const [dialog, setDialog] = useState<"edit" | "delete" | null>(null)
  const act = useCredentialAction(item)
  const busy = (name: string) => act.isPending && act.variables === name
  return (
    <div className="flex flex-wrap gap-2 pb-5">
      <Button variant="primary" onClick={() => setDialog("edit")}>
        <Pencil /> {t("credentials.edit")}
      </Button>
      <Button busy={busy("verify")} onClick={() => act.mutate("verify")}>
        {!busy("verify") && <BadgeCheck />} {t("credentials.verify")}
      </Button>
      {item.authMethod !== "api_key" && (
        <Button busy={busy("refresh")} onClick={() => act.mutate("refresh")}>
          {!busy("refresh") && <RefreshCw />} {t("credentials.refresh")}
        </Button>
      )}
      <Button busy={busy("balance")} onClick={() => act.mutate("balance")}>
        {!busy("balance") && <Wallet />} {t("credentials.fetchBalance")}
      </Button>
      <Button busy={busy("reset")} onClick={() => act.mutate("reset")}>
        {!busy("reset") && <RotateCcw />} {t("credentials.reset")}
      </Button>
      <Button
        variant="ghost"
        className="text-bad-text hover:text-bad-text"
        onClick={() => setDialog("delete")}
      >
        <Trash2 /> {t("credentials.delete")}
      </Button>
      {dialog === "edit" && <EditDialog item={item} onClose={() => setDialog(null)} />}
      {dialog === "delete" && (
        <DeleteDialog
          item={item}
          open
          onClose={() => {
            setDialog(null)
            onClose()
          }}
        />
      )}
    </div>
  )
}

function Detail({ item, onClose }: { item: Credential; onClose: () => void }) {
  const { t, i18n } = useTranslation()
  const lang = i18n.language
  const hash = item.refreshTokenHash ?? item.apiKeyHash
  return (
    <>
      <Actions item={item} onClose={onClose} />
      <StateSection item={item} />
      <BalanceSection item={item} />
      <Section
        title={t("detail.activity")}
        aside={
          <Link
            to={`/requests?credentialId=${item.id}`}
            className="text-xs font-medium text-accent hover:underline"
          >
            {t("detail.itsRequests")}
          </Link>
        }
      >
        <Facts
          rows={[
            [t("detail.successes"), count(item.successCount, lang)],
            [t("detail.failuresInRow"), count(item.failureCount, lang)],
            [t("detail.refreshFailures"), count(item.refreshFailureCount, lang)],
            [t("detail.inFlight"), limited(item.inFlight, item.maxConcurrency, lang)],
            [t("detail.lastMinute"), limited(item.requestsLastMinute, item.rpm, lang)],
            [t("detail.lastUsed"), dateTime(item.lastUsedAt, lang)],
          ]}
        />
      </Section>
      <Section title={t("detail.setup")}>
        <Facts
          rows={[
            [t("form.priority"), count(item.priority, lang)],
            [t("detail.token"), t(`credentials.tokens.${item.tokenState}`)],
            [t("detail.expires"), dateTime(item.expiresAt, lang)],
            [t("detail.endpoint"), item.endpoint],
            [t("form.region"), item.region ?? t("form.asConfigured")],
            [t("form.authRegion"), item.authRegion ?? t("form.asRegion")],
            [t("form.apiRegion"), item.apiRegion ?? t("form.asRegion")],
            [t("form.profileArn"), item.profileArn ?? (item.hasProfileArn ? "***" : null)],
            [t("form.proxy"), item.proxyUrl ?? t("form.proxyKinds.default")],
            [t("form.kiroApiKey"), item.maskedApiKey],
            [
              t("detail.fingerprint"),
              hash && (
                <span className="flex items-center gap-1">
                  <span className="font-mono text-xs">{hash.slice(0, 16)}…</span>
                  <CopyButton
                    iconOnly
                    variant="ghost"
                    size="small"
                    text={hash}
                    label={t("detail.copyFingerprint")}
                  />
                </span>
              ),
            ],
          ]}
        />
      </Section>
      <ModelSection item={item} />
    </>
  )
}

function limited(value: number, limit: number | null | undefined, language: string): string {
  const shown = count(value, language)
  return limit ? `${shown} / ${count(limit, language)}` : shown
}

function CredentialSheet({
  id,
  item,
  loading,
  onClose,
}: {
  id: number | null
  item: Credential | undefined
  loading: boolean
  onClose: () => void
}) {
  const { t } = useTranslation()
  if (id === null) return null
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <SheetPanel
        title={item ? labelOf(item) : `#${id}`}
        description={
          item && (
            <span className="flex flex-wrap items-center gap-1.5 pt-0.5">
              <span className="num">#{item.id}</span>
              <MethodBadge item={item} />
              <PlanBadge item={item} />
            </span>
          )
        }
      >
        {item ? (
          <Detail item={item} onClose={onClose} />
        ) : loading ? (
          <div className="grid gap-4">
            <Skeleton className="h-8" />
            <Skeleton className="h-32" />
            <Skeleton className="h-40" />
          </div>
        ) : (
          <p className="text-[0.8125rem] text-muted">{t("detail.gone")}</p>
        )}
      </SheetPanel>
    </Dialog>
  )
}

export { CredentialSheet }
