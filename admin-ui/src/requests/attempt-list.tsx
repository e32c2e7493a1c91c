import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import type { Attempt } from "@/api/types"
import { cn } from "@/format/class-names"
import { clock, duration } from "@/format/numbers"
import { useFailureText } from "./failures"

function AttemptRow({ attempt, number }: { attempt: Attempt; number: number }) {
  const { t, i18n } = useTranslation()
  const failure = useFailureText()({ error: attempt.error, outcome: "error", status: null })
  const failed = attempt.error !== null
  return (
    <li className="relative flex gap-3 pb-4 last:pb-0">
      <span
        aria-hidden
        className={cn(
          "num z-10 grid size-5 shrink-0 place-content-center rounded-full text-[0.6875rem] font-semibold",
          failed ? "bg-bad-soft text-bad-text" : "bg-good-soft text-good-text",
        )}
      >
        {number}
      </span>
      <div className="min-w-0 flex-1">
        <p className="flex items-baseline gap-2 text-[0.8125rem]">
          {attempt.credentialId === null ? (
            <span>{t("request.noCredential")}</span>
          ) : (
            <Link
              to={`/credentials/${attempt.credentialId}`}
              className="truncate font-medium hover:underline"
            >
              {attempt.credentialLabel ?? `#${attempt.credentialId}`}
            </Link>
          )}
          {attempt.status !== null && (
            <span className="num text-xs text-muted">{attempt.status}</span>
          )}
          <span className="num ml-auto shrink-0 text-xs text-muted">
            {clock(attempt.at, i18n.language)} · {duration(attempt.durationMs)}
          </span>
        </p>
        {attempt.error && (
          <p className="mt-0.5 text-xs break-words">
            <span className="font-medium">{failure.title}.</span>{" "}
            <span className="text-muted">{attempt.error.message}</span>
          </p>
        )}
        {attempt.endpoint && <p className="mt-0.5 truncate text-xs text-muted">{attempt.endpoint}</p>}
      </div>
    </li>
  )
}

/** Every try of one request, the first one first. */
function AttemptList({ attempts }: { attempts: Attempt[] }) {
  const { t } = useTranslation()
  if (!attempts.length) {
    return <p className="text-[0.8125rem] text-muted">{t("request.noAttempts")}</p>
  }
  return (
    <ol className="relative before:absolute before:inset-y-2.5 before:left-2.5 before:w-px before:bg-line">
      {attempts.map((attempt, index) => (
        <AttemptRow key={index} attempt={attempt} number={index + 1} />
      ))}
    </ol>
  )
}

export { AttemptList }
