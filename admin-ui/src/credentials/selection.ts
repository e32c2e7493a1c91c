/// Search, filter, order and choice over the whole list; pure, so that thousands stay testable.
import type { Credential, CredentialState } from "@/api/types"
import { STATES } from "./states"

export const SORTS = ["priority", "name", "state", "lastUsed", "balance", "successes", "failures"] as const
export type Sort = (typeof SORTS)[number]

export type View = { q: string; state: CredentialState | "all"; sort: Sort; down: boolean }

function words(item: Credential): string {
  return [
    `#${item.id}`,
    item.email,
    item.authMethod,
    item.endpoint,
    item.region,
    item.authRegion,
    item.apiRegion,
    item.proxyUrl,
    item.maskedApiKey,
    item.disabledReason,
    item.balance?.subscriptionTitle,
    item.lastError?.type,
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase()
}

export function matches(item: Credential, q: string): boolean {
  const text = words(item)
  return q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word))
}

type Rank = (item: Credential) => number | string

/** Unknown balances and credentials never used go last in both directions. */
const RANKS: { [sort in Sort]: Rank } = {
  priority: (item) => item.priority,
  name: (item) => (item.email ?? `￿${String(item.id).padStart(9, "0")}`).toLowerCase(),
  state: (item) => STATES.indexOf(item.state),
  lastUsed: (item) => (item.lastUsedAt ? -Date.parse(item.lastUsedAt) : NaN),
  balance: (item) => item.balance?.remaining ?? NaN,
  successes: (item) => -item.successCount,
  failures: (item) => -(item.failureCount + item.refreshFailureCount),
}

function compare(a: number | string, b: number | string): number {
  if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b))
  return a - b
}

export function arrange(items: readonly Credential[], view: View): Credential[] {
  const rank = RANKS[view.sort]
  const sign = view.down ? -1 : 1
  const kept = items.filter(
    (item) => (view.state === "all" || item.state === view.state) && matches(item, view.q),
  )
  const known: Credential[] = []
  const unknown: Credential[] = []
  for (const item of kept) (Number.isNaN(rank(item)) ? unknown : known).push(item)
  const byId = (a: Credential, b: Credential) => a.id - b.id
  known.sort((a, b) => sign * compare(rank(a), rank(b)) || byId(a, b))
  return [...known, ...unknown.sort(byId)]
}

export function countStates(items: readonly Credential[]): Map<CredentialState, number> {
  const counts = new Map<CredentialState, number>()
  for (const item of items) counts.set(item.state, (counts.get(item.state) ?? 0) + 1)
  return counts
}

/** All of the given are chosen, none, or some: what a checkbox above them shows. */
export function chosenShare(
  items: readonly Credential[],
  chosen: ReadonlySet<number>,
): boolean | "indeterminate" {
  const count = items.reduce((sum, item) => sum + (chosen.has(item.id) ? 1 : 0), 0)
  if (count === 0) return false
  return count === items.length ? true : "indeterminate"
}

/** Take one item from a place to another; the rest keep their order. */
export function moved<Item>(items: readonly Item[], from: number, to: number): Item[] {
  const copy = [...items]
  const [item] = copy.splice(from, 1)
  if (item === undefined) return copy
  copy.splice(Math.max(0, Math.min(to, copy.length)), 0, item)
  return copy
}
