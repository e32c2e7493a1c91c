import { useMemo } from "react"
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query"
import { ArrowDownUp, LayoutGrid, Rows3, Search } from "lucide-react"
import { useTranslation } from "react-i18next"
import { modeQuery, setMode } from "@/api/queries"
import type { Credential, CredentialState } from "@/api/types"
import { cn } from "@/format/class-names"
import { count } from "@/format/numbers"
import { useErrorToast } from "@/parts/error-note"
import { Button } from "@/ui/button"
import {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuLabel,
  DropdownMenuRadioGroup,
  DropdownMenuRadioItem,
  DropdownMenuSeparator,
  DropdownMenuTrigger,
} from "@/ui/dropdown-menu"
import { Input, NativeSelect } from "@/ui/input"
import { Segments } from "@/ui/toggle"
import { countStates, SORTS, type Sort, type View } from "./selection"
import { STATES, stateColor } from "./states"
import type { Change, Layout } from "./use-view"

function StateFilter({
  items,
  value,
  onChange,
}: {
  items: Credential[]
  value: View["state"]
  onChange: (state: View["state"]) => void
}) {
  const { t, i18n } = useTranslation()
  const counts = useMemo(() => countStates(items), [items])
  const options: View["state"][] = ["all", ...STATES.filter((s) => counts.get(s) || s === value)]
  return (
    <div
      role="group"
      aria-label={t("credentials.filterByState")}
      className="-mx-4 flex gap-1 overflow-x-auto px-4 py-1 sm:-mx-1 sm:flex-wrap sm:overflow-visible sm:px-1 sm:py-0"
    >
      {options.map((state) => (
        <button
          key={state}
          type="button"
          aria-pressed={state === value}
          onClick={() => onChange(state)}
          className={cn(
            "inline-flex h-7 shrink-0 items-center gap-1.5 rounded-full px-2.5 text-xs font-medium text-muted ring-1 ring-transparent transition-colors ring-inset hover:bg-hover hover:text-text pointer-coarse:h-9",
            state === value && "bg-surface text-text shadow-low ring-line-strong",
          )}
        >
          {state !== "all" && (
            <span aria-hidden className={cn("size-1.5 rounded-full", stateColor[state])} />
          )}
          {t(`credentials.states.${state}`)}
          <span className="num font-normal text-muted">
            {count(state === "all" ? items.length : (counts.get(state) ?? 0), i18n.language)}
          </span>
        </button>
      ))}
    </div>
  )
}

function SortMenu({ view, onChange }: { view: View; onChange: (change: Change) => void }) {
  const { t } = useTranslation()
  return (
    <DropdownMenu>
      <DropdownMenuTrigger asChild>
        <Button>
          <ArrowDownUp aria-hidden />
          <span className="sr-only">{t("credentials.sortBy")}</span>
          {t(`credentials.sorts.${view.sort}`)}
        </Button>
      </DropdownMenuTrigger>
      <DropdownMenuContent>
        <DropdownMenuLabel>{t("credentials.sortBy")}</DropdownMenuLabel>
        <DropdownMenuRadioGroup
          value={view.sort}
          onValueChange={(sort) => onChange({ sort: sort as Sort })}
        >
          {SORTS.map((sort) => (
            <DropdownMenuRadioItem key={sort} value={sort}>
              {t(`credentials.sorts.${sort}`)}
            </DropdownMenuRadioItem>
          ))}
        </DropdownMenuRadioGroup>
        <DropdownMenuSeparator />
        <DropdownMenuRadioGroup
          value={view.down ? "down" : "up"}
          onValueChange={(way) => onChange({ down: way === "down" })}
        >
          <DropdownMenuRadioItem value="up">{t("credentials.ascending")}</DropdownMenuRadioItem>
          <DropdownMenuRadioItem value="down">{t("credentials.descending")}</DropdownMenuRadioItem>
        </DropdownMenuRadioGroup>
      </DropdownMenuContent>
    </DropdownMenu>
  )
}

/** How requests are spread over the credentials. */
function ModeSelect() {
  const { t } = useTranslation()
  const client = useQueryClient()
  const fail = useErrorToast()
  const mode = useQuery(modeQuery).data?.mode
  const change = useMutation({
    mutationFn: setMode,
    onError: fail,
    onSettled: () => {
      void client.invalidateQueries({ queryKey: modeQuery.queryKey })
      void client.invalidateQueries({ queryKey: ["settings"] })
    },
  })
  return (
    <NativeSelect
      aria-label={t("credentials.mode")}
      disabled={!mode || change.isPending}
      value={mode ?? "priority"}
      onChange={(event) => change.mutate(event.target.value as "priority" | "balanced")}
    >
      <option value="priority">{t("credentials.modes.priority")}</option>
      <option value="balanced">{t("credentials.modes.balanced")}</option>
    </NativeSelect>
  )
}

function Toolbar({
  items,
  view,
  layout,
  onChange,
}: {
  items: Credential[]
  view: View
  layout: Layout
  onChange: (change: Change) => void
}) {
  const { t } = useTranslation()
  return (
    <div className="mb-3 grid gap-2.5">
      <div className="flex flex-wrap items-center gap-2">
        <div className="relative min-w-48 flex-1 sm:max-w-80">
          <Search
            aria-hidden
            className="pointer-events-none absolute top-1/2 left-2.5 size-4 -translate-y-1/2 text-muted"
          />
          <Input
            type="search"
            aria-label={t("credentials.search")}
            placeholder={t("credentials.search")}
            value={view.q}
            onChange={(event) => onChange({ q: event.target.value })}
            className="pl-8.5"
          />
        </div>
        <div className="flex flex-wrap items-center gap-2 sm:ml-auto">
          <ModeSelect />
          <SortMenu view={view} onChange={onChange} />
          <Segments<Layout>
            label={t("credentials.layout")}
            value={layout}
            onChange={(next) => onChange({ layout: next })}
            className="hidden lg:inline-flex"
            options={[
              { value: "table", label: <Rows3 aria-hidden />, title: t("credentials.layouts.table") },
              {
                value: "cards",
                label: <LayoutGrid aria-hidden />,
                title: t("credentials.layouts.cards"),
              },
            ]}
          />
        </div>
      </div>
      <StateFilter
        items={items}
        value={view.state}
        onChange={(state: CredentialState | "all") => onChange({ state })}
      />
    </div>
  )
}

export { Toolbar }
