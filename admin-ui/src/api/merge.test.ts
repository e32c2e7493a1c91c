import { expect, it } from "vitest"
import { credential } from "../../dev/data"
import { mergeCredentials } from "./merge"

const list = mergeCredentials(undefined, { credentials: [credential(1), credential(2), credential(3)] })

it("changes what changed, and keeps the very objects of the rest", () => {
  const changed = { ...credential(2), successCount: 7 }
  const after = mergeCredentials(list, { credentials: [changed] })
  expect(after.credentials.map((item) => item.id)).toEqual([1, 2, 3])
  expect(after.credentials[0]).toBe(list.credentials[0])
  expect(after.credentials[1]).toBe(changed)
})

it("adds new ones and drops removed ones", () => {
  const after = mergeCredentials(list, { credentials: [credential(9)], removed: [1] })
  expect(after.credentials.map((item) => item.id)).toEqual([2, 3, 9])
  expect(after.currentId).toBeNull()
})

it("takes the counts of the change", () => {
  const overview = {
    credentials: { total: 3, available: 2, cooling: 1, disabled: 0, throttled: 0 },
    liveStreams: 0,
    requestsTotal: 0,
    errorsTotal: 0,
  }
  expect(mergeCredentials(list, { overview }).available).toBe(2)
})
