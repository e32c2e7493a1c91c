import { useState, type FormEvent } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { addCredential, credentialsChanged } from "@/api/queries"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { useToast } from "@/ui/toast"
import { Checkbox, Segments } from "@/ui/toggle"
import { Fold, GeneralFields, ProxyFields, RegionFields, SecretFields } from "./credential-form"
import { additionOf, EMPTY, type Draft, type Method } from "./draft"

function AddDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const [method, setMethod] = useState<Method>("social")
  const [draft, setDraft] = useState(EMPTY)
  const [verify, setVerify] = useState(true)
  const change = (part: Partial<Draft>) => setDraft((old) => ({ ...old, ...part }))
  const add = useMutation({
    mutationFn: () => addCredential({ ...additionOf(method, draft), verify }),
    onSuccess: (answer) => {
      toast("good", t("credentials.added"), answer.email ?? `#${answer.credentialId}`)
      onClose()
      return credentialsChanged(client)
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    add.mutate()
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("add.title")}
        description={t("add.text")}
        onInteractOutside={(event) => event.preventDefault()}
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button variant="primary" type="submit" form="add-credential" busy={add.isPending}>
              {t(verify ? "add.submitVerify" : "add.submit")}
            </Button>
          </>
        }
      >
        <form id="add-credential" onSubmit={submit} className="grid gap-4">
          <Segments<Method>
            label={t("add.method")}
            value={method}
            onChange={setMethod}
            className="flex"
            options={[
              { value: "social", label: t("credentials.methods.social") },
              { value: "idc", label: t("credentials.methods.idc") },
              { value: "api_key", label: t("credentials.methods.api_key") },
            ]}
          />
          <SecretFields method={method} draft={draft} onChange={change} />
          <label className="flex items-center gap-2.5 text-[0.8125rem]">
            <Checkbox checked={verify} onCheckedChange={(on) => setVerify(on === true)} />
            {t("add.verify")}
          </label>
          <div className="grid gap-3 rounded-xl border border-line p-3">
            <Fold title={t("form.groups.general")}>
              <GeneralFields draft={draft} onChange={change} />
            </Fold>
            <Fold title={t("form.groups.region")}>
              <RegionFields draft={draft} onChange={change} />
            </Fold>
            <Fold title={t("form.groups.proxy")}>
              <ProxyFields draft={draft} onChange={change} />
            </Fold>
          </div>
          {add.isError && <ErrorNote error={add.error} />}
        </form>
      </DialogPanel>
    </Dialog>
  )
}

export default AddDialog
