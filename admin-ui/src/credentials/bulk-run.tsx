/// Actions on many credentials, one after the other at the gateway; they go on while the page is
/// elsewhere, and closing their panel cancels what has not begun.
import { createContext, use, useCallback, useRef, useState, type ReactNode } from "react"
import { useQueryClient } from "@tanstack/react-query"
import { ApiError, follow } from "@/api/client"
import { credentialsChanged } from "@/api/queries"
import type { BulkAction, BulkDone, BulkProgress } from "@/api/types"
import { BulkPanel } from "./bulk-panel"

export type Run = {
  action: BulkAction | "import"
  total: number
  done: number
  failures: BulkProgress[]
  state: "running" | "finished" | "cancelled" | "failed"
  error: unknown
}

type Start = (action: Run["action"], path: string, body: unknown, total: number) => void

const Context = createContext<{ start: Start; running: boolean }>({
  start: () => undefined,
  running: false,
})

const useBulk = () => use(Context)

/** Enough to see what is wrong; a list of thousands would help nobody. */
const KEPT_FAILURES = 200
const SHOWN_EVERY_MS = 100

function BulkProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient()
  const [run, setRun] = useState<Run | null>(null)
  const stop = useRef<AbortController>(null)

  const start = useCallback<Start>(
    (action, path, body, total) => {
      stop.current?.abort()
      const ended = new AbortController()
      stop.current = ended
      const run: Run = { action, total, done: 0, failures: [], state: "running", error: null }
      setRun({ ...run })
      let shown: number | undefined
      const show = () => {
        shown = undefined
        if (stop.current === ended) setRun({ ...run })
      }
      // Thousands of events a second are not thousands of pictures.
      const update = (change: Partial<Run>) => {
        Object.assign(run, change)
        if (run.state === "running") shown ??= window.setTimeout(show, SHOWN_EVERY_MS)
        else {
          window.clearTimeout(shown)
          show()
        }
      }
      void (async () => {
        let finished = false
        try {
          for await (const { event, data } of follow("POST", path, body, ended.signal)) {
            if (event === "progress") {
              const item = JSON.parse(data) as BulkProgress
              const failures = item.ok ? run.failures : [...run.failures, item]
              update({ done: item.done, total: item.total, failures: failures.slice(-KEPT_FAILURES) })
            }
            if (event === "done") {
              const { total: all } = JSON.parse(data) as BulkDone
              finished = true
              update({ state: "finished", total: all, done: all })
            }
          }
          if (!finished) throw new ApiError(0, "stream_cut", "The stream ended early.")
        } catch (error) {
          update({ state: ended.signal.aborted ? "cancelled" : "failed", error })
        }
        void credentialsChanged(client)
      })()
    },
    [client],
  )

  return (
    <Context value={{ start, running: run?.state === "running" }}>
      {children}
      {run && (
        <BulkPanel
          run={run}
          onCancel={() => stop.current?.abort()}
          onClose={() => {
            stop.current?.abort()
            setRun(null)
          }}
        />
      )}
    </Context>
  )
}

export { BulkProvider, useBulk }
