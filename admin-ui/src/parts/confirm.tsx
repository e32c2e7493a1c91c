import type { ReactNode } from "react"
import { useTranslation } from "react-i18next"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { ErrorNote } from "./error-note"

/** Asks before what cannot be taken back; the question names it. */
function Confirm({
  open,
  onClose,
  title,
  text,
  action,
  onConfirm,
  busy = false,
  error,
}: {
  open: boolean
  onClose: () => void
  title: string
  text: ReactNode
  action: string
  onConfirm: () => void
  busy?: boolean
  error?: unknown
}) {
  const { t } = useTranslation()
  return (
    <Dialog open={open} onOpenChange={(next) => !next && onClose()}>
      <DialogPanel
        title={title}
        description={text}
        className="max-w-md"
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button variant="danger" busy={busy} onClick={onConfirm}>
              {action}
            </Button>
          </>
        }
      >
        {error ? <ErrorNote error={error} /> : null}
      </DialogPanel>
    </Dialog>
  )
}

export { Confirm }
