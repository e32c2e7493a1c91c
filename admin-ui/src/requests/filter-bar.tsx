import { useEffect, useState } from "react"
import { useQuery } from "@tanstack/react-query"
import { Search, X } from "lucide-react"
import { useTranslation } from "react-i18next"
import { credentialsQuery, keysQuery } from "@/api/queries"
import type { RequestFilters } from "@/api/types"
import { labelOf } from "@/credentials/states"
import { Button } from "@/ui/button"
import { Input, NativeSelect } from "@/ui/input"
import { OUTCOMES, SPANS, type FilterName } from "./use-filters"

type Props = {
  filters: RequestFilters
  span: string
  active: boolean
  onFilter: (name: FilterName, value: string) => void
  onClear: () => void
}

/** Typing asks the gateway only when it pauses. */
const PAUSE_MS = 300

function SearchField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { t } = useTranslation()
  const [text, setText] = useState(value)
  const [shown, setShown] = useState(value)
  if (value !== shown) {
    // Changed from outside: by "clear", or by going back.
    setShown(value)
    setText(value)
  }
  useEffect(() => {
    if (text === value) return
    const timer = window.setTimeout(() => onChange(text.trim()), PAUSE_MS)
    return () => window.clearTimeout(timer)
  }, [text, value, onChange])
  return (
    <div className="relative min-w-48 flex-1 sm:max-w-72">
      <Search
        aria-hidden
        className="pointer-events-none absolute top-1/2 left-2.5 size-4 -translate-y-1/2 text-muted"
      />
      <Input
        type="search"
        aria-label={t("requests.search")}
        placeholder={t("requests.search")}
        value={text}
        onChange={(event) => setText(event.target.value)}
        className="pl-8.5"
      />
    </div>
  )
}

/** A list of thousands is no select: filters for one credential come from its own page as chips. */
const LISTED = 200

function CredentialFilter({ filters, onFilter }: Pick<Props, "filters" | "onFilter">) {
  const { t } = useTranslation()
  const items = useQuery(credentialsQuery).data?.credentials ?? []
  const chosen = items.find((item) => String(item.id) === filters.credentialId)
  if (items.length > LISTED) {
    if (!filters.credentialId) return null
    return (
      <Button onClick={() => onFilter("credentialId", "")}>
        {chosen ? labelOf(chosen) : `#${filters.credentialId}`} <X aria-hidden />
      </Button>
    )
  }
  return (
    <NativeSelect
      aria-label={t("requests.credential")}
      value={filters.credentialId ?? ""}
      onChange={(event) => onFilter("credentialId", event.target.value)}
      className="max-w-44"
    >
      <option value="">{t("requests.anyCredential")}</option>
      {items.map((item) => (
        <option key={item.id} value={item.id}>
          {labelOf(item)}
        </option>
      ))}
      {filters.credentialId && !chosen && (
        <option value={filters.credentialId}>#{filters.credentialId}</option>
      )}
    </NativeSelect>
  )
}

function KeyFilter({ filters, onFilter }: Pick<Props, "filters" | "onFilter">) {
  const { t } = useTranslation()
  const keys = useQuery(keysQuery).data?.keys ?? []
  if (!keys.length && !filters.keyId) return null
  return (
    <NativeSelect
      aria-label={t("requests.key")}
      value={filters.keyId ?? ""}
      onChange={(event) => onFilter("keyId", event.target.value)}
      className="max-w-40"
    >
      <option value="">{t("requests.anyKey")}</option>
      {keys.map((key) => (
        <option key={key.id} value={key.id}>
          {key.name}
        </option>
      ))}
      {filters.keyId && !keys.some((key) => key.id === filters.keyId) && (
        <option value={filters.keyId}>{filters.keyId}</option>
      )}
    </NativeSelect>
  )
}

function FilterBar({ filters, span, active, onFilter, onClear }: Props) {
  const { t } = useTranslation()
  const [setQuery] = useState(() => (value: string) => onFilter("q", value))
  return (
    <div role="search" className="mb-3 flex flex-wrap items-center gap-2">
      <SearchField value={filters.q ?? ""} onChange={setQuery} />
      <NativeSelect
        aria-label={t("requests.outcome")}
        value={filters.status ?? ""}
        onChange={(event) => onFilter("status", event.target.value)}
      >
        <option value="">{t("requests.anyOutcome")}</option>
        {OUTCOMES.map((outcome) => (
          <option key={outcome} value={outcome}>
            {t(`requests.outcomes.${outcome}`)}
          </option>
        ))}
      </NativeSelect>
      <CredentialFilter filters={filters} onFilter={onFilter} />
      <KeyFilter filters={filters} onFilter={onFilter} />
      <NativeSelect
        aria-label={t("requests.span")}
        value={span}
        onChange={(event) => onFilter("span", event.target.value)}
      >
        <option value="">{t("requests.anyTime")}</option>
        {SPANS.map((each) => (
          <option key={each} value={each}>
            {t(`overview.windows.${each}`)}
          </option>
        ))}
      </NativeSelect>
      {filters.model && (
        <Button onClick={() => onFilter("model", "")}>
          {filters.model} <X aria-hidden />
        </Button>
      )}
      {active && (
        <Button variant="ghost" onClick={onClear}>
          {t("requests.clear")}
        </Button>
      )}
    </div>
  )
}

export { FilterBar }
