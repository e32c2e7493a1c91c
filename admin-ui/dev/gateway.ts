/// What `npm run dev` and `npm run preview` answer under /api/admin: a real gateway where
/// KIROPROXY_URL names one, else invented data. KIROPROXY_DEV_COUNT sets how many credentials.
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Connect, Plugin } from "vite"
import type { Credential, Setting, Window } from "../src/api/types.ts"
import * as data from "./data.ts"

/** The gateway's own policy: what it forbids must be seen here already. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type Body = { [name: string]: unknown }
type Answer = { status?: number; json?: unknown; stream?: (send: Send) => (() => void) | undefined }
type Send = (event: string, value: unknown) => void

async function bodyOf(request: IncomingMessage): Promise<Body> {
  let text = ""
  for await (const piece of request) text += String(piece)
  return text ? (JSON.parse(text) as Body) : {}
}

function world() {
  const count = Number(process.env["KIROPROXY_DEV_COUNT"] ?? 24)
  return {
    signedIn: false,
    mode: "priority",
    empty: count === 0,
    credentials: Array.from({ length: count }, (_, index) => data.credential(index + 1)),
    keys: count === 0 ? [] : data.keys(),
    settings: data.settings(),
    login: 0,
  }
}

const state = world()

const session = () => ({ authenticated: true, expiresAt: null, version: "0.2.0", workers: 2, startedAt: new Date(Date.now() - 2.6e8).toISOString() })
const refusal = (status: number, code: string, message: string, remedy: string): Answer => ({
  status,
  json: { error: { type: code, code, message, remedy } },
})
const done = (message = "Done."): Answer => ({ json: { success: true, message } })

function counts() {
  const of = (name: string) => state.credentials.filter((item) => item.state === name).length
  return { total: state.credentials.length, available: of("ready"), cooling: of("cooling"), disabled: of("disabled") + of("invalid"), throttled: 0 }
}

let requestsTotal = 100
const live = () => ({ credentials: counts(), liveStreams: state.empty ? 0 : 3 + (requestsTotal % 5), requestsTotal, errorsTotal: 3 })

function liveStream(send: Send) {
  send("snapshot", { credentials: state.credentials, overview: live() })
  const timer = setInterval(() => {
    requestsTotal += 1
    const item = state.credentials[requestsTotal % Math.max(1, state.credentials.length)]
    if (item) Object.assign(item, { successCount: item.successCount + 1, lastUsedAt: new Date().toISOString() })
    send("change", { credentials: item ? [{ ...item }] : [], removed: [], overview: live() })
  }, 2000)
  return () => clearInterval(timer)
}

function bulkStream(ids: unknown[], name: "id" | "index") {
  return (send: Send) => {
    let at = 0
    const timer = setInterval(() => {
      at += 1
      const ok = at % 5 !== 0
      send("progress", { done: at, total: ids.length, [name]: ids[at - 1], ok, message: ok ? "Works." : "Kiro refused the token (403).", code: ok ? null : "token_rejected" })
      if (at < ids.length) return
      clearInterval(timer)
      send("done", { total: ids.length, ok: at, failed: 0 })
    }, 250)
    return () => clearInterval(timer)
  }
}

function find(path: string): Credential | undefined {
  const id = Number(/^\/credentials\/(\d+)/.exec(path)?.[1])
  return state.credentials.find((item) => item.id === id)
}

function ofCredential(method: string, path: string, body: Body): Answer | null {
  const item = find(path)
  if (!item) return null
  const action = path.split("/")[3]
  if (method === "DELETE") {
    state.credentials = state.credentials.filter((other) => other !== item)
    return done()
  }
  if (action === "disabled") {
    const off = body["disabled"] === true
    Object.assign(item, { disabled: off, state: off ? "disabled" : "ready", disabledReason: off ? "Manual" : null })
  }
  if (action === "models") {
    const models = ["Claude Sonnet 4.5", "Claude Opus 4.8", "Claude Haiku 4.5"].map((displayName) => ({ id: displayName, publicId: displayName.toLowerCase().replaceAll(/[ .]/g, "-"), displayName, contextWindow: 200_000, maxOutputTokens: 64_000, rateMultiplier: 1.3 }))
    return { json: { source: "live", models } }
  }
  if (action === "verify") return { json: { ok: item.state !== "invalid", message: "Kiro refused the refresh token.", email: item.email, subscriptionTitle: "KIRO PRO", durationMs: 640 } }
  if (action === "test") return { json: { ok: true, text: "Hello!", stopReason: "end_turn", firstTokenMs: 812, durationMs: 1410, usage: {}, error: null } }
  if (action === "balance") return { json: item.balance }
  if (method === "PATCH") Object.assign(item, body)
  return done()
}

function ofKeys(method: string, path: string, body: Body): Answer | null {
  if (method === "GET") return { json: { keys: state.keys } }
  const id = path.split("/")[2]
  const key = state.keys.find((each) => each.id === id) ?? state.keys[0]
  if (method === "DELETE") {
    state.keys = state.keys.filter((each) => each.id !== id)
    return { status: 204 }
  }
  if (method === "PATCH") return { json: Object.assign(key ?? {}, body) }
  const made = { ...data.keys()[2], ...body, id: `key_${Date.now()}`, expiresAt: null }
  if (!id) state.keys = [...state.keys, made as (typeof state.keys)[number]]
  return { status: 201, json: { key: made, secret: "kp-0mB9s2tQx7VdKq4LrYw8ZfHn3Jc6Pe1A" } }
}

function ofLogins(method: string, body: Body): Answer {
  if (method === "POST") state.login = Date.now()
  const over = Date.now() - state.login > 6000
  return {
    json: { id: "login_1", method: body["method"] ?? "builder-id", state: over ? "done" : "pending", verificationUri: "https://device.sso.us-east-1.amazonaws.com/", verificationUriComplete: "https://device.sso.us-east-1.amazonaws.com/?user_code=QWRT-LPKM", userCode: "QWRT-LPKM", expiresAt: new Date(state.login + 600_000).toISOString(), intervalMs: 1000, credentialId: over ? 2 : null, message: null },
  }
}

function ofImport(body: Body): Answer {
  if (body["dryRun"] !== true) return { stream: bulkStream([0, 1, 2], "index") }
  const entry = (index: number, more: object) => ({ index, email: `new${index}@example.com`, authMethod: "social", label: "", duplicateOf: null, problem: null, errored: false, ...more })
  return { json: { format: "kam", entries: [entry(0, {}), entry(1, { authMethod: "idc" }), entry(2, { duplicateOf: 4 }), entry(3, { errored: true }), entry(4, { problem: "refreshToken is missing" })] } }
}

function requestsOf(url: URL): Answer {
  const at = Number(url.searchParams.get("before") ?? 0)
  const wanted = url.searchParams.get("status")
  const rows = Array.from({ length: 50 }, (_, index) => data.rowOf(data.request(at + index))).filter((row) => !wanted || row.outcome === wanted)
  return { json: { requests: state.empty ? [] : rows, nextCursor: state.empty || at >= 300 ? null : String(at + 50) } }
}

function settingsOf(method: string, body: Body): Answer {
  if (method === "PATCH") {
    state.settings = state.settings.map((each) => (each.key in body ? { ...each, value: body[each.key] as Setting["value"], source: "file" } : each))
  }
  return { json: { settings: state.settings } }
}

function answer(method: string, url: URL, body: Body): Answer | null {
  const path = url.pathname.slice("/api/admin".length)
  if (path === "/session") {
    if (method === "POST" && body["key"] !== "dev") return refusal(401, "authentication_error", "The admin key is not right.", "Sign in with the key “dev” here.")
    if (method !== "GET") state.signedIn = method === "POST"
    if (method === "DELETE") return { status: 204 }
    return state.signedIn ? { json: session() } : refusal(401, "authentication_error", "Not signed in.", "Sign in.")
  }
  if (path === "/overview") return { json: { ...data.overview((url.searchParams.get("window") ?? "24h") as Window, state.empty), credentials: counts() } }
  if (path === "/live") return { stream: liveStream }
  if (path === "/credentials/bulk") return { stream: bulkStream(body["ids"] as unknown[], "id") }
  if (path === "/credentials/import") return ofImport(body)
  if (path === "/credentials/order") return done()
  if (path === "/credentials") return method === "GET" ? { json: { ...counts(), currentId: 1, credentials: state.credentials } } : { json: { success: true, message: "Added.", credentialId: 99 } }
  if (path.startsWith("/credentials/")) return ofCredential(method, path, body)
  if (path === "/config/load-balancing") return { json: { mode: (state.mode = String(body["mode"] ?? state.mode)) } }
  if (path.startsWith("/logins")) return ofLogins(method, body)
  if (path === "/requests/follow") return { stream: () => undefined }
  if (path === "/requests") return requestsOf(url)
  if (path.startsWith("/requests/")) {
    const found = Array.from({ length: 350 }, (_, index) => data.request(index)).find((each) => path.endsWith(each.id))
    return found ? { json: found } : null
  }
  if (path.startsWith("/keys")) return ofKeys(method, path, body)
  if (path === "/settings") return settingsOf(method, body)
  if (path === "/audit") return { json: { entries: state.empty ? [] : data.audit(), nextCursor: null } }
  return null
}

function write(response: ServerResponse, found: Answer) {
  if (!found.stream) {
    response.writeHead(found.status ?? 200, { "content-type": "application/json" })
    return response.end(found.json === undefined ? undefined : JSON.stringify(found.json))
  }
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" })
  const stop = found.stream((event, value) => {
    response.write(`event: ${event}\ndata: ${JSON.stringify(value)}\n\n`)
    if (event === "done") response.end()
  })
  response.on("close", () => stop?.())
}

function invented(): Connect.NextHandleFunction {
  return (request, response, next) => {
    const url = new URL(request.url ?? "/", "http://localhost")
    if (!url.pathname.startsWith("/api/admin")) return next()
    void bodyOf(request).then((body) =>
      write(response, answer(request.method ?? "GET", url, body) ?? refusal(404, "not_found", "It is not there.", "Reload the list.")),
    )
  }
}

export function devGateway(): Plugin {
  const real = process.env["KIROPROXY_URL"]
  return {
    name: "dev-gateway",
    config: () => (real ? { server: { proxy: { "/api/admin": real } }, preview: { proxy: { "/api/admin": real } } } : {}),
    configureServer: (server) => void (real ? null : server.middlewares.use(invented())),
    configurePreviewServer: (server) => {
      server.middlewares.use((_request, response, next) => {
        response.setHeader("content-security-policy", POLICY)
        next()
      })
      if (!real) server.middlewares.use(invented())
    },
  }
}
