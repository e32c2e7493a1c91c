/// What the admin API sends and takes. Source: /api/admin/openapi.json of the gateway.

export type Session = {
  authenticated: boolean
  expiresAt: string | null
  version: string
  workers: number
  startedAt: string
}

export type Spread = { p50: number; p95: number }

export type Bucket = {
  requests: number
  errors: number
  inputTokens: number
  outputTokens: number
  cacheReadTokens: number
  credits: number
  latencyMs: Spread | null
  firstTokenMs: Spread | null
}

export type TimedBucket = Bucket & { at: string }

export type Window = "1h" | "24h" | "7d" | "30d"

export type CredentialCounts = {
  total: number
  available: number
  cooling: number
  disabled: number
  throttled: number
}

export type Overview = {
  window: Window
  version: string
  workers: number
  startedAt: string
  credentials: CredentialCounts
  liveStreams: number
  totals: Bucket
  previous: Bucket
  series: TimedBucket[]
  recentErrors: RequestRow[]
}

export type Balance = {
  id?: number
  subscriptionTitle: string | null
  currentUsage: number
  usageLimit: number
  remaining: number
  usagePercentage: number
  /** Seconds since the epoch, as the reference sends it. */
  nextResetAt: number | null
  fetchedAt?: string | null
  [extra: string]: unknown
}

export type CredentialState =
  | "ready"
  | "cooling"
  | "quota"
  | "disabled"
  | "invalid"
  | "refreshing"

export type Credential = {
  id: number
  priority: number
  disabled: boolean
  failureCount: number
  isCurrent: boolean
  expiresAt: string | null
  authMethod: string | null
  hasProfileArn: boolean
  refreshTokenHash: string | null
  apiKeyHash: string | null
  maskedApiKey: string | null
  email: string | null
  successCount: number
  lastUsedAt: string | null
  hasProxy: boolean
  proxyUrl?: string | null
  refreshFailureCount: number
  disabledReason?: string | null
  endpoint: string
  authRegion?: string | null
  apiRegion?: string | null
  region?: string | null
  machineId?: string | null
  profileArn?: string | null
  proxyUsername?: string | null
  hasProxyPassword?: boolean
  maxConcurrency?: number | null
  rpm?: number | null
  inFlight: number
  requestsLastMinute: number
  state: CredentialState
  cooldownUntil: string | null
  cooldownReason: string | null
  lastError: { at: string; status: number | null; type: string; message: string } | null
  tokenState: "valid" | "expiring" | "expired" | "none"
  disabledAt: string | null
  fault?: string | null
  effectiveAuthRegion?: string | null
  effectiveApiRegion?: string | null
  minRemainingCredits?: number | null
  minRemainingPercent?: number | null
  balance: Balance | null
}

export type CredentialList = {
  total: number
  available: number
  currentId: number | null
  credentials: Credential[]
}

/** Fields of credentials.json that can be written; null removes one. */
export type CredentialFields = {
  [field: string]: string | number | boolean | null
}

export type Acknowledgement = { success: boolean; message: string }

export type Verification = {
  ok: boolean
  message: string
  email: string | null
  subscriptionTitle: string | null
  durationMs: number
}

export type ModelInfo = {
  id: string
  publicId: string
  displayName: string
  contextWindow: number | null
  maxOutputTokens: number | null
  rateMultiplier?: number | null
}

export type ModelList = { source: "live" | "built-in"; models: ModelInfo[] }

export type ModelTest = {
  ok: boolean
  text: string
  stopReason: string | null
  firstTokenMs: number | null
  durationMs: number
  usage: { [name: string]: number } | null
  error: { type: string; message: string } | null
}

export type BulkAction =
  | "enable"
  | "disable"
  | "delete"
  | "refresh"
  | "verify"
  | "reset"
  | "balance"
  | "priority"

export type BulkProgress = {
  done: number
  total: number
  id?: number | null
  index?: number
  credentialId?: number | null
  ok: boolean
  message: string
  code?: string | null
}

export type BulkDone = { total: number; ok: number; failed: number }

