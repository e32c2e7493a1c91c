import { useCallback } from "react"
import { TriangleAlert } from "lucide-react"
import { useTranslation } from "react-i18next"
import { ApiError } from "@/api/client"
import { useKnown } from "@/i18n/use-known"
import { cn } from "@/format/class-names"
import { Button } from "@/ui/button"
import { useToast } from "@/ui/toast"

export type ErrorText = { title: string; remedy: string | null }

/** Faults of the gateway have their class's name: as connect_failed here, ConnectFailed in the log. */
function camelCase(code: string): string {
  return code.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** What went wrong and what to do about it, in the reader's language where the code is known. */
function useErrorText() {
  const { t, i18n } = useTranslation()
  const known = useKnown()
  return useCallback(
    (error: unknown): ErrorText => {
      if (!(error instanceof ApiError)) {
        return { title: t("errors.page_error.title"), remedy: t("errors.page_error.remedy") }
      }
      const values = { seconds: error.retryAfterS ?? 60 }
      const of = (part: "title" | "remedy") =>
        known(`errors.${error.code}.${part}`, values) ??
        known(`failures.${camelCase(error.code)}.${part}`)
      const [title, remedy] = [of("title"), of("remedy")]
      // The gateway's own sentence is the more exact one where both speak the same language.
      const exact = i18n.language === "en" && error.status !== 0 && error.message
      if (exact || !title) return { title: error.message, remedy: error.remedy || remedy }
      return { title, remedy }
    },
    [t, i18n, known],
  )
}

function useErrorToast() {
  const text = useErrorText()
  const toast = useToast()
  return useCallback(
    (error: unknown) => {
      const { title, remedy } = text(error)
      toast("bad", title, remedy ?? undefined)
    },
    [text, toast],
  )
}

function ErrorNote({
  error,
  onRetry,
  className,
}: {
  error: unknown
  onRetry?: () => void
  className?: string
}) {
  const { t } = useTranslation()
  const { title, remedy } = useErrorText()(error)
  return (
    <div
      role="alert"
      className={cn(
        "flex items-start gap-3 rounded-xl border border-bad/25 bg-bad-soft px-4 py-3",
        className,
      )}
    >
      <TriangleAlert aria-hidden className="mt-0.5 size-4 shrink-0 text-bad-text" />
      <div className="grid min-w-0 flex-1 gap-0.5">
        <p className="text-[0.8125rem] font-medium break-words">{title}</p>
        {remedy && <p className="text-[0.8125rem] break-words text-text/80">{remedy}</p>}
      </div>
      {onRetry && (
        <Button size="small" onClick={onRetry}>
          {t("common.retry")}
        </Button>
      )}
    </div>
  )
}

export { ErrorNote, useErrorText, useErrorToast }
