/// The one stream of changes that keeps the page current, folded into the query cache.
import { useEffect } from "react"
import { useQueryClient, type QueryClient } from "@tanstack/react-query"
import { ApiError, follow } from "./client"
import { mergeCredentials } from "./merge"
import { credentialsQuery, liveQuery, sessionQuery, type LiveState } from "./queries"
import type { LiveChange, LiveSnapshot } from "./types"

/** A hidden tab or a sleeping laptop must not knock for ever at full speed. */
const RETRY_MS = [500, 1000, 2000, 5000, 10_000]

/** Overview and charts follow traffic, but a busy gateway need not be asked more often. */
const REFRESH_MS = 3000

function note(client: QueryClient, change: Partial<LiveState>) {
  client.setQueryData(liveQuery.queryKey, (old) => ({
    connection: "connecting" as const,
    overview: null,
    ...old,
    ...change,
  }))
}

function take(client: QueryClient, event: string, data: string) {
  if (event === "snapshot") {
    const snapshot = JSON.parse(data) as LiveSnapshot
    client.setQueryData(credentialsQuery.queryKey, mergeCredentials(undefined, snapshot))
    note(client, { connection: "open", overview: snapshot.overview })
  }
  if (event === "change") {
    const change = JSON.parse(data) as LiveChange
    client.setQueryData(credentialsQuery.queryKey, (old) => old && mergeCredentials(old, change))
    if (change.overview) note(client, { connection: "open", overview: change.overview })
  }
}

/** Ask the overview again soon after traffic, at most once in REFRESH_MS. */
function trafficWatcher(client: QueryClient) {
  let seen: number | null = null
  let due: number | undefined
  const stop = client.getQueryCache().subscribe((event) => {
    if (event.query.queryKey[0] !== "live" || event.type !== "updated") return
    const total = client.getQueryData(liveQuery.queryKey)?.overview?.requestsTotal ?? null
    if (total === seen) return
    const first = seen === null
    seen = total
    if (first || due !== undefined) return
    due = window.setTimeout(() => {
      due = undefined
      void client.invalidateQueries({ queryKey: ["overview"] })
    }, REFRESH_MS)
  })
  return () => {
    stop()
    window.clearTimeout(due)
  }
}

async function listen(client: QueryClient, signal: AbortSignal) {
  for (let tries = 0; !signal.aborted; tries += 1) {
    try {
      for await (const { event, data } of follow("GET", "/live", undefined, signal)) {
        tries = 0
        take(client, event, data)
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof ApiError && error.status === 401) {
        client.setQueryData(sessionQuery.queryKey, null)
        return
      }
    }
    if (signal.aborted) return
    note(client, { connection: "lost" })
    await pause(RETRY_MS[Math.min(tries, RETRY_MS.length - 1)] ?? 10_000, signal)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = window.setTimeout(resolve, ms)
    signal.addEventListener("abort", () => {
      window.clearTimeout(timer)
      resolve()
    })
  })
}

export function useLive() {
  const client = useQueryClient()
  useEffect(() => {
    const ended = new AbortController()
    const stop = trafficWatcher(client)
    void listen(client, ended.signal)
    return () => {
      stop()
      ended.abort()
    }
  }, [client])
}
