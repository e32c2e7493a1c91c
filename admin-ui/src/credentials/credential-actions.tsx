import { useState } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import {
  BadgeCheck,
  Ellipsis,
  PanelRightOpen,
  Pencil,
  RefreshCw,
  RotateCcw,
  Trash2,
  Wallet,
} from "lucide-react"
import { useTranslation } from "react-i18next"
import {
  credentialsChanged,
  deleteCredential,
  fetchBalance,
  refreshToken,
  resetCredential,
  setDisabled,
  verifyCredential,
} from "@/api/queries"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { Confirm } from "@/parts/confirm"
import { useErrorToast } from "@/parts/error-note"
import { Button } from "@/ui/button"
import {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuItem,
  DropdownMenuSeparator,
  DropdownMenuTrigger,
} from "@/ui/dropdown-menu"
import { useToast } from "@/ui/toast"
import { Switch } from "@/ui/toggle"
import { EditDialog } from "./edit-dialog"
import { labelOf } from "./states"

function EnableSwitch({ item }: { item: Credential }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const fail = useErrorToast()
  const change = useMutation({
    mutationFn: (on: boolean) => setDisabled(item.id, !on),
    onError: fail,
    onSettled: () => credentialsChanged(client),
  })
  // Shows what was asked for until the answer is in the list.
  const on = change.isPending ? change.variables : !item.disabled
  return (
    <Switch
      checked={on}
      disabled={change.isPending}
      onCheckedChange={(next) => change.mutate(next)}
      aria-label={t("credentials.enable", { name: labelOf(item) })}
    />
  )
}

type ActionName = "refresh" | "verify" | "balance" | "reset"

/** The actions on one credential that answer with a sentence. */
function useCredentialAction(item: Credential) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const fail = useErrorToast()
  return useMutation({
    mutationFn: async (action: ActionName) => {
      if (action === "refresh") await refreshToken(item.id)
      if (action === "reset") await resetCredential(item.id)
      if (action === "balance") await fetchBalance(item.id)
      if (action !== "verify") return
      const answer = await verifyCredential(item.id)
      if (!answer.ok) throw new RefusedVerification(answer.message)
    },
    onSuccess: (_done, action) => toast("good", t(`credentials.did.${action}`), labelOf(item)),
    onError: (error) =>
      error instanceof RefusedVerification
        ? toast("bad", t("credentials.notVerified", { name: labelOf(item) }), error.message)
        : fail(error),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ["balance", item.id] })
      return credentialsChanged(client)
    },
  })
}

class RefusedVerification extends Error {
  override name = "RefusedVerification"
}

function DeleteDialog({
  item,
  open,
  onClose,
}: {
  item: Credential
  open: boolean
  onClose: () => void
}) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const remove = useMutation({
    mutationFn: () => deleteCredential(item.id),
    onSuccess: () => {
      toast("good", t("credentials.deleted"), labelOf(item))
      onClose()
      return credentialsChanged(client)
    },
  })
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={t("credentials.deleteTitle", { name: labelOf(item) })}
      text={t(item.disabled ? "credentials.deleteText" : "credentials.deleteEnabledText")}
      action={t("common.delete")}
      onConfirm={() => remove.mutate()}
      busy={remove.isPending}
      error={remove.error}
    />
  )
}

function RowMenu({
  item,
  onOpen,
  className,
}: {
  item: Credential
  onOpen?: (id: number) => void
  className?: string
}) {
  const { t } = useTranslation()
  const [dialog, setDialog] = useState<"edit" | "delete" | null>(null)
  const act = useCredentialAction(item)
  const close = () => setDialog(null)
  return (
    <>
      <DropdownMenu>
        <DropdownMenuTrigger asChild>
          <Button
            variant="ghost"
            size="icon"
            busy={act.isPending}
            aria-label={t("credentials.actionsOf", { name: labelOf(item) })}
            className={cn(act.isPending && "[&>svg]:hidden", className)}
          >
            <Ellipsis />
          </Button>
        </DropdownMenuTrigger>
        <DropdownMenuContent>
          {onOpen && (
            <DropdownMenuItem onSelect={() => onOpen(item.id)}>
              <PanelRightOpen /> {t("credentials.details")}
            </DropdownMenuItem>
          )}
          <DropdownMenuItem onSelect={() => setDialog("edit")}>
            <Pencil /> {t("credentials.edit")}
          </DropdownMenuItem>
          <DropdownMenuSeparator />
          <DropdownMenuItem onSelect={() => act.mutate("verify")}>
            <BadgeCheck /> {t("credentials.verify")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => act.mutate("balance")}>
            <Wallet /> {t("credentials.fetchBalance")}
          </DropdownMenuItem>
          <DropdownMenuItem
            disabled={item.authMethod === "api_key"}
            onSelect={() => act.mutate("refresh")}
          >
            <RefreshCw /> {t("credentials.refresh")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => act.mutate("reset")}>
            <RotateCcw /> {t("credentials.reset")}
          </DropdownMenuItem>
          <DropdownMenuSeparator />
          <DropdownMenuItem danger onSelect={() => setDialog("delete")}>
            <Trash2 /> {t("credentials.delete")}
          </DropdownMenuItem>
        </DropdownMenuContent>
      </DropdownMenu>
      {dialog === "edit" && <EditDialog item={item} onClose={close} />}
      {dialog === "delete" && <DeleteDialog item={item} open onClose={close} />}
    </>
  )
}

export { DeleteDialog, EnableSwitch, RowMenu, useCredentialAction }
