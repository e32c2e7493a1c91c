/// Invented data for working on the page without a gateway. Never part of the build.
import type {
  AuditEntry,
  ClientKey,
  Credential,
  CredentialState,
  Overview,
  RequestDetail,
  RequestRow,
  Setting,
  TimedBucket,
  Window,
} from "../src/api/types.ts"

const MINUTE = 60_000
const ago = (ms: number) => new Date(Date.now() - ms).toISOString()

/** The same sequence in every run: pictures of the page can be compared. */
export function sequence(seed: number) {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

const NAMES = ["mara.lindqvist", "devon", "yuki.tanaka", "ops", "lea.fournier", "wei.zhang", "build-bot", "amir"]
const HOSTS = ["example.com", "studio.example", "corp.example", "mail.example"]
const PLANS = ["KIRO FREE", "KIRO PRO", "KIRO PRO+", "KIRO POWER"]
const LIMITS = [50, 1000, 2000, 10_000]
const STATES: CredentialState[] = ["ready", "ready", "ready", "cooling", "ready", "quota", "disabled", "invalid", "ready", "refreshing"]

export function credential(id: number): Credential {
  const random = sequence(id * 7919)
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  const state = STATES[(id - 1) % STATES.length] ?? "ready"
  const plan = Math.floor(random() * PLANS.length)
  const limit = LIMITS[plan] ?? 50
  const used = state === "quota" ? limit : Math.round(limit * random() * 0.95 * 10) / 10
  const method = id % 9 === 0 ? "api_key" : id % 3 === 0 ? "idc" : "social"
  const off = state === "disabled" || state === "invalid"
  return {
    id,
    priority: Math.floor((id - 1) / 2),
    disabled: off,
    failureCount: state === "invalid" ? 3 : state === "cooling" ? 1 : 0,
    isCurrent: id === 1,
    expiresAt: new Date(Date.now() + 38 * MINUTE).toISOString(),
    authMethod: method,
    hasProfileArn: method !== "api_key",
    refreshTokenHash: method === "api_key" ? null : "5f2b9c1de07a4d3f9a1c".padEnd(64, "c4"),
    apiKeyHash: null,
    maskedApiKey: method === "api_key" ? "ksk_...9fQe" : null,
    email: id % 7 === 5 ? null : `${pick(NAMES)}${id > 8 ? id : ""}@${pick(HOSTS)}`,
    successCount: Math.floor(random() * 40_000),
    lastUsedAt: id % 6 === 4 ? null : ago(random() * 90 * MINUTE),
    hasProxy: id % 4 === 0,
    ...(id % 4 === 0 ? { proxyUrl: "socks5h://10.0.0.2:1080" } : {}),
    refreshFailureCount: state === "invalid" ? 2 : 0,
    ...(state === "disabled" ? { disabledReason: "Manual" } : {}),
    ...(state === "invalid" ? { disabledReason: "InvalidRefreshToken" } : {}),
    ...(state === "quota" ? { disabledReason: "QuotaExceeded" } : {}),
    endpoint: "ide",
    region: "us-east-1",
    authRegion: null,
    apiRegion: null,
    machineId: null,
    profileArn: method === "api_key" ? null : "arn:aws:codewhisperer:us-east-1:…:profile/…",
    maxConcurrency: id % 5 === 0 ? 4 : null,
    rpm: null,
    inFlight: state === "ready" && id % 3 === 1 ? 2 : 0,
    requestsLastMinute: state === "ready" ? id % 11 : 0,
    state,
    cooldownUntil: state === "cooling" ? new Date(Date.now() + (id * 13 + 40) * 1000).toISOString() : null,
    cooldownReason: state === "cooling" ? "rate" : null,
    lastError:
      state === "ready" || state === "refreshing" || state === "disabled"
        ? null
        : { at: ago(4 * MINUTE), status: state === "cooling" ? 429 : 403, type: "Throttled", message: "Kiro answered 429: too many requests for this account." },
    tokenState: state === "invalid" ? "expired" : "valid",
    disabledAt: off ? ago(5 * 60 * MINUTE) : null,
    balance:
      id % 8 === 3
        ? null
        : {
            id,
            subscriptionTitle: PLANS[plan] ?? null,
            currentUsage: used,
            usageLimit: limit,
            remaining: limit - used,
            usagePercentage: (used / limit) * 100,
            nextResetAt: Math.floor(Date.now() / 1000) + 9 * 86_400,
            fetchedAt: ago(12 * MINUTE),
          },
  }
}

const MODELS = ["claude-sonnet-4-5", "claude-opus-4-8", "claude-haiku-4-5", "claude-sonnet-4-6"]
const FAULTS = [
  { type: "Throttled", message: "Every credential is at its limit; the first is free again in 34 s.", status: 429 },
  { type: "Overloaded", message: "Kiro has no capacity for claude-opus-4-8 at the moment.", status: 529 },
  { type: "RequestError", message: "messages.3.content.0.image: the image is broken (not a PNG).", status: 400 },
  { type: "ServerFault", message: "Kiro answered 500 to three attempts.", status: 502 },
  { type: "Unauthorized", message: "The key is not known.", status: 401 },
]

export function request(index: number): RequestDetail {
  const random = sequence(index * 104_729 + 5)
  const fault = index % 9 === 4 ? FAULTS[Math.floor(index / 9) % FAULTS.length] : undefined
  const outcome = fault ? "error" : index % 23 === 7 ? "truncated" : index % 17 === 11 ? "cancelled" : "ok"
  const first = 300 + random() * 1800
  const whole = first + random() * 24_000
  const id = 1 + Math.floor(random() * 8)
  const label = credential(id).email ?? `#${id}`
  const at = ago(index * 47_000 + random() * 20_000)
  return {
    id: `req_01${(1e9 + index * 7331).toString(36)}${index.toString(36).padStart(4, "0")}`,
    at,
    path: "/v1/messages",
    model: MODELS[Math.floor(random() * MODELS.length)] ?? null,
    kiroModel: "claude-sonnet-4.5",
    stream: index % 5 !== 2,
    status: fault?.status ?? 200,
    outcome,
    stopReason: outcome === "ok" ? "end_turn" : null,
    error: fault ? { type: fault.type, message: fault.message } : null,
    keyId: index % 2 ? "key_1" : null,
    keyName: index % 2 ? "Claude Code, laptop" : null,
    credentialId: fault?.status === 401 ? null : id,
    credentialLabel: fault?.status === 401 ? null : label,
    inputTokens: fault ? null : Math.floor(800 + random() * 90_000),
    outputTokens: fault ? null : Math.floor(20 + random() * 4000),
    cacheReadTokens: fault ? null : Math.floor(random() * 60_000),
    credits: fault ? null : random() * 1.2,
    firstTokenMs: fault ? null : first,
    durationMs: fault ? 200 + random() * 900 : whole,
    attemptCount: fault || index % 6 === 3 ? 3 : 1,
    userAgent: "claude-cli/2.1.330 (external, cli)",
    clientAddress: "127.0.0.1",
    requestBytes: Math.floor(4000 + random() * 300_000),
    attempts:
      fault?.status === 401
        ? []
        : Array.from({ length: fault || index % 6 === 3 ? 3 : 1 }, (_, attempt, last = fault || index % 6 === 3 ? 2 : 0) => ({
            credentialId: id + attempt,
            credentialLabel: credential(id + attempt).email ?? `#${id + attempt}`,
            endpoint: "q.us-east-1.amazonaws.com",
            at,
            status: attempt === last && !fault ? 200 : 429,
            durationMs: 180 + random() * 800,
            error:
              attempt === last && !fault
                ? null
                : { type: fault?.type ?? "Throttled", message: "Kiro answered 429: too many requests." },
          })),
  }
}

export function rowOf(detail: RequestDetail): RequestRow {
  const { attempts, ...row } = detail
  return { ...row, attemptCount: attempts.length }
}

const STEPS: { [window in Window]: [count: number, ms: number] } = {
  "1h": [60, MINUTE],
  "24h": [48, 30 * MINUTE],
  "7d": [56, 180 * MINUTE],
  "30d": [30, 1440 * MINUTE],
}

export function overview(window: Window, empty: boolean): Overview {
  const [count, step] = STEPS[window]
  const random = sequence(count)
  const series: TimedBucket[] = Array.from({ length: count }, (_, index) => {
    const wave = empty ? 0 : Math.max(0, Math.sin(index / 5) + 1.2)
    const requests = Math.round(wave * 40 + random() * 12 * Math.sign(wave))
    const at = new Date(Math.floor(Date.now() / step) * step - (count - 1 - index) * step).toISOString()
    return {
      at,
      requests,
      errors: Math.round(requests * random() * 0.06),
      inputTokens: Math.round(requests * 21_000),
      outputTokens: Math.round(requests * 1400 * (0.6 + random())),
      cacheReadTokens: Math.round(requests * 9000 * random()),
      credits: requests * 0.31,
      latencyMs: requests ? { p50: 6200 + random() * 1500, p95: 18_000 + random() * 6000 } : null,
      firstTokenMs: requests ? { p50: 900 + random() * 300, p95: 2300 + random() * 900 } : null,
    }
  })
  const sum = (read: (bucket: TimedBucket) => number) => series.reduce((all, each) => all + read(each), 0)
  const totals = {
    requests: sum((b) => b.requests),
    errors: sum((b) => b.errors),
    inputTokens: sum((b) => b.inputTokens),
    outputTokens: sum((b) => b.outputTokens),
    cacheReadTokens: sum((b) => b.cacheReadTokens),
    credits: sum((b) => b.credits),
    latencyMs: empty ? null : { p50: 6840, p95: 21_300 },
    firstTokenMs: empty ? null : { p50: 1040, p95: 2710 },
  }
  return {
    window,
    version: "0.2.0",
    workers: 2,
    startedAt: ago(3 * 1440 * MINUTE),
    credentials: { total: 0, available: 0, cooling: 0, disabled: 0, throttled: 0 },
    liveStreams: empty ? 0 : 7,
    totals,
    previous: { ...totals, requests: Math.round(totals.requests * 0.88), credits: totals.credits * 1.06 },
    series,
    recentErrors: empty
      ? []
      : Array.from({ length: 60 }, (_, index) => rowOf(request(index))).filter((row) => row.outcome === "error").slice(0, 6),
  }
}

const usage = (share: number) => ({
  today: { requests: Math.round(320 * share), tokens: Math.round(4_200_000 * share), credits: 96.4 * share },
  month: { requests: Math.round(7100 * share), tokens: Math.round(81_000_000 * share), credits: 2104 * share },
})

export function keys(): ClientKey[] {
  const base = { createdAt: ago(9e9), expiresAt: null, enabled: true, models: [], maxConcurrency: null, rpm: null, dailyTokens: null, monthlyTokens: null, dailyCredits: null, monthlyCredits: null, inFlight: 0 }
  return [
    { ...base, id: "key_1", name: "Claude Code, laptop", prefix: "kp-a81fQ", usage: usage(1), lastUsedAt: ago(20_000), dailyTokens: 5_000_000, monthlyCredits: 3000, rpm: 60, maxConcurrency: 4, inFlight: 1 },
    { ...base, id: "key_2", name: "CI", prefix: "kp-7Zm0x", usage: usage(0.3), lastUsedAt: ago(5 * 3_600_000), models: ["claude-haiku-4-5"], dailyCredits: 30, expiresAt: new Date(Date.now() + 40 * 864e5).toISOString() },
    { ...base, id: "key_3", name: "Workshop, May", prefix: "kp-Qx2Le", usage: usage(0), lastUsedAt: null, expiresAt: ago(864e5), enabled: true },
    { ...base, id: "key_4", name: "Old phone", prefix: "kp-u0b3N", usage: usage(0.02), lastUsedAt: ago(9 * 864e5), enabled: false },
  ]
}

type Short = [key: string, group: string, type: Setting["type"], value: Setting["value"], description: string, more?: Partial<Setting>]
const SETTINGS: Short[] = [
  ["loadBalancingMode", "routing", "enum", "priority", "priority (lowest number first) or balanced", { choices: ["priority", "balanced"] }],
  ["defaultEndpoint", "routing", "enum", "ide", "endpoint generation", { choices: ["ide", "cli"] }],
  ["maxConcurrency", "limits", "int", 0, "requests in flight a credential; 0: no limit", { min: 0 }],
  ["rpm", "limits", "int", 0, "requests in any 60 s a credential; 0: no limit", { min: 0, max: 255 }],
  ["maxBodyBytes", "limits", "int", 33_554_432, "largest request body", { min: 1024, unit: "B" }],
  ["connectTimeout", "timeouts", "float", 10, "to reach Kiro", { min: 0, unit: "s" }],
  ["firstByteTimeout", "timeouts", "float", 180, "from the sent request to the answer's first content", { min: 0, unit: "s" }],
  ["idleTimeout", "timeouts", "float", 300, "of silence within an answer", { min: 0, unit: "s" }],
  ["logLevel", "logging", "enum", "info", "how much is logged", { choices: ["debug", "info", "warning", "error"], source: "env" }],
  ["extractThinking", "models", "bool", true, "non-stream answers: <thinking> text becomes a thinking block"],
  ["modelAliases", "models", "map", { "claude-haiku-5-5": "claude-haiku-4.5" }, "names Kiro does not offer → Kiro's ids"],
  ["proxyUrl", "network", "string", null, "http, https, socks5 or socks5h proxy for all output"],
  ["allowUrlFetch", "network", "bool", false, "fetch images and documents that clients name by https URL"],
  ["host", "server", "string", "127.0.0.1", "address to listen on", { live: false }],
  ["port", "server", "int", 8080, "port to listen on", { live: false, min: 0, max: 65_535, source: "flag" }],
  ["workers", "server", "int", 2, "worker processes", { live: false, min: 1, editable: false }],
]

export function settings(): Setting[] {
  return SETTINGS.map(([key, group, type, value, description, more]) => ({
    key, group, type, value, default: value, source: "default", live: true, editable: true, description, ...more,
  }))
}

export function audit(): AuditEntry[] {
  const actions = ["session.open", "credential.change", "settings.change", "key.make", "credential.delete"]
  return Array.from({ length: 12 }, (_, index) => ({
    id: index,
    at: ago(index * 37 * MINUTE),
    actor: index % 4 === 3 ? "key" : "session",
    address: "127.0.0.1",
    action: actions[index % actions.length] ?? "",
    target: index % 5 === 1 ? `#${index}` : null,
    detail: index % 5 === 2 ? { rpm: 60 } : null,
  }))
}
