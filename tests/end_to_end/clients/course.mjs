// The course for Anthropic's TypeScript SDK: walks every station and prints what it found as JSON.
// The same stations as course.py.
// Usage: GATEWAY_URL=… GATEWAY_KEY=… node course.mjs NODE_MODULES PICTURE.png

import { readFileSync } from "node:fs"
import { createRequire } from "node:module"

const [, , installed, picture] = process.argv
const require = createRequire(`${installed}/`)
const { Anthropic } = require("@anthropic-ai/sdk")
const { betaTool } = require("@anthropic-ai/sdk/helpers/beta/json-schema")
const { VERSION } = require("@anthropic-ai/sdk/version")

const MODEL = "claude-sonnet-4-6"
const WEATHER = {
  name: "get_weather",
  description: "Get the current weather in a given location",
  input_schema: {
    type: "object",
    properties: { location: { type: "string" } },
    required: ["location"],
  },
}
const client = new Anthropic({
  baseURL: process.env.GATEWAY_URL,
  apiKey: process.env.GATEWAY_KEY,
  timeout: 20_000,
})

const user = (content) => ({ role: "user", content })

const ask = (prompt, more = {}) =>
  client.messages.create({ model: MODEL, max_tokens: 4000, messages: [user(prompt)], ...more })

async function stream(messages, more = {}) {
  const pieces = []
  const events = client.messages.stream({ model: MODEL, max_tokens: 4000, messages, ...more })
  events.on("text", (piece) => pieces.push(piece))
  return [pieces, await events.finalMessage()]
}

async function refused(call) {
  try {
    await call()
  } catch (error) {
    const told = error.error.error
    return [error.status ?? 200, told.type, told.message]
  }
  return "it was not refused"
}

const stations = {
  async text() {
    const said = await ask("greet me")
    return [said.content[0].text, said.stop_reason, said.model, said.usage.input_tokens > 0]
  },
  async streamed() {
    const [pieces, said] = await stream([user("greet me")])
    return [pieces.join(""), pieces.length > 1, said.stop_reason, said.usage.output_tokens > 0]
  },
  async thinking() {
    const how = { thinking: { type: "enabled", budget_tokens: 2000 } }
    const turns = [user("think first")]
    const [, first] = await stream(turns, how)
    turns.push({ role: "assistant", content: first.content }, user("greet me"))
    const again = await ask("", { ...how, messages: turns })
    const [block] = first.content
    const kinds = first.content.map((part) => part.type)
    return [kinds, block.thinking, Boolean(block.signature), again.stop_reason]
  },
  async tools() {
    const turns = [user("weather in two cities")]
    const [, first] = await stream(turns, { tools: [WEATHER] })
    const uses = first.content.filter((block) => block.type === "tool_use")
    const results = [...uses].reverse().map((use) => ({
      type: "tool_result",
      tool_use_id: use.id,
      content: `fine in ${JSON.stringify(use.input)}`,
    }))
    turns.push({ role: "assistant", content: first.content }, user(results))
    const [, last] = await stream(turns, { tools: [WEATHER] })
    return [first.stop_reason, uses.map((use) => use.input), last.content[0].text]
  },
  async image() {
    const data = readFileSync(picture).toString("base64")
    const source = { type: "base64", media_type: "image/png", data }
    const said = await ask([{ type: "image", source }, { type: "text", text: "look" }])
    return said.content[0].text
  },
  async count() {
    const messages = [user("greet me")]
    const plain = await client.messages.countTokens({ model: MODEL, messages })
    const more = await client.messages.countTokens({
      model: MODEL,
      messages,
      system: "Be brief.",
      tools: [WEATHER],
    })
    return [plain.input_tokens, more.input_tokens]
  },
  async throttled() {
    return (await ask("too often")).content[0].text
  },
  too_long: () => refused(() => ask("too long")),
  unknown: () => refused(() => ask("greet me", { model: "nonsense-9" })),
  cut: () => refused(() => stream([user("break off")])),
  async stop() {
    const [, said] = await stream([user("count")], { stop_sequences: ["four"] })
    return [said.content[0].text, said.stop_reason, said.stop_sequence]
  },
  async length() {
    return (await ask("go on and on")).stop_reason
  },
  async models() {
    const listed = []
    for await (const model of client.models.list({ limit: 2 })) listed.push(model.id)
    const one = await client.models.retrieve(listed.at(-1))
    return [listed.length, new Set(listed).size, one.id === listed.at(-1)]
  },
  async runner() {
    const tool = betaTool({
      ...{ name: WEATHER.name, description: WEATHER.description },
      inputSchema: WEATHER.input_schema,
      run: ({ location }) => `fine in ${location}`,
    })
    const last = await client.beta.messages.toolRunner({
      ...{ model: MODEL, max_tokens: 500, tools: [tool] },
      messages: [user("weather in two cities")],
    })
    return last.content[0].text
  },
}

const found = { version: VERSION }
for (const [name, station] of Object.entries(stations)) found[name] = await station()
console.log(JSON.stringify(found))
