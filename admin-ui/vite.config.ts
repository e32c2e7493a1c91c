/// The build of the admin page: one folder of static files that the gateway serves under /admin.
import { fileURLToPath } from "node:url"
import tailwindcss from "@tailwindcss/vite"
import react from "@vitejs/plugin-react"
import { defineConfig } from "vitest/config"
import { initialSize } from "./dev/initial-size.ts"
import { devGateway } from "./dev/gateway.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  base: "/admin/",
  plugins: [react(), tailwindcss(), initialSize({ limitBytes: 250_000 }), devGateway()],
  resolve: {
    alias: {
      "@": here("./src"),
      // The original writes <style> elements, which the page's Content-Security-Policy refuses.
      "react-style-singleton": here("./src/csp/style-singleton.ts"),
    },
  },
  build: {
    outDir: here("../kiroproxy/server/static"),
    emptyOutDir: true,
    assetsInlineLimit: 0, // data: URLs are not in the policy
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    reportCompressedSize: false,
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
})
