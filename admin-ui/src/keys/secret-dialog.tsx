import { useTranslation } from "react-i18next"
import type { KeySecret } from "@/api/types"
import { CopyButton } from "@/parts/copy-button"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"

/** The only time the key itself is seen; the gateway keeps its hash. */
function SecretDialog({ secret, onClose }: { secret: KeySecret; onClose: () => void }) {
  const { t } = useTranslation()
  const lines = [
    `export ANTHROPIC_BASE_URL=${window.location.origin}`,
    `export ANTHROPIC_API_KEY=${secret.secret}`,
  ].join("\n")
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("keys.secretTitle", { name: secret.key.name })}
        description={t("keys.secretText")}
        onInteractOutside={(event) => event.preventDefault()}
        footer={
          <DialogClose asChild>
            <Button variant="primary">{t("keys.secretDone")}</Button>
          </DialogClose>
        }
      >
        <div className="grid gap-4">
          <div className="flex items-center gap-2 rounded-xl border border-line bg-sunken py-2 pr-2 pl-3.5">
            <code data-secret className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all select-all">
              {secret.secret}
            </code>
            <CopyButton variant="primary" text={secret.secret} label={t("common.copy")} />
          </div>
          <div>
            <p className="mb-1.5 flex items-center text-xs text-muted">
              {t("keys.secretUse")}
              <span className="ml-auto">
                <CopyButton iconOnly variant="ghost" size="small" text={lines} label={t("common.copy")} />
              </span>
            </p>
            <pre
              tabIndex={0}
              aria-label={t("keys.secretUse")}
              className="overflow-x-auto rounded-xl bg-sunken px-3.5 py-3 font-mono text-xs"
            >
              {lines}
            </pre>
          </div>
        </div>
      </DialogPanel>
    </Dialog>
  )
}

export { SecretDialog }
