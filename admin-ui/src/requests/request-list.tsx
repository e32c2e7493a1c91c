import { useEffect, useRef } from "react"
import { useWindowVirtualizer } from "@tanstack/react-virtual"
import { useTranslation } from "react-i18next"
import type { Outcome, RequestRow } from "@/api/types"
import { useOffsetTop } from "@/credentials/use-offset-top"
import { cn } from "@/format/class-names"
import { clock, compact, dateTime, decimal, duration } from "@/format/numbers"
import { useMedia } from "@/parts/use-media"
import { Card } from "@/ui/surface"
import { useFailureText } from "./failures"

const outcomeColor: { [outcome in Outcome]: string } = {
  ok: "bg-good",
  error: "bg-bad",
  truncated: "bg-warn",
  cancelled: "bg-off",
}

const COLUMNS =
  "grid grid-cols-[4.5rem_minmax(0,1.5fr)_minmax(0,1.2fr)_minmax(0,1.1fr)_7rem_5rem_5rem_4rem] items-center gap-x-4 px-4"

function OutcomeNote({ row }: { row: RequestRow }) {
  const { t } = useTranslation()
  const failure = useFailureText()(row)
  const bad = row.outcome === "error"
  return (
    <span className="flex min-w-0 items-center gap-2">
      <span
        aria-hidden
        className={cn("size-2 shrink-0 rounded-full", outcomeColor[row.outcome])}
      />
      <span className="truncate">{bad ? failure.title : t(`requests.outcomes.${row.outcome}`)}</span>
      {row.status !== null && row.status >= 400 && (
        <span className="num shrink-0 text-xs text-muted">{row.status}</span>
      )}
    </span>
  )
}

function Tokens({ row }: { row: RequestRow }) {
  const { i18n } = useTranslation()
  if (!row.inputTokens && !row.outputTokens) return "–"
  return `${compact(row.inputTokens, i18n.language)} → ${compact(row.outputTokens, i18n.language)}`
}

function OpenButton({ row, onOpen }: { row: RequestRow; onOpen: (id: string) => void }) {
  const { t, i18n } = useTranslation()
  return (
    <button
      type="button"
      onClick={() => onOpen(row.id)}
      title={dateTime(row.at, i18n.language)}
      aria-label={t("requests.open", { time: dateTime(row.at, i18n.language) })}
      className="num text-muted after:absolute after:inset-0 after:content-[''] focus-visible:outline-none focus-visible:after:rounded-md focus-visible:after:outline-2 focus-visible:after:-outline-offset-2 focus-visible:after:outline-accent"
    >
      {clock(row.at, i18n.language)}
    </button>
  )
}

function WideRow({ row, onOpen }: { row: RequestRow; onOpen: (id: string) => void }) {
  const { i18n } = useTranslation()
  const lang = i18n.language
  return (
    <div className={cn(COLUMNS, "h-full text-[0.8125rem]")}>
      <div role="cell">
        <OpenButton row={row} onOpen={onOpen} />
      </div>
      <div role="cell" className="min-w-0">
        <OutcomeNote row={row} />
      </div>
      <div role="cell" className="truncate">
        {row.model ?? row.path}
      </div>
      <div role="cell" className="min-w-0 text-xs leading-4 text-muted">
        <p className="truncate">{row.credentialLabel ?? "–"}</p>
        <p className="truncate">{row.keyName ?? "–"}</p>
      </div>
      <div role="cell" className="num truncate text-right text-muted">
        <Tokens row={row} />
      </div>
      <div role="cell" className="num truncate text-right">
        {duration(row.firstTokenMs)}
      </div>
      <div role="cell" className="num truncate text-right">
        {duration(row.durationMs)}
      </div>
      <div role="cell" className="num truncate text-right text-muted">
        {decimal(row.credits, lang)}
      </div>
    </div>
  )
}

function NarrowRow({ row, onOpen }: { row: RequestRow; onOpen: (id: string) => void }) {
  return (
    <div role="cell" className="grid h-full content-center gap-1 px-4">
      <div className="flex items-center gap-3 text-[0.8125rem]">
        <OutcomeNote row={row} />
        <span className="ml-auto shrink-0 text-xs">
          <OpenButton row={row} onOpen={onOpen} />
        </span>
      </div>
      <p className="num flex gap-3 text-xs text-muted">
        <span className="truncate">{row.model ?? row.path}</span>
        <span className="ml-auto shrink-0">
          <Tokens row={row} /> · {duration(row.durationMs)}
        </span>
      </p>
    </div>
  )
}

function Head() {
  const { t } = useTranslation()
  const names = ["time", "outcome", "model", "by", "tokens", "first", "whole", "credits"] as const
  return (
    <div role="rowgroup" className="sticky top-0 z-10 border-b border-line bg-surface">
      <div role="row" className={cn(COLUMNS, "h-9 text-xs font-medium text-muted")}>
        {names.map((name, index) => (
          <div role="columnheader" key={name} className={cn("truncate", index > 3 && "text-right")}>
            {t(`requests.columns.${name}`)}
          </div>
        ))}
      </div>
    </div>
  )
}

function RequestList({
  rows,
  more,
  onMore,
  onOpen,
}: {
  rows: RequestRow[]
  more: boolean
  onMore: () => void
  onOpen: (id: string) => void
}) {
  const { t } = useTranslation()
  const wide = useMedia("(min-width: 64rem)")
  const body = useRef<HTMLDivElement>(null)
  const scrollMargin = useOffsetTop(body)
  const height = wide ? 52 : 60
  const list = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => height,
    overscan: 10,
    scrollMargin,
    getItemKey: (index) => rows[index]?.id ?? index,
  })
  const items = list.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  useEffect(() => {
    if (more && last >= rows.length - 12) onMore()
  }, [more, last, rows.length, onMore])
  useEffect(() => list.measure(), [list, height])
  return (
    <>
      <Card role="table" aria-label={t("nav.requests")} className="overflow-clip">
        {wide && <Head />}
        <div ref={body} role="rowgroup" className="relative" style={{ height: list.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index]
            return (
              row && (
                <div
                  key={row.id}
                  role="row"
                  data-request={row.id}
                  className="absolute inset-x-0 top-0 border-b border-line transition-colors hover:bg-canvas"
                  style={{
                    height,
                    transform: `translateY(${item.start - list.options.scrollMargin}px)`,
                  }}
                >
                  {wide ? <WideRow row={row} onOpen={onOpen} /> : <NarrowRow row={row} onOpen={onOpen} />}
                </div>
              )
            )
          })}
        </div>
      </Card>
      <p className="h-10 pt-3 text-center text-xs text-muted">
        {more ? t("common.loading") : t("requests.end")}
      </p>
    </>
  )
}

export { OutcomeNote, outcomeColor, RequestList }
