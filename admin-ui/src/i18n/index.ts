/// Two languages, the reader's own by default; each is a file of its own, loaded when it is wanted.
import i18next from "i18next"
import { initReactI18next } from "react-i18next"
import type { en } from "./en"

export const LANGUAGES = ["en", "zh-CN"] as const
export type Language = (typeof LANGUAGES)[number]

declare module "i18next" {
  interface CustomTypeOptions {
    defaultNS: "translation"
    resources: { translation: typeof en }
  }
}

const STORED = "kiroproxy.language"

/** The first of the reader's languages that there is a text for. */
export function choose(stored: string | null, preferred: readonly string[]): Language {
  for (const tag of [stored, ...preferred]) {
    if (tag?.toLowerCase().startsWith("zh")) return "zh-CN"
    if (tag?.toLowerCase().startsWith("en")) return "en"
  }
  return "en"
}

async function texts(language: Language) {
  return language === "zh-CN" ? (await import("./zh")).zh : (await import("./en")).en
}

function read(): string | null {
  try {
    return localStorage.getItem(STORED)
  } catch {
    return null
  }
}

export async function startLanguage() {
  const language = choose(read(), navigator.languages)
  document.documentElement.lang = language
  await i18next.use(initReactI18next).init({
    lng: language,
    resources: { [language]: { translation: await texts(language) } },
    interpolation: { escapeValue: false }, // React escapes
    returnNull: false,
  })
}

export async function switchLanguage(language: Language) {
  if (!i18next.hasResourceBundle(language, "translation")) {
    i18next.addResourceBundle(language, "translation", await texts(language))
  }
  document.documentElement.lang = language
  try {
    localStorage.setItem(STORED, language)
  } catch {
    // storage may be off: the choice lasts as long as the page
  }
  await i18next.changeLanguage(language)
}
