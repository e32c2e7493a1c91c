import { describe, expect, it } from "vitest"
import { EventParser } from "./event-parser"

const TEXT =
  ': heartbeat\r\n\r\nevent: change\r\ndata: {"a":1}\r\n\r\ndata: one\ndata:two\n\nevent: done\ndata: {}\n\n'
const EVENTS = [
  { event: "change", data: '{"a":1}' },
  { event: "message", data: "one\ntwo" },
  { event: "done", data: "{}" },
]

describe("EventParser", () => {
  it.each([1, 2, 3, 7, TEXT.length])("finds the same events in pieces of %i", (size) => {
    const parser = new EventParser()
    const found = []
    for (let at = 0; at < TEXT.length; at += size) found.push(...parser.feed(TEXT.slice(at, at + size)))
    expect(found).toEqual(EVENTS)
  })

  it("keeps an unfinished event to itself", () => {
    expect(new EventParser().feed('event: change\ndata: {"a"')).toEqual([])
  })
})
