import { useQuery, useQueryClient } from "@tanstack/react-query"
import {
  Activity,
  Ellipsis,
  KeyRound,
  Languages,
  LogOut,
  Monitor,
  Moon,
  ScrollText,
  SlidersHorizontal,
  Sun,
  UsersRound,
} from "lucide-react"
import { useTranslation } from "react-i18next"
import { NavLink } from "react-router"
import { liveQuery, sessionQuery, signOut } from "@/api/queries"
import { cn } from "@/format/class-names"
import { switchLanguage, type Language } from "@/i18n"
import { useErrorToast } from "@/parts/error-note"
import { Button } from "@/ui/button"
import {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuItem,
  DropdownMenuLabel,
  DropdownMenuRadioGroup,
  DropdownMenuRadioItem,
  DropdownMenuSeparator,
  DropdownMenuTrigger,
} from "@/ui/dropdown-menu"
import { useTheme, type Theme } from "./theme"

const PAGES = [
  { to: "/", name: "overview", Icon: Activity },
  { to: "/credentials", name: "credentials", Icon: UsersRound },
  { to: "/requests", name: "requests", Icon: ScrollText },
  { to: "/keys", name: "keys", Icon: KeyRound },
  { to: "/settings", name: "settings", Icon: SlidersHorizontal },
] as const

function NavLinks({ compact = false }: { compact?: boolean }) {
  const { t } = useTranslation()
  return PAGES.map(({ to, name, Icon }) => (
    <NavLink
      key={to}
      to={to}
      end={to === "/"}
      className={({ isActive }) =>
        cn(
          "group flex font-medium text-muted transition-colors hover:text-text",
          compact
            ? "h-14 min-w-0 flex-1 flex-col items-center justify-center gap-1 text-[0.6875rem]"
            : "h-8 items-center gap-2.5 rounded-lg px-2.5 text-[0.8125rem] hover:bg-hover",
          isActive && (compact ? "text-accent" : "bg-hover text-text"),
        )
      }
    >
      <Icon aria-hidden className={compact ? "size-5" : "size-4"} strokeWidth={1.75} />
      <span className="max-w-full truncate">{t(`nav.${name}`)}</span>
    </NavLink>
  ))
}

function Mark() {
  return (
    <span className="flex items-center gap-2.5 text-[0.9375rem] font-semibold tracking-tight">
      <img src={`${import.meta.env.BASE_URL}icon.svg`} alt="" className="size-6" />
      kiroproxy
    </span>
  )
}

/** Whether the numbers on the page are of now. Always there, so that it takes no room when it turns. */
function Connection() {
  const { t } = useTranslation()
  const { data } = useQuery(liveQuery)
  const dot = { open: "bg-good", connecting: "bg-off", lost: "bg-warn" }[data.connection]
  return (
    <span role="status" className="flex items-center gap-2 text-xs text-muted">
      <span aria-hidden className={cn("size-1.5 rounded-full", dot)} />
      {t(`shell.connection.${data.connection}`)}
    </span>
  )
}

function PersonalMenu() {
  const { t, i18n } = useTranslation()
  const client = useQueryClient()
  const fail = useErrorToast()
  const [theme, setTheme] = useTheme()
  const leave = () =>
    signOut().then(() => {
      client.setQueryData(sessionQuery.queryKey, null)
      // Once the pages that show them are gone, nothing of theirs stays in memory.
      window.setTimeout(() => client.removeQueries({ type: "inactive" }))
    }, fail)
  return (
    <DropdownMenu>
      <DropdownMenuTrigger asChild>
        <Button variant="ghost" size="icon" aria-label={t("shell.menu")}>
          <Ellipsis />
        </Button>
      </DropdownMenuTrigger>
      <DropdownMenuContent>
        <DropdownMenuLabel className="flex items-center gap-1.5">
          <Languages className="size-3.5" aria-hidden /> {t("shell.language")}
        </DropdownMenuLabel>
        <DropdownMenuRadioGroup
          value={i18n.language}
          onValueChange={(next) => void switchLanguage(next as Language)}
        >
          <DropdownMenuRadioItem value="en" lang="en">
            English
          </DropdownMenuRadioItem>
          <DropdownMenuRadioItem value="zh-CN" lang="zh-CN">
            简体中文
          </DropdownMenuRadioItem>
        </DropdownMenuRadioGroup>
        <DropdownMenuSeparator />
        <DropdownMenuLabel>{t("shell.theme")}</DropdownMenuLabel>
        <DropdownMenuRadioGroup value={theme} onValueChange={(next) => setTheme(next as Theme)}>
          <DropdownMenuRadioItem value="system">
            <Monitor /> {t("shell.themes.system")}
          </DropdownMenuRadioItem>
          <DropdownMenuRadioItem value="light">
            <Sun /> {t("shell.themes.light")}
          </DropdownMenuRadioItem>
          <DropdownMenuRadioItem value="dark">
            <Moon /> {t("shell.themes.dark")}
          </DropdownMenuRadioItem>
        </DropdownMenuRadioGroup>
        <DropdownMenuSeparator />
        <DropdownMenuItem onSelect={() => void leave()}>
          <LogOut /> {t("shell.signOut")}
        </DropdownMenuItem>
      </DropdownMenuContent>
    </DropdownMenu>
  )
}

function SideBar() {
  const { t } = useTranslation()
  return (
    <header className="sticky top-0 hidden h-dvh flex-col border-r border-line px-3 py-5 md:flex">
      <div className="px-2.5">
        <Mark />
      </div>
      <nav aria-label={t("shell.navigation")} className="mt-7 grid gap-0.5">
        <NavLinks />
      </nav>
      <div className="mt-auto flex items-center justify-between pl-2.5">
        <Connection />
        <PersonalMenu />
      </div>
    </header>
  )
}

function TopBar() {
  return (
    <header className="sticky top-0 z-30 flex h-13 items-center gap-4 border-b border-line bg-canvas/90 px-4 backdrop-blur sm:px-6 md:hidden">
      <Mark />
      <div className="ml-auto flex items-center gap-2">
        <Connection />
        <PersonalMenu />
      </div>
    </header>
  )
}

export { Mark, NavLinks, SideBar, TopBar }
