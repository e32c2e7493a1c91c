import { useState, type FormEvent } from "react"
import { useMutation, useQuery } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { modelsQuery, testModel } from "@/api/queries"
import { Section } from "@/parts/section"
import type { Credential, ModelTest } from "@/api/types"
import { compact, duration } from "@/format/numbers"
import { ErrorNote } from "@/parts/error-note"
import { Badge, Skeleton } from "@/ui/surface"
import { Button } from "@/ui/button"
import { Field } from "@/ui/field"
import { Input, NativeSelect } from "@/ui/input"

function TestAnswer({ answer }: { answer: ModelTest }) {
  const { t } = useTranslation()
  return (
    <div role="status" className="rounded-xl bg-sunken px-3.5 py-3">
      <p className="num flex flex-wrap gap-x-3 text-xs text-muted">
        <Badge tone={answer.ok ? "good" : "bad"}>{t(answer.ok ? "test.ok" : "test.failed")}</Badge>
        <span>{t("test.first", { value: duration(answer.firstTokenMs) })}</span>
        <span>{t("test.whole", { value: duration(answer.durationMs) })}</span>
      </p>
      <p className="mt-2 max-h-48 overflow-y-auto text-[0.8125rem] break-words whitespace-pre-wrap">
        {answer.ok ? answer.text : answer.error?.message}
      </p>
    </div>
  )
}

function TestForm({ item, models }: { item: Credential; models: { id: string; name: string }[] }) {
  const { t } = useTranslation()
  const [model, setModel] = useState(models[0]?.id ?? "")
  const [prompt, setPrompt] = useState("")
  const test = useMutation({
    mutationFn: () => testModel(item.id, model, prompt.trim() || t("test.prompt")),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    test.mutate()
  }
  return (
    <form onSubmit={submit} className="grid gap-3">
      <Field label={t("test.model")}>
        {(ids) => (
          <NativeSelect {...ids} value={model} onChange={(event) => setModel(event.target.value)}>
            {models.map((each) => (
              <option key={each.id} value={each.id}>
                {each.name}
              </option>
            ))}
          </NativeSelect>
        )}
      </Field>
      <Field label={t("test.say")} hint={t("test.hint")}>
        {(ids) => (
          <div className="flex gap-2">
            <Input
              {...ids}
              value={prompt}
              placeholder={t("test.prompt")}
              onChange={(event) => setPrompt(event.target.value)}
            />
            <Button type="submit" busy={test.isPending}>
              {t("test.send")}
            </Button>
          </div>
        )}
      </Field>
      {test.isError && <ErrorNote error={test.error} />}
      {test.data && <TestAnswer answer={test.data} />}
    </form>
  )
}

/** What this account offers, asked for only when somebody wants to know. */
function ModelSection({ item }: { item: Credential }) {
  const { t, i18n } = useTranslation()
  const [wanted, setWanted] = useState(false)
  const models = useQuery({ ...modelsQuery(item.id), enabled: wanted })
  if (!wanted) {
    return (
      <Section
        title={t("detail.models")}
        aside={<Button size="small" onClick={() => setWanted(true)}>{t("detail.showModels")}</Button>}
      >
        <p className="text-[0.8125rem] text-muted">{t("detail.modelsText")}</p>
      </Section>
    )
  }
  return (
    <Section
      title={t("detail.models")}
      aside={
        models.data && (
          <Badge>{t(models.data.source === "live" ? "detail.live" : "detail.builtIn")}</Badge>
        )
      }
    >
      {models.isError ? (
        <ErrorNote error={models.error} onRetry={() => void models.refetch()} />
      ) : !models.data ? (
        <Skeleton className="h-28" />
      ) : (
        <div className="grid gap-4">
          <ul className="grid gap-1.5">
            {models.data.models.map((model) => (
              <li key={model.id} className="flex items-baseline gap-3 text-[0.8125rem]">
                <span className="min-w-0 truncate">
                  {model.displayName} <span className="text-xs text-muted">{model.publicId}</span>
                </span>
                <span className="num ml-auto shrink-0 text-xs text-muted">
                  {model.rateMultiplier != null && `×${model.rateMultiplier} · `}
                  {compact(model.contextWindow, i18n.language)}
                </span>
              </li>
            ))}
          </ul>
          <TestForm
            item={item}
            models={models.data.models.map((m) => ({ id: m.publicId, name: m.displayName }))}
          />
        </div>
      )}
    </Section>
  )
}

export { ModelSection }
