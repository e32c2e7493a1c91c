import { useEffect, type ReactNode } from "react"
import { Card, Skeleton } from "@/ui/surface"

/** The head of a page; the window's title follows it. */
function PageHead({
  title,
  aside,
  children,
}: {
  title: string
  aside?: ReactNode
  children?: ReactNode
}) {
  useEffect(() => {
    document.title = `${title} · kiroproxy`
  }, [title])
  return (
    <header className="mb-5 flex min-h-9 flex-wrap items-center gap-x-3 gap-y-2.5 md:mb-6">
      <h1 className="text-xl font-semibold tracking-tight">{title}</h1>
      {aside && <span className="num text-muted">{aside}</span>}
      {children && <div className="ml-auto flex flex-wrap items-center gap-2">{children}</div>}
    </header>
  )
}

function PageSkeleton() {
  return (
    <div aria-busy="true">
      <Skeleton className="mb-6 h-9 w-40" />
      <Skeleton className="h-24 rounded-xl" />
      <Skeleton className="mt-4 h-72 rounded-xl" />
    </div>
  )
}

/** What an empty page teaches: what belongs here, and the first step to it. */
function EmptyState({
  icon,
  title,
  text,
  children,
}: {
  icon: ReactNode
  title: string
  text: ReactNode
  children?: ReactNode
}) {
  return (
    <Card className="grid justify-items-center gap-4 border-dashed px-6 py-14 text-center shadow-none">
      <span className="grid size-11 place-content-center rounded-xl bg-sunken text-muted [&_svg]:size-5">
        {icon}
      </span>
      <div className="grid max-w-md gap-1.5">
        <h2 className="text-[0.9375rem] font-semibold tracking-tight">{title}</h2>
        <div className="text-[0.8125rem] text-pretty text-muted">{text}</div>
      </div>
      {children && <div className="flex flex-wrap justify-center gap-2">{children}</div>}
    </Card>
  )
}

export { EmptyState, PageHead, PageSkeleton }
