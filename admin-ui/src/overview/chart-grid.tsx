import { lazy, Suspense, type ReactNode } from "react"
import { useTranslation } from "react-i18next"
import type { Overview, Window } from "@/api/types"
import { cn } from "@/format/class-names"
import { compact, duration } from "@/format/numbers"
import { Card, Skeleton } from "@/ui/surface"
import type { Series } from "./charts"

const CreditsChart = lazy(() => import("./charts").then((m) => ({ default: m.CreditsChart })))
const LatencyChart = lazy(() => import("./charts").then((m) => ({ default: m.LatencyChart })))
const TokensChart = lazy(() => import("./charts").then((m) => ({ default: m.TokensChart })))
const TrafficChart = lazy(() => import("./charts").then((m) => ({ default: m.TrafficChart })))

function ChartCard({
  title,
  names,
  ready,
  empty,
  summary,
  children,
}: {
  title: string
  names: Series[]
  ready: boolean
  empty: boolean
  summary: string
  children: ReactNode
}) {
  const { t } = useTranslation()
  const waiting = <Skeleton className="h-full rounded-lg" />
  return (
    <Card className="min-w-0 px-4 pt-3.5 pb-3">
      <div className="mb-3 flex min-h-5 flex-wrap items-center gap-x-4 gap-y-1">
        <h2 className="text-[0.8125rem] font-semibold">{title}</h2>
        <ul className="ml-auto flex flex-wrap gap-x-3 gap-y-1 text-xs text-muted">
          {names.map((each) => (
            <li key={each.key} className="flex items-center gap-1.5">
              <span
                aria-hidden
                className={cn(
                  "size-2 rounded-[3px]",
                  each.key.endsWith("95") && "rounded-full border-2 border-dotted bg-transparent!",
                )}
                style={{ background: each.color, borderColor: each.color }}
              />
              {each.name}
            </li>
          ))}
        </ul>
      </div>
      <div className="h-[190px]">
        {!ready ? (
          waiting
        ) : empty ? (
          <p className="grid h-full place-content-center rounded-lg border border-dashed border-line text-xs text-muted">
            {t("overview.noData")}
          </p>
        ) : (
          <div role="img" aria-label={summary} className="h-full">
            <Suspense fallback={waiting}>{children}</Suspense>
          </div>
        )}
      </div>
    </Card>
  )
}

function ChartGrid({ overview, window }: { overview: Overview | undefined; window: Window }) {
  const { t, i18n } = useTranslation()
  const lang = i18n.language
  const series = overview?.series ?? []
  const totals = overview?.totals
  const ready = Boolean(overview)
  const shared = { series, window }
  const traffic = [
    { key: "answered", name: t("overview.answered"), color: "var(--chart-1)" },
    { key: "failed", name: t("overview.failed"), color: "var(--bad)" },
  ]
  const latency = [
    { key: "first50", name: t("overview.first50"), color: "var(--chart-1)" },
    { key: "first95", name: t("overview.first95"), color: "var(--chart-1)" },
    { key: "whole50", name: t("overview.whole50"), color: "var(--chart-3)" },
    { key: "whole95", name: t("overview.whole95"), color: "var(--chart-3)" },
  ]
  const tokens = [
    { key: "outputTokens", name: t("overview.output"), color: "var(--chart-3)" },
    { key: "inputTokens", name: t("overview.input"), color: "var(--chart-1)" },
    { key: "cacheReadTokens", name: t("overview.cacheRead"), color: "var(--chart-2)" },
  ]
  const credits = [{ key: "credits", name: t("overview.creditsUsed"), color: "var(--chart-2)" }]
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <ChartCard
        title={t("overview.traffic")}
        names={traffic}
        ready={ready}
        empty={!totals?.requests}
        summary={t("overview.trafficSummary", {
          requests: compact(totals?.requests, lang),
          errors: compact(totals?.errors, lang),
        })}
      >
        <TrafficChart {...shared} names={traffic} />
      </ChartCard>
      <ChartCard
        title={t("overview.latency")}
        names={latency}
        ready={ready}
        empty={!totals?.firstTokenMs && !totals?.latencyMs}
        summary={t("overview.latencySummary", {
          first: duration(totals?.firstTokenMs?.p50),
          whole: duration(totals?.latencyMs?.p50),
        })}
      >
        <LatencyChart {...shared} names={latency} />
      </ChartCard>
      <ChartCard
        title={t("overview.tokens")}
        names={tokens}
        ready={ready}
        empty={!totals?.inputTokens && !totals?.outputTokens}
        summary={t("overview.tokenSplit", {
          input: compact(totals?.inputTokens, lang),
          output: compact(totals?.outputTokens, lang),
        })}
      >
        <TokensChart {...shared} names={tokens} />
      </ChartCard>
      <ChartCard
        title={t("overview.credits")}
        names={credits}
        ready={ready}
        empty={!totals?.credits}
        summary={t("overview.creditsSummary", { credits: compact(totals?.credits, lang) })}
      >
        <CreditsChart {...shared} names={credits} />
      </ChartCard>
    </div>
  )
}

export { ChartGrid }
