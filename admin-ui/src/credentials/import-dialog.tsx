import { useState, type ChangeEvent, type DragEvent } from "react"
import { useMutation } from "@tanstack/react-query"
import { FileUp } from "lucide-react"
import { useTranslation } from "react-i18next"
import { previewImport } from "@/api/queries"
import type { ImportEntry, ImportPreview } from "@/api/types"
import { cn } from "@/format/class-names"
import { ErrorNote } from "@/parts/error-note"
import { Badge } from "@/ui/surface"
import { Button } from "@/ui/button"
import { Dialog, DialogClose, DialogPanel } from "@/ui/dialog"
import { Field } from "@/ui/field"
import { NativeSelect, Textarea } from "@/ui/input"
import { Checkbox } from "@/ui/toggle"
import { useBulk } from "./bulk-run"
import { useMethodName } from "./identity"

const FORMATS = ["auto", "kiroproxy", "kiro-ide", "kiro-cli", "kam"] as const

function willImport(entry: ImportEntry, skipErrored: boolean): boolean {
  return !entry.problem && entry.duplicateOf === null && !(skipErrored && entry.errored)
}

function EntryRow({ entry, taken }: { entry: ImportEntry; taken: boolean }) {
  const { t } = useTranslation()
  const method = useMethodName()
  return (
    <li className="flex items-center gap-2.5 border-b border-line px-3 py-2 last:border-b-0">
      <span className={cn("min-w-0 flex-1 truncate text-[0.8125rem]", !taken && "text-muted")}>
        {entry.email ?? entry.label}
      </span>
      <Badge>{method(entry.authMethod)}</Badge>
      {entry.problem ? (
        <Badge tone="bad" className="min-w-0 shrink truncate" title={entry.problem}>
          {entry.problem}
        </Badge>
      ) : entry.duplicateOf !== null ? (
        <Badge tone="warn">{t("import.duplicate", { id: entry.duplicateOf })}</Badge>
      ) : entry.errored ? (
        <Badge tone="warn">{t("import.errored")}</Badge>
      ) : (
        <Badge tone="good">{t("import.new")}</Badge>
      )}
    </li>
  )
}

function Source({
  text,
  onText,
  format,
  onFormat,
}: {
  text: string
  onText: (text: string) => void
  format: string
  onFormat: (format: string) => void
}) {
  const { t } = useTranslation()
  const [over, setOver] = useState(false)
  const read = (file: File | undefined) => void file?.text().then(onText)
  const drop = (event: DragEvent) => {
    event.preventDefault()
    setOver(false)
    read(event.dataTransfer.files[0])
  }
  return (
    <div
      className="grid gap-4"
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <Field label={t("import.data")} hint={t("import.dataHint")}>
        {(ids) => (
          <Textarea
            {...ids}
            rows={9}
            value={text}
            onChange={(event) => onText(event.target.value)}
            placeholder={'[{"refreshToken": "…", "authMethod": "social"}]'}
            className={cn(
              "resize-none font-mono text-xs break-all",
              over && "border-accent bg-accent-soft",
            )}
          />
        )}
      </Field>
      <div className="flex flex-wrap items-end gap-3">
        <Button asChild>
          <label className="cursor-pointer focus-within:outline-2 focus-within:outline-offset-2 focus-within:outline-accent">
            <FileUp aria-hidden /> {t("import.file")}
            <input
              type="file"
              accept=".json,.txt,application/json"
              className="sr-only"
              onChange={(event: ChangeEvent<HTMLInputElement>) => read(event.target.files?.[0])}
            />
          </label>
        </Button>
        <NativeSelect
          aria-label={t("import.format")}
          value={format}
          onChange={(event) => onFormat(event.target.value)}
        >
          {FORMATS.map((each) => (
            <option key={each} value={each}>
              {t(`import.formats.${each}`)}
            </option>
          ))}
        </NativeSelect>
      </div>
    </div>
  )
}

function Found({
  preview,
  skipErrored,
  onSkipErrored,
  verify,
  onVerify,
}: {
  preview: ImportPreview
  skipErrored: boolean
  onSkipErrored: (on: boolean) => void
  verify: boolean
  onVerify: (on: boolean) => void
}) {
  const { t } = useTranslation()
  return (
    <div className="grid gap-4">
      <ul
        tabIndex={0}
        aria-label={t("import.found", { count: preview.entries.length })}
        className="max-h-72 overflow-y-auto rounded-xl border border-line"
      >
        {preview.entries.map((entry) => (
          <EntryRow key={entry.index} entry={entry} taken={willImport(entry, skipErrored)} />
        ))}
      </ul>
      <label className="flex items-center gap-2.5 text-[0.8125rem]">
        <Checkbox checked={verify} onCheckedChange={(on) => onVerify(on === true)} />
        {t("import.verify")}
      </label>
      {preview.entries.some((entry) => entry.errored) && (
        <label className="flex items-center gap-2.5 text-[0.8125rem]">
          <Checkbox checked={skipErrored} onCheckedChange={(on) => onSkipErrored(on === true)} />
          {t("import.skipErrored")}
        </label>
      )}
    </div>
  )
}

function ImportDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation()
  const { start } = useBulk()
  const [text, setText] = useState("")
  const [format, setFormat] = useState("auto")
  const [skipErrored, setSkipErrored] = useState(true)
  const [verify, setVerify] = useState(true)
  const look = useMutation({ mutationFn: () => previewImport(text, format) })
  const preview = look.data
  const taken = preview?.entries.filter((entry) => willImport(entry, skipErrored)).length ?? 0
  const begin = () => {
    start("import", "/credentials/import", { data: text, format, verify, skipErrored }, taken)
    onClose()
  }
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()}>
      <DialogPanel
        title={t("import.title")}
        description={
          preview
            ? t("import.found", { count: preview.entries.length })
            : t("import.text")
        }
        onInteractOutside={(event) => event.preventDefault()}
        footer={
          preview ? (
            <>
              <Button onClick={() => look.reset()}>{t("common.back")}</Button>
              <Button variant="primary" disabled={!taken} onClick={begin}>
                {t("import.start", { count: taken })}
              </Button>
            </>
          ) : (
            <>
              <DialogClose asChild>
                <Button>{t("common.cancel")}</Button>
              </DialogClose>
              <Button
                variant="primary"
                disabled={!text.trim()}
                busy={look.isPending}
                onClick={() => look.mutate()}
              >
                {t("import.preview")}
              </Button>
            </>
          )
        }
      >
        {preview ? (
          <Found
            preview={preview}
            skipErrored={skipErrored}
            onSkipErrored={setSkipErrored}
            verify={verify}
            onVerify={setVerify}
          />
        ) : (
          <Source text={text} onText={setText} format={format} onFormat={setFormat} />
        )}
        {look.isError && <ErrorNote error={look.error} className="mt-4" />}
      </DialogPanel>
    </Dialog>
  )
}

export default ImportDialog
