/// The order in which credentials are used, by dragging or by keys: the first is taken first.
import { useMemo, useRef, useState } from "react"
import {
  closestCenter,
  DndContext,
  KeyboardSensor,
  PointerSensor,
  useSensor,
  useSensors,
  type Announcements,
  type DragEndEvent,
  type UniqueIdentifier,
} from "@dnd-kit/core"
import {
  SortableContext,
  sortableKeyboardCoordinates,
  useSortable,
  verticalListSortingStrategy,
} from "@dnd-kit/sortable"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { useVirtualizer } from "@tanstack/react-virtual"
import { ArrowUpToLine, GripVertical } from "lucide-react"
import { useTranslation } from "react-i18next"
import { credentialsChanged, orderCredentials } from "@/api/queries"
import type { Credential } from "@/api/types"
import { cn } from "@/format/class-names"
import { count } from "@/format/numbers"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { useToast } from "@/ui/toast"
import { arrange, moved } from "./selection"
import { labelOf, stateColor } from "./states"

const ROW = 44

function OrderRow({
  item,
  index,
  start,
  onTop,
}: {
  item: Credential
  index: number
  start: number
  onTop: () => void
}) {
  const { t, i18n } = useTranslation()
  const { attributes, isDragging, listeners, setActivatorNodeRef, setNodeRef, transform, transition } =
    useSortable({ id: item.id })
  const shift = transform?.y ?? 0
  return (
    <div
      ref={setNodeRef}
      role="listitem"
      aria-posinset={index + 1}
      className={cn(
        "absolute inset-x-0 flex h-11 items-center gap-2.5 border-b border-line bg-raised pr-2 pl-1",
        isDragging && "z-10 rounded-lg border-b-0 shadow-high",
      )}
      // The place by `top`: what is measured for the drag leaves transforms out.
      style={{
        top: start,
        transform: `translateY(${shift}px)`,
        transition: transition ?? undefined,
      }}
    >
      <button
        type="button"
        ref={setActivatorNodeRef}
        {...attributes}
        {...listeners}
        aria-label={t("order.move", { name: labelOf(item) })}
        className="grid h-9 w-8 shrink-0 cursor-grab touch-none place-content-center rounded-md text-muted hover:bg-hover active:cursor-grabbing"
      >
        <GripVertical aria-hidden className="size-4" />
      </button>
      <span className="num w-8 shrink-0 text-right text-xs text-muted">
        {count(index + 1, i18n.language)}
      </span>
      <span aria-hidden className={cn("size-2 shrink-0 rounded-full", stateColor[item.state])} />
      <span className="min-w-0 flex-1 truncate text-[0.8125rem]">{labelOf(item)}</span>
      <Button
        variant="ghost"
        size="icon"
        disabled={index === 0}
        aria-label={t("order.toTop", { name: labelOf(item) })}
        onClick={onTop}
      >
        <ArrowUpToLine />
      </Button>
    </div>
  )
}

function OrderList({
  order,
  byId,
  onMove,
}: {
  order: number[]
  byId: Map<number, Credential>
  onMove: (from: number, to: number) => void
}) {
  const { t } = useTranslation()
  const scroller = useRef<HTMLDivElement>(null)
  const rows = useVirtualizer({
    count: order.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 10,
    initialRect: { width: 400, height: 480 },
  })
  const sensors = useSensors(
    useSensor(PointerSensor, { activationConstraint: { distance: 4 } }),
    useSensor(KeyboardSensor, { coordinateGetter: sortableKeyboardCoordinates }),
  )
  const name = (id: UniqueIdentifier) => {
    const item = byId.get(Number(id))
    return item ? labelOf(item) : String(id)
  }
  const place = (id: UniqueIdentifier) => order.indexOf(Number(id)) + 1
  const announcements: Announcements = {
    onDragStart: ({ active }) => t("order.lifted", { name: name(active.id), place: place(active.id) }),
    onDragOver: ({ active, over }) =>
      over ? t("order.over", { name: name(active.id), place: place(over.id) }) : undefined,
    onDragEnd: ({ active, over }) =>
      over ? t("order.dropped", { name: name(active.id), place: place(over.id) }) : undefined,
    onDragCancel: ({ active }) => t("order.cancelled", { name: name(active.id) }),
  }
  const end = ({ active, over }: DragEndEvent) => {
    if (over && over.id !== active.id) {
      onMove(order.indexOf(Number(active.id)), order.indexOf(Number(over.id)))
    }
  }
  return (
    <DndContext
      sensors={sensors}
      collisionDetection={closestCenter}
      accessibility={{
        announcements,
        screenReaderInstructions: { draggable: t("order.instructions") },
      }}
      onDragEnd={end}
    >
      <div
        ref={scroller}
        className="h-[min(30rem,60dvh)] overflow-y-auto rounded-xl border border-line"
      >
        <SortableContext items={order} strategy={verticalListSortingStrategy}>
          <div
            role="list"
            aria-label={t("order.title")}
            className="relative"
            style={{ height: rows.getTotalSize() }}
          >
            {rows.getVirtualItems().map((row) => {
              const item = byId.get(order[row.index] ?? -1)
              return (
                item && (
                  <OrderRow
                    key={item.id}
                    item={item}
                    index={row.index}
                    start={row.start}
                    onTop={() => onMove(row.index, 0)}
                  />
                )
              )
            })}
          </div>
        </SortableContext>
      </div>
    </DndContext>
  )
}

function OrderDialog({ items, onClose }: { items: Credential[]; onClose: () => void }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const toast = useToast()
  const byId = useMemo(() => new Map(items.map((item) => [item.id, item])), [items])
  // The order when the dialog opened: live changes must not move rows under the hand.
  const [before] = useState(() =>
    arrange(items, { q: "", state: "all", sort: "priority", down: false }).map((item) => item.id),
  )
  const [order, setOrder] = useState(before)
  const changed = order.some((id, index) => id !== before[index])
  const save = useMutation({
    mutationFn: () => orderCredentials(order.filter((id) => byId.has(id))),
    onSuccess: () => {
      toast("good", t("order.saved"))
      onClose()
      return credentialsChanged(client)
    },
  })
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("order.title")}
        description={t("order.text")}
        onInteractOutside={(event) => changed && event.preventDefault()}
        footer={
          <>
            <DialogClose asChild>
              <Button>{t("common.cancel")}</Button>
            </DialogClose>
            <Button
              variant="primary"
              disabled={!changed}
              busy={save.isPending}
              onClick={() => save.mutate()}
            >
              {t("order.save")}
            </Button>
          </>
        }
      >
        <OrderList
          order={order}
          byId={byId}
          onMove={(from, to) => setOrder((old) => moved(old, from, to))}
        />
        {save.isError && <ErrorNote error={save.error} className="mt-4" />}
      </DialogPanel>
    </Dialog>
  )
}

export default OrderDialog
