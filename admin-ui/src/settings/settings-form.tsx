import { useState } from "react"
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { changeSettings, sessionQuery, settingsQuery } from "@/api/queries"
import type { Setting } from "@/api/types"
import { relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
import { useKnown } from "@/i18n/use-known"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Card, Skeleton } from "@/ui/surface"
import { useToast } from "@/ui/toast"
import { SettingRow } from "./setting-row"
import { changedSettings, draftOfSetting, faultOf, type Drafts } from "./setting-values"

/** What is changed most often comes first; a group of a newer gateway comes last. */
const GROUPS = ["routing", "limits", "timeouts", "models", "network", "logging", "server"]

function grouped(settings: Setting[]): [string, Setting[]][] {
  const groups = new Map<string, Setting[]>(GROUPS.map((group) => [group, []]))
  for (const setting of settings) {
    groups.set(setting.group, [...(groups.get(setting.group) ?? []), setting])
  }
  return [...groups].filter(([, members]) => members.length)
}

function useGroupName() {
  const known = useKnown()
  return (group: string) => known(`settings.groups.${group}`) ?? group
}

function About() {
  const { t, i18n } = useTranslation()
  const now = useNow(10_000)
  const { data } = useQuery(sessionQuery)
  if (!data) return null
  return (
    <p className="num mt-6 text-xs text-muted">
      {[
        `kiroproxy ${data.version}`,
        t("overview.workers", { count: data.workers }),
        t("settings.started", { time: relative(data.startedAt, now, i18n.language) }),
      ].join(" · ")}
    </p>
  )
}

function SaveBar({
  count,
  faulty,
  restart,
  busy,
  onSave,
  onDiscard,
}: {
  count: number
  faulty: boolean
  restart: boolean
  busy: boolean
  onSave: () => void
  onDiscard: () => void
}) {
  const { t } = useTranslation()
  return (
    <div
      role="region"
      aria-label={t("settings.unsaved", { count })}
      className="sticky bottom-17 z-20 mx-auto mt-4 flex w-fit max-w-full animate-appear flex-wrap items-center gap-x-3 gap-y-2 rounded-xl border border-line bg-raised p-2 pl-4 shadow-high md:bottom-4"
    >
      <p role="status" className="text-[0.8125rem]">
        {t("settings.unsaved", { count })}
        {restart && <span className="text-muted"> · {t("settings.restartNeeded")}</span>}
      </p>
      <div className="ml-auto flex gap-2">
        <Button onClick={onDiscard}>{t("settings.discard")}</Button>
        <Button variant="primary" disabled={faulty} busy={busy} onClick={onSave}>
          {t("common.save")}
        </Button>
      </div>
    </div>
  )
}

function Loaded({ settings }: { settings: Setting[] }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const name = useGroupName()
  const [drafts, setDrafts] = useState<Drafts>({})
  const changed = changedSettings(settings, drafts)
  const keys = Object.keys(changed)
  const touched = settings.filter((setting) => keys.includes(setting.key))
  const save = useMutation({
    mutationFn: () => changeSettings(changed),
    onSuccess: (answer) => {
      setDrafts({})
      client.setQueryData(settingsQuery.queryKey, answer)
      void client.invalidateQueries({ queryKey: ["mode"] })
      const later = touched.some((setting) => !setting.live)
      toast("good", t("settings.saved"), later ? t("settings.restartText") : undefined)
    },
  })
  return (
    <>
      <div className="grid gap-6">
        {grouped(settings).map(([group, members]) => (
          <section key={group} aria-label={name(group)}>
            <h2 className="mb-2 text-[0.8125rem] font-semibold">{name(group)}</h2>
            <Card className="divide-y divide-line">
              {members.map((setting) => (
                <SettingRow
                  key={setting.key}
                  setting={setting}
                  draft={drafts[setting.key] ?? draftOfSetting(setting)}
                  onChange={(value) => setDrafts((old) => ({ ...old, [setting.key]: value }))}
                />
              ))}
            </Card>
          </section>
        ))}
      </div>
      {save.isError && <ErrorNote error={save.error} className="mt-4" />}
      {keys.length > 0 && (
        <SaveBar
          count={keys.length}
          faulty={touched.some((each) => faultOf(each, drafts[each.key] ?? "") !== null)}
          restart={touched.some((each) => !each.live)}
          busy={save.isPending}
          onSave={() => save.mutate()}
          onDiscard={() => {
            setDrafts({})
            save.reset()
          }}
        />
      )}
      <About />
    </>
  )
}

function SettingsForm() {
  const list = useQuery(settingsQuery)
  if (list.isError && !list.data) {
    return <ErrorNote error={list.error} onRetry={() => void list.refetch()} />
  }
  if (!list.data) {
    return (
      <div aria-busy="true" className="grid gap-6">
        {[0, 1].map((each) => (
          <div key={each} className="grid gap-2">
            <Skeleton className="h-5 w-28" />
            <Skeleton className="h-52 rounded-xl" />
          </div>
        ))}
      </div>
    )
  }
  return <Loaded settings={list.data.settings} />
}

export { SettingsForm }
