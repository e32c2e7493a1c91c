import { useState } from "react"
import { useQuery } from "@tanstack/react-query"
import { KeyRound, Plus } from "lucide-react"
import { useTranslation } from "react-i18next"
import { keysQuery } from "@/api/queries"
import type { KeySecret } from "@/api/types"
import { count } from "@/format/numbers"
import { ErrorNote } from "@/parts/error-note"
import { EmptyState, PageHead } from "@/shell/page"
import { Button } from "@/ui/button"
import { Card, Skeleton } from "@/ui/surface"
import { KeyDialog } from "./key-dialog"
import { KeyRow } from "./key-row"
import { SecretDialog } from "./secret-dialog"

function KeysPage() {
  const { t, i18n } = useTranslation()
  const list = useQuery(keysQuery)
  const [adding, setAdding] = useState(false)
  const [secret, setSecret] = useState<KeySecret | null>(null)
  const keys = list.data?.keys
  const add = (
    <Button variant="primary" onClick={() => setAdding(true)}>
      <Plus /> {t("keys.create")}
    </Button>
  )
  return (
    <>
      <PageHead title={t("nav.keys")} aside={keys && count(keys.length, i18n.language)}>
        {keys && keys.length > 0 && add}
      </PageHead>
      {list.isError && !keys ? (
        <ErrorNote error={list.error} onRetry={() => void list.refetch()} />
      ) : !keys ? (
        <div aria-busy="true" className="grid gap-3">
          {[0, 1, 2].map((each) => (
            <Skeleton key={each} className="h-28 rounded-xl" />
          ))}
        </div>
      ) : keys.length ? (
        <>
          <p className="mb-4 max-w-2xl text-[0.8125rem] text-muted">{t("keys.text")}</p>
          <Card className="divide-y divide-line">
            {keys.map((key) => (
              <KeyRow key={key.id} item={key} onSecret={setSecret} />
            ))}
          </Card>
        </>
      ) : (
        <EmptyState icon={<KeyRound />} title={t("keys.none.title")} text={t("keys.none.text")}>
          {add}
        </EmptyState>
      )}
      {adding && (
        <KeyDialog
          onClose={() => setAdding(false)}
          onCreated={(created) => {
            setAdding(false)
            setSecret(created)
          }}
        />
      )}
      {secret && <SecretDialog secret={secret} onClose={() => setSecret(null)} />}
    </>
  )
}

export default KeysPage
