"""Shared by the request tests: translate a request and hold the result to Kiro's rules.

The rules are checked twice and independently: by `strict_faults` below, written from the list
of what Kiro refuses, and by the simulator's own validation.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import Plan, convert, parse_body
from kiroproxy.simulator.validation import violations

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
DOCUMENT_NAME = re.compile(r"(?!.*  )[A-Za-z0-9 \-_()\[\]]{1,200}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def no_ids() -> str:
    raise AssertionError("this conversation needs no id from outside")


def nulls(value: Any, path: str = "") -> list[str]:
    """Paths of null struct fields; tool input is the model's own and may hold some."""
    if value is None:
        return [path]
    if isinstance(value, dict):
        return [
            found
            for key, item in value.items()
            if key not in ("input", "default", "enum", "const")
            for found in nulls(item, f"{path}.{key}")
        ]
    if isinstance(value, list):
        return [found for item in value for found in nulls(item, f"{path}[]")]
    return []


def user_faults(message: dict[str, Any], calls: list[str], *, current: bool) -> list[str]:
    context = message.get("userInputMessageContext", {})
    results = [result["toolUseId"] for result in context.get("toolResults", [])]
    faults = []
    if not message["content"] and not results:
        faults.append("a user turn without text or results")
    if results != calls:
        faults.append(f"results {results} after calls {calls}")
    if not current and "tools" in context:
        faults.append("tools in history")
    if message["origin"] != "AI_EDITOR" or not message["modelId"]:
        faults.append("origin or model missing")
    if len(message.get("images", ())) > 10:
        faults.append("more than ten images")
    if any(not result["content"][0]["text"] for result in context.get("toolResults", [])):
        faults.append("an empty result")
    return faults


def assistant_faults(message: dict[str, Any]) -> list[str]:
    calls = message.get("toolUses", [])
    faults = []
    if not message["content"] and not calls:
        faults.append("an assistant turn without text or calls")
    for call in calls:
        if not IDENTIFIER.fullmatch(call["toolUseId"]) or not NAME.fullmatch(call["name"]):
            faults.append(f"call {call['toolUseId']} of {call['name']}")
        if not isinstance(call["input"], dict) or '"":' in orjson.dumps(call["input"]).decode():
            faults.append(f"input {call['input']}")
    if len({call["toolUseId"] for call in calls}) != len(calls):
        faults.append("one id for two calls")
    return faults


def tool_faults(specifications: list[dict[str, Any]], called: set[str]) -> list[str]:
    tools = [entry["toolSpecification"] for entry in specifications]
    names = [tool["name"] for tool in tools]
    faults = [f"{name} is not declared" for name in called - set(names)]
    if len(set(names)) != len(names):
        faults.append("a tool declared twice")
    for tool in tools:
        schema = tool["inputSchema"]["json"]
        if not NAME.fullmatch(tool["name"]):
            faults.append(f"tool name {tool['name']}")
        if not tool["description"].strip() or len(tool["description"]) > 10_240:
            faults.append(f"description of {tool['name']}")
        if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
            faults.append(f"schema of {tool['name']} is no object's")
        if {"anyOf", "oneOf", "allOf"} & schema.keys() or schema.get("required") == []:
            faults.append(f"schema of {tool['name']} has {sorted(schema)}")
    return faults


def strict_faults(body: dict[str, Any]) -> list[str]:
    """Say everything that is wrong with the structure of a Kiro body."""
    state = body["conversationState"]
    entries = [*state.get("history", ()), state["currentMessage"]]
    faults = [f"null at {path}" for path in nulls(body)]
    if state["chatTriggerType"] != "MANUAL" or state.get("history") == []:
        faults.append("trigger or empty history")
    if not UUID.fullmatch(state["agentContinuationId"]):
        faults.append("continuation id")
    called: set[str] = set()
    calls: list[str] = []
    for index, entry in enumerate(entries):
        kind = "assistantResponseMessage" if index % 2 else "userInputMessage"
        if list(entry) != [kind]:
            return [*faults, f"turn {index} is {list(entry)}, not {kind}"]
        message = entry[kind]
        if index % 2:
            faults += assistant_faults(message)
            calls = [call["toolUseId"] for call in message.get("toolUses", ())]
            called |= {call["name"] for call in message.get("toolUses", ())}
        else:
            faults += user_faults(message, calls, current=index == len(entries) - 1)
            calls = []
    documents = [d["name"] for e in entries for d in next(iter(e.values())).get("documents", ())]
    if len(set(documents)) != len(documents) or not all(map(DOCUMENT_NAME.fullmatch, documents)):
        faults.append(f"document names {documents}")
    context = entries[-1]["userInputMessage"].get("userInputMessageContext", {})
    return faults + tool_faults(context.get("tools", []), called)


class Wire:
    """A translated request, with its parts in reach."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.body = orjson.loads(plan.body(None))
        self.state = self.body["conversationState"]
        self.fields = self.body.get("additionalModelRequestFields")
        self.history = [next(iter(entry.values())) for entry in self.state.get("history", ())]
        self.current = self.state["currentMessage"]["userInputMessage"]
        self.context = self.current.get("userInputMessageContext", {})
        self.results = self.context.get("toolResults", [])
        self.tools = [entry["toolSpecification"] for entry in self.context.get("tools", ())]
        self.names = [tool["name"] for tool in self.tools]
        self.text = plan.body(None).decode()


Translate = Callable[..., Wire]


@pytest.fixture(scope="session")
def translate() -> Translate:
    """Convert a body given as keywords and refuse any result that Kiro would refuse."""

    def run(
        *messages: dict[str, Any],
        catalogue: Catalogue = Catalogue.BUILT_IN,
        session_id: str = "",
        **fields: Any,
    ) -> Wire:
        body = {"model": "claude-sonnet-4-6", "max_tokens": 1024, "messages": list(messages)}
        raw = orjson.dumps({**body, **fields})
        plan = convert(parse_body(raw), catalogue=catalogue, ids=no_ids, session_id=session_id)
        wire = Wire(plan)
        assert strict_faults(wire.body) == []
        assert violations(wire.body) == []
        return wire

    return run


@pytest.fixture(scope="session")
def faults_of() -> Callable[[dict[str, Any]], list[str]]:
    return lambda body: strict_faults(body) + violations(body)
