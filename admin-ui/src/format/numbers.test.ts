import { describe, expect, it } from "vitest"
import { bytes, change, compact, countdown, decimal, duration, percent, relative } from "./numbers"

describe("duration", () => {
  it.each([
    [0, "0 ms"],
    [84.4, "84 ms"],
    [999.4, "999 ms"],
    [1240, "1.24 s"],
    [9994, "9.99 s"],
    [9995, "10.0 s"],
    [59_949, "59.9 s"],
    [59_951, "1 min 0 s"],
    [125_000, "2 min 5 s"],
    [3_725_000, "1 h 2 min"],
  ])("writes %d ms as %s", (ms, text) => expect(duration(ms)).toBe(text))

  it("writes an unknown time as a dash", () => expect(duration(null)).toBe("–"))
})

describe("countdown", () => {
  const now = 1_000_000
  it.each([
    [now - 5, "0:00"],
    [now + 1, "0:01"],
    [now + 59_000, "0:59"],
    [now + 60_000, "1:00"],
    [now + 3_729_000, "1:02:09"],
    [now + 90_000_000, "1 d 1 h"],
  ])("tells what is left until %d", (until, text) => expect(countdown(until, now)).toBe(text))
})

describe("compact", () => {
  it("keeps small numbers whole", () => expect(compact(9999, "en")).toBe("9,999"))
  it("shortens large ones", () => expect(compact(67_912_345, "en")).toBe("67.9M"))
  it("shortens them as Chinese does", () => expect(compact(67_912_345, "zh-CN")).toBe("6790万"))
  it("keeps fractions of few", () => expect(compact(0.314, "en")).toBe("0.31"))
})

it("writes small shares finer than large ones", () => {
  expect(percent(0.0294, "en")).toBe("2.9%")
  expect(percent(0.294, "en")).toBe("29%")
  expect(percent(0, "en")).toBe("0%")
  expect(percent(NaN, "en")).toBe("–")
})

it("tells the past and the future in the reader's language", () => {
  const now = Date.parse("2026-01-01T12:00:00Z")
  expect(relative("2026-01-01T11:57:00Z", now, "en")).toBe("3 min. ago")
  expect(relative("2026-01-01T11:57:00Z", now, "zh-CN")).toBe("3分钟前")
  expect(relative("2026-01-03T12:00:00Z", now, "en")).toBe("in 2 days")
  expect(relative(null, now, "en")).toBe("–")
})

it("compares only where there is something to compare with", () => {
  expect(change(120, 100)).toBeCloseTo(0.2)
  expect(change(120, 0)).toBeNull()
  expect(change(null, 3)).toBeNull()
})

it("writes sizes and decimals", () => {
  expect(bytes(999, "en")).toBe("999 B")
  expect(bytes(1_234_567, "en")).toBe("1.2 MB")
  expect(decimal(1.23456, "en", 4)).toBe("1.2346")
})
