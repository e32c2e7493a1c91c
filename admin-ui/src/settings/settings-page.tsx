import { useTranslation } from "react-i18next"
import { Link, useParams } from "react-router"
import { cn } from "@/format/class-names"
import { PageHead } from "@/shell/page"
import { AuditLog } from "./audit-log"
import { SettingsForm } from "./settings-form"

const TABS = [
  { to: "/settings", name: "settings" },
  { to: "/settings/audit", name: "audit" },
] as const

function SettingsPage() {
  const { t } = useTranslation()
  const tab = useParams().tab === "audit" ? "audit" : "settings"
  return (
    <>
      <PageHead title={t("nav.settings")} />
      <nav aria-label={t("settings.tabs")} className="mb-5 flex gap-5 border-b border-line">
        {TABS.map(({ to, name }) => (
          <Link
            key={name}
            to={to}
            aria-current={tab === name ? "page" : undefined}
            className={cn(
              "-mb-px border-b-2 border-transparent pb-2.5 text-[0.8125rem] font-medium text-muted hover:text-text",
              tab === name && "border-accent text-text",
            )}
          >
            {t(`settings.tab.${name}`)}
          </Link>
        ))}
      </nav>
      {tab === "audit" ? <AuditLog /> : <SettingsForm />}
    </>
  )
}

export default SettingsPage
