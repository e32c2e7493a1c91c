"""The course for Anthropic's Python SDK: walks every station and prints what it found as JSON.

Runs in an environment of its own, under any SDK from 0.121 on; the same stations as course.mjs.
Usage: GATEWAY_URL=… GATEWAY_KEY=… python course.py PICTURE.png
"""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import anthropic

MODEL = "claude-sonnet-4-6"
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}
client = anthropic.Anthropic(
    base_url=os.environ["GATEWAY_URL"], api_key=os.environ["GATEWAY_KEY"], timeout=20
)


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def ask(prompt: Any, **more: Any) -> Any:
    return client.messages.create(
        **{"model": MODEL, "max_tokens": 4000, "messages": [user(prompt)]} | more
    )


def stream(messages: Any, **more: Any) -> Any:
    options = {"model": MODEL, "max_tokens": 4000, "messages": messages} | more
    with client.messages.stream(**options) as events:
        pieces = list(events.text_stream)
        return pieces, events.get_final_message()


def text() -> Any:
    said = ask("greet me")
    return [said.content[0].text, said.stop_reason, said.model, said.usage.input_tokens > 0]


def streamed() -> Any:
    pieces, said = stream([user("greet me")])
    return ["".join(pieces), len(pieces) > 1, said.stop_reason, said.usage.output_tokens > 0]


def thinking() -> Any:
    how = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    turns = [user("think first")]
    _, first = stream(turns, **how)
    turns += [{"role": "assistant", "content": first.content}, user("greet me")]
    again = ask("", **how, messages=turns)
    kinds = [block.type for block in first.content]
    return [kinds, first.content[0].thinking, bool(first.content[0].signature), again.stop_reason]


def tools() -> Any:
    turns = [user("weather in two cities")]
    _, first = stream(turns, tools=[WEATHER])
    uses = [block for block in first.content if block.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": f"fine in {use.input}"}
        for use in reversed(uses)
    ]
    turns += [{"role": "assistant", "content": first.content}, user(results)]
    _, last = stream(turns, tools=[WEATHER])
    return [first.stop_reason, [use.input for use in uses], last.content[0].text]


def image() -> Any:
    data = base64.b64encode(Path(sys.argv[1]).read_bytes()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return (
        ask([{"type": "image", "source": source}, {"type": "text", "text": "look"}]).content[0].text
    )


def count() -> Any:
    plain = client.messages.count_tokens(model=MODEL, messages=[user("greet me")])
    more = client.messages.count_tokens(
        model=MODEL, messages=[user("greet me")], system="Be brief.", tools=[WEATHER]
    )
    return [plain.input_tokens, more.input_tokens]


def throttled() -> Any:
    return ask("too often").content[0].text


def too_long() -> Any:
    return refused(lambda: ask("too long"))


def unknown() -> Any:
    return refused(lambda: ask("greet me", model="nonsense-9"))


def cut() -> Any:
    return refused(lambda: stream([user("break off")]))


def refused(call: Any) -> Any:
    try:
        call()
    except anthropic.APIStatusError as error:
        told: Any = error.body
        return [error.status_code, told["error"]["type"], told["error"]["message"]]
    return "it was not refused"


def stop() -> Any:
    _, said = stream([user("count")], stop_sequences=["four"])
    return [said.content[0].text, said.stop_reason, said.stop_sequence]


def length() -> Any:
    return ask("go on and on").stop_reason


def models() -> Any:
    listed = [model.id for model in client.models.list(limit=2)]
    return [len(listed), len(set(listed)), client.models.retrieve(listed[-1]).id == listed[-1]]


def runner() -> Any:
    @anthropic.beta_tool
    def get_weather(location: str) -> str:
        """Get the current weather in a given location

        Args:
            location: a city
        """
        return f"fine in {location}"

    runs = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[get_weather], messages=[user("weather in two cities")]
    )
    return runs.until_done().content[0].text


STATIONS = (
    text, streamed, thinking, tools, image, count, throttled, too_long, unknown, cut, stop, length,
    models, runner,
)  # fmt: skip
found = {station.__name__: station() for station in STATIONS}
print(json.dumps({"version": anthropic.__version__} | found))
