import { describe, expect, it } from "vitest"
import { credential } from "../../dev/data"
import { additionOf, changesOf, draftOf, EMPTY } from "./draft"

describe("changesOf", () => {
  const before = draftOf({ ...credential(4), rpm: 30, region: "us-east-1" })

  it("sends nothing where nothing was changed", () => {
    expect(changesOf(before, { ...before })).toEqual({})
  })

  it("sends only what was changed, null for what was emptied", () => {
    const after = { ...before, email: " new@example.com ", rpm: "", region: "" }
    expect(changesOf(before, after)).toEqual({ email: "new@example.com", rpm: null, region: null })
  })

  it("keeps a secret whose field stays empty, and sends one that was typed", () => {
    expect(changesOf(before, { ...before, refreshToken: " aor " })).toEqual({ refreshToken: "aor" })
  })

  it("takes the password away with the proxy it belonged to", () => {
    const after = { ...before, proxyKind: "direct" as const }
    expect(changesOf(before, after)).toEqual({ proxyUrl: "direct", proxyPassword: null })
  })
})

describe("additionOf", () => {
  it("sends the secrets of its kind only", () => {
    const draft = { ...EMPTY, refreshToken: "r", kiroApiKey: "ksk_x", clientId: "c" }
    expect(additionOf("api_key", draft)).toEqual({
      authMethod: "api_key",
      priority: 0,
      kiroApiKey: "ksk_x",
    })
    expect(additionOf("social", draft)).toEqual({
      authMethod: "social",
      priority: 0,
      refreshToken: "r",
    })
  })
})
