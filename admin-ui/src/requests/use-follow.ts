/// New requests as they end, put in front of the list that is shown.
import { useEffect, useState } from "react"
import { useQueryClient, type InfiniteData } from "@tanstack/react-query"
import { follow, query } from "@/api/client"
import { requestsQuery } from "@/api/queries"
import type { RequestFilters, RequestPage, RequestRow } from "@/api/types"
import { withNewest } from "./newest"

const RETRY_MS = 3000

export type FollowState = "off" | "on" | "lost"

export function useFollow(filters: RequestFilters, wanted: boolean): FollowState {
  const client = useQueryClient()
  const [lost, setLost] = useState(false)
  const key = JSON.stringify(filters)
  useEffect(() => {
    if (!wanted) return
    const ended = new AbortController()
    const asked = JSON.parse(key) as RequestFilters
    const put = (row: RequestRow) =>
      client.setQueryData<InfiniteData<RequestPage, string | null>>(
        requestsQuery(asked).queryKey,
        (old) => old && withNewest(old, row),
      )
    const listen = async () => {
      while (!ended.signal.aborted) {
        try {
          // Its end brings the rest: what came while nobody listened is in the list.
          void client.invalidateQueries({ queryKey: requestsQuery(asked).queryKey })
          const path = `/requests/follow${query(asked)}`
          for await (const { event, data } of follow("GET", path, undefined, ended.signal)) {
            setLost(false)
            if (event === "request") put(JSON.parse(data) as RequestRow)
          }
        } catch {
          // Refused or unreachable: said on the page, and tried again.
        }
        if (ended.signal.aborted) return
        setLost(true)
        await new Promise((resolve) => window.setTimeout(resolve, RETRY_MS))
      }
    }
    void listen()
    return () => ended.abort()
  }, [client, key, wanted])
  if (!wanted) return "off"
  return lost ? "lost" : "on"
}
