import { useId, type ReactNode } from "react"
import { Label as Primitive } from "radix-ui"
import { cn } from "@/format/class-names"

type FieldProps = {
  label: ReactNode
  hint?: ReactNode
  error?: ReactNode
  className?: string
  children: (ids: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ReactNode
}

/** A label, its control, and a line below that is always there for it to be read aloud. */
function Field({ label, hint, error, className, children }: FieldProps) {
  const id = useId()
  const described = error || hint ? `${id}-hint` : undefined
  return (
    <div data-slot="field" className={cn("grid min-w-0 content-start gap-1.5", className)}>
      <Primitive.Root htmlFor={id} className="text-[0.8125rem] font-medium">
        {label}
      </Primitive.Root>
      {children({
        id,
        ...(described ? { "aria-describedby": described } : {}),
        ...(error ? { "aria-invalid": true } : {}),
      })}
      {described && (
        <p id={described} className={cn("text-xs text-muted", error && "text-bad-text")}>
          {error ?? hint}
        </p>
      )}
    </div>
  )
}

export { Field }
