import { createContext, use, useCallback, useMemo, useState, type ReactNode } from "react"
import { CircleCheck, TriangleAlert, X } from "lucide-react"
import { Toast as Primitive } from "radix-ui"
import { useTranslation } from "react-i18next"
import { Button } from "./button"

type Note = { id: number; tone: "good" | "bad"; title: string; detail?: string | undefined }
type Notify = (tone: Note["tone"], title: string, detail?: string) => void

const Context = createContext<Notify>(() => undefined)

/** Say shortly what came of an action that has no place of its own on the page. */
const useToast = () => use(Context)

let lastId = 0

function ToastProvider({ children }: { children: ReactNode }) {
  const { t } = useTranslation()
  const [notes, setNotes] = useState<Note[]>([])
  const notify = useCallback<Notify>((tone, title, detail) => {
    lastId += 1
    const note = { id: lastId, tone, title, detail }
    setNotes((old) => [...old.slice(-2), note])
  }, [])
  const drop = (id: number) => setNotes((old) => old.filter((note) => note.id !== id))
  const shown = useMemo(() => notes, [notes])
  return (
    <Primitive.Provider label={t("common.notification")} swipeDirection="right">
      <Context value={notify}>{children}</Context>
      {shown.map((note) => (
        <Primitive.Root
          key={note.id}
          duration={note.tone === "bad" ? 10_000 : 4000}
          onOpenChange={(open) => !open && drop(note.id)}
          className="flex items-start gap-2.5 rounded-xl border border-line bg-raised py-3 pr-2 pl-3.5 shadow-high data-[state=open]:animate-appear"
        >
          {note.tone === "good" ? (
            <CircleCheck aria-hidden className="mt-0.5 size-4 shrink-0 text-good" />
          ) : (
            <TriangleAlert aria-hidden className="mt-0.5 size-4 shrink-0 text-bad" />
          )}
          <div className="grid min-w-0 flex-1 gap-0.5">
            <Primitive.Title className="text-[0.8125rem] font-medium break-words">
              {note.title}
            </Primitive.Title>
            {note.detail && (
              <Primitive.Description className="text-xs break-words text-muted">
                {note.detail}
              </Primitive.Description>
            )}
          </div>
          <Primitive.Close asChild>
            <Button variant="ghost" size="small" aria-label={t("common.close")} className="-my-1 px-1.5">
              <X />
            </Button>
          </Primitive.Close>
        </Primitive.Root>
      ))}
      <Primitive.Viewport className="fixed right-4 bottom-20 z-[60] flex w-[min(24rem,calc(100vw-2rem))] flex-col gap-2 outline-none md:bottom-4" />
    </Primitive.Provider>
  )
}

export { ToastProvider, useToast }
