import { useQuery } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import { requestQuery } from "@/api/queries"
import type { RequestDetail } from "@/api/types"
import { bytes, count, dateTime, decimal, duration } from "@/format/numbers"
import { CopyButton } from "@/parts/copy-button"
import { ErrorNote } from "@/parts/error-note"
import { Facts, Section } from "@/parts/section"
import { Dialog, SheetPanel } from "@/ui/dialog"
import { Badge, Skeleton } from "@/ui/surface"
import { AttemptList } from "./attempt-list"
import { curlOf } from "./curl"
import { useFailureText } from "./failures"

function Failure({ request }: { request: RequestDetail }) {
  const { title, remedy } = useFailureText()(request)
  if (request.outcome === "ok") return null
  return (
    <div className="mb-4 grid gap-1 rounded-xl bg-sunken px-4 py-3 text-[0.8125rem]">
      <p className="font-medium">{title}</p>
      <p>{remedy}</p>
      {request.error?.message && (
        <p className="mt-1 text-xs break-words text-muted">{request.error.message}</p>
      )}
    </div>
  )
}

/** Waiting for the first token, then the stream: the two parts of the whole time, to scale. */
function Timing({ request }: { request: RequestDetail }) {
  const { t } = useTranslation()
  const whole = request.durationMs ?? 0
  const first = Math.min(request.firstTokenMs ?? whole, whole)
  const share = whole > 0 ? (first / whole) * 100 : 0
  return (
    <div>
      <div aria-hidden className="flex h-2 gap-0.5 overflow-hidden rounded-full bg-hover">
        <span className="bg-chart-2" style={{ width: `${share}%` }} />
        <span className="flex-1 bg-chart-1" />
      </div>
      <dl className="num mt-2 grid grid-cols-3 gap-2 text-xs">
        <div>
          <dt className="flex items-center gap-1.5 text-muted">
            <span aria-hidden className="size-2 rounded-[3px] bg-chart-2" />
            {t("request.firstToken")}
          </dt>
          <dd className="mt-0.5 text-[0.8125rem] font-medium">{duration(request.firstTokenMs)}</dd>
        </div>
        <div>
          <dt className="flex items-center gap-1.5 text-muted">
            <span aria-hidden className="size-2 rounded-[3px] bg-chart-1" />
            {t("request.streaming")}
          </dt>
          <dd className="mt-0.5 text-[0.8125rem] font-medium">
            {duration(request.firstTokenMs === null ? null : whole - first)}
          </dd>
        </div>
        <div>
          <dt className="text-muted">{t("request.whole")}</dt>
          <dd className="mt-0.5 text-[0.8125rem] font-medium">{duration(request.durationMs)}</dd>
        </div>
      </dl>
    </div>
  )
}

function Detail({ request }: { request: RequestDetail }) {
  const { t, i18n } = useTranslation()
  const lang = i18n.language
  return (
    <>
      <div className="flex flex-wrap gap-2 pb-5">
        <CopyButton
          variant="primary"
          text={curlOf(request, window.location.origin)}
          label={t("request.copyCurl")}
        />
        <CopyButton text={request.id} label={t("request.copyId")} />
      </div>
      <Failure request={request} />
      <Section title={t("request.timing")}>
        <Timing request={request} />
      </Section>
      <Section
        title={t("request.attempts")}
        aside={<Badge className="num">{count(request.attempts.length, lang)}</Badge>}
      >
        <AttemptList attempts={request.attempts} />
      </Section>
      <Section title={t("request.usage")}>
        <Facts
          rows={[
            [t("request.inputTokens"), count(request.inputTokens, lang)],
            [t("request.outputTokens"), count(request.outputTokens, lang)],
            [t("request.cacheRead"), count(request.cacheReadTokens, lang)],
            [t("request.credits"), decimal(request.credits, lang, 4)],
            [t("request.stopReason"), request.stopReason],
          ]}
        />
      </Section>
      <Section title={t("request.request")}>
        <Facts
          rows={[
            [t("request.id"), <span className="font-mono text-xs break-all">{request.id}</span>],
            [t("request.at"), dateTime(request.at, lang)],
            [t("request.path"), <span className="font-mono text-xs">{request.path}</span>],
            [t("request.model"), request.model],
            [t("request.kiroModel"), request.kiroModel],
            [t("request.mode"), t(request.stream ? "request.streamed" : "request.whole_answer")],
            [t("request.size"), bytes(request.requestBytes, lang)],
            [t("request.key"), request.keyName],
            [
              t("request.credential"),
              request.credentialId === null ? null : (
                <Link
                  to={`/credentials/${request.credentialId}`}
                  className="text-accent hover:underline"
                >
                  {request.credentialLabel ?? `#${request.credentialId}`}
                </Link>
              ),
            ],
            [t("request.client"), request.userAgent],
            [t("request.address"), request.clientAddress],
          ]}
        />
      </Section>
    </>
  )
}

function RequestSheet({ id, onClose }: { id: string | null; onClose: () => void }) {
  const { t } = useTranslation()
  const query = useQuery({ ...requestQuery(id ?? ""), enabled: id !== null })
  const request = query.data
  if (id === null) return null
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <SheetPanel
        title={request?.model ?? request?.path ?? t("request.title")}
        description={
          request && (
            <span className="flex flex-wrap items-center gap-1.5 pt-0.5">
              <Badge tone={{ ok: "good", error: "bad", truncated: "warn", cancelled: "neutral" }[request.outcome] as "good"}>
                {t(`requests.outcomes.${request.outcome}`)}
              </Badge>
              {request.status !== null && <Badge className="num">{request.status}</Badge>}
              <Badge>{t(request.stream ? "request.streamed" : "request.whole_answer")}</Badge>
            </span>
          )
        }
      >
        {query.isError ? (
          <ErrorNote error={query.error} onRetry={() => void query.refetch()} />
        ) : request ? (
          <Detail request={request} />
        ) : (
          <div className="grid gap-4">
            <Skeleton className="h-8 w-56" />
            <Skeleton className="h-16" />
            <Skeleton className="h-32" />
            <Skeleton className="h-48" />
          </div>
        )}
      </SheetPanel>
    </Dialog>
  )
}

export { RequestSheet }
