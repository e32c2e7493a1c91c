/// Groups of fields that the dialogs to add and to edit a credential share.
import type { ComponentProps, ReactNode } from "react"
import { ChevronRight } from "lucide-react"
import { useTranslation } from "react-i18next"
import { Field } from "@/ui/field"
import { Input, NativeSelect, Textarea } from "@/ui/input"
import type { Draft, Method, ProxyKind } from "./draft"

export type FormProps = { draft: Draft; onChange: (change: Partial<Draft>) => void }

type TextName =
  | "email"
  | "region"
  | "authRegion"
  | "apiRegion"
  | "machineId"
  | "profileArn"
  | "proxyUsername"
type WholeName = "priority" | "maxConcurrency" | "rpm"
type SecretName = "clientId" | "clientSecret" | "kiroApiKey" | "proxyPassword"

type LineProps<Name> = FormProps & { name: Name; hint?: string | undefined } & Pick<
    ComponentProps<typeof Input>,
    | "autoComplete"
    | "className"
    | "inputMode"
    | "max"
    | "min"
    | "placeholder"
    | "required"
    | "step"
    | "type"
  >

function Line({
  name,
  draft,
  onChange,
  hint,
  ...input
}: LineProps<TextName | WholeName | SecretName>) {
  const { t } = useTranslation()
  return (
    <Field label={t(`form.${name}`)} hint={hint}>
      {(ids) => (
        <Input
          {...ids}
          {...input}
          value={draft[name]}
          onChange={(event) => onChange({ [name]: event.target.value })}
        />
      )}
    </Field>
  )
}

function Text(props: LineProps<TextName>) {
  return <Line {...props} />
}

function Whole(props: LineProps<WholeName>) {
  return <Line {...props} type="number" inputMode="numeric" min={0} step={1} className="num" />
}

function Secret(props: LineProps<SecretName>) {
  return <Line {...props} type="password" autoComplete="new-password" className="font-mono" />
}

function SecretFields({
  method,
  keep = false,
  ...form
}: FormProps & { method: Method; keep?: boolean }) {
  const { t } = useTranslation()
  const hint = keep ? t("form.keep") : undefined
  if (method === "api_key") {
    return <Secret {...form} name="kiroApiKey" required={!keep} hint={hint ?? t("form.apiKeyHint")} />
  }
  return (
    <div className="grid gap-4">
      <Field label={t("form.refreshToken")} hint={hint ?? t("form.refreshTokenHint")}>
        {(ids) => (
          <Textarea
            {...ids}
            rows={3}
            required={!keep}
            value={form.draft.refreshToken}
            onChange={(event) => form.onChange({ refreshToken: event.target.value })}
            className="resize-none font-mono break-all"
          />
        )}
      </Field>
      {method === "idc" && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Secret {...form} name="clientId" required={!keep} hint={hint} />
          <Secret {...form} name="clientSecret" required={!keep} hint={hint} />
        </div>
      )}
    </div>
  )
}

function GeneralFields(form: FormProps) {
  const { t } = useTranslation()
  return (
    <div className="grid gap-4 sm:grid-cols-2">
      <Text {...form} name="email" hint={t("form.emailHint")} />
      <Whole {...form} name="priority" hint={t("form.priorityHint")} />
      <Whole
        {...form}
        name="maxConcurrency"
        placeholder={t("form.asConfigured")}
        hint={t("form.maxConcurrencyHint")}
      />
      <Whole
        {...form}
        name="rpm"
        max={255}
        placeholder={t("form.asConfigured")}
        hint={t("form.rpmHint")}
      />
    </div>
  )
}

function ProxyFields({ keep = false, ...form }: FormProps & { keep?: boolean }) {
  const { t } = useTranslation()
  return (
    <div className="grid gap-4">
      <Field label={t("form.proxy")}>
        {(ids) => (
          <NativeSelect
            {...ids}
            value={form.draft.proxyKind}
            onChange={(event) => form.onChange({ proxyKind: event.target.value as ProxyKind })}
          >
            <option value="default">{t("form.proxyKinds.default")}</option>
            <option value="direct">{t("form.proxyKinds.direct")}</option>
            <option value="own">{t("form.proxyKinds.own")}</option>
          </NativeSelect>
        )}
      </Field>
      {form.draft.proxyKind === "own" && (
        <>
          <Field label={t("form.proxyUrl")} hint={t("form.proxyUrlHint")}>
            {(ids) => (
              <Input
                {...ids}
                required
                value={form.draft.proxyUrl}
                placeholder="socks5h://10.0.0.2:1080"
                onChange={(event) => form.onChange({ proxyUrl: event.target.value })}
                className="font-mono"
              />
            )}
          </Field>
          <div className="grid gap-4 sm:grid-cols-2">
            <Text {...form} name="proxyUsername" />
            <Secret {...form} name="proxyPassword" hint={keep ? t("form.keep") : undefined} />
          </div>
        </>
      )}
    </div>
  )
}

function RegionFields({ keep = false, ...form }: FormProps & { keep?: boolean }) {
  const { t } = useTranslation()
  return (
    <div className="grid gap-4 sm:grid-cols-2">
      <Text {...form} name="region" placeholder="us-east-1" hint={t("form.regionHint")} />
      <Text {...form} name="authRegion" placeholder={t("form.asRegion")} />
      <Text {...form} name="apiRegion" placeholder={t("form.asRegion")} />
      <Text {...form} name="profileArn" {...(keep ? { hint: t("form.keep") } : {})} />
      <div className="sm:col-span-2">
        <Text {...form} name="machineId" hint={t("form.machineIdHint")} />
      </div>
    </div>
  )
}

/** Rarely needed fields, folded away until they are wanted. */
function Fold({
  title,
  open = false,
  children,
}: {
  title: string
  open?: boolean
  children: ReactNode
}) {
  return (
    <details open={open} className="group border-t border-line pt-3 first:border-t-0 first:pt-0">
      <summary className="-mx-1.5 flex cursor-pointer list-none items-center gap-1.5 rounded-md px-1.5 py-1 text-[0.8125rem] font-semibold hover:bg-hover [&::-webkit-details-marker]:hidden">
        <ChevronRight
          aria-hidden
          className="size-4 text-muted transition-transform group-open:rotate-90"
        />
        {title}
      </summary>
      <div className="pt-3 pb-2">{children}</div>
    </details>
  )
}

export { Fold, GeneralFields, ProxyFields, RegionFields, SecretFields }
