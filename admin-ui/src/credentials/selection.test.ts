import { describe, expect, it } from "vitest"
import { credential } from "../../dev/data"
import { arrange, chosenShare, matches, moved, type View } from "./selection"

const items = Array.from({ length: 40 }, (_, index) => credential(index + 1))
const view: View = { q: "", state: "all", sort: "priority", down: false }
const ids = (found: { id: number }[]) => found.map((item) => item.id)

describe("arrange", () => {
  it("orders by priority, and by id within one", () => {
    const found = arrange([...items].reverse(), view)
    expect(ids(found)).toEqual(ids(items))
  })

  it("turns the order round without mixing what is equal", () => {
    const [first, second] = arrange(items, { ...view, down: true })
    expect(first?.priority).toBe(second?.priority)
    expect(first?.id).toBeLessThan(second?.id ?? 0)
  })

  it("keeps one state", () => {
    const found = arrange(items, { ...view, state: "cooling" })
    expect(new Set(found.map((item) => item.state))).toEqual(new Set(["cooling"]))
  })

  it.each([false, true])("puts unknown balances last, down: %s", (down) => {
    const found = arrange(items, { ...view, sort: "balance", down })
    const known = found.filter((item) => item.balance)
    expect(found.slice(0, known.length)).toEqual(known)
    const left = known.map((item) => item.balance?.remaining ?? 0)
    expect(left).toEqual([...left].sort((a, b) => (down ? b - a : a - b)))
  })

  it("finds every word of the search, in any field", () => {
    const item = { ...credential(4), email: "Ops@Mail.example" }
    expect(matches(item, "ops social")).toBe(true)
    expect(matches(item, "#4 socks5h")).toBe(true)
    expect(matches(item, "ops github")).toBe(false)
  })
})

it("tells whether all, some or none are chosen", () => {
  const two = items.slice(0, 2)
  expect(chosenShare(two, new Set())).toBe(false)
  expect(chosenShare(two, new Set([1]))).toBe("indeterminate")
  expect(chosenShare(two, new Set([1, 2, 3]))).toBe(true)
})

it("moves one and keeps the order of the rest", () => {
  expect(moved(["a", "b", "c", "d"], 0, 2)).toEqual(["b", "c", "a", "d"])
  expect(moved(["a", "b", "c", "d"], 3, 0)).toEqual(["d", "a", "b", "c"])
  expect(moved(["a"], 5, 0)).toEqual(["a"])
})
