import { useState, type FormEvent } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { credentialsChanged, editCredential } from "@/api/queries"
import type { Credential } from "@/api/types"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { useToast } from "@/ui/toast"
import { Fold, GeneralFields, ProxyFields, RegionFields, SecretFields } from "./credential-form"
import { changesOf, draftOf, type Draft, type Method } from "./draft"
import { labelOf } from "./states"

function methodOf(item: Credential): Method {
  if (item.authMethod === "api_key") return "api_key"
  return item.authMethod === "social" ? "social" : "idc"
}

function EditDialog({ item, onClose }: { item: Credential; onClose: () => void }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  // What was there when the dialog opened: live changes must not move what is being typed.
  const [before] = useState(() => draftOf(item))
  const [draft, setDraft] = useState(before)
  const change = (part: Partial<Draft>) => setDraft((old) => ({ ...old, ...part }))
  const fields = changesOf(before, draft)
  const save = useMutation({
    mutationFn: () => editCredential(item.id, fields),
    onSuccess: () => {
      toast("good", t("credentials.saved"), labelOf(item))
      onClose()
      return credentialsChanged(client)
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    save.mutate()
  }
  const form = { draft, onChange: change }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("edit.title", { name: labelOf(item) })}
        onInteractOutside={(event) => event.preventDefault()}
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button
              variant="primary"
              type="submit"
              form="edit-credential"
              disabled={!Object.keys(fields).length}
              busy={save.isPending}
            >
              {t("common.save")}
            </Button>
          </>
        }
      >
        <form id="edit-credential" onSubmit={submit} className="grid gap-3">
          <Fold title={t("form.groups.general")} open>
            <GeneralFields {...form} />
          </Fold>
          <Fold title={t("form.groups.proxy")} open={before.proxyKind !== "default"}>
            <ProxyFields {...form} keep />
          </Fold>
          <Fold title={t("form.groups.region")}>
            <RegionFields {...form} keep={item.hasProfileArn} />
          </Fold>
          <Fold title={t("form.groups.secrets")}>
            <SecretFields {...form} method={methodOf(item)} keep />
          </Fold>
          {save.isError && <ErrorNote error={save.error} />}
        </form>
      </DialogPanel>
    </Dialog>
  )
}

export { EditDialog }
