import type { ReactNode } from "react"
import { useQuery } from "@tanstack/react-query"
import { ArrowDownRight, ArrowUpRight } from "lucide-react"
import { useTranslation } from "react-i18next"
import { liveQuery } from "@/api/queries"
import type { Overview, Window } from "@/api/types"
import { cn } from "@/format/class-names"
import { change, compact, count, duration, percent } from "@/format/numbers"
import { Card, Skeleton } from "@/ui/surface"

function Tile({
  label,
  value,
  detail,
  ready,
  mark,
}: {
  label: string
  value: string
  detail: ReactNode
  ready: boolean
  mark?: ReactNode
}) {
  return (
    <div className="min-w-0 bg-surface px-4 py-3.5">
      <dt className="flex items-center gap-1.5 truncate text-xs text-muted">
        {mark}
        {label}
      </dt>
      {ready ? (
        <>
          <dd className="num mt-1 truncate text-[1.375rem] leading-8 font-semibold tracking-tight">
            {value}
          </dd>
          <dd className="num flex h-5 items-center gap-1 truncate text-xs text-muted">{detail}</dd>
        </>
      ) : (
        <dd aria-hidden className="mt-1 flex h-13 flex-col justify-between py-1">
          <Skeleton className="h-6 w-16" />
          <Skeleton className="h-3.5 w-24" />
        </dd>
      )}
    </div>
  )
}

/** Against the same span before; no colour: more traffic is neither good nor bad. */
function Change({ share, window }: { share: number | null; window: Window }) {
  const { t, i18n } = useTranslation()
  if (share === null) return <span>{t(`overview.before.${window}`)}: –</span>
  const Arrow = share >= 0 ? ArrowUpRight : ArrowDownRight
  return (
    <>
      <Arrow aria-hidden className="size-3.5 shrink-0" />
      <span className="truncate">
        {percent(Math.abs(share), i18n.language)} {t(`overview.against.${window}`)}
      </span>
    </>
  )
}

function Totals({ overview, window }: { overview: Overview | undefined; window: Window }) {
  const { t, i18n } = useTranslation()
  const live = useQuery(liveQuery).data.overview
  const lang = i18n.language
  const totals = overview?.totals
  const before = overview?.previous
  const streams = live?.liveStreams ?? overview?.liveStreams ?? 0
  const rate = totals?.requests ? totals.errors / totals.requests : 0
  const ready = Boolean(overview)
  return (
    <Card className="overflow-hidden">
      <dl className="grid grid-cols-2 gap-px bg-line sm:grid-cols-3 lg:grid-cols-6">
        <Tile
          ready={ready}
          label={t("overview.liveStreams")}
          value={count(streams, lang)}
          detail={t("overview.workers", { count: overview?.workers ?? 1 })}
          mark={
            <span
              aria-hidden
              className={cn("size-1.5 rounded-full", streams ? "bg-good" : "bg-off")}
            />
          }
        />
        <Tile
          ready={ready}
          label={t("overview.requests")}
          value={compact(totals?.requests, lang)}
          detail={<Change share={change(totals?.requests, before?.requests)} window={window} />}
        />
        <Tile
          ready={ready}
          label={t("overview.errorRate")}
          value={percent(rate, lang)}
          detail={t("overview.errorCount", { count: totals?.errors ?? 0 })}
        />
        <Tile
          ready={ready}
          label={t("overview.firstToken")}
          value={duration(totals?.firstTokenMs?.p50)}
          detail={t("overview.p95", { value: duration(totals?.firstTokenMs?.p95) })}
        />
        <Tile
          ready={ready}
          label={t("overview.tokens")}
          value={compact((totals?.inputTokens ?? 0) + (totals?.outputTokens ?? 0), lang)}
          detail={t("overview.tokenSplit", {
            input: compact(totals?.inputTokens, lang),
            output: compact(totals?.outputTokens, lang),
          })}
        />
        <Tile
          ready={ready}
          label={t("overview.credits")}
          value={compact(totals?.credits, lang)}
          detail={<Change share={change(totals?.credits, before?.credits)} window={window} />}
        />
      </dl>
    </Card>
  )
}

export { Totals }
