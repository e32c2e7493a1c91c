/// The time of a bucket, as an axis and as a hint write it.
import type { Window } from "@/api/types"

const SHORT: { [window in Window]: Intl.DateTimeFormatOptions } = {
  "1h": { hour: "2-digit", minute: "2-digit", hour12: false },
  "24h": { hour: "2-digit", minute: "2-digit", hour12: false },
  "7d": { month: "numeric", day: "numeric" },
  "30d": { month: "numeric", day: "numeric" },
}

const LONG: Intl.DateTimeFormatOptions = {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hour12: false,
}

export function axisTime(at: string, window: Window, language: string): string {
  return new Intl.DateTimeFormat(language, SHORT[window]).format(new Date(at))
}

export function tooltipTime(at: string, window: Window, language: string): string {
  const options = window === "30d" ? { month: "short" as const, day: "numeric" as const } : LONG
  return new Intl.DateTimeFormat(language, options).format(new Date(at))
}
