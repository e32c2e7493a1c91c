import { useCallback } from "react"
import { useTranslation } from "react-i18next"

/** A text by a name that came from the gateway, or null where there is none for it. */
export function useKnown() {
  const { t, i18n } = useTranslation()
  return useCallback(
    (key: string, values: { [name: string]: string | number } = {}): string | null => {
      if (!(i18n.exists as (key: string) => boolean)(key)) return null
      const text: unknown = t(key as "common.close", values)
      return typeof text === "string" ? text : null
    },
    [t, i18n],
  )
}
