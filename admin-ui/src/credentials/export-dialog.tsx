import { useState, type FormEvent } from "react"
import { useMutation } from "@tanstack/react-query"
import { TriangleAlert } from "lucide-react"
import { useTranslation } from "react-i18next"
import { exportCredentials } from "@/api/queries"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { Field } from "@/ui/field"
import { Input } from "@/ui/input"

function save(blob: Blob) {
  const address = URL.createObjectURL(blob)
  const link = document.createElement("a")
  link.href = address
  link.download = `kiroproxy-credentials-${new Date().toISOString().slice(0, 10)}.json`
  link.click()
  URL.revokeObjectURL(address)
}

/** The file holds the secrets in clear: the key is asked for again. */
function ExportDialog({
  total,
  chosen,
  onClose,
}: {
  total: number
  chosen: ReadonlySet<number>
  onClose: () => void
}) {
  const { t } = useTranslation()
  const [key, setKey] = useState("")
  const run = useMutation({
    mutationKey: ["sign-in"], // a wrong key here does not end the session
    mutationFn: () => exportCredentials(chosen.size ? [...chosen] : undefined, key.trim()),
    onSuccess: (blob) => {
      save(blob)
      onClose()
    },
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    run.mutate()
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("export.title", { count: chosen.size || total })}
        className="max-w-md"
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button variant="primary" type="submit" form="export" busy={run.isPending}>
              {t("export.submit")}
            </Button>
          </>
        }
      >
        <form id="export" onSubmit={submit} className="grid gap-4">
          <p className="flex gap-2.5 rounded-xl bg-warn-soft px-3.5 py-3 text-[0.8125rem]">
            <TriangleAlert aria-hidden className="mt-0.5 size-4 shrink-0 text-warn-text" />
            {t("export.warning")}
          </p>
          <Field label={t("signIn.key")} hint={t("export.keyHint")}>
            {(ids) => (
              <Input
                {...ids}
                type="password"
                autoComplete="current-password"
                required
                value={key}
                onChange={(event) => setKey(event.target.value)}
                className="font-mono"
              />
            )}
          </Field>
          {run.isError && <ErrorNote error={run.error} />}
        </form>
      </DialogPanel>
    </Dialog>
  )
}

export default ExportDialog
