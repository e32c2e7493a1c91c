/// Calls to the admin API: JSON in, JSON out, every failure an ApiError with a stable code.
/// Rules of this file: no key is kept; the session cookie is the browser's, out of reach of scripts.
import { EventParser, type ServerEvent } from "./event-parser"

const BASE = "/api/admin"

export class ApiError extends Error {
  override name = "ApiError"

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly remedy: string | null = null,
    readonly retryAfterS: number | null = null,
  ) {
    super(message)
  }
}

type Problem = { error?: { type?: string; message?: string; code?: string; remedy?: string } }

async function refusal(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as Problem
  const after = Number(response.headers.get("retry-after"))
  return new ApiError(
    response.status,
    body.error?.code ?? body.error?.type ?? `http_${response.status}`,
    body.error?.message ?? response.statusText,
    body.error?.remedy ?? null,
    Number.isFinite(after) && after > 0 ? after : null,
  )
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal) {
  const init: RequestInit = { method, credentials: "same-origin", headers: {} }
  if (signal) init.signal = signal
  if (body !== undefined) {
    init.headers = { "content-type": "application/json" }
    init.body = JSON.stringify(body)
  }
  let response: Response
  try {
    response = await fetch(BASE + path, init)
  } catch (cause) {
    if (signal?.aborted) throw cause
    throw new ApiError(0, "unreachable", "The gateway did not answer.")
  }
  if (!response.ok) throw await refusal(response)
  return response
}

export async function call<Answer>(
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Answer> {
  const response = await send(method, path, body, signal)
  if (response.status === 204) return undefined as Answer
  return (await response.json()) as Answer
}

export async function download(path: string, body: unknown): Promise<Blob> {
  return await (await send("POST", path, body)).blob()
}

/** Yield the events of a stream until its end; the caller's signal ends it at once. */
export async function* follow(
  method: "GET" | "POST",
  path: string,
  body: unknown,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  const response = await send(method, path, body, signal)
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  if (!reader) return
  const parser = new EventParser()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield* parser.feed(value)
    }
  } finally {
    // The stream may already be gone with the signal; nobody is left to hear about it.
    void reader.cancel().catch(() => undefined)
  }
}

export function query(values: { [name: string]: string | number | undefined | null }): string {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== "")
  const search = new URLSearchParams()
  for (const [name, value] of pairs) if (value !== null) search.set(name, String(value))
  return search.size ? `?${search}` : ""
}
