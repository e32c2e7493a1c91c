import type { ComponentProps } from "react"
import { ChevronDown } from "lucide-react"
import { cn } from "@/format/class-names"

const field =
  "w-full min-w-0 rounded-lg border border-line-strong/80 bg-surface px-3 text-text shadow-low transition-colors placeholder:text-muted/80 hover:border-line-strong focus-visible:border-accent focus-visible:outline-2 focus-visible:outline-offset-0 focus-visible:outline-accent/50 disabled:opacity-60 aria-invalid:border-bad"

function Input({ className, ...props }: ComponentProps<"input">) {
  return (
    <input
      data-slot="input"
      autoComplete="off"
      spellCheck={false}
      className={cn(
        field,
        "h-8 text-[0.8125rem] pointer-coarse:h-10 pointer-coarse:text-base",
        className,
      )}
      {...props}
    />
  )
}

function Textarea({ className, ...props }: ComponentProps<"textarea">) {
  return (
    <textarea
      data-slot="textarea"
      autoComplete="off"
      spellCheck={false}
      className={cn(field, "py-2 text-[0.8125rem] pointer-coarse:text-base", className)}
      {...props}
    />
  )
}

/** The browser's own list: it fits a phone, a screen reader, and the page's policy. */
function NativeSelect({ className, ...props }: ComponentProps<"select">) {
  return (
    <span data-slot="native-select" className={cn("relative inline-flex", className)}>
      <select
        className={cn(
          field,
          "h-8 appearance-none truncate pr-8 text-[0.8125rem] pointer-coarse:h-10 pointer-coarse:text-base",
        )}
        {...props}
      />
      <ChevronDown
        aria-hidden
        className="pointer-events-none absolute top-1/2 right-2.5 size-3.5 -translate-y-1/2 text-muted"
      />
    </span>
  )
}

export { Input, NativeSelect, Textarea }
