import type { ComponentProps, ReactNode } from "react"
import { X } from "lucide-react"
import { Dialog as Primitive } from "radix-ui"
import { useTranslation } from "react-i18next"
import { cn } from "@/format/class-names"
import { Button } from "./button"

/** To the first field of a dialog; where there is none, or a keyboard would jump up, to the panel. */
function focusFirst(event: Event) {
  event.preventDefault()
  const panel = event.currentTarget as HTMLElement | null
  const touch = matchMedia("(pointer: coarse)").matches
  const field = panel?.querySelector<HTMLElement>(
    "[data-slot=panel-body] :is(input:not(.sr-only), textarea, select, [data-autofocus])",
  )
  ;((!touch && field) || panel)?.focus({ preventScroll: true })
}

function focusPanel(event: Event) {
  event.preventDefault()
  ;(event.currentTarget as HTMLElement | null)?.focus({ preventScroll: true })
}

const overlay = "fixed inset-0 z-40 bg-black/35 data-[state=open]:animate-fade dark:bg-black/55"

function CloseButton() {
  const { t } = useTranslation()
  return (
    <Primitive.Close asChild>
      <Button
        variant="ghost"
        size="icon"
        aria-label={t("common.close")}
        className="-my-1.5 -mr-2 ml-auto"
      >
        <X />
      </Button>
    </Primitive.Close>
  )
}

type PanelProps = {
  title: ReactNode
  description?: ReactNode
  footer?: ReactNode
  children?: ReactNode
  className?: string
} & Pick<ComponentProps<typeof Primitive.Content>, "onInteractOutside">

function Head({ title, description }: { title: ReactNode; description?: ReactNode }) {
  return (
    <header className="flex items-start gap-3 px-5 pt-5 pb-4">
      <div className="grid min-w-0 gap-1">
        <Primitive.Title className="text-base leading-6 font-semibold tracking-tight break-words">
          {title}
        </Primitive.Title>
        {description && (
          <Primitive.Description asChild>
            <div className="text-[0.8125rem] text-muted">{description}</div>
          </Primitive.Description>
        )}
      </div>
      <CloseButton />
    </header>
  )
}

const body = "min-h-0 flex-1 overflow-y-auto overscroll-contain px-5 pb-5"
const foot =
  "flex flex-wrap items-center justify-end gap-2 border-t border-line bg-canvas/60 px-5 pt-3 pb-[calc(0.75rem+env(safe-area-inset-bottom))]"

type Slot = { slot: string; onOpenAutoFocus: (event: Event) => void }

function Panel({ slot, title, description, footer, children, className, ...props }: PanelProps & Slot) {
  return (
    <Primitive.Portal>
      <Primitive.Overlay className={overlay} />
      <Primitive.Content
        data-slot={slot}
        {...(description ? {} : { "aria-describedby": undefined })}
        className={cn(
          "fixed z-50 flex w-full flex-col overflow-hidden bg-raised shadow-high outline-none",
          className,
        )}
        {...props}
      >
        <Head title={title} description={description} />
        <div data-slot="panel-body" className={body}>
          {children}
        </div>
        {footer && <footer className={foot}>{footer}</footer>}
      </Primitive.Content>
    </Primitive.Portal>
  )
}

/** In the middle of a desktop, from the lower edge on a phone. */
function DialogPanel({ className, ...props }: PanelProps) {
  return (
    <Panel
      slot="dialog"
      onOpenAutoFocus={focusFirst}
      className={cn(
        "inset-x-0 bottom-0 mx-auto max-h-[92dvh] max-w-lg rounded-t-2xl data-[state=open]:animate-appear sm:top-1/2 sm:bottom-auto sm:max-h-[86dvh] sm:-translate-y-1/2 sm:rounded-xl",
        className,
      )}
      {...props}
    />
  )
}

/** Details beside the list they belong to. */
function SheetPanel({ className, ...props }: PanelProps) {
  return (
    <Panel
      slot="sheet"
      onOpenAutoFocus={focusPanel}
      className={cn(
        "inset-y-0 right-0 max-w-xl data-[state=open]:animate-sheet sm:inset-y-2 sm:right-2 sm:rounded-xl",
        className,
      )}
      {...props}
    />
  )
}

const Dialog = Primitive.Root
const DialogClose = Primitive.Close

export { Dialog, DialogClose, DialogPanel, SheetPanel }
