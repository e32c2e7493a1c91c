import { useState } from "react"
import { Ellipsis, X } from "lucide-react"
import { useTranslation } from "react-i18next"
import type { BulkAction, Credential } from "@/api/types"
import { count } from "@/format/numbers"
import { Confirm } from "@/parts/confirm"
import { Button } from "@/ui/button"
import {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuItem,
  DropdownMenuSeparator,
  DropdownMenuTrigger,
} from "@/ui/dropdown-menu"
import { useBulk } from "./bulk-run"
import { PriorityDialog } from "./priority-dialog"
import { useDialog } from "./use-view"

/** What can be done to all that are chosen; there as long as something is. */
function BulkBar({
  items,
  shown,
  chosen,
  onChoose,
  onClear,
}: {
  items: Credential[]
  shown: Credential[]
  chosen: ReadonlySet<number>
  onChoose: (ids: number[], on: boolean) => void
  onClear: () => void
}) {
  const { t, i18n } = useTranslation()
  const { start, running } = useBulk()
  const { setDialog } = useDialog()
  const [asking, setAsking] = useState<"delete" | "priority" | null>(null)
  if (!chosen.size) return null
  const ids = [...chosen]
  const run = (action: BulkAction, more: object = {}) => {
    start(action, "/credentials/bulk", { action, ids, ...more }, ids.length)
    setAsking(null)
  }
  const enabled = items.filter((item) => chosen.has(item.id) && !item.disabled).length
  const missing = shown.filter((item) => !chosen.has(item.id))
  return (
    <div
      role="region"
      aria-label={t("bulk.bar")}
      className="sticky bottom-17 z-20 mx-auto mt-4 flex w-fit max-w-full animate-appear flex-wrap items-center gap-1.5 rounded-xl border border-line bg-raised p-2 pl-3.5 shadow-high md:bottom-4"
    >
      <span className="num text-[0.8125rem] font-medium" role="status">
        {t("bulk.chosen", { count: chosen.size })}
      </span>
      {missing.length > 0 && (
        <Button
          variant="link"
          size="inline"
          className="px-2 text-[0.8125rem]"
          onClick={() => onChoose(missing.map((item) => item.id), true)}
        >
          {t("bulk.chooseAll", { total: count(shown.length, i18n.language) })}
        </Button>
      )}
      <span aria-hidden className="mx-1 hidden h-5 w-px bg-line sm:block" />
      <Button disabled={running} onClick={() => run("verify")}>
        {t("bulk.actions.verify")}
      </Button>
      <Button disabled={running} onClick={() => run("enable")}>
        {t("bulk.actions.enable")}
      </Button>
      <Button disabled={running} onClick={() => run("disable")}>
        {t("bulk.actions.disable")}
      </Button>
      <DropdownMenu>
        <DropdownMenuTrigger asChild>
          <Button size="icon" disabled={running} aria-label={t("bulk.more")}>
            <Ellipsis />
          </Button>
        </DropdownMenuTrigger>
        <DropdownMenuContent side="top">
          <DropdownMenuItem onSelect={() => run("refresh")}>
            {t("bulk.actions.refresh")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => run("balance")}>
            {t("bulk.actions.balance")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => run("reset")}>
            {t("bulk.actions.reset")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => setAsking("priority")}>
            {t("bulk.actions.priority")}
          </DropdownMenuItem>
          <DropdownMenuItem onSelect={() => setDialog("export")}>
            {t("bulk.export")}
          </DropdownMenuItem>
          <DropdownMenuSeparator />
          <DropdownMenuItem danger onSelect={() => setAsking("delete")}>
            {t("bulk.actions.delete")}
          </DropdownMenuItem>
        </DropdownMenuContent>
      </DropdownMenu>
      <Button variant="ghost" size="icon" aria-label={t("bulk.clear")} onClick={onClear}>
        <X />
      </Button>
      <Confirm
        open={asking === "delete"}
        onClose={() => setAsking(null)}
        title={t("bulk.deleteTitle", { count: ids.length })}
        text={enabled ? t("bulk.deleteEnabledText", { count: enabled }) : t("bulk.deleteText")}
        action={t("common.delete")}
        onConfirm={() => run("delete", { force: true })}
      />
      {asking === "priority" && (
        <PriorityDialog
          count={ids.length}
          onClose={() => setAsking(null)}
          onSet={(priority) => run("priority", { priority })}
        />
      )}
    </div>
  )
}

export { BulkBar }
