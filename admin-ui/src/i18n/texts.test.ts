import { describe, expect, it } from "vitest"
import { choose } from "."
import { en } from "./en"
import { zh } from "./zh"

type Tree = { [key: string]: string | Tree }

function flat(tree: Tree, path = ""): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === "string") found.set(path + key, value)
    else for (const [name, text] of flat(value, `${path}${key}.`)) found.set(name, text)
  }
  return found
}

const placeholders = (text: string) => [...text.matchAll(/{{(\w+)}}/g)].map((match) => match[1]).sort()

describe("the two languages", () => {
  const [english, chinese] = [flat(en as Tree), flat(zh as Tree)]

  it("have the same texts", () => {
    expect([...chinese.keys()].sort()).toEqual([...english.keys()].sort())
  })

  it("use the same placeholders in each", () => {
    for (const [key, text] of english) {
      expect(placeholders(chinese.get(key) ?? ""), key).toEqual(placeholders(text))
    }
  })

  it("leave no text empty", () => {
    for (const [key, text] of [...english, ...chinese]) expect(text.trim(), key).not.toBe("")
  })
})

describe("choose", () => {
  it.each([
    [null, ["de-DE", "zh-TW", "en"], "zh-CN"],
    [null, ["en-GB"], "en"],
    [null, ["fr"], "en"],
    ["zh-CN", ["en"], "zh-CN"],
    ["en", ["zh-CN"], "en"],
  ])("takes %s of %s as %s", (stored, preferred, language) => {
    expect(choose(stored, preferred)).toBe(language)
  })
})
