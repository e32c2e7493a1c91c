/// Every read and change of the admin API, with its cache key. Pages get data from here only.
import {
  infiniteQueryOptions,
  keepPreviousData,
  queryOptions,
  type QueryClient,
} from "@tanstack/react-query"
import { ApiError, call, download, query } from "./client"
import type {
  Acknowledgement,
  AuditPage,
  Balance,
  ClientKey,
  Credential,
  CredentialFields,
  CredentialList,
  ImportPreview,
  KeyFields,
  KeySecret,
  LiveOverview,
  Login,
  LoginRequest,
  ModelList,
  ModelTest,
  Overview,
  RequestDetail,
  RequestFilters,
  RequestPage,
  Session,
  SettingList,
  SettingValue,
  Verification,
  Window,
} from "./types"

export type LiveState = {
  connection: "connecting" | "open" | "lost"
  overview: LiveOverview | null
}

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: async ({ signal }): Promise<Session | null> => {
    try {
      return await call<Session>("GET", "/session", undefined, signal)
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return null
      throw error
    }
  },
  staleTime: Infinity,
})

/** Written by the live stream only; see live.ts. */
export const liveQuery = queryOptions({
  queryKey: ["live"],
  queryFn: (): LiveState => ({ connection: "connecting", overview: null }),
  initialData: { connection: "connecting", overview: null } as LiveState,
  staleTime: Infinity,
})

export const overviewQuery = (window: Window) =>
  queryOptions({
    queryKey: ["overview", window],
    queryFn: ({ signal }) => call<Overview>("GET", `/overview?window=${window}`, undefined, signal),
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
  })

/** Kept current by the live stream; read by itself only at the start. */
export const credentialsQuery = queryOptions({
  queryKey: ["credentials"],
  queryFn: ({ signal }) => call<CredentialList>("GET", "/credentials", undefined, signal),
  staleTime: Infinity,
})

export const balanceQuery = (id: number) =>
  queryOptions({
    queryKey: ["balance", id],
    queryFn: ({ signal }) => call<Balance>("GET", `/credentials/${id}/balance`, undefined, signal),
    staleTime: 60_000,
    retry: false,
  })

export const modelsQuery = (id: number) =>
  queryOptions({
    queryKey: ["models", id],
    queryFn: ({ signal }) => call<ModelList>("GET", `/credentials/${id}/models`, undefined, signal),
    staleTime: 300_000,
    retry: false,
  })

export const modeQuery = queryOptions({
  queryKey: ["mode"],
  queryFn: ({ signal }) =>
    call<{ mode: "priority" | "balanced" }>("GET", "/config/load-balancing", undefined, signal),
})

export const loginQuery = (id: string) =>
  queryOptions({
    queryKey: ["login", id],
    queryFn: ({ signal }) => call<Login>("GET", `/logins/${id}`, undefined, signal),
    refetchInterval: ({ state }) =>
      state.data && state.data.state !== "pending"
        ? false
        : Math.max(1000, state.data?.intervalMs ?? 2000),
  })

export const requestsQuery = (filters: RequestFilters) =>
  infiniteQueryOptions({
    queryKey: ["requests", filters],
    queryFn: ({ pageParam, signal }) =>
      call<RequestPage>(
        "GET",
        `/requests${query({ ...filters, before: pageParam, limit: 50 })}`,
        undefined,
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  })

export const requestQuery = (id: string) =>
  queryOptions({
    queryKey: ["request", id],
    queryFn: ({ signal }) =>
      call<RequestDetail>("GET", `/requests/${encodeURIComponent(id)}`, undefined, signal),
  })

export const keysQuery = queryOptions({
  queryKey: ["keys"],
  queryFn: ({ signal }) => call<{ keys: ClientKey[] }>("GET", "/keys", undefined, signal),
  refetchInterval: 15_000,
})

export const settingsQuery = queryOptions({
  queryKey: ["settings"],
  queryFn: ({ signal }) => call<SettingList>("GET", "/settings", undefined, signal),
})

export const auditQuery = infiniteQueryOptions({
  queryKey: ["audit"],
  queryFn: ({ pageParam, signal }) =>
    call<AuditPage>("GET", `/audit${query({ before: pageParam, limit: 50 })}`, undefined, signal),
  initialPageParam: null as string | null,
  getNextPageParam: (page) => page.nextCursor,
})

export const signIn = (key: string, remember: boolean) =>
  call<Session>("POST", "/session", { key, remember })
export const signOut = () => call<undefined>("DELETE", "/session")

export const addCredential = (fields: CredentialFields) =>
  call<Acknowledgement & { credentialId: number; email?: string }>("POST", "/credentials", fields)
export const editCredential = (id: number, fields: CredentialFields) =>
  call<Acknowledgement & { credential: Credential }>("PATCH", `/credentials/${id}`, fields)
export const deleteCredential = (id: number) =>
  call<Acknowledgement>("DELETE", `/credentials/${id}?force=true`)
export const setDisabled = (id: number, disabled: boolean) =>
  call<Acknowledgement>("POST", `/credentials/${id}/disabled`, { disabled })
export const setPriority = (id: number, priority: number) =>
  call<Acknowledgement>("POST", `/credentials/${id}/priority`, { priority })
export const resetCredential = (id: number) =>
  call<Acknowledgement>("POST", `/credentials/${id}/reset`)
export const refreshToken = (id: number) =>
  call<Acknowledgement>("POST", `/credentials/${id}/refresh`)
export const fetchBalance = (id: number) =>
  call<Balance>("GET", `/credentials/${id}/balance?refresh=true`)
export const verifyCredential = (id: number) =>
  call<Verification>("POST", `/credentials/${id}/verify`)
export const testModel = (id: number, model: string, prompt: string) =>
  call<ModelTest>("POST", `/credentials/${id}/test`, { model, prompt })
export const orderCredentials = (ids: number[]) =>
  call<Acknowledgement>("POST", "/credentials/order", { ids })
export const setMode = (mode: "priority" | "balanced") =>
  call<{ mode: string }>("PUT", "/config/load-balancing", { mode })
export const previewImport = (data: string, format: string) =>
  call<ImportPreview>("POST", "/credentials/import", { data, format, dryRun: true })
export const exportCredentials = (ids: number[] | undefined, key: string) =>
  download("/credentials/export", ids ? { ids, key } : { key })

export const startLogin = (request: LoginRequest) => call<Login>("POST", "/logins", request)
export const cancelLogin = (id: string) => call<undefined>("DELETE", `/logins/${id}`)

export const createKey = (fields: Partial<KeyFields>) => call<KeySecret>("POST", "/keys", fields)
export const editKey = (id: ClientKey["id"], fields: Partial<KeyFields>) =>
  call<unknown>("PATCH", `/keys/${id}`, fields)
export const deleteKey = (id: ClientKey["id"]) => call<undefined>("DELETE", `/keys/${id}`)
export const rotateKey = (id: ClientKey["id"]) => call<KeySecret>("POST", `/keys/${id}/rotate`)

export const changeSettings = (values: { [key: string]: SettingValue }) =>
  call<SettingList>("PATCH", "/settings", values)

/** After a change to credentials: the live stream brings it too, this does not wait for it. */
export const credentialsChanged = (client: QueryClient) =>
  client.invalidateQueries({ queryKey: credentialsQuery.queryKey })
