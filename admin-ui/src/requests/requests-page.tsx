import { useMemo, useState } from "react"
import { useInfiniteQuery } from "@tanstack/react-query"
import { Radio, ScrollText, SearchX } from "lucide-react"
import { useTranslation } from "react-i18next"
import { useNavigate, useParams } from "react-router"
import { requestsQuery } from "@/api/queries"
import { cn } from "@/format/class-names"
import { ErrorNote } from "@/parts/error-note"
import { CopyButton } from "@/parts/copy-button"
import { EmptyState, PageHead } from "@/shell/page"
import { Button } from "@/ui/button"
import { Card, Skeleton } from "@/ui/surface"
import { curlOf } from "./curl"
import { FilterBar } from "./filter-bar"
import { RequestList } from "./request-list"
import { RequestSheet } from "./request-sheet"
import { useFilters } from "./use-filters"
import { useFollow } from "./use-follow"

function ListSkeleton() {
  return (
    <Card aria-busy="true" className="divide-y divide-line">
      {Array.from({ length: 10 }, (_, index) => (
        <div key={index} className="flex h-13 items-center gap-4 px-4">
          <Skeleton className="h-4 w-16" />
          <Skeleton className="h-4 w-36" />
          <Skeleton className="ml-auto h-4 w-24" />
          <Skeleton className="hidden h-4 w-16 sm:block" />
        </div>
      ))}
    </Card>
  )
}

function NoRequests() {
  const { t } = useTranslation()
  const sample = curlOf(
    { path: "/v1/messages", model: "claude-sonnet-4-5", stream: true },
    window.location.origin,
  )
  return (
    <EmptyState icon={<ScrollText />} title={t("requests.none.title")} text={t("requests.none.text")}>
      <CopyButton text={sample} label={t("requests.none.copy")} />
    </EmptyState>
  )
}

function FollowButton({
  on,
  lost,
  onToggle,
}: {
  on: boolean
  lost: boolean
  onToggle: () => void
}) {
  const { t } = useTranslation()
  return (
    <Button aria-pressed={on} onClick={onToggle} className={cn(on && "border-accent text-accent")}>
      <Radio className={cn(on && !lost && "animate-pulse")} />
      {t(lost ? "requests.followLost" : on ? "requests.following" : "requests.follow")}
    </Button>
  )
}

function RequestsPage() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const openId = useParams().id ?? null
  const { filters, setFilter, clear, span, search, active } = useFilters()
  const [wanted, setWanted] = useState(true)
  const following = useFollow(filters, wanted)
  const log = useInfiniteQuery(requestsQuery(filters))
  const rows = useMemo(() => log.data?.pages.flatMap((page) => page.requests) ?? [], [log.data])
  const suffix = search ? `?${search}` : ""
  return (
    <>
      <PageHead title={t("nav.requests")}>
        <FollowButton
          on={following !== "off"}
          lost={following === "lost"}
          onToggle={() => setWanted(!wanted)}
        />
      </PageHead>
      <FilterBar filters={filters} span={span} active={active} onFilter={setFilter} onClear={clear} />
      {log.isError && !log.data ? (
        <ErrorNote error={log.error} onRetry={() => void log.refetch()} />
      ) : !log.data ? (
        <ListSkeleton />
      ) : rows.length ? (
        <RequestList
          rows={rows}
          more={log.hasNextPage}
          onMore={() => !log.isFetchingNextPage && void log.fetchNextPage()}
          onOpen={(id) => navigate(`/requests/${encodeURIComponent(id)}${suffix}`)}
        />
      ) : active ? (
        <EmptyState
          icon={<SearchX />}
          title={t("requests.noMatch.title")}
          text={t("requests.noMatch.text")}
        >
          <Button onClick={clear}>{t("requests.clear")}</Button>
        </EmptyState>
      ) : (
        <NoRequests />
      )}
      <RequestSheet id={openId} onClose={() => navigate(`/requests${suffix}`)} />
    </>
  )
}

export default RequestsPage
