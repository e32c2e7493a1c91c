import { useState, type FormEvent } from "react"
import { useTranslation } from "react-i18next"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { Field } from "@/ui/field"
import { Input } from "@/ui/input"

function PriorityDialog({
  count,
  onClose,
  onSet,
}: {
  count: number
  onClose: () => void
  onSet: (priority: number) => void
}) {
  const { t } = useTranslation()
  const [text, setText] = useState("0")
  const submit = (event: FormEvent) => {
    event.preventDefault()
    onSet(Number(text))
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("bulk.priorityTitle", { count })}
        className="max-w-sm"
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button variant="primary" type="submit" form="set-priority">
              {t("common.save")}
            </Button>
          </>
        }
      >
        <form id="set-priority" onSubmit={submit}>
          <Field label={t("form.priority")} hint={t("form.priorityHint")}>
            {(ids) => (
              <Input
                {...ids}
                type="number"
                min={0}
                required
                value={text}
                onChange={(event) => setText(event.target.value)}
              />
            )}
          </Field>
        </form>
      </DialogPanel>
    </Dialog>
  )
}

export { PriorityDialog }
