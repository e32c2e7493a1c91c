import { useId } from "react"
import { useTranslation } from "react-i18next"
import type { Setting } from "@/api/types"
import { cn } from "@/format/class-names"
import { useKnown } from "@/i18n/use-known"
import { Input, NativeSelect, Textarea } from "@/ui/input"
import { Badge } from "@/ui/surface"
import { Switch } from "@/ui/toggle"
import { faultOf, textOf } from "./setting-values"

type RowProps = {
  setting: Setting
  draft: string | boolean
  onChange: (value: string | boolean) => void
}

function Control({ setting, draft, onChange, ...ids }: RowProps & {
  id: string
  "aria-describedby": string
  "aria-labelledby": string
  "aria-invalid"?: boolean
}) {
  const { t } = useTranslation()
  const disabled = !setting.editable
  if (setting.type === "bool") {
    return (
      <Switch {...ids} checked={draft === true} disabled={disabled} onCheckedChange={onChange} />
    )
  }
  const text = String(draft)
  const shared = { ...ids, disabled, value: text }
  if (setting.type === "enum") {
    return (
      <NativeSelect {...shared} onChange={(event) => onChange(event.target.value)} className="w-full">
        {(setting.choices ?? [text]).map((choice) => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </NativeSelect>
    )
  }
  if (setting.type === "map") {
    return (
      <Textarea
        {...shared}
        rows={Math.min(8, Math.max(2, text.split("\n").length))}
        onChange={(event) => onChange(event.target.value)}
        className="font-mono text-xs"
      />
    )
  }
  const numeric = setting.type === "int" || setting.type === "float"
  return (
    <span className="relative block w-full">
      <Input
        {...shared}
        type={setting.secret ? "password" : numeric ? "number" : "text"}
        {...(setting.secret ? { autoComplete: "new-password" } : {})}
        {...(numeric ? { step: setting.type === "int" ? 1 : "any" } : {})}
        placeholder={setting.isSet ? t("settings.set") : textOf(setting.default) || t("settings.unset")}
        onChange={(event) => onChange(event.target.value)}
        className={cn(numeric && "num", setting.unit && "pr-11")}
      />
      {setting.unit && (
        <span className="pointer-events-none absolute top-1/2 right-3 -translate-y-1/2 text-xs text-muted">
          {setting.unit}
        </span>
      )}
    </span>
  )
}

function useTexts(setting: Setting) {
  const known = useKnown()
  return {
    name: known(`settings.names.${setting.key}`) ?? setting.key,
    about: known(`settings.descriptions.${setting.key}`) ?? setting.description,
  }
}

function SettingRow({ setting, draft, onChange }: RowProps) {
  const { t } = useTranslation()
  const id = useId()
  const { name, about } = useTexts(setting)
  const fault = setting.editable ? faultOf(setting, draft) : null
  const wide = setting.type === "map"
  return (
    <div
      data-setting={setting.key}
      className={cn(
        "grid gap-x-6 gap-y-2 px-4 py-3",
        setting.type === "bool"
          ? "grid-cols-[minmax(0,1fr)_auto] items-center"
          : wide
            ? "sm:grid-cols-[minmax(0,1fr)_minmax(0,1fr)]"
            : "items-center sm:grid-cols-[minmax(0,1fr)_14rem]",
      )}
    >
      <div className="min-w-0">
        <p className="flex flex-wrap items-center gap-x-2 gap-y-1">
          <label id={`${id}-name`} htmlFor={id} className="text-[0.8125rem] font-medium">
            {name}
          </label>
          {setting.source !== "default" && setting.source !== "file" && (
            <Badge>{t(`settings.sources.${setting.source}`)}</Badge>
          )}
          {!setting.live && setting.editable && <Badge>{t("settings.restart")}</Badge>}
        </p>
        <p id={`${id}-about`} className={cn("mt-0.5 text-xs text-muted", fault && "text-bad-text")}>
          {fault
            ? t(`settings.faults.${fault}`, { min: setting.min ?? "", max: setting.max ?? "" })
            : about}
          {!setting.editable && t("settings.fixed")}
        </p>
      </div>
      <Control
        setting={setting}
        draft={draft}
        onChange={onChange}
        id={id}
        aria-describedby={`${id}-about`}
        aria-labelledby={`${id}-name`}
        {...(fault ? { "aria-invalid": true } : {})}
      />
    </div>
  )
}

export { SettingRow }
