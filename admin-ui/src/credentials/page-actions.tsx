import { lazy, Suspense } from "react"
import { ArrowUpDown, Download, Ellipsis, FileUp, LogIn, Plus } from "lucide-react"
import { useTranslation } from "react-i18next"
import type { Credential } from "@/api/types"
import { Button } from "@/ui/button"
import {
  DropdownMenu,
  DropdownMenuContent,
  DropdownMenuItem,
  DropdownMenuTrigger,
} from "@/ui/dropdown-menu"
import { useDialog } from "./use-view"

const AddDialog = lazy(() => import("./add-dialog"))
const ExportDialog = lazy(() => import("./export-dialog"))
const ImportDialog = lazy(() => import("./import-dialog"))
const LoginDialog = lazy(() => import("./login-dialog"))
const OrderDialog = lazy(() => import("./order-dialog"))

/** The ways in: sign in to Kiro, paste a file, type one. */
function HeadActions({ empty, spread = false }: { empty: boolean; spread?: boolean }) {
  const { t } = useTranslation()
  const { setDialog } = useDialog()
  if (empty) return null
  return (
    <>
      <Button variant="primary" onClick={() => setDialog("login")}>
        <LogIn /> {t("credentials.logIn")}
      </Button>
      <Button onClick={() => setDialog("add")}>
        <Plus /> {t("credentials.add")}
      </Button>
      {spread ? (
        <Button onClick={() => setDialog("import")}>
          <FileUp /> {t("credentials.import")}
        </Button>
      ) : (
        <DropdownMenu>
          <DropdownMenuTrigger asChild>
            <Button size="icon" aria-label={t("credentials.more")}>
              <Ellipsis />
            </Button>
          </DropdownMenuTrigger>
          <DropdownMenuContent>
            <DropdownMenuItem onSelect={() => setDialog("import")}>
              <FileUp /> {t("credentials.import")}
            </DropdownMenuItem>
            <DropdownMenuItem onSelect={() => setDialog("export")}>
              <Download /> {t("credentials.export")}
            </DropdownMenuItem>
            <DropdownMenuItem onSelect={() => setDialog("order")}>
              <ArrowUpDown /> {t("credentials.order")}
            </DropdownMenuItem>
          </DropdownMenuContent>
        </DropdownMenu>
      )}
    </>
  )
}

function Dialogs({ items, chosen }: { items: Credential[]; chosen: ReadonlySet<number> }) {
  const { dialog, setDialog } = useDialog()
  const close = () => setDialog(null)
  return (
    <Suspense fallback={null}>
      {dialog === "add" && <AddDialog onClose={close} />}
      {dialog === "import" && <ImportDialog onClose={close} />}
      {dialog === "login" && <LoginDialog onClose={close} />}
      {dialog === "order" && items.length > 0 && (
        <OrderDialog items={items} onClose={close} />
      )}
      {dialog === "export" && <ExportDialog total={items.length} chosen={chosen} onClose={close} />}
    </Suspense>
  )
}

export { Dialogs, HeadActions }
