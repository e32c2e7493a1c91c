import { expect, it } from "vitest"
import { keys } from "../../dev/data"
import { keyChangesOf, keyDraftOf, keyFieldsOf, keyStateOf, NEW_KEY } from "./key-draft"

it("sends empty limits as none and models without the space around them", () => {
  const draft = { ...NEW_KEY, name: " CI ", models: "claude-haiku-4-5,\n claude-opus-4-8 ", rpm: "60" }
  expect(keyFieldsOf(draft)).toEqual({
    name: "CI",
    expiresAt: null,
    models: ["claude-haiku-4-5", "claude-opus-4-8"],
    maxConcurrency: null,
    rpm: 60,
    dailyTokens: null,
    monthlyTokens: null,
    dailyCredits: null,
    monthlyCredits: null,
  })
})

it("edits only what was changed", () => {
  for (const key of keys()) {
    const before = keyDraftOf(key)
    expect(keyChangesOf(before, { ...before })).toEqual({})
    expect(keyChangesOf(before, { ...before, rpm: "7" })).toEqual({ rpm: 7 })
  }
})

it("lets a key be used until the end of its last day", () => {
  const fields = keyFieldsOf({ ...NEW_KEY, expires: "2030-05-04" })
  const end = new Date(fields.expiresAt ?? "")
  expect([end.getFullYear(), end.getMonth(), end.getDate(), end.getHours()]).toEqual([2030, 4, 4, 23])
})

it("tells active, expired and switched off keys apart", () => {
  const now = Date.parse("2026-01-02T00:00:00Z")
  expect(keyStateOf({ enabled: true, expiresAt: null }, now)).toBe("active")
  expect(keyStateOf({ enabled: true, expiresAt: "2026-01-01T00:00:00Z" }, now)).toBe("expired")
  expect(keyStateOf({ enabled: false, expiresAt: null }, now)).toBe("off")
})
