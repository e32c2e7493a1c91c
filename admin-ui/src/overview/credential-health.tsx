import { useMemo } from "react"
import { useQuery } from "@tanstack/react-query"
import { ChevronRight } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import { credentialsQuery } from "@/api/queries"
import type { CredentialCounts, CredentialState } from "@/api/types"
import { STATES, stateColor } from "@/credentials/states"
import { cn } from "@/format/class-names"
import { count } from "@/format/numbers"
import { Card, Skeleton } from "@/ui/surface"

function useCounts(fallback: CredentialCounts | undefined) {
  const list = useQuery(credentialsQuery).data?.credentials
  return useMemo(() => {
    const counts = new Map<CredentialState, number>()
    for (const item of list ?? []) counts.set(item.state, (counts.get(item.state) ?? 0) + 1)
    if (!list && !fallback) return null
    return { counts, total: list?.length ?? fallback?.total ?? 0 }
  }, [list, fallback])
}

function CredentialHealth({ fallback }: { fallback: CredentialCounts | undefined }) {
  const { t, i18n } = useTranslation()
  const health = useCounts(fallback)
  return (
    <Card className="px-4 pt-3.5 pb-2">
      <div className="mb-3 flex items-center">
        <h2 className="text-[0.8125rem] font-semibold">{t("overview.health")}</h2>
        <Link
          to="/credentials"
          className="ml-auto inline-flex items-center text-xs font-medium text-accent hover:underline"
        >
          {t("overview.allCredentials")}
          <ChevronRight aria-hidden className="size-3.5" />
        </Link>
      </div>
      {health ? (
        <>
          <div aria-hidden className="flex h-2 gap-0.5 overflow-hidden rounded-full bg-hover">
            {STATES.filter((state) => health.counts.get(state)).map((state) => (
              <span
                key={state}
                className={cn("min-w-1 rounded-[2px]", stateColor[state])}
                style={{ flexGrow: health.counts.get(state) }}
              />
            ))}
          </div>
          <ul className="mt-2">
            {STATES.map((state) => (
              <li key={state}>
                <Link
                  to={`/credentials?state=${state}`}
                  className="-mx-2 flex h-8 items-center gap-2.5 rounded-lg px-2 text-[0.8125rem] hover:bg-hover"
                >
                  <span aria-hidden className={cn("size-2 rounded-full", stateColor[state])} />
                  {t(`credentials.states.${state}`)}
                  <span
                    className={cn(
                      "num ml-auto font-medium",
                      !health.counts.get(state) && "font-normal text-muted",
                    )}
                  >
                    {count(health.counts.get(state) ?? 0, i18n.language)}
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        </>
      ) : (
        <div className="grid gap-3 pb-3">
          <Skeleton className="h-2 rounded-full" />
          {STATES.map((state) => (
            <Skeleton key={state} className="h-5" />
          ))}
        </div>
      )}
    </Card>
  )
}

export { CredentialHealth }
