import { useInfiniteQuery } from "@tanstack/react-query"
import { History } from "lucide-react"
import { useTranslation } from "react-i18next"
import { auditQuery } from "@/api/queries"
import type { AuditEntry } from "@/api/types"
import { dateTime } from "@/format/numbers"
import { useKnown } from "@/i18n/use-known"
import { ErrorNote } from "@/parts/error-note"
import { EmptyState } from "@/shell/page"
import { Button } from "@/ui/button"
import { Badge, Card, Skeleton } from "@/ui/surface"

function detailText(detail: unknown): string {
  if (detail === null || detail === undefined) return ""
  return typeof detail === "string" ? detail : JSON.stringify(detail)
}

function Entry({ entry }: { entry: AuditEntry }) {
  const { i18n } = useTranslation()
  const known = useKnown()
  return (
    <li className="px-4 py-3">
      <p className="flex flex-wrap items-center gap-x-2 gap-y-1 text-[0.8125rem]">
        <span className="font-medium">
          {known(`audit.actions.${entry.action}`) ?? entry.action}
        </span>
        {entry.target && <Badge className="font-mono">{entry.target}</Badge>}
        <time dateTime={entry.at} className="num ml-auto shrink-0 text-xs text-muted">
          {dateTime(entry.at, i18n.language)}
        </time>
      </p>
      <p className="mt-0.5 text-xs break-words text-muted">
        {[known(`audit.actors.${entry.actor}`) ?? entry.actor, entry.address, detailText(entry.detail)]
          .filter(Boolean)
          .join(" · ")}
      </p>
    </li>
  )
}

function AuditLog() {
  const { t } = useTranslation()
  const log = useInfiniteQuery(auditQuery)
  if (log.isError && !log.data) {
    return <ErrorNote error={log.error} onRetry={() => void log.refetch()} />
  }
  if (!log.data) return <Skeleton aria-busy="true" className="h-80 rounded-xl" />
  const entries = log.data.pages.flatMap((page) => page.entries)
  if (!entries.length) {
    return <EmptyState icon={<History />} title={t("audit.none.title")} text={t("audit.none.text")} />
  }
  return (
    <>
      <p className="mb-4 text-[0.8125rem] text-muted">{t("audit.text")}</p>
      <Card>
        <ul className="divide-y divide-line">
          {entries.map((entry) => (
            <Entry key={entry.id} entry={entry} />
          ))}
        </ul>
      </Card>
      {log.hasNextPage && (
        <div className="mt-4 flex justify-center">
          <Button busy={log.isFetchingNextPage} onClick={() => void log.fetchNextPage()}>
            {t("audit.more")}
          </Button>
        </div>
      )}
    </>
  )
}

export { AuditLog }
