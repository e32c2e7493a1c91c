import { Compass, TriangleAlert } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Link } from "react-router"
import { Button } from "@/ui/button"
import { EmptyState, PageHead } from "./page"

function NotFound() {
  const { t } = useTranslation()
  return (
    <>
      <PageHead title={t("notFound.title")} />
      <EmptyState icon={<Compass />} title={t("notFound.heading")} text={t("notFound.text")}>
        <Button variant="primary" asChild>
          <Link to="/">{t("notFound.back")}</Link>
        </Button>
      </EmptyState>
    </>
  )
}

/** Usually a new version was installed while the page was open, and its old parts are gone. */
function PageCrash() {
  const { t } = useTranslation()
  return (
    <>
      <PageHead title={t("crash.title")} />
      <EmptyState icon={<TriangleAlert />} title={t("crash.heading")} text={t("crash.text")}>
        <Button variant="primary" onClick={() => window.location.reload()}>
          {t("crash.reload")}
        </Button>
      </EmptyState>
    </>
  )
}

export { NotFound, PageCrash }
