import { useState } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { Ellipsis, Pencil, RotateCw, ScrollText, Trash2 } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import { deleteKey, editKey, keysQuery, rotateKey } from "@/api/queries"
import type { ClientKey, KeySecret } from "@/api/types"
import { compact, count, day, decimal, relative } from "@/format/numbers"
import { useNow } from "@/format/use-now"
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
import { Badge, Meter } from "@/ui/surface"
import { useToast } from "@/ui/toast"
import { Switch } from "@/ui/toggle"
import { keyStateOf } from "./key-draft"
import { KeyDialog } from "./key-dialog"

/** What is used of a quota; without one only the number. */
function Quota({ label, used, limit, format }: {
  label: string
  used: number
  limit: number | null
  format: (value: number) => string
}) {
  const share = limit ? used / limit : 0
  return (
    <div className="min-w-0">
      <p className="truncate text-xs text-muted">{label}</p>
      <p className="num mt-0.5 truncate text-[0.8125rem]">
        {format(used)}
        {limit !== null && <span className="text-muted"> / {format(limit)}</span>}
      </p>
      {limit !== null ? (
        <Meter
          value={share}
          label={label}
          tone={share >= 1 ? "bad" : share >= 0.85 ? "warn" : "accent"}
          className="mt-1.5"
        />
      ) : (
        <div aria-hidden className="mt-1.5 h-1.5" />
      )}
    </div>
  )
}

function KeyFacts({ item }: { item: ClientKey }) {
  const { t, i18n } = useTranslation()
  const now = useNow(10_000)
  const lang = i18n.language
  const facts = [
    item.lastUsedAt
      ? t("keys.used", { time: relative(item.lastUsedAt, now, lang) })
      : t("keys.neverUsed"),
    item.expiresAt ? t("keys.until", { day: day(item.expiresAt, lang) }) : null,
    item.models.length ? t("keys.models", { count: item.models.length }) : null,
    item.rpm !== null ? t("keys.rpm", { value: count(item.rpm, lang) }) : null,
    item.maxConcurrency !== null
      ? t("keys.concurrency", { used: item.inFlight, value: count(item.maxConcurrency, lang) })
      : null,
  ]
  return <p className="num mt-1 text-xs text-muted">{facts.filter(Boolean).join(" · ")}</p>
}

function useKeyActions(item: ClientKey, onSecret: (secret: KeySecret) => void, onDone: () => void) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const fail = useErrorToast()
  const changed = () => client.invalidateQueries({ queryKey: keysQuery.queryKey })
  const enable = useMutation({
    mutationFn: (enabled: boolean) => editKey(item.id, { enabled }),
    onError: fail,
    onSettled: changed,
  })
  const rotate = useMutation({
    mutationFn: () => rotateKey(item.id),
    onSuccess: (secret) => {
      onDone()
      onSecret(secret)
      return changed()
    },
  })
  const remove = useMutation({
    mutationFn: () => deleteKey(item.id),
    onSuccess: () => {
      toast("good", t("keys.deleted"), item.name)
      onDone()
      return changed()
    },
  })
  return { enable, rotate, remove }
}

function KeyRow({ item, onSecret }: { item: ClientKey; onSecret: (secret: KeySecret) => void }) {
  const { t, i18n } = useTranslation()
  const now = useNow(60_000)
  const [asking, setAsking] = useState<"edit" | "rotate" | "delete" | null>(null)
  const close = () => setAsking(null)
  const { enable, rotate, remove } = useKeyActions(item, onSecret, close)
  const state = keyStateOf(item, now)
  const tokens = (value: number) => compact(value, i18n.language)
  const credits = (value: number) => decimal(value, i18n.language, 1)
  return (
    <div
      data-key={item.id}
      className="grid gap-x-6 gap-y-3 px-4 py-4 lg:grid-cols-[minmax(0,1.1fr)_minmax(0,2fr)_auto] lg:items-center"
    >
      <div className="min-w-0">
        <p className="flex min-w-0 items-center gap-2">
          <span className="truncate text-[0.8125rem] font-medium">{item.name}</span>
          <code className="shrink-0 font-mono text-xs text-muted">{item.prefix}…</code>
          {state !== "active" && (
            <Badge tone={state === "expired" ? "warn" : "neutral"}>{t(`keys.states.${state}`)}</Badge>
          )}
        </p>
        <KeyFacts item={item} />
      </div>
      <div className="grid grid-cols-2 gap-x-6 gap-y-2.5 sm:grid-cols-4">
        <Quota label={t("keys.tokensToday")} used={item.usage.today.tokens} limit={item.dailyTokens} format={tokens} />
        <Quota label={t("keys.tokensMonth")} used={item.usage.month.tokens} limit={item.monthlyTokens} format={tokens} />
        <Quota label={t("keys.creditsToday")} used={item.usage.today.credits} limit={item.dailyCredits} format={credits} />
        <Quota label={t("keys.creditsMonth")} used={item.usage.month.credits} limit={item.monthlyCredits} format={credits} />
      </div>
      <div className="flex items-center gap-3 justify-self-end">
        <Switch
          checked={enable.isPending ? enable.variables : item.enabled}
          disabled={enable.isPending}
          onCheckedChange={(on) => enable.mutate(on)}
          aria-label={t("keys.enable", { name: item.name })}
        />
        <DropdownMenu>
          <DropdownMenuTrigger asChild>
            <Button variant="ghost" size="icon" aria-label={t("keys.actionsOf", { name: item.name })}>
              <Ellipsis />
            </Button>
          </DropdownMenuTrigger>
          <DropdownMenuContent>
            <DropdownMenuItem onSelect={() => setAsking("edit")}>
              <Pencil /> {t("keys.edit")}
            </DropdownMenuItem>
            <DropdownMenuItem asChild>
              <Link to={`/requests?keyId=${item.id}`}>
                <ScrollText /> {t("keys.requests")}
              </Link>
            </DropdownMenuItem>
            <DropdownMenuItem onSelect={() => setAsking("rotate")}>
              <RotateCw /> {t("keys.rotate")}
            </DropdownMenuItem>
            <DropdownMenuSeparator />
            <DropdownMenuItem danger onSelect={() => setAsking("delete")}>
              <Trash2 /> {t("common.delete")}
            </DropdownMenuItem>
          </DropdownMenuContent>
        </DropdownMenu>
      </div>
      {asking === "edit" && <KeyDialog item={item} onClose={close} onCreated={onSecret} />}
      <Confirm
        open={asking === "rotate"}
        onClose={close}
        title={t("keys.rotateTitle", { name: item.name })}
        text={t("keys.rotateText")}
        action={t("keys.rotate")}
        onConfirm={() => rotate.mutate()}
        busy={rotate.isPending}
        error={rotate.error}
      />
      <Confirm
        open={asking === "delete"}
        onClose={close}
        title={t("keys.deleteTitle", { name: item.name })}
        text={t("keys.deleteText")}
        action={t("common.delete")}
        onConfirm={() => remove.mutate()}
        busy={remove.isPending}
        error={remove.error}
      />
    </div>
  )
}

export { KeyRow }
