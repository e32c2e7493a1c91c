/// What a failed request means for the operator: a short name, and what to do.
import { useCallback } from "react"
import { useTranslation } from "react-i18next"
import { useKnown } from "@/i18n/use-known"
import type { RequestRow } from "@/api/types"

export function useFailureText() {
  const { t } = useTranslation()
  const known = useKnown()
  return useCallback(
    (row: Pick<RequestRow, "error" | "outcome" | "status">) => {
      const type = row.error?.type ?? row.outcome
      return {
        title: known(`failures.${type}.title`) ?? type,
        remedy: known(`failures.${type}.remedy`) ?? t("failures.error.remedy"),
      }
    },
    [t, known],
  )
}
