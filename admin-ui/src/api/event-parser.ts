/// Server-sent events, from text cut anywhere. Source: the WHATWG HTML standard, section 9.2.6.

export type ServerEvent = { event: string; data: string }

export class EventParser {
  private rest = ""
  private event = ""
  private data: string[] = []

  /** Take the next piece of text and return the events that it completes. */
  feed(text: string): ServerEvent[] {
    const found: ServerEvent[] = []
    this.rest += text
    // A CR at the end may be half of a CRLF: it waits for the next piece.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/)
    this.rest = lines.pop() ?? ""
    for (const line of lines) {
      if (line === "") this.finish(found)
      else this.field(line)
    }
    return found
  }

  private field(line: string) {
    if (line.startsWith(":")) return
    const colon = line.indexOf(":")
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "")
    if (name === "event") this.event = value
    if (name === "data") this.data.push(value)
  }

  private finish(found: ServerEvent[]) {
    if (this.data.length) {
      found.push({ event: this.event || "message", data: this.data.join("\n") })
    }
    this.event = ""
    this.data = []
  }
}
