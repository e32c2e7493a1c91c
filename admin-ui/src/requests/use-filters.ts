/// The filters of the log, kept in the address.
import { useCallback, useMemo } from "react"
import { useSearchParams } from "react-router"
import type { RequestFilters } from "@/api/types"

export const OUTCOMES = ["ok", "error", "truncated", "cancelled"] as const
export const SPANS = ["1h", "24h", "7d"] as const

const HOURS: { [span: string]: number } = { "1h": 1, "24h": 24, "7d": 168 }
const NAMES = ["status", "model", "credentialId", "keyId", "q", "span"] as const
export type FilterName = (typeof NAMES)[number]

/** Whole minutes: a span must not be another query with every render. */
function since(span: string | null): string | undefined {
  const hours = HOURS[span ?? ""]
  if (!hours) return undefined
  return new Date(Math.floor(Date.now() / 60_000) * 60_000 - hours * 3_600_000).toISOString()
}

export function useFilters() {
  const [search, setSearch] = useSearchParams()
  const filters = useMemo<RequestFilters>(() => {
    const found: RequestFilters = {}
    for (const name of ["status", "model", "credentialId", "keyId", "q"] as const) {
      const value = search.get(name)
      if (value) found[name] = value
    }
    const from = since(search.get("span"))
    return from ? { ...found, since: from } : found
  }, [search])
  const setFilter = useCallback(
    (name: FilterName, value: string) =>
      setSearch(
        (old) => {
          const next = new URLSearchParams(old)
          if (value) next.set(name, value)
          else next.delete(name)
          return next
        },
        { replace: true },
      ),
    [setSearch],
  )
  const clear = useCallback(() => setSearch({}, { replace: true }), [setSearch])
  return {
    filters,
    setFilter,
    clear,
    span: search.get("span") ?? "",
    search: search.toString(),
    active: NAMES.some((name) => search.has(name)),
  }
}
