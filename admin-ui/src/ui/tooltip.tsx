import type { ReactNode } from "react"
import { Tooltip as Primitive } from "radix-ui"

const TooltipProvider = Primitive.Provider

function Tooltip({ text, children }: { text: ReactNode; children: ReactNode }) {
  return (
    <Primitive.Root>
      <Primitive.Trigger asChild>{children}</Primitive.Trigger>
      <Primitive.Portal>
        <Primitive.Content
          sideOffset={6}
          collisionPadding={8}
          className="z-50 max-w-72 rounded-lg bg-text px-2.5 py-1.5 text-xs text-canvas shadow-high data-[state=delayed-open]:animate-appear"
        >
          {text}
        </Primitive.Content>
      </Primitive.Portal>
    </Primitive.Root>
  )
}

export { Tooltip, TooltipProvider }
