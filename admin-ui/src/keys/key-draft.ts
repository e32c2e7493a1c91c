/// What is typed into the form for a client key, and what of it is sent. Pure.
import type { ClientKey, KeyFields } from "@/api/types"

export const LIMITS = [
  "maxConcurrency",
  "rpm",
  "dailyTokens",
  "monthlyTokens",
  "dailyCredits",
  "monthlyCredits",
] as const
export type Limit = (typeof LIMITS)[number]

export type KeyDraft = { name: string; expires: string; models: string } & {
  [limit in Limit]: string
}

export const NEW_KEY: KeyDraft = {
  name: "",
  expires: "",
  models: "",
  maxConcurrency: "",
  rpm: "",
  dailyTokens: "",
  monthlyTokens: "",
  dailyCredits: "",
  monthlyCredits: "",
}

/** The last day of use, in the reader's time zone, as a date field writes it. */
function dayOf(time: string): string {
  const date = new Date(time)
  const part = (value: number) => String(value).padStart(2, "0")
  return `${date.getFullYear()}-${part(date.getMonth() + 1)}-${part(date.getDate())}`
}

export function keyDraftOf(key: ClientKey): KeyDraft {
  const draft: KeyDraft = {
    ...NEW_KEY,
    name: key.name,
    expires: key.expiresAt ? dayOf(key.expiresAt) : "",
    models: key.models.join("\n"),
  }
  for (const limit of LIMITS) draft[limit] = key[limit] === null ? "" : String(key[limit])
  return draft
}

export function keyFieldsOf(draft: KeyDraft): Partial<KeyFields> {
  const fields: Partial<KeyFields> = {
    name: draft.name.trim(),
    expiresAt: draft.expires ? new Date(`${draft.expires}T23:59:59`).toISOString() : null,
    models: draft.models.split(/[\s,]+/).filter(Boolean),
  }
  for (const limit of LIMITS) fields[limit] = draft[limit] === "" ? null : Number(draft[limit])
  return fields
}

/** An edit sends what differs: a date that was not touched keeps its time of day. */
export function keyChangesOf(before: KeyDraft, after: KeyDraft): Partial<KeyFields> {
  const [old, now] = [keyFieldsOf(before), keyFieldsOf(after)]
  const changed = Object.entries(now).filter(
    ([name, value]) => JSON.stringify(old[name as keyof KeyFields]) !== JSON.stringify(value),
  )
  return Object.fromEntries(changed) as Partial<KeyFields>
}

export type KeyState = "active" | "expired" | "off"

export function keyStateOf(key: Pick<ClientKey, "enabled" | "expiresAt">, now: number): KeyState {
  if (!key.enabled) return "off"
  return key.expiresAt && Date.parse(key.expiresAt) <= now ? "expired" : "active"
}
