import { CircleCheck } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import type { RequestRow } from "@/api/types"
import { relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
import { useFailureText } from "@/requests/failures"
import { Badge, Card, Skeleton } from "@/ui/surface"

const SHOWN = 6

function ErrorRow({ row, now }: { row: RequestRow; now: number }) {
  const { i18n } = useTranslation()
  const { title, remedy } = useFailureText()(row)
  return (
    <li className="border-t border-line first:border-t-0">
      <Link
        to={`/requests/${encodeURIComponent(row.id)}`}
        className="-mx-2 block rounded-lg px-2 py-2.5 hover:bg-hover"
      >
        <span className="flex items-center gap-2">
          <span className="truncate text-[0.8125rem] font-medium">{title}</span>
          {row.status !== null && <Badge className="num">{row.status}</Badge>}
          <time dateTime={row.at} className="num ml-auto shrink-0 text-xs text-muted">
            {relative(row.at, now, i18n.language)}
          </time>
        </span>
        <span className="mt-0.5 block truncate text-xs text-muted">
          {[row.model, row.credentialLabel, row.keyName].filter(Boolean).join(" · ")}
        </span>
        <span className="mt-0.5 line-clamp-2 block text-xs">{remedy}</span>
      </Link>
    </li>
  )
}

function RecentErrors({ rows }: { rows: RequestRow[] | undefined }) {
  const { t } = useTranslation()
  const now = useNow(10_000)
  return (
    <Card className="min-w-0 px-4 pt-3.5 pb-2">
      <div className="mb-1.5 flex items-center">
        <h2 className="text-[0.8125rem] font-semibold">{t("overview.recentErrors")}</h2>
        <Link
          to="/requests?status=error"
          className="ml-auto text-xs font-medium text-accent hover:underline"
        >
          {t("overview.allErrors")}
        </Link>
      </div>
      {!rows ? (
        <div className="grid gap-4 py-3">
          {[0, 1, 2].map((each) => (
            <Skeleton key={each} className="h-12" />
          ))}
        </div>
      ) : rows.length === 0 ? (
        <div className="grid min-h-52 place-content-center justify-items-center gap-2 text-center">
          <CircleCheck aria-hidden className="size-5 text-good" />
          <p className="text-[0.8125rem] text-muted">{t("overview.noErrors")}</p>
        </div>
      ) : (
        <ul>
          {rows.slice(0, SHOWN).map((row) => (
            <ErrorRow key={row.id} row={row} now={now} />
          ))}
        </ul>
      )}
    </Card>
  )
}

export { RecentErrors }