export type ImportEntry = {
  index: number
  email: string | null
  authMethod: string | null
  label: string
  refreshTokenHash?: string | null
  apiKeyHash?: string | null
  duplicateOf: number | null
  problem: string | null
  errored: boolean
}

export type ImportPreview = { format: string; entries: ImportEntry[] }

export type LoginMethod = "builder-id" | "idc" | "social"

export type Login = {
  id: string
  method: LoginMethod
  state: "pending" | "done" | "failed" | "expired" | "cancelled"
  verificationUri: string | null
  verificationUriComplete: string | null
  userCode: string | null
  expiresAt: string | null
  intervalMs: number
  credentialId: number | null
  message: string | null
}

export type LoginRequest = {
  method: LoginMethod
  startUrl?: string
  region?: string
  provider?: "google" | "github"
  priority?: number
}

export type Outcome = "ok" | "error" | "cancelled" | "truncated"

export type RequestRow = {
  id: string
  at: string
  path: string
  model: string | null
  kiroModel: string | null
  stream: boolean
  status: number | null
  outcome: Outcome
  stopReason: string | null
  error: { type: string; message: string } | null
  keyId: string | number | null
  keyName: string | null
  credentialId: number | null
  credentialLabel: string | null
  inputTokens: number | null
  outputTokens: number | null
  cacheReadTokens: number | null
  credits: number | null
  firstTokenMs: number | null
  durationMs: number | null
  attemptCount: number
  userAgent: string | null
  clientAddress: string | null
  requestBytes: number | null
}

export type Attempt = {
  credentialId: number | null
  credentialLabel: string | null
  endpoint: string | null
  at: string
  status: number | null
  durationMs: number | null
  error: { type: string; message: string } | null
}

export type RequestDetail = RequestRow & { attempts: Attempt[] }

export type RequestPage = { requests: RequestRow[]; nextCursor: string | null }

export type RequestFilters = {
  status?: string
  model?: string
  credentialId?: string
  keyId?: string
  q?: string
  since?: string
}

export type UsageRow = Bucket & { key: string; label: string }

export type Setting = {
  key: string
  group: string
  type: "bool" | "int" | "float" | "string" | "enum" | "map"
  value: SettingValue
  default: SettingValue
  source: "file" | "env" | "flag" | "default"
  live: boolean
  editable: boolean
  secret?: boolean
  isSet?: boolean
  min?: number | null
  max?: number | null
  choices?: string[] | null
  unit?: string | null
  description: string
}

export type MapValue = { [name: string]: string | object }

export type SettingValue = string | number | boolean | null | MapValue

export type SettingList = { settings: Setting[] }

export type KeyUsage = { requests: number; tokens: number; credits: number }

export type ClientKey = {
  id: string | number
  name: string
  prefix: string
  createdAt: string
  expiresAt: string | null
  enabled: boolean
  models: string[]
  maxConcurrency: number | null
  rpm: number | null
  dailyTokens: number | null
  monthlyTokens: number | null
  dailyCredits: number | null
  monthlyCredits: number | null
  inFlight: number
  usage: { today: KeyUsage; month: KeyUsage }
  lastUsedAt: string | null
}

export type KeyFields = {
  name: string
  enabled: boolean
  expiresAt: string | null
  models: string[]
  maxConcurrency: number | null
  rpm: number | null
  dailyTokens: number | null
  monthlyTokens: number | null
  dailyCredits: number | null
  monthlyCredits: number | null
}

export type KeySecret = { key: ClientKey; secret: string }

export type AuditEntry = {
  id: string | number
  at: string
  actor: string
  address: string | null
  action: string
  target: string | null
  detail: unknown
}

export type AuditPage = { entries: AuditEntry[]; nextCursor: string | null }

export type LiveOverview = {
  credentials: CredentialCounts
  liveStreams: number
  requestsTotal: number
  errorsTotal: number
}

export type LiveSnapshot = { credentials: Credential[]; overview: LiveOverview }

export type LiveChange = {
  credentials?: Credential[]
  removed?: number[]
  overview?: LiveOverview
}
