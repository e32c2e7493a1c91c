import { useState, type FormEvent } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { createKey, editKey, keysQuery } from "@/api/queries"
import type { ClientKey, KeySecret } from "@/api/types"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { Field } from "@/ui/field"
import { Input, Textarea } from "@/ui/input"
import { useToast } from "@/ui/toast"
import { keyChangesOf, keyDraftOf, keyFieldsOf, LIMITS, NEW_KEY, type KeyDraft } from "./key-draft"

function KeyFieldsForm({ draft, onChange }: {
  draft: KeyDraft
  onChange: (change: Partial<KeyDraft>) => void
}) {
  const { t } = useTranslation()
  return (
    <>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label={t("keys.name")} hint={t("keys.nameHint")}>
          {(ids) => (
            <Input
              {...ids}
              required
              maxLength={100}
              value={draft.name}
              onChange={(event) => onChange({ name: event.target.value })}
            />
          )}
        </Field>
        <Field label={t("keys.expires")} hint={t("keys.expiresHint")}>
          {(ids) => (
            <Input
              {...ids}
              type="date"
              value={draft.expires}
              onChange={(event) => onChange({ expires: event.target.value })}
              className="num"
            />
          )}
        </Field>
      </div>
      <Field label={t("keys.modelList")} hint={t("keys.modelListHint")}>
        {(ids) => (
          <Textarea
            {...ids}
            rows={2}
            value={draft.models}
            placeholder="claude-sonnet-4-5"
            onChange={(event) => onChange({ models: event.target.value })}
            className="resize-none font-mono"
          />
        )}
      </Field>
      <fieldset className="grid gap-4 border-t border-line pt-4 sm:grid-cols-2">
        <legend className="sr-only">{t("keys.limits")}</legend>
        {LIMITS.map((limit) => (
          <Field key={limit} label={t(`keys.limitNames.${limit}`)}>
            {(ids) => (
              <Input
                {...ids}
                type="number"
                min={limit.endsWith("Credits") ? 0.01 : 1}
                step={limit.endsWith("Credits") ? 0.01 : 1}
                value={draft[limit]}
                placeholder={t("keys.noLimit")}
                onChange={(event) => onChange({ [limit]: event.target.value })}
                className="num"
              />
            )}
          </Field>
        ))}
      </fieldset>
    </>
  )
}

function KeyDialog({
  item,
  onClose,
  onCreated,
}: {
  item?: ClientKey
  onClose: () => void
  onCreated: (secret: KeySecret) => void
}) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const [before] = useState(() => (item ? keyDraftOf(item) : NEW_KEY))
  const [draft, setDraft] = useState(before)
  const save = useMutation({
    mutationFn: async () => {
      if (!item) return createKey(keyFieldsOf(draft))
      await editKey(item.id, keyChangesOf(before, draft))
      return null
    },
    onSuccess: (created) => {
      if (created) onCreated(created)
      else {
        toast("good", t("keys.saved"), draft.name)
        onClose()
      }
      return client.invalidateQueries({ queryKey: keysQuery.queryKey })
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    save.mutate()
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={item ? t("keys.editTitle", { name: item.name }) : t("keys.createTitle")}
        description={item ? undefined : t("keys.createText")}
        onInteractOutside={(event) => event.preventDefault()}
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button variant="primary" type="submit" form="key-form" busy={save.isPending}>
              {t(item ? "common.save" : "keys.create")}
            </Button>
          </>
        }
      >
        <form id="key-form" onSubmit={submit} className="grid gap-4">
          <KeyFieldsForm
            draft={draft}
            onChange={(change) => setDraft((old) => ({ ...old, ...change }))}
          />
          {save.isError && <ErrorNote error={save.error} />}
        </form>
      </DialogPanel>
    </Dialog>
  )
}

export { KeyDialog }
