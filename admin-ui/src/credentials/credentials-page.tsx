import { useCallback, useDeferredValue, useMemo, useState } from "react"
import { useQuery } from "@tanstack/react-query"
import { SearchX, UsersRound } from "lucide-react"
import { useTranslation } from "react-i18next"
import { useNavigate, useParams } from "react-router"
import { credentialsQuery } from "@/api/queries"
import type { Credential } from "@/api/types"
import { count } from "@/format/numbers"
import { ErrorNote } from "@/parts/error-note"
import { useMedia } from "@/parts/use-media"
import { EmptyState, PageHead } from "@/shell/page"
import { Button } from "@/ui/button"
import { Card, Skeleton } from "@/ui/surface"
import { BulkBar } from "./bulk-bar"
import { CredentialCards } from "./credential-cards"
import { CredentialSheet } from "./credential-sheet"
import { CredentialTable } from "./credential-table"
import { Dialogs, HeadActions } from "./page-actions"
import { arrange } from "./selection"
import { Toolbar } from "./toolbar"
import { useView } from "./use-view"

export type ListProps = {
  items: Credential[]
  chosen: ReadonlySet<number>
  onChoose: (ids: number[], on: boolean) => void
  onOpen: (id: number) => void
}

function ListSkeleton() {
  return (
    <Card aria-busy="true" className="divide-y divide-line">
      {[0, 1, 2, 3, 4, 5].map((each) => (
        <div key={each} className="flex h-16 items-center gap-4 px-4">
          <Skeleton className="size-4" />
          <Skeleton className="h-4 w-40" />
          <Skeleton className="ml-auto h-4 w-24" />
          <Skeleton className="hidden h-4 w-32 sm:block" />
        </div>
      ))}
    </Card>
  )
}

function useChoice(items: readonly Credential[]) {
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set())
  const choose = useCallback((ids: number[], on: boolean) => {
    setChosen((old) => {
      const next = new Set(old)
      for (const id of ids) {
        if (on) next.add(id)
        else next.delete(id)
      }
      return next
    })
  }, [])
  const clear = useCallback(() => setChosen(new Set()), [])
  // A chosen credential may have been deleted meanwhile, here or elsewhere.
  const present = useMemo(() => {
    const known = new Set(items.map((item) => item.id))
    return new Set([...chosen].filter((id) => known.has(id)))
  }, [items, chosen])
  return { chosen: present, choose, clear }
}

function CredentialsPage() {
  const { t, i18n } = useTranslation()
  const navigate = useNavigate()
  const asked = useParams().id
  const openId = asked === undefined ? null : Number(asked)
  const list = useQuery(credentialsQuery)
  const { view, layout, setView, search } = useView()
  const wide = useMedia("(min-width: 64rem)")
  const items = useMemo(() => list.data?.credentials ?? [], [list.data])
  const { chosen, choose, clear } = useChoice(items)
  const wanted = useDeferredValue(view)
  const shown = useMemo(() => arrange(items, wanted), [items, wanted])
  const suffix = search ? `?${search}` : ""
  const open = useCallback((id: number) => navigate(`/credentials/${id}${suffix}`), [navigate, suffix])
  const List = wide && layout === "table" ? CredentialTable : CredentialCards
  return (
    <>
      <PageHead
        title={t("nav.credentials")}
        aside={list.data && count(list.data.credentials.length, i18n.language)}
      >
        <HeadActions empty={!items.length} />
      </PageHead>
      {list.isError && !list.data ? (
        <ErrorNote error={list.error} onRetry={() => void list.refetch()} />
      ) : !list.data ? (
        <ListSkeleton />
      ) : !items.length ? (
        <EmptyState
          icon={<UsersRound />}
          title={t("credentials.none.title")}
          text={t("credentials.none.text")}
        >
          <HeadActions empty={false} spread />
        </EmptyState>
      ) : (
        <>
          <Toolbar items={items} view={view} layout={layout} onChange={setView} />
          <p className="sr-only" role="status">
            {t("credentials.shown", { count: shown.length })}
          </p>
          {shown.length ? (
            <List items={shown} chosen={chosen} onChoose={choose} onOpen={open} />
          ) : (
            <EmptyState
              icon={<SearchX />}
              title={t("credentials.noMatch.title")}
              text={t("credentials.noMatch.text")}
            >
              <Button onClick={() => setView({ q: "", state: "all" })}>
                {t("credentials.noMatch.clear")}
              </Button>
            </EmptyState>
          )}
          <BulkBar items={items} shown={shown} chosen={chosen} onChoose={choose} onClear={clear} />
        </>
      )}
      <CredentialSheet
        id={openId}
        item={items.find((item) => item.id === openId)}
        loading={!list.data}
        onClose={() => navigate(`/credentials${suffix}`)}
      />
      <Dialogs items={items} chosen={chosen} />
    </>
  )
}

export default CredentialsPage
