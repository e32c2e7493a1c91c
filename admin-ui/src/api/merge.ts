/// The credential list after a change of the live stream.
import type { Credential, CredentialList, LiveChange } from "./types"

/** Untouched items keep their identity, so that only changed rows render again. */
export function mergeCredentials(
  old: CredentialList | undefined,
  change: LiveChange,
): CredentialList {
  const changed = new Map(change.credentials?.map((item) => [item.id, item]))
  const removed = new Set(change.removed)
  const kept: Credential[] = []
  for (const item of old?.credentials ?? []) {
    if (removed.has(item.id)) continue
    kept.push(changed.get(item.id) ?? item)
    changed.delete(item.id)
  }
  const credentials = [...kept, ...changed.values()]
  const current = credentials.find((item) => item.isCurrent)
  return {
    total: change.overview?.credentials.total ?? credentials.length,
    available: change.overview?.credentials.available ?? old?.available ?? 0,
    currentId: current?.id ?? null,
    credentials,
  }
}
