/// The pages of the log with one more request in front. Pure.
import type { InfiniteData } from "@tanstack/react-query"
import type { RequestPage, RequestRow } from "@/api/types"

/** Followed for hours, the first page must not grow for ever; older rows are paged in again. */
const KEPT = 500

type Pages = InfiniteData<RequestPage, string | null>

export function withNewest(data: Pages, row: RequestRow): Pages {
  const [first, ...rest] = data.pages
  if (!first) return data
  // A request is told twice when it ended between the list and the stream.
  const known = data.pages.some((page) => page.requests.some((each) => each.id === row.id))
  if (known) return data
  const grown = { ...first, requests: [row, ...first.requests] }
  if (grown.requests.length <= KEPT) return { ...data, pages: [grown, ...rest] }
  return data.pages.length > 1 ? { pages: [grown, ...rest], pageParams: data.pageParams } : {
    pages: [{ ...grown, requests: grown.requests.slice(0, KEPT) }],
    pageParams: data.pageParams.slice(0, 1),
  }
}
