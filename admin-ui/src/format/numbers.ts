/// Numbers, durations and times as text in the reader's language. Pure: the clock is an argument.

const NONE = "–"

type Maybe = number | null | undefined

export function count(value: Maybe, language: string): string {
  if (value == null) return NONE
  return new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(value)
}

/** Short for tiles and axes: 12,345 stays whole below 10,000, then 12.3K. */
export function compact(value: Maybe, language: string): string {
  if (value == null) return NONE
  if (Math.abs(value) < 10_000) return decimal(value, language, Math.abs(value) < 10 ? 2 : 0)
  return new Intl.NumberFormat(language, {
    notation: "compact",
    maximumSignificantDigits: 3,
  }).format(value)
}

export function decimal(value: Maybe, language: string, digits = 2): string {
  if (value == null) return NONE
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)
}

export function percent(share: Maybe, language: string): string {
  if (share == null || !Number.isFinite(share)) return NONE
  return new Intl.NumberFormat(language, {
    style: "percent",
    maximumFractionDigits: share !== 0 && Math.abs(share) < 0.1 ? 1 : 0,
  }).format(share)
}

/** 84 ms, 1.24 s, 2 min 5 s. */
export function duration(ms: Maybe): string {
  if (ms == null) return NONE
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}

/** What is left until a time: 0:07, 4:05, 1:02:09; from a day on "3 d 4 h". */
export function countdown(until: number, now: number): string {
  const left = Math.max(0, Math.ceil((until - now) / 1000))
  const days = Math.floor(left / 86_400)
  const hours = Math.floor((left % 86_400) / 3600)
  if (days) return `${days} d ${hours} h`
  const minutes = Math.floor((left % 3600) / 60)
  const padded = (part: number) => String(part).padStart(2, "0")
  if (hours) return `${hours}:${padded(minutes)}:${padded(left % 60)}`
  return `${minutes}:${padded(left % 60)}`
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
]

/** "3 minutes ago", "in 2 days"; within a minute the words of the language for now. */
export function relative(time: string | null | undefined, now: number, language: string): string {
  if (!time) return NONE
  const seconds = (Date.parse(time) - now) / 1000
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" })
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit)
  }
  return format.format(0, "second")
}

export function clock(time: string, language: string): string {
  return new Date(time).toLocaleTimeString(language, { hour12: false })
}

export function dateTime(time: string | null | undefined, language: string): string {
  if (!time) return NONE
  return new Date(time).toLocaleString(language, {
    dateStyle: "medium",
    timeStyle: "medium",
    hour12: false,
  })
}

export function day(time: string | number, language: string): string {
  return new Date(time).toLocaleDateString(language, { dateStyle: "medium" })
}

export function bytes(value: Maybe, language: string): string {
  if (value == null) return NONE
  if (value < 1000) return `${value} B`
  if (value < 1_000_000) return `${decimal(value / 1000, language, 1)} KB`
  return `${decimal(value / 1_000_000, language, 1)} MB`
}

/** Change against the time before: null where there is nothing to compare with. */
export function change(now: Maybe, before: Maybe): number | null {
  if (now == null || !before) return null
  return (now - before) / before
}
