import type { ComponentProps } from "react"
import { cva, type VariantProps } from "class-variance-authority"
import { Slot } from "radix-ui"
import { cn } from "@/format/class-names"

const buttonVariants = cva(
  "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-lg font-medium whitespace-nowrap select-none transition-colors disabled:pointer-events-none disabled:opacity-50 aria-disabled:pointer-events-none aria-disabled:opacity-50 [&_svg]:size-4 [&_svg]:shrink-0",
  {
    variants: {
      variant: {
        primary: "bg-accent text-accent-text shadow-low hover:bg-accent-strong",
        secondary:
          "border border-line-strong/70 bg-surface text-text shadow-low hover:bg-hover data-[state=open]:bg-hover",
        ghost: "text-muted hover:bg-hover hover:text-text data-[state=open]:bg-hover",
        danger: "bg-bad-strong text-white shadow-low hover:brightness-110",
        link: "text-accent underline-offset-4 hover:underline",
      },
      size: {
        default: "h-8 px-3 text-[0.8125rem] pointer-coarse:h-10 pointer-coarse:text-sm",
        large: "h-10 px-4 text-sm",
        small: "h-7 px-2 text-xs pointer-coarse:h-9",
        icon: "size-8 pointer-coarse:size-10",
        inline: "h-auto px-0 text-[length:inherit]",
      },
    },
    defaultVariants: { variant: "secondary", size: "default" },
  },
)

function Button({
  className,
  variant,
  size,
  asChild = false,
  busy = false,
  children,
  ...props
}: ComponentProps<"button"> &
  VariantProps<typeof buttonVariants> & { asChild?: boolean; busy?: boolean }) {
  const Root = asChild ? Slot.Root : "button"
  return (
    <Root
      data-slot="button"
      type={asChild ? undefined : "button"}
      className={cn(buttonVariants({ variant, size }), className)}
      aria-disabled={busy || undefined}
      aria-busy={busy || undefined}
      {...props}
    >
      {busy && !asChild ? (
        <>
          <span
            aria-hidden
            className="size-3.5 animate-spin rounded-full border-2 border-current border-r-transparent"
          />
          {children}
        </>
      ) : (
        children
      )}
    </Root>
  )
}

export { Button, buttonVariants }
