/// What a browser loads before the first page shows, reported by every build and bounded.
import { gzipSync } from "node:zlib"
import type { Plugin, Rolldown } from "vite"

type Bundle = Rolldown.OutputBundle

/** Names of the chunks that the entry loads without being asked to. */
function staticChunks(bundle: Bundle): Set<string> {
  const wanted = Object.values(bundle)
    .filter((file) => file.type === "chunk" && file.isEntry)
    .map((file) => file.fileName)
  const found = new Set<string>()
  for (let name = wanted.pop(); name; name = wanted.pop()) {
    const file = bundle[name]
    if (found.has(name) || file?.type !== "chunk") continue
    found.add(name)
    wanted.push(...file.imports)
  }
  return found
}

export function initialSize({ limitBytes }: { limitBytes: number }): Plugin {
  return {
    name: "initial-size",
    apply: "build",
    writeBundle(_options, bundle) {
      let initial = 0
      let all = 0
      const first = staticChunks(bundle)
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue
        const bytes = gzipSync(file.code).length
        all += bytes
        if (first.has(file.fileName)) initial += bytes
      }
      const inKb = (bytes: number) => `${(bytes / 1000).toFixed(1)} KB`
      console.log(
        `initial JavaScript: ${inKb(initial)} gzipped (limit ${inKb(limitBytes)}); all: ${inKb(all)}`,
      )
      if (initial > limitBytes) throw new Error("the initial JavaScript is larger than its limit")
    },
  }
}
