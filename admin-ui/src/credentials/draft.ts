/// What is typed into the forms for a credential, and what of it is sent. Pure.
import type { Credential, CredentialFields } from "@/api/types"

export type Method = "social" | "idc" | "api_key"
export type ProxyKind = "default" | "direct" | "own"

export type Draft = {
  email: string
  priority: string
  endpoint: string
  maxConcurrency: string
  rpm: string
  region: string
  authRegion: string
  apiRegion: string
  machineId: string
  profileArn: string
  proxyKind: ProxyKind
  proxyUrl: string
  proxyUsername: string
  proxyPassword: string
  refreshToken: string
  clientId: string
  clientSecret: string
  kiroApiKey: string
}

export const EMPTY: Draft = {
  email: "",
  priority: "0",
  endpoint: "",
  maxConcurrency: "",
  rpm: "",
  region: "",
  authRegion: "",
  apiRegion: "",
  machineId: "",
  profileArn: "",
  proxyKind: "default",
  proxyUrl: "",
  proxyUsername: "",
  proxyPassword: "",
  refreshToken: "",
  clientId: "",
  clientSecret: "",
  kiroApiKey: "",
}

/** Secrets never come back from the gateway: their fields start empty and mean "keep". */
export function draftOf(item: Credential): Draft {
  const text = (value: string | number | null | undefined) => (value == null ? "" : String(value))
  return {
    ...EMPTY,
    email: text(item.email),
    priority: text(item.priority),
    endpoint: text(item.endpoint),
    maxConcurrency: text(item.maxConcurrency),
    rpm: text(item.rpm),
    region: text(item.region),
    authRegion: text(item.authRegion),
    apiRegion: text(item.apiRegion),
    machineId: text(item.machineId),
    proxyKind: !item.proxyUrl ? "default" : item.proxyUrl === "direct" ? "direct" : "own",
    proxyUrl: item.proxyUrl === "direct" ? "" : text(item.proxyUrl),
    proxyUsername: text(item.proxyUsername),
  }
}

const TEXTS = ["email", "region", "authRegion", "apiRegion", "machineId"] as const
const NUMBERS = ["maxConcurrency", "rpm"] as const
const SECRETS = [
  "refreshToken",
  "clientId",
  "clientSecret",
  "kiroApiKey",
  "profileArn",
  "proxyPassword",
] as const

function proxyFields(draft: Draft): CredentialFields {
  if (draft.proxyKind === "default") return { proxyUrl: null, proxyUsername: null }
  if (draft.proxyKind === "direct") return { proxyUrl: "direct", proxyUsername: null }
  return { proxyUrl: draft.proxyUrl.trim(), proxyUsername: draft.proxyUsername.trim() || null }
}

/** Only what was changed; null removes a field that had a value. */
export function changesOf(before: Draft, after: Draft): CredentialFields {
  const fields: CredentialFields = {}
  for (const name of TEXTS) {
    if (after[name].trim() !== before[name]) fields[name] = after[name].trim() || null
  }
  for (const name of NUMBERS) {
    if (after[name] !== before[name]) fields[name] = after[name] === "" ? null : Number(after[name])
  }
  if (after.priority !== before.priority) fields["priority"] = Number(after.priority || 0)
  if (after.endpoint !== before.endpoint) fields["endpoint"] = after.endpoint || null
  for (const name of SECRETS) if (after[name].trim()) fields[name] = after[name].trim()
  const [old, now] = [proxyFields(before), proxyFields(after)]
  for (const name of Object.keys(now)) if (old[name] !== now[name]) fields[name] = now[name] ?? null
  if (before.proxyKind === "own" && after.proxyKind !== "own") fields["proxyPassword"] = null
  return fields
}

const OF_METHOD: { [method in Method]: readonly (keyof Draft)[] } = {
  social: ["refreshToken"],
  idc: ["refreshToken", "clientId", "clientSecret"],
  api_key: ["kiroApiKey"],
}
const KINDS = ["refreshToken", "clientId", "clientSecret", "kiroApiKey"] as const

/** A new credential: the secrets of its kind, and what differs from a standard one. */
export function additionOf(method: Method, draft: Draft): CredentialFields {
  const own = { ...draft }
  for (const name of KINDS) if (!OF_METHOD[method].includes(name)) own[name] = ""
  const fields = changesOf(EMPTY, own)
  return { authMethod: method, priority: Number(draft.priority || 0), ...fields }
}
