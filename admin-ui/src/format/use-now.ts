/// One clock for all countdowns and "3 minutes ago"s: a tick a second, none while nobody looks.
import { useSyncExternalStore } from "react"

const listeners = new Set<() => void>()
let timer: number | undefined
let now = Date.now()

function subscribe(listener: () => void) {
  listeners.add(listener)
  timer ??= window.setInterval(() => {
    now = Date.now()
    for (const each of listeners) each()
  }, 1000)
  return () => {
    listeners.delete(listener)
    if (listeners.size) return
    window.clearInterval(timer)
    timer = undefined
  }
}

/** The time in ms, no finer than `stepMs`: a coarse reader renders seldom. */
export function useNow(stepMs = 1000): number {
  return useSyncExternalStore(subscribe, () => Math.floor(now / stepMs) * stepMs)
}
