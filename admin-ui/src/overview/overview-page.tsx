import { useQuery } from "@tanstack/react-query"
import { UsersRound } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link, useSearchParams } from "react-router"
import { credentialsQuery, overviewQuery } from "@/api/queries"
import type { Window } from "@/api/types"
import { ErrorNote } from "@/parts/error-note"
import { EmptyState, PageHead } from "@/shell/page"
import { Button } from "@/ui/button"
import { Segments } from "@/ui/toggle"
import { ChartGrid } from "./chart-grid"
import { CredentialHealth } from "./credential-health"
import { RecentErrors } from "./recent-errors"
import { Totals } from "./totals"

const WINDOWS = ["1h", "24h", "7d", "30d"] as const

function NoCredentials() {
  const { t } = useTranslation()
  return (
    <EmptyState icon={<UsersRound />} title={t("overview.none.title")} text={t("overview.none.text")}>
      <Button variant="primary" asChild>
        <Link to="/credentials?dialog=login">{t("credentials.logIn")}</Link>
      </Button>
      <Button asChild>
        <Link to="/credentials?dialog=add">{t("credentials.add")}</Link>
      </Button>
      <Button asChild>
        <Link to="/credentials?dialog=import">{t("credentials.import")}</Link>
      </Button>
    </EmptyState>
  )
}

function OverviewPage() {
  const { t } = useTranslation()
  const [search, setSearch] = useSearchParams()
  const asked = search.get("window") as Window
  const window = WINDOWS.includes(asked) ? asked : "24h"
  const overview = useQuery(overviewQuery(window))
  const list = useQuery(credentialsQuery)
  const data = overview.data
  const bare = list.data?.credentials.length === 0 && !data?.totals.requests
  return (
    <>
      <PageHead title={t("nav.overview")}>
        <Segments
          label={t("overview.window")}
          value={window}
          onChange={(next) => setSearch({ window: next }, { replace: true })}
          options={WINDOWS.map((value) => ({ value, label: t(`overview.windows.${value}`) }))}
        />
      </PageHead>
      {overview.isError && (
        <ErrorNote
          error={overview.error}
          onRetry={() => void overview.refetch()}
          className="mb-4"
        />
      )}
      {bare ? (
        <NoCredentials />
      ) : (
        <div className="grid gap-4">
          <Totals overview={data} window={window} />
          <ChartGrid overview={data} window={window} />
          <div className="grid gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,1.6fr)]">
            <CredentialHealth fallback={data?.credentials} />
            <RecentErrors rows={data?.recentErrors} />
          </div>
        </div>
      )}
    </>
  )
}

export default OverviewPage
