import { CircleCheck, CircleSlash, LoaderCircle, TriangleAlert, X } from "lucide-react"
import { useTranslation } from "react-i18next"
import { ErrorNote } from "@/parts/error-note"
import { count } from "@/format/numbers"
import { Button } from "@/ui/button"
import { Meter } from "@/ui/surface"
import type { Run } from "./bulk-run"

function StateIcon({ run }: { run: Run }) {
  if (run.state === "running")
    return <LoaderCircle aria-hidden className="size-4 animate-spin text-accent" />
  if (run.state === "cancelled") return <CircleSlash aria-hidden className="size-4 text-muted" />
  if (run.state === "failed" || run.failures.length)
    return <TriangleAlert aria-hidden className="size-4 text-warn-text" />
  return <CircleCheck aria-hidden className="size-4 text-good" />
}

function BulkPanel({
  run,
  onCancel,
  onClose,
}: {
  run: Run
  onCancel: () => void
  onClose: () => void
}) {
  const { t, i18n } = useTranslation()
  const title = t(`bulk.titles.${run.action}`)
  const failed = run.failures.length
  return (
    <section
      aria-label={title}
      className="pointer-events-auto fixed inset-x-3 bottom-18 z-50 rounded-xl border border-line bg-raised p-4 shadow-high animate-appear sm:left-auto sm:w-88 md:bottom-4"
    >
      <div className="flex items-center gap-2.5">
        <StateIcon run={run} />
        <h2 className="text-[0.8125rem] font-semibold">{title}</h2>
        <span className="num ml-auto text-xs text-muted">
          {count(run.done, i18n.language)} / {count(run.total, i18n.language)}
        </span>
        {run.state !== "running" && (
          <Button
            variant="ghost"
            size="small"
            aria-label={t("common.close")}
            className="-mr-1.5 px-1.5"
            onClick={onClose}
          >
            <X />
          </Button>
        )}
      </div>
      <Meter
        value={run.total ? run.done / run.total : 1}
        label={t("bulk.progress")}
        tone={failed ? "warn" : "accent"}
        className="mt-3"
      />
      <div className="mt-2.5 flex items-center gap-2">
        <p role="status" className="num text-xs text-muted">
          {t(`bulk.states.${run.state}`)}
          {failed > 0 && ` · ${t("bulk.failed", { count: failed })}`}
        </p>
        {run.state === "running" && (
          <Button size="small" className="ml-auto" onClick={onCancel}>
            {t("common.cancel")}
          </Button>
        )}
      </div>
      {run.state === "failed" && <ErrorNote error={run.error} className="mt-3" />}
      {failed > 0 && (
        <ul
          tabIndex={0}
          aria-label={t("bulk.failures")}
          className="mt-3 max-h-44 overflow-y-auto rounded-lg bg-sunken p-2.5 text-xs"
        >
          {run.failures.map((item) => (
            <li key={item.index ?? item.id} className="py-0.5 break-words">
              <span className="num font-medium">
                {item.id != null ? `#${item.id}` : t("bulk.entry", { number: (item.index ?? 0) + 1 })}
              </span>{" "}
              <span className="text-muted">{item.message}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

export { BulkPanel }
