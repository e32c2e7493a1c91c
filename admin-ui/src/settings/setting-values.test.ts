import { expect, it } from "vitest"
import { settings } from "../../dev/data"
import { changedSettings, faultOf, mapOf, textOf } from "./setting-values"

const all = settings()
const setting = (key: string) => {
  const found = all.find((each) => each.key === key)
  if (!found) throw new Error(key)
  return found
}

it("reads a map back from what it wrote", () => {
  const map = { "claude-haiku-5-5": "claude-haiku-4.5", b: "c" }
  expect(mapOf(textOf(map))).toEqual(map)
  const nested = { "claude-*": { firstByteTimeout: 300 } }
  expect(mapOf(textOf(nested))).toEqual(nested)
  expect(mapOf('a = {"b": 1')).toBeNull()
  expect(mapOf("a = b = c\n\n")).toEqual({ a: "b = c" })
  expect(mapOf("without a sign")).toBeNull()
  expect(mapOf("empty =")).toBeNull()
})

it("names what is wrong with a number", () => {
  expect(faultOf(setting("rpm"), "12")).toBeNull()
  expect(faultOf(setting("rpm"), "")).toBe("number")
  expect(faultOf(setting("rpm"), "1.5")).toBe("whole")
  expect(faultOf(setting("rpm"), "-1")).toBe("min")
  expect(faultOf(setting("rpm"), "256")).toBe("max")
  expect(faultOf(setting("modelAliases"), "x")).toBe("map")
})

it("sends what was changed and not changed back, in its type", () => {
  const drafts = { rpm: "12", logLevel: "debug", connectTimeout: "10", allowUrlFetch: true, proxyUrl: "" }
  expect(changedSettings(all, drafts)).toEqual({ rpm: 12, logLevel: "debug", allowUrlFetch: true })
})

it("unsets a text that has no default", () => {
  const proxy = { ...setting("proxyUrl"), value: "http://10.0.0.1" }
  expect(changedSettings([proxy], { proxyUrl: "" })).toEqual({ proxyUrl: null })
})
