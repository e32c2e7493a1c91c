import { describe, expect, it } from "vitest"
import { request, rowOf } from "../../dev/data"
import { curlOf } from "./curl"
import { withNewest } from "./newest"

describe("curlOf", () => {
  it("quotes for the shell, and leaves the key to it", () => {
    const row = { path: "/v1/messages", model: "claude'x", stream: true }
    const command = curlOf(row, "http://localhost:8080")
    expect(command).toContain("curl -N 'http://localhost:8080/v1/messages'")
    expect(command).toContain('-H "x-api-key: $KIROPROXY_API_KEY"')
    expect(command).toContain(`"model":"claude'\\''x"`)
    expect(command).toContain('"stream":true')
  })

  it("asks without a body where none was", () => {
    expect(curlOf({ path: "/v1/models", model: null, stream: false }, "http://h")).not.toContain("-d")
  })
})

describe("withNewest", () => {
  const rows = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => rowOf(request(from + index)))
  const pages = { pages: [{ requests: rows(1, 3), nextCursor: "3" }], pageParams: [null] }

  it("puts a new one in front", () => {
    const after = withNewest(pages, rowOf(request(0)))
    expect(after.pages[0]?.requests.map((row) => row.id)).toEqual(rows(0, 4).map((row) => row.id))
  })

  it("tells none twice", () => {
    expect(withNewest(pages, rowOf(request(2)))).toBe(pages)
  })
})
