import { useState, type ComponentProps } from "react"
import { Check, Copy } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Button } from "@/ui/button"
import { useToast } from "@/ui/toast"

/** The clipboard of the browser, or the old way: plain http off localhost has no clipboard. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = document.createElement("textarea")
    area.value = text
    area.setAttribute("readonly", "")
    area.className = "fixed -left-full top-0"
    const place = document.querySelector('[role="dialog"]') ?? document.body
    place.append(area)
    area.select()
    const done = document.execCommand("copy")
    area.remove()
    return done
  }
}

function CopyButton({
  text,
  label,
  iconOnly = false,
  ...props
}: { text: string; label: string; iconOnly?: boolean } & Omit<
  ComponentProps<typeof Button>,
  "children" | "onClick"
>) {
  const { t } = useTranslation()
  const toast = useToast()
  const [copied, setCopied] = useState(false)
  const start = async () => {
    if (!(await copy(text))) return toast("bad", t("common.copyFailed"), t("common.copyByHand"))
    setCopied(true)
    window.setTimeout(() => setCopied(false), 1500)
  }
  return (
    <Button
      {...props}
      aria-label={iconOnly ? label : undefined}
      title={iconOnly ? label : undefined}
      onClick={() => void start()}
    >
      {copied ? <Check className="text-good-text" /> : <Copy />}
      {iconOnly ? <span className="sr-only" role="status">{copied ? t("common.copied") : ""}</span> : copied ? t("common.copied") : label}
    </Button>
  )
}

export { CopyButton }
