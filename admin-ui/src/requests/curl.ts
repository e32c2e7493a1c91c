/// A request from the log as a curl command that can be run again. Pure.
/// Rules of this file: no key and no body is known here, so both are left for the reader to fill in.
import type { RequestRow } from "@/api/types"

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

export function curlOf(row: Pick<RequestRow, "path" | "model" | "stream">, origin: string): string {
  const url = quoted(origin + row.path)
  const key = '-H "x-api-key: $KIROPROXY_API_KEY"' // masked: the shell fills it in
  if (!row.model) return `curl ${url} \\\n  ${key}`
  const body = {
    model: row.model,
    max_tokens: 1024,
    ...(row.stream ? { stream: true } : {}),
    messages: [{ role: "user", content: "…" }],
  }
  return [
    `curl ${row.stream ? "-N " : ""}${url}`,
    key,
    "-H 'anthropic-version: 2023-06-01'",
    "-H 'content-type: application/json'",
    `-d ${quoted(JSON.stringify(body))}`,
  ].join(" \\\n  ")
}
