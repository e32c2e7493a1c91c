/// The six states of a credential: their order, colours, and what each asks of the operator.
import type { Credential, CredentialState } from "@/api/types"

export const STATES: CredentialState[] = [
  "ready",
  "cooling",
  "refreshing",
  "quota",
  "disabled",
  "invalid",
]

export const stateColor: { [state in CredentialState]: string } = {
  ready: "bg-good",
  cooling: "bg-warn",
  refreshing: "bg-info",
  quota: "bg-chart-2",
  disabled: "bg-off",
  invalid: "bg-bad",
}

export function labelOf(item: Pick<Credential, "id" | "email">): string {
  return item.email || `#${item.id}`
}

/** When the state ends by itself, in ms since the epoch, or null where somebody has to act. */
export function endsAt(item: Credential): number | null {
  if (item.cooldownUntil) return Date.parse(item.cooldownUntil)
  if (item.state === "quota" && item.balance?.nextResetAt) return item.balance.nextResetAt * 1000
  return null
}
