// Counts texts as Anthropic's published tokenizer does: a JSON list of strings in, of numbers out.
// Usage: node count.mjs NODE_MODULES < texts.json

import { readFileSync } from "node:fs"
import { createRequire } from "node:module"

const require = createRequire(`${process.argv[2]}/`)
const tokenizer = require("@anthropic-ai/tokenizer").getTokenizer()
const texts = JSON.parse(readFileSync(0, "utf8"))
const count = (text) => tokenizer.encode(text.normalize("NFKC"), "all").length
console.log(JSON.stringify(texts.map(count)))
