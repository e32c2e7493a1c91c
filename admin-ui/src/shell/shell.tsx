import { useEffect, useRef } from "react"
import { useQuery } from "@tanstack/react-query"
import { useTranslation } from "react-i18next"
import { Outlet, useLocation } from "react-router"
import { useLive } from "@/api/live"
import { sessionQuery } from "@/api/queries"
import { ErrorNote } from "@/parts/error-note"
import { SignIn } from "@/sign-in/sign-in"
import { LAYERS } from "@/ui/dropdown-menu"
import { NavLinks, SideBar, TopBar } from "./navigation"

/** Nothing of the page shows before it is known who looks at it. */
function Shell() {
  const { t } = useTranslation()
  const session = useQuery(sessionQuery)
  if (session.isPending) return <div aria-busy="true" aria-label={t("common.loading")} role="status" />
  if (session.isError) {
    return (
      <main className="mx-auto grid min-h-dvh max-w-md place-content-center p-6">
        <ErrorNote error={session.error} onRetry={() => void session.refetch()} />
      </main>
    )
  }
  if (!session.data) return <SignIn />
  return <SignedIn />
}

function SignedIn() {
  useLive()
  const { t } = useTranslation()
  const main = useRef<HTMLElement>(null)
  const area = useLocation().pathname.split("/")[1] ?? ""
  const shown = useRef(area)
  useEffect(() => {
    // A new page is where a screen reader goes on reading, and starts at its top.
    if (shown.current === area) return
    shown.current = area
    window.scrollTo(0, 0)
    main.current?.focus({ preventScroll: true })
  }, [area])
  return (
    <div className="md:grid md:min-h-dvh md:grid-cols-[14.5rem_minmax(0,1fr)]">
      <a
        href="#main"
        className="sr-only z-50 rounded-lg bg-accent px-3 py-2 text-accent-text focus:not-sr-only focus:fixed focus:top-3 focus:left-3"
      >
        {t("shell.skip")}
      </a>
      <SideBar />
      <TopBar />
      <main
        id="main"
        ref={main}
        tabIndex={-1}
        className="min-w-0 px-4 pt-4 pb-24 outline-none sm:px-6 md:px-8 md:pt-7 md:pb-12"
      >
        <div className="mx-auto max-w-6xl">
          <Outlet />
        </div>
        <div id={LAYERS} />
      </main>
      <nav
        aria-label={t("shell.navigation")}
        className="pad-safe-bottom fixed inset-x-0 bottom-0 z-30 flex border-t border-line bg-surface/95 backdrop-blur md:hidden"
      >
        <NavLinks compact />
      </nav>
    </div>
  )
}

export { Shell }
