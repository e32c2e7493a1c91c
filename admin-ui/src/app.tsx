/// The routes, and what all of them stand in: the query cache, toasts, tooltips.
import { lazy, Suspense, type ComponentType } from "react"
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query"
import { createBrowserRouter, RouterProvider, type RouteObject } from "react-router"
import { ApiError } from "./api/client"
import { sessionQuery } from "./api/queries"
import { BulkProvider } from "./credentials/bulk-run"
import { NotFound, PageCrash } from "./shell/not-found"
import { PageSkeleton } from "./shell/page"
import { Shell } from "./shell/shell"
import { ToastProvider } from "./ui/toast"
import { TooltipProvider } from "./ui/tooltip"

function page(load: () => Promise<{ default: ComponentType }>) {
  const Page = lazy(load)
  return (
    <Suspense fallback={<PageSkeleton />}>
      <Page />
    </Suspense>
  )
}

const credentials = page(() => import("./credentials/credentials-page"))
const requests = page(() => import("./requests/requests-page"))
const settings = page(() => import("./settings/settings-page"))

const pages: RouteObject[] = [
  { index: true, element: page(() => import("./overview/overview-page")) },
  { path: "credentials", element: credentials },
  { path: "credentials/:id", element: credentials },
  { path: "requests", element: requests },
  { path: "requests/:id", element: requests },
  { path: "keys", element: page(() => import("./keys/keys-page")) },
  { path: "settings", element: settings },
  { path: "settings/:tab", element: settings },
  { path: "*", element: <NotFound /> },
]

const router = createBrowserRouter(
  [{ element: <Shell />, children: [{ errorElement: <PageCrash />, children: pages }] }],
  { basename: "/admin" },
)

/** A cookie that has ended leads back to the sign-in, from wherever it is noticed. */
function noticeSignOut(error: unknown) {
  if (error instanceof ApiError && error.status === 401) {
    client.setQueryData(sessionQuery.queryKey, null)
  }
}

const client = new QueryClient({
  queryCache: new QueryCache({ onError: noticeSignOut }),
  mutationCache: new MutationCache({
    onError: (error, _values, _context, mutation) => {
      if (mutation.options.mutationKey?.[0] !== "sign-in") noticeSignOut(error)
    },
  }),
  defaultOptions: {
    queries: {
      // What the gateway refused it will refuse again; what it could not answer may come back.
      retry: (failures, error) =>
        failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      refetchOnWindowFocus: true,
      staleTime: 5000,
      networkMode: "always", // the gateway is often on this very machine
    },
    mutations: { networkMode: "always" },
  },
})

export function App() {
  return (
    <QueryClientProvider client={client}>
      <TooltipProvider delayDuration={300}>
        <ToastProvider>
          <BulkProvider>
            <RouterProvider router={router} />
          </BulkProvider>
        </ToastProvider>
      </TooltipProvider>
    </QueryClientProvider>
  )
}
