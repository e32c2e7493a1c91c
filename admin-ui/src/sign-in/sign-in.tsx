import { useEffect, useState, type FormEvent } from "react"
import { useMutation, useQueryClient } from "@tanstack/react-query"
import { Eye, EyeOff } from "lucide-react"
import { useTranslation } from "react-i18next"
import { sessionQuery, signIn } from "@/api/queries"
import { ErrorNote } from "@/parts/error-note"
import { Mark } from "@/shell/navigation"
import { switchLanguage } from "@/i18n"
import { Button } from "@/ui/button"
import { Field } from "@/ui/field"
import { Input } from "@/ui/input"
import { Card } from "@/ui/surface"
import { Checkbox } from "@/ui/toggle"

function LanguageLink() {
  const { i18n } = useTranslation()
  const other = i18n.language === "en" ? "zh-CN" : "en"
  return (
    <Button variant="ghost" size="small" lang={other} onClick={() => void switchLanguage(other)}>
      {other === "en" ? "English" : "简体中文"}
    </Button>
  )
}

function KeyField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { t } = useTranslation()
  const [shown, setShown] = useState(false)
  return (
    <Field label={t("signIn.key")} hint={t("signIn.keyHint")}>
      {(ids) => (
        <div className="relative">
          <Input
            {...ids}
            type={shown ? "text" : "password"}
            autoComplete="current-password"
            required
            autoFocus
            value={value}
            onChange={(event) => onChange(event.target.value)}
            className="h-10 pr-11 font-mono"
          />
          <Button
            variant="ghost"
            size="icon"
            aria-pressed={shown}
            aria-label={t("signIn.show")}
            onClick={() => setShown(!shown)}
            className="absolute top-1 right-1 pointer-coarse:top-0 pointer-coarse:right-0"
          >
            {shown ? <EyeOff /> : <Eye />}
          </Button>
        </div>
      )}
    </Field>
  )
}

function SignIn() {
  const { t } = useTranslation()
  const client = useQueryClient()
  const [key, setKey] = useState("")
  const [remember, setRemember] = useState(false)
  useEffect(() => {
    document.title = `${t("signIn.title")} · kiroproxy`
  }, [t])
  const attempt = useMutation({
    mutationKey: ["sign-in"],
    mutationFn: () => signIn(key.trim(), remember),
    onSuccess: (session) => client.setQueryData(sessionQuery.queryKey, session),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    attempt.mutate()
  }
  return (
    <main className="grid min-h-dvh place-items-center px-4 py-10">
      <div className="w-full max-w-[22rem]">
        <div className="mb-6 flex items-center justify-between">
          <Mark />
          <LanguageLink />
        </div>
        <Card className="p-6 shadow-high">
          <h1 className="text-lg font-semibold tracking-tight">{t("signIn.title")}</h1>
          <p className="mt-1 mb-5 text-[0.8125rem] text-muted">{t("signIn.text")}</p>
          <form onSubmit={submit} className="grid gap-4">
            <KeyField value={key} onChange={setKey} />
            <label className="flex items-center gap-2.5 text-[0.8125rem]">
              <Checkbox checked={remember} onCheckedChange={(on) => setRemember(on === true)} />
              {t("signIn.remember")}
            </label>
            {attempt.isError && <ErrorNote error={attempt.error} />}
            <Button variant="primary" size="large" type="submit" busy={attempt.isPending}>
              {t("signIn.submit")}
            </Button>
          </form>
        </Card>
      </div>
    </main>
  )
}

export { SignIn }
