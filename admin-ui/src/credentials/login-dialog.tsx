import { useState, type FormEvent } from "react"
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query"
import { CircleCheck, ExternalLink, LoaderCircle } from "lucide-react"
import { useTranslation } from "react-i18next"
import { useNavigate } from "react-router"
import { cancelLogin, credentialsChanged, loginQuery, startLogin } from "@/api/queries"
import type { Login, LoginMethod, LoginRequest } from "@/api/types"
import { cn } from "@/format/class-names"
import { CopyButton } from "@/parts/copy-button"
import { ErrorNote } from "@/parts/error-note"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { Field } from "@/ui/field"
import { Input, NativeSelect } from "@/ui/input"
import { Countdown } from "./state-note"

const METHODS: LoginMethod[] = ["builder-id", "idc", "social"]

function MethodChoice({
  value,
  onChange,
}: {
  value: LoginMethod
  onChange: (method: LoginMethod) => void
}) {
  const { t } = useTranslation()
  return (
    <fieldset className="grid gap-2">
      <legend className="sr-only">{t("login.method")}</legend>
      {METHODS.map((method) => (
        <label
          key={method}
          className={cn(
            "flex cursor-pointer items-start gap-3 rounded-xl border border-line px-3.5 py-3 transition-colors hover:bg-hover has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent",
            value === method && "border-accent bg-accent-soft/60 hover:bg-accent-soft/60",
          )}
        >
          <input
            type="radio"
            name="login-method"
            checked={value === method}
            onChange={() => onChange(method)}
            className="mt-1 accent-(--accent) outline-none"
          />
          <span className="grid gap-0.5">
            <span className="text-[0.8125rem] font-medium">{t(`login.methods.${method}.name`)}</span>
            <span className="text-xs text-muted">{t(`login.methods.${method}.text`)}</span>
          </span>
        </label>
      ))}
    </fieldset>
  )
}

function StartForm({
  error,
  onStart,
}: {
  error: unknown
  onStart: (request: LoginRequest) => void
}) {
  const { t } = useTranslation()
  const [method, setMethod] = useState<LoginMethod>("builder-id")
  const [startUrl, setStartUrl] = useState("")
  const [region, setRegion] = useState("us-east-1")
  const [provider, setProvider] = useState<"google" | "github">("google")
  const submit = (event: FormEvent) => {
    event.preventDefault()
    onStart({
      method,
      ...(method === "idc" ? { startUrl: startUrl.trim(), region: region.trim() } : {}),
      ...(method === "social" ? { provider } : {}),
    })
  }
  return (
    <form id="start-login" onSubmit={submit} className="grid gap-4">
      <MethodChoice value={method} onChange={setMethod} />
      {method === "idc" && (
        <div className="grid gap-4 sm:grid-cols-[minmax(0,1fr)_9rem]">
          <Field label={t("login.startUrl")} hint={t("login.startUrlHint")}>
            {(ids) => (
              <Input
                {...ids}
                type="url"
                required
                value={startUrl}
                placeholder="https://d-1234567890.awsapps.com/start"
                onChange={(event) => setStartUrl(event.target.value)}
              />
            )}
          </Field>
          <Field label={t("form.region")}>
            {(ids) => (
              <Input
                {...ids}
                required
                value={region}
                onChange={(event) => setRegion(event.target.value)}
              />
            )}
          </Field>
        </div>
      )}
      {method === "social" && (
        <Field label={t("login.provider")}>
          {(ids) => (
            <NativeSelect
              {...ids}
              value={provider}
              onChange={(event) => setProvider(event.target.value as "google" | "github")}
            >
              <option value="google">Google</option>
              <option value="github">GitHub</option>
            </NativeSelect>
          )}
        </Field>
      )}
      {error ? <ErrorNote error={error} /> : null}
    </form>
  )
}

