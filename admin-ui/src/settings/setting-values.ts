/// Values of settings as text in a field, and back. Pure.
import type { MapValue, Setting, SettingValue } from "@/api/types"

export type Drafts = { [key: string]: string | boolean }

export function textOf(value: SettingValue): string {
  if (value === null) return ""
  if (typeof value === "object") {
    return Object.entries(value)
      .map(([from, to]) => `${from} = ${typeof to === "string" ? to : JSON.stringify(to)}`)
      .join("\n")
  }
  return String(value)
}

export function draftOfSetting(setting: Setting): string | boolean {
  if (setting.type === "bool") return setting.value === true
  return textOf(setting.value)
}

/** A text, or where it begins with a brace the object it writes; null where that is broken. */
function sideOf(text: string): string | object | null {
  if (!text.startsWith("{")) return text || null
  try {
    return JSON.parse(text) as object
  } catch {
    return null
  }
}

/** "name = id" lines; a line without "=" or an empty side has no meaning and is an error. */
export function mapOf(text: string): MapValue | null {
  const map: MapValue = {}
  for (const line of text.split("\n")) {
    if (!line.trim()) continue
    const at = line.indexOf("=")
    const [from, to] = [line.slice(0, at).trim(), sideOf(line.slice(at + 1).trim())]
    if (at < 0 || !from || to === null) return null
    map[from] = to
  }
  return map
}

export type Fault = "number" | "whole" | "min" | "max" | "map"

export function faultOf(setting: Setting, draft: string | boolean): Fault | null {
  if (typeof draft === "boolean") return null
  if (setting.type === "map") return mapOf(draft) ? null : "map"
  if (setting.type !== "int" && setting.type !== "float") return null
  const value = Number(draft)
  if (draft.trim() === "" || !Number.isFinite(value)) return "number"
  if (setting.type === "int" && !Number.isInteger(value)) return "whole"
  if (setting.min != null && value < setting.min) return "min"
  if (setting.max != null && value > setting.max) return "max"
  return null
}

export function valueOf(setting: Setting, draft: string | boolean): SettingValue {
  if (typeof draft === "boolean") return draft
  if (setting.type === "int" || setting.type === "float") return Number(draft)
  if (setting.type === "map") return mapOf(draft)
  return draft.trim() === "" && setting.default === null ? null : draft.trim()
}

/** The settings that were changed and not changed back, as the gateway takes them. */
export function changedSettings(settings: Setting[], drafts: Drafts) {
  const changed: { [key: string]: SettingValue } = {}
  for (const setting of settings) {
    const draft = drafts[setting.key]
    if (draft === undefined || draft === draftOfSetting(setting)) continue
    changed[setting.key] = valueOf(setting, draft)
  }
  return changed
}
