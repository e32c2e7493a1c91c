import { StrictMode } from "react"
import { createRoot } from "react-dom/client"
import { App } from "./app"
import { startLanguage } from "./i18n"
import "./index.css"

const root = document.getElementById("root")
if (!root) throw new Error("index.html has no #root")
await startLanguage()
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