/** The code and the place to type it; the gateway asks on until it is done there. */
function Pending({ login }: { login: Login }) {
  const { t } = useTranslation()
  const address = login.verificationUriComplete ?? login.verificationUri
  return (
    <div className="grid justify-items-center gap-5 py-2 text-center">
      {login.userCode && (
        <div className="grid justify-items-center gap-2">
          <p className="text-[0.8125rem] text-muted">{t("login.code")}</p>
          <p className="num font-mono text-3xl font-semibold tracking-[0.12em] select-all">
            {login.userCode}
          </p>
          <CopyButton variant="ghost" size="small" text={login.userCode} label={t("login.copyCode")} />
        </div>
      )}
      {address && (
        <div className="flex flex-wrap justify-center gap-2">
          <Button variant="primary" size="large" asChild>
            <a href={address} target="_blank" rel="noreferrer noopener">
              {t("login.open")} <ExternalLink aria-hidden />
            </a>
          </Button>
          <CopyButton size="large" text={address} label={t("login.copyLink")} />
        </div>
      )}
      <p role="status" className="flex items-center gap-2 text-xs text-muted">
        <LoaderCircle aria-hidden className="size-3.5 animate-spin" />
        {t("login.waiting")}
        {login.expiresAt && <Countdown until={Date.parse(login.expiresAt)} />}
      </p>
    </div>
  )
}

function Ended({ login, onAgain, onClose }: {
  login: Login
  onAgain: () => void
  onClose: () => void
}) {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const done = login.state === "done"
  return (
    <div role="status" className="grid justify-items-center gap-4 py-4 text-center">
      {done && <CircleCheck aria-hidden className="size-9 text-good" />}
      <div className="grid gap-1">
        <p className="font-medium">{t(`login.states.${login.state}`)}</p>
        {!done && login.message && (
          <p className="max-w-sm text-[0.8125rem] text-muted">{login.message}</p>
        )}
      </div>
      <div className="flex gap-2">
        {done && login.credentialId !== null ? (
          <Button onClick={() => navigate(`/credentials/${login.credentialId}`)}>
            {t("login.show")}
          </Button>
        ) : (
          !done && <Button onClick={onAgain}>{t("login.again")}</Button>
        )}
        <Button variant="primary" onClick={onClose}>
          {t("common.done")}
        </Button>
      </div>
    </div>
  )
}

function Attempt({ first, onAgain, onClose }: {
  first: Login
  onAgain: () => void
  onClose: () => void
}) {
  const client = useQueryClient()
  const poll = useQuery({ ...loginQuery(first.id), initialData: first })
  const login = poll.data
  if (login.state === "done") void credentialsChanged(client)
  if (login.state !== "pending") return <Ended login={login} onAgain={onAgain} onClose={onClose} />
  return (
    <>
      <Pending login={login} />
      {poll.isError && <ErrorNote error={poll.error} className="mt-4" />}
    </>
  )
}

function LoginDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation()
  const client = useQueryClient()
  const [login, setLogin] = useState<Login | null>(null)
  const begin = useMutation({ mutationFn: startLogin, onSuccess: setLogin })
  const close = () => {
    // Nobody would see its end: the gateway need not wait for it either.
    const state = login && client.getQueryData(loginQuery(login.id).queryKey)?.state
    if (login && (state ?? "pending") === "pending") void cancelLogin(login.id).catch(() => undefined)
    onClose()
  }
  return (
    <Dialog open onOpenChange={(open) => !open && close()}>
      <DialogPanel
        title={t("login.title")}
        description={t(login ? "login.pendingText" : "login.text")}
        onInteractOutside={(event) => event.preventDefault()}
        {...(login
          ? {}
          : {
              footer: (
                <>
                  <DialogClose asChild>
                    <Button>{t("common.cancel")}</Button>
                  </DialogClose>
                  <Button
                    variant="primary"
                    type="submit"
                    form="start-login"
                    busy={begin.isPending}
                  >
                    {t("login.start")}
                  </Button>
                </>
              ),
            })}
      >
        {login ? (
          <Attempt key={login.id} first={login} onAgain={() => setLogin(null)} onClose={close} />
        ) : (
          <StartForm error={begin.error} onStart={begin.mutate} />
        )}
      </DialogPanel>
    </Dialog>
  )
}

export default LoginDialog
