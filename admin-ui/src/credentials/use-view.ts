/// The view of the list, kept in the address: it can be linked, and survives a reload.
import { useCallback, useMemo } from "react"
import { useSearchParams } from "react-router"
import type { CredentialState } from "@/api/types"
import { SORTS, type Sort, type View } from "./selection"
import { STATES } from "./states"

export type Layout = "table" | "cards"
export type DialogName = "add" | "import" | "login" | "order" | "export"
export type Change = Partial<View> & { layout?: Layout }

const DIALOGS: DialogName[] = ["add", "import", "login", "order", "export"]

function set(search: URLSearchParams, name: string, value: string, standard: string) {
  if (value === standard) search.delete(name)
  else search.set(name, value)
}

export function useView() {
  const [search, setSearch] = useSearchParams()
  const view = useMemo<View>(() => {
    const state = search.get("state") as CredentialState
    const sort = search.get("sort") as Sort
    return {
      q: search.get("q") ?? "",
      state: STATES.includes(state) ? state : "all",
      sort: SORTS.includes(sort) ? sort : "priority",
      down: search.get("down") === "1",
    }
  }, [search])
  const layout: Layout = search.get("view") === "cards" ? "cards" : "table"
  const setView = useCallback(
    (change: Change) =>
      setSearch(
        (old) => {
          const next = new URLSearchParams(old)
          if (change.q !== undefined) set(next, "q", change.q, "")
          if (change.state !== undefined) set(next, "state", change.state, "all")
          if (change.sort !== undefined) set(next, "sort", change.sort, "priority")
          if (change.down !== undefined) set(next, "down", change.down ? "1" : "", "")
          if (change.layout !== undefined) set(next, "view", change.layout, "table")
          return next
        },
        { replace: true },
      ),
    [setSearch],
  )
  return { view, layout, setView, search: search.toString() }
}

/** The dialog that is open, in the address too: other pages link to it. */
export function useDialog() {
  const [search, setSearch] = useSearchParams()
  const asked = search.get("dialog") as DialogName
  const dialog = DIALOGS.includes(asked) ? asked : null
  const setDialog = useCallback(
    (name: DialogName | null) =>
      setSearch(
        (old) => {
          const next = new URLSearchParams(old)
          set(next, "dialog", name ?? "", "")
          return next
        },
        { replace: true },
      ),
    [setSearch],
  )
  return { dialog, setDialog }
}
