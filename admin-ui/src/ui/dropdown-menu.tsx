import { useSyncExternalStore, type ComponentProps } from "react"
import { Check } from "lucide-react"
import { DropdownMenu as Primitive } from "radix-ui"
import { cn } from "@/format/class-names"

/** Not modal: the page stays readable to a screen reader, and scrolls. */
function DropdownMenu(props: ComponentProps<typeof Primitive.Root>) {
  return <Primitive.Root modal={false} {...props} />
}

/** Within the main landmark, where a screen reader looks for what a page holds. */
const LAYERS = "layers"
const never = () => () => undefined

const DropdownMenuTrigger = Primitive.Trigger
const DropdownMenuRadioGroup = Primitive.RadioGroup

function DropdownMenuContent({
  className,
  sideOffset = 6,
  align = "end",
  ...props
}: ComponentProps<typeof Primitive.Content>) {
  // Looked for again after the commit: it stands further down the page than some menus.
  const layers = useSyncExternalStore(never, () => document.getElementById(LAYERS))
  return (
    <Primitive.Portal container={layers}>
      <Primitive.Content
        data-slot="dropdown-menu"
        sideOffset={sideOffset}
        align={align}
        collisionPadding={8}
        className={cn(
          "z-50 max-h-(--radix-dropdown-menu-content-available-height) min-w-44 overflow-y-auto rounded-xl border border-line bg-raised p-1 shadow-high data-[state=open]:animate-appear",
          className,
        )}
        {...props}
      />
    </Primitive.Portal>
  )
}

const item =
  "relative flex h-8 cursor-default items-center gap-2 rounded-lg px-2.5 text-[0.8125rem] outline-none select-none data-[disabled]:opacity-45 data-[highlighted]:bg-hover pointer-coarse:h-10 [&_svg]:size-4 [&_svg]:text-muted"

function DropdownMenuItem({
  className,
  danger,
  ...props
}: ComponentProps<typeof Primitive.Item> & { danger?: boolean }) {
  return (
    <Primitive.Item
      data-slot="dropdown-menu-item"
      className={cn(item, danger && "text-bad-text [&_svg]:text-bad-text", className)}
      {...props}
    />
  )
}

function DropdownMenuRadioItem({
  className,
  children,
  ...props
}: ComponentProps<typeof Primitive.RadioItem>) {
  return (
    <Primitive.RadioItem className={cn(item, "pr-8", className)} {...props}>
      {children}
      <Primitive.ItemIndicator className="absolute right-2">
        <Check />
      </Primitive.ItemIndicator>
    </Primitive.RadioItem>
  )
}

function DropdownMenuLabel({ className, ...props }: ComponentProps<typeof Primitive.Label>) {
  return (
    <Primitive.Label
      className={cn("px-2.5 pt-2 pb-1 text-xs font-medium text-muted", className)}
      {...props}
    />
  )
}

function DropdownMenuSeparator(props: ComponentProps<typeof Primitive.Separator>) {
  return <Primitive.Separator className="mx-2 my-1 h-px bg-line" {...props} />
}

export {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuItem,
  DropdownMenuLabel,
  DropdownMenuRadioGroup,
  DropdownMenuRadioItem,
  DropdownMenuSeparator,
  DropdownMenuTrigger,
  LAYERS,
}
