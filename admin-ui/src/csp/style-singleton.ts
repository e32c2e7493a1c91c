/// Stand-in for the package of the same name: the same three functions over constructed style
/// sheets, which a Content-Security-Policy without 'unsafe-inline' allows. Used by the scroll lock
/// of dialogs and menus.
import { useEffect } from "react"

type Sheet = { add: (css: string) => void; remove: () => void }

export function stylesheetSingleton(): Sheet {
  let users = 0
  let sheet: CSSStyleSheet | null = null
  return {
    add(css) {
      users += 1
      if (users > 1) return
      sheet = new CSSStyleSheet()
      sheet.replaceSync(css)
      document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
    },
    remove() {
      users -= 1
      if (users > 0) return
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet)
      sheet = null
    },
  }
}

export function styleHookSingleton() {
  const sheet = stylesheetSingleton()
  return function useStyle(styles: string, isDynamic?: boolean) {
    // As in the original: only dynamic styles are followed after the first.
    const followed = isDynamic ? styles : ""
    useEffect(() => {
      sheet.add(styles)
      return () => sheet.remove()
      // eslint-disable-next-line react-hooks/exhaustive-deps
    }, [followed])
  }
}

export function styleSingleton() {
  const useStyle = styleHookSingleton()
  return function Style({ styles, dynamic }: { styles: string; dynamic?: boolean }) {
    useStyle(styles, dynamic)
    return null
  }
}
