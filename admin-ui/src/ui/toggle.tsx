import type { ComponentProps } from "react"
import { Check, Minus } from "lucide-react"
import { Checkbox as Box, Switch as Slide, ToggleGroup } from "radix-ui"
import { cn } from "@/format/class-names"

function Checkbox({ className, ...props }: ComponentProps<typeof Box.Root>) {
  return (
    <Box.Root
      data-slot="checkbox"
      className={cn(
        "relative inline-flex size-4 shrink-0 items-center justify-center rounded-[5px] border border-line-strong bg-surface text-accent-text transition-colors after:absolute after:-inset-2 hover:border-muted disabled:opacity-50 data-[state=checked]:border-accent data-[state=checked]:bg-accent data-[state=indeterminate]:border-accent data-[state=indeterminate]:bg-accent",
        className,
      )}
      {...props}
    >
      <Box.Indicator>
        {props.checked === "indeterminate" ? (
          <Minus className="size-3" strokeWidth={3} />
        ) : (
          <Check className="size-3" strokeWidth={3} />
        )}
      </Box.Indicator>
    </Box.Root>
  )
}

function Switch({ className, ...props }: ComponentProps<typeof Slide.Root>) {
  return (
    <Slide.Root
      data-slot="switch"
      className={cn(
        "relative inline-flex h-[18px] w-8 shrink-0 items-center rounded-full bg-line-strong p-0.5 transition-colors after:absolute after:-inset-2 disabled:opacity-50 data-[state=checked]:bg-accent",
        className,
      )}
      {...props}
    >
      <Slide.Thumb className="size-3.5 rounded-full bg-white shadow-low transition-transform data-[state=checked]:translate-x-3.5 dark:data-[state=checked]:bg-canvas" />
    </Slide.Root>
  )
}

/** One of a few, all in sight. */
function Segments<Value extends string>({
  value,
  onChange,
  options,
  label,
  className,
}: {
  value: Value
  onChange: (value: Value) => void
  options: { value: Value; label: React.ReactNode; title?: string }[]
  label: string
  className?: string
}) {
  return (
    <ToggleGroup.Root
      type="single"
      value={value}
      onValueChange={(next) => next && onChange(next as Value)}
      aria-label={label}
      className={cn(
        "inline-flex items-center gap-0.5 rounded-lg bg-sunken p-0.5 ring-1 ring-line ring-inset",
        className,
      )}
    >
      {options.map((option) => (
        <ToggleGroup.Item
          key={option.value}
          value={option.value}
          aria-label={option.title}
          title={option.title}
          className="inline-flex h-7 flex-1 items-center justify-center gap-1.5 rounded-md px-2.5 text-xs font-medium whitespace-nowrap text-muted transition-colors hover:text-text data-[state=on]:bg-raised data-[state=on]:text-text data-[state=on]:shadow-low data-[state=on]:ring-1 data-[state=on]:ring-line pointer-coarse:h-9 [&_svg]:size-4"
        >
          {option.label}
        </ToggleGroup.Item>
      ))}
    </ToggleGroup.Root>
  )
}

export { Checkbox, Segments, Switch }
