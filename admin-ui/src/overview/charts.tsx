/// The charts of the overview: the one part of the page that needs the chart library.
import type { ReactNode } from "react"
import {
  Area,
  AreaChart,
  Bar,
  BarChart,
  CartesianGrid,
  Line,
  LineChart,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts"
import { useTranslation } from "react-i18next"
import type { TimedBucket, Window } from "@/api/types"
import { compact, count, decimal, duration } from "@/format/numbers"
import { axisTime, tooltipTime } from "./times"

type Format = (value: number) => string
type Series = { key: string; name: string; color: string }
type ChartProps = { series: TimedBucket[]; window: Window }

const axis = {
  stroke: "var(--muted)",
  fontSize: 11,
  tickLine: false,
  axisLine: false,
} as const

function Hint({
  active,
  label,
  payload,
  series,
  format,
  window,
}: {
  active?: boolean
  label?: string | number
  payload?: readonly { dataKey?: unknown; value?: unknown }[]
  series: Series[]
  format: Format
  window: Window
}) {
  const { i18n } = useTranslation()
  if (!active || label === undefined) return null
  const values = new Map(payload?.map((item) => [item.dataKey, item.value]))
  return (
    <div className="rounded-lg border border-line bg-raised px-3 py-2 text-xs shadow-high">
      <p className="num mb-1 text-muted">{tooltipTime(String(label), window, i18n.language)}</p>
      {series.map((each) => (
        <p key={each.key} className="flex items-center gap-2">
          <span aria-hidden className="size-2 rounded-[3px]" style={{ background: each.color }} />
          <span className="text-muted">{each.name}</span>
          <span className="num ml-auto pl-4 font-medium">
            {typeof values.get(each.key) === "number" ? format(values.get(each.key) as number) : "–"}
          </span>
        </p>
      ))}
    </div>
  )
}

/** Axes, grid and hint that all charts share; Recharts wants them as direct children. */
function frame(series: Series[], window: Window, language: string, format: Format, tick: Format) {
  return [
    <CartesianGrid key="grid" vertical={false} stroke="var(--line)" />,
    <XAxis
      key="x"
      dataKey="at"
      {...axis}
      minTickGap={44}
      tickMargin={8}
      tickFormatter={(at: string) => axisTime(at, window, language)}
    />,
    <YAxis
      key="y"
      {...axis}
      width={46}
      tickCount={4}
      tickFormatter={tick}
      domain={[0, "auto"]}
    />,
    <Tooltip
      key="hint"
      isAnimationActive={false}
      cursor={{ stroke: "var(--line-strong)", fill: "var(--hover)", fillOpacity: 0.6 }}
      content={({ active, label, payload }) => (
        <Hint
          active={active}
          {...(label === undefined ? {} : { label })}
          payload={payload}
          series={series}
          format={format}
          window={window}
        />
      )}
    />,
  ]
}

const margin = { top: 6, right: 4, bottom: 0, left: 0 }
const still = { isAnimationActive: false } as const

function Sized({ children }: { children: ReactNode }) {
  return (
    <ResponsiveContainer width="100%" height="100%" initialDimension={{ width: 480, height: 190 }}>
      {children}
    </ResponsiveContainer>
  )
}

function TrafficChart({ series, window, names }: ChartProps & { names: Series[] }) {
  const { i18n } = useTranslation()
  const data = series.map((bucket) => ({
    at: bucket.at,
    answered: bucket.requests - bucket.errors,
    failed: bucket.errors,
  }))
  const whole: Format = (value) => count(value, i18n.language)
  return (
    <Sized>
      <BarChart data={data} margin={margin} barCategoryGap="22%" accessibilityLayer={false}>
        {frame(names, window, i18n.language, whole, (value) => compact(value, i18n.language))}
        <Bar dataKey="answered" stackId="all" fill="var(--chart-1)" radius={2} {...still} />
        <Bar dataKey="failed" stackId="all" fill="var(--bad)" radius={2} {...still} />
      </BarChart>
    </Sized>
  )
}

function LatencyChart({ series, window, names }: ChartProps & { names: Series[] }) {
  const { i18n } = useTranslation()
  const data = series.map((bucket) => ({
    at: bucket.at,
    first50: bucket.firstTokenMs?.p50 ?? null,
    first95: bucket.firstTokenMs?.p95 ?? null,
    whole50: bucket.latencyMs?.p50 ?? null,
    whole95: bucket.latencyMs?.p95 ?? null,
  }))
  return (
    <Sized>
      <LineChart data={data} margin={margin} accessibilityLayer={false}>
        {frame(names, window, i18n.language, duration, (value) =>
          value === 0 ? "0" : `${decimal(value / 1000, i18n.language)} s`,
        )}
        {names.map((each) => (
          <Line
            key={each.key}
            type="monotone"
            dataKey={each.key}
            stroke={each.color}
            strokeWidth={1.75}
            strokeDasharray={each.key.endsWith("95") ? "3 3" : undefined}
            dot={data.filter((point) => point.first50 !== null).length === 1}
            connectNulls
            {...still}
          />
        ))}
      </LineChart>
    </Sized>
  )
}

function TokensChart({ series, window, names }: ChartProps & { names: Series[] }) {
  const { i18n } = useTranslation()
  const whole: Format = (value) => count(value, i18n.language)
  return (
    <Sized>
      <AreaChart data={series} margin={margin} accessibilityLayer={false}>
        {frame(names, window, i18n.language, whole, (value) => compact(value, i18n.language))}
        {names.map((each) => (
          <Area
            key={each.key}
            type="monotone"
            stackId="all"
            dataKey={each.key}
            stroke={each.color}
            strokeWidth={1.5}
            fill={each.color}
            fillOpacity={0.22}
            {...still}
          />
        ))}
      </AreaChart>
    </Sized>
  )
}

function CreditsChart({ series, window, names }: ChartProps & { names: Series[] }) {
  const { i18n } = useTranslation()
  const exact: Format = (value) => decimal(value, i18n.language)
  return (
    <Sized>
      <BarChart data={series} margin={margin} barCategoryGap="22%" accessibilityLayer={false}>
        {frame(names, window, i18n.language, exact, (value) => compact(value, i18n.language))}
        <Bar dataKey="credits" fill="var(--chart-2)" radius={2} {...still} />
      </BarChart>
    </Sized>
  )
}

export { CreditsChart, LatencyChart, TokensChart, TrafficChart }
export type { Series }
