import { memo, useRef } from "react"
import { useWindowVirtualizer } from "@tanstack/react-virtual"
import { useTranslation } from "react-i18next"
import { cn } from "@/format/class-names"
import { compact } from "@/format/numbers"
import { Card } from "@/ui/surface"
import { Checkbox } from "@/ui/toggle"
import { BalanceBar } from "./balance-bar"
import { EnableSwitch, RowMenu } from "./credential-actions"
import type { ListProps } from "./credentials-page"
import { MethodBadge, Name, PlanBadge } from "./identity"
import { chosenShare } from "./selection"
import { StateNote } from "./state-note"
import type { Credential } from "@/api/types"
import { useOffsetTop } from "./use-offset-top"

const ROW = 64
const COLUMNS =
  "grid grid-cols-[1.25rem_minmax(0,1.5fr)_minmax(0,1.2fr)_minmax(0,1fr)_5.5rem_3.5rem_2.25rem_2rem] items-center gap-x-4 px-4"

const Row = memo(function Row({
  item,
  chosen,
  onChoose,
  onOpen,
}: {
  item: Credential
  chosen: boolean
} & Pick<ListProps, "onChoose" | "onOpen">) {
  const { t, i18n } = useTranslation()
  return (
    <>
      <div role="cell">
        <Checkbox
          checked={chosen}
          onCheckedChange={(on) => onChoose([item.id], on === true)}
          aria-label={t("credentials.choose", { name: item.email ?? `#${item.id}` })}
        />
      </div>
      <div role="cell" className="min-w-0">
        <Name item={item} onOpen={onOpen} />
        <p className="mt-0.5 flex items-center gap-1.5 overflow-hidden">
          <MethodBadge item={item} />
          <PlanBadge item={item} />
        </p>
      </div>
      <div role="cell" className="min-w-0">
        <StateNote item={item} />
      </div>
      <div role="cell" className="min-w-0">
        <BalanceBar balance={item.balance} />
      </div>
      <div role="cell" className="num text-right text-[0.8125rem]">
        <p>{compact(item.successCount, i18n.language)}</p>
        <p
          className={cn(
            "text-xs text-muted",
            item.failureCount + item.refreshFailureCount > 0 && "text-bad-text",
          )}
        >
          {t("credentials.failures", { count: item.failureCount + item.refreshFailureCount })}
        </p>
      </div>
      <div role="cell" className="num text-right text-[0.8125rem] text-muted">
        {item.priority}
      </div>
      <div role="cell" className="flex justify-end">
        <EnableSwitch item={item} />
      </div>
      <div role="cell">
        <RowMenu item={item} onOpen={onOpen} />
      </div>
    </>
  )
})

function CredentialTable({ items, chosen, onChoose, onOpen }: ListProps) {
  const { t } = useTranslation()
  const body = useRef<HTMLDivElement>(null)
  const scrollMargin = useOffsetTop(body)
  const rows = useWindowVirtualizer({
    count: items.length,
    estimateSize: () => ROW,
    overscan: 8,
    scrollMargin,
    getItemKey: (index) => items[index]?.id ?? index,
  })
  const all = chosenShare(items, chosen)
  const head = (text: string, className?: string) => (
    <div role="columnheader" className={className}>
      {text}
    </div>
  )
  return (
    <Card
      role="table"
      aria-label={t("nav.credentials")}
      aria-rowcount={items.length + 1}
      className="overflow-clip"
    >
      <div role="rowgroup" className="sticky top-0 z-10 border-b border-line bg-surface">
        <div
          role="row"
          aria-rowindex={1}
          className={cn(COLUMNS, "h-9 text-xs font-medium text-muted")}
        >
          <div role="columnheader">
            <Checkbox
              checked={all}
              onCheckedChange={() => onChoose(items.map((item) => item.id), all !== true)}
              aria-label={t("credentials.chooseAll")}
            />
          </div>
          {head(t("credentials.columns.credential"))}
          {head(t("credentials.columns.state"))}
          {head(t("credentials.columns.balance"))}
          {head(t("credentials.columns.successes"), "text-right")}
          {head(t("credentials.columns.priority"), "text-right whitespace-nowrap")}
          {head(t("credentials.columns.on"), "text-right whitespace-nowrap")}
          <div role="columnheader">
            <span className="sr-only">{t("credentials.columns.actions")}</span>
          </div>
        </div>
      </div>
      <div
        ref={body}
        role="rowgroup"
        className="relative"
        style={{ height: rows.getTotalSize() }}
      >
        {rows.getVirtualItems().map((row) => {
          const item = items[row.index]
          if (!item) return null
          return (
            <div
              key={row.key}
              role="row"
              aria-rowindex={row.index + 2}
              data-credential={item.id}
              className={cn(
                COLUMNS,
                "absolute inset-x-0 top-0 h-16 border-b border-line transition-colors hover:bg-canvas",
                chosen.has(item.id) && "bg-accent-soft/50 hover:bg-accent-soft/50",
              )}
              style={{ transform: `translateY(${row.start - rows.options.scrollMargin}px)` }}
            >
              <Row item={item} chosen={chosen.has(item.id)} onChoose={onChoose} onOpen={onOpen} />
            </div>
          )
        })}
      </div>
    </Card>
  )
}

export { CredentialTable }
