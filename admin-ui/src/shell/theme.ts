/// Light, dark, or as the system has it. public/theme.js does the same before the first paint.
import { useEffect, useState } from "react"

export type Theme = "system" | "light" | "dark"

const STORED = "kiroproxy.theme"
const DARK = "(prefers-color-scheme: dark)"

function read(): Theme {
  try {
    const stored = localStorage.getItem(STORED)
    return stored === "light" || stored === "dark" ? stored : "system"
  } catch {
    return "system"
  }
}

function apply(theme: Theme) {
  const dark = theme === "dark" || (theme === "system" && matchMedia(DARK).matches)
  document.documentElement.classList.toggle("dark", dark)
}

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(read)
  useEffect(() => {
    apply(theme)
    const system = matchMedia(DARK)
    const follow = () => apply(theme)
    system.addEventListener("change", follow)
    return () => system.removeEventListener("change", follow)
  }, [theme])
  const choose = (next: Theme) => {
    try {
      localStorage.setItem(STORED, next)
    } catch {
      // storage may be off: the choice lasts as long as the page
    }
    setTheme(next)
  }
  return [theme, choose]
}
