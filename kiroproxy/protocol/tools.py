"""The tools of one request: which are offered, under which names, with which words.

Rules of this file: a client's name and its wire name map one to one within a request, and the
wire name depends on the client's name alone, so that a conversation keeps its names from turn
to turn. Every tool that the history mentions is declared, because Kiro refuses the request
otherwise; every other tool is declared only if the client offers it now.

Source: Kiro's ToolSpecification (name 1-64 of `[a-zA-Z0-9_-]`, first a letter; description
1-10,240); Anthropic's tool definitions, deferral and tool_choice.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, TypeAlias

from kiroproxy.errors import RequestError
from kiroproxy.protocol import schema, searching, typed_tools
from kiroproxy.protocol.demand import Demand

Tool: TypeAlias = dict[str, Any]

MAX_NAME = 64
MAX_DESCRIPTION = 10_000  # Kiro's limit is 10,240; the rest is room for the reference
GONE = "Was called earlier in this conversation and is no longer available."
_LEGAL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")


def _hashed(text: str, stem: str, salt: int = 0) -> str:
    """Make a legal identifier out of any text: a readable stem and eight digits of its hash."""
    digest = sha256(f"{salt or ''}{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{stem[: MAX_NAME - 9]}_{digest}"


def wire_id(tool_use_id: Any) -> str:
    """Make a toolUseId that Kiro accepts; legal ones stay as they are."""
    text = tool_use_id if isinstance(tool_use_id, str) else str(tool_use_id)
    if _LEGAL_ID.fullmatch(text):
        return text
    return _hashed(text, _ILLEGAL.sub("_", text) or "tool")


class Toolbox:
    """The declared tools, and the names under which the history may speak of them.

    Order: construct, call `use` for every tool call in the history, then `specifications`.
    """

    def __init__(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        self._declared = _definitions(body.get("tools"))
        _check_offers(body.get("tools"), self._declared, body.get("tool_choice"))
        self._wire: dict[str, str] = {}
        self._client: dict[str, str] = {}
        for name in sorted(self._declared, key=lambda name: not _LEGAL_NAME.fullmatch(name)):
            self._register(name)
        self._folded = {name.casefold(): name for name in self._declared}
        self._used: set[str] = set()
        self.is_used = False  # whether any tool is declared; set by `specifications`
        self.is_offered = False  # and whether one may be called
        self._hidden = _hidden(self._declared, body.get("tools"), messages)
        self._documentation: list[str] = []
        self.choice = _Choice(body.get("tool_choice"), self._declared, body.get("tools"))

    @property
    def renamed(self) -> dict[str, str]:
        """Wire name → client's name, where they differ."""
        return {wire: name for wire, name in self._client.items() if wire != name}

    def use(self, name: Any) -> str:
        """Return the wire name for a call in the history, making sure the tool is declared.

        A name that differs from a declared one only in case means the declared one: models
        write `bash` for `Bash`, and two declarations apart by case alone confuse them.
        """
        text = name if isinstance(name, str) and name else "unknown"
        text = self._known(text)
        self._used.add(text)
        return self._wire.get(text) or self._register(text)

    def is_shown(self, name: str) -> bool:
        """Whether a tool is offered, if any is, also to a history that does not call it."""
        name = self._known(name)
        return name in self._declared and name not in self._hidden

    def wire_name(self, name: str) -> str:
        """Return what `use` does for a tool that is declared, or was used; change nothing."""
        return self._wire[self._known(name)]

    def _known(self, name: str) -> str:
        return name if name in self._declared else self._folded.get(name.casefold(), name)

    def specifications(self) -> list[Tool]:
        """List every tool to declare, in the client's order, then stubs for the history's."""
        offered = [
            self._specification(name, tool)
            for name, tool in self._declared.items()
            if name in self._used or self._is_offered(name)
        ]
        stubs = sorted(self._used - self._declared.keys())
        self.is_used = bool(offered or stubs)
        self.is_offered = bool(offered) and self.choice.offers_any
        return offered + [self._specification(name, {"description": GONE}) for name in stubs]

    def callable(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Map both names of every tool offered now to the client's name and the schema."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for name, tool in self._declared.items():
            if name in self._used or self._is_offered(name):
                wanted = tool.get("input_schema")
                call = (name, wanted if isinstance(wanted, dict) else {})
                found[self._wire[name]] = found[name] = call
        return found

    @property
    def search(self) -> tuple[str, searching.WebSearch] | None:
        """The name and the terms of the web search, if the model is offered one."""
        for name, tool in self._declared.items():
            if searching.is_search(tool) and self._is_offered(name):
                return name, searching.terms(tool)
        return None

    def _is_offered(self, name: str) -> bool:
        return name not in self._hidden and self.choice.offers(name)

    @property
    def documentation(self) -> str:
        """Descriptions too long for Kiro, for the system prompt. Order: after specifications."""
        return "\n\n".join(self._documentation)

    def _register(self, name: str) -> str:
        wire, salt = name, 0
        if not _LEGAL_NAME.fullmatch(name):
            stem = _ILLEGAL.sub("_", name)
            stem = stem if stem[:1].isalpha() else f"tool_{stem}"
            wire = _hashed(name, stem)
            while wire in self._client:  # another tool's own name may look like a hashed one
                salt += 1
                wire = _hashed(name, stem, salt)
        self._wire[name] = wire
        self._client[wire] = name
        return wire

    def _specification(self, name: str, tool: Tool) -> Tool:
        wire = self._wire[name]
        return {
            "toolSpecification": {
                "name": wire,
                "description": self._description(wire, tool.get("description")),
                "inputSchema": {"json": schema.repaired(tool.get("input_schema"))},
            }
        }

    def _description(self, wire: str, text: Any) -> str:
        if not isinstance(text, str) or not text.strip():
            return f"The tool {wire}."
        if len(text) <= MAX_DESCRIPTION:
            return text
        title = f"Description of the tool {wire}"
        self._documentation.append(f"# {title}\n\n{text}")
        opening = text.split("\n\n", 1)[0][:1000]
        return f'{opening}\n\n(Continues in the system prompt under "{title}".)'


# -- the client's definitions ----------------------------------------------------------------


def _definitions(tools: Any) -> dict[str, Tool]:
    """Index the tools a model may be shown by name; the first of a name wins.

    Raises: RequestError — a definition without shape or name.
    """
    if tools is None:
        return {}
    if not isinstance(tools, list):
        raise RequestError("tools: Input should be a valid list")
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise RequestError(f"tools.{index}: Input should be a valid dictionary")
        if searching.is_search(tool):
            tool = searching.specification(tool)
        elif typed_tools.is_server_side(tool):
            continue
        name = tool.get("name")
        if name is None:
            raise RequestError(f"tools.{index}.custom.name: Field required")
        if not isinstance(name, str) or not name:
            raise RequestError(f"tools.{index}.custom.name: Input should be a valid string")
        found.setdefault(name, typed_tools.supplied(tool))
    return found


def _check_offers(tools: Any, declared: dict[str, Tool], choice: Any) -> None:
    """Refuse a request that depends on a tool which only Anthropic's servers could run.

    One that merely offers it beside others gets an answer without; one that offers nothing
    else, or demands it, would get an answer that pretends.
    Raises: RequestError — in the words from which clients learn what to leave out.
    """
    choice = choice if isinstance(choice, dict) else {}
    for index, tool in enumerate(tools or ()):
        if searching.is_search(tool) or not typed_tools.is_server_side(tool):
            continue
        is_demanded = choice.get("type") == "tool" and choice.get("name") == tool.get("name")
        if is_demanded or (not declared and choice.get("type") != "none"):
            raise RequestError(
                f"tools.{index}: Input tag '{tool['type']}' found using 'type' does not match any "
                "of the expected tags: web search is the only server tool this gateway can run"
            )


def _hidden(declared: dict[str, Tool], tools: Any, messages: list[dict[str, Any]]) -> set[str]:
    """Name the deferred tools that no tool_reference has brought up yet.

    A client that relies on Anthropic's own tool search would never get one: then nothing hides.
    """
    deferred = {name for name, tool in declared.items() if tool.get("defer_loading")}
    searches = any(
        typed_tools.kind(tool).startswith("tool_search_tool")
        for tool in tools or ()
        if isinstance(tool, dict)
    )
    shown: set[str] = set()
    withdrawn: set[str] = set()
    for kind, name in _references(messages):
        (withdrawn.add if kind == "tool_removal" else withdrawn.discard)(name)
        shown.add(name)
    return withdrawn | (set() if searches else deferred - shown)


def _references(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict):
                yield from _block_references(block)


def _block_references(block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kind = block.get("type")
    if kind in ("tool_addition", "tool_removal"):
        tool = block.get("tool")
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            yield kind, tool["name"]
    elif kind == "tool_result" and isinstance(block.get("content"), list):
        for inner in block["content"]:
            if isinstance(inner, dict) and inner.get("type") == "tool_reference":
                yield "tool_reference", str(inner.get("tool_name"))


# -- tool_choice -----------------------------------------------------------------------------


class _Choice:
    """`tool_choice` in words: Kiro has no field for it, so the model is told."""

    def __init__(self, choice: Any, declared: dict[str, Tool], tools: Any) -> None:
        choice = choice if isinstance(choice, dict) else {}
        self._kind = choice.get("type")
        self._name = choice.get("name")
        self._single = bool(choice.get("disable_parallel_tool_use"))
        self._any_declared = bool(declared)
        if self._kind == "tool" and not isinstance(self._name, str):
            raise RequestError("tool_choice.name: Input should be a valid string")
        if self._kind != "tool" or self._name in declared:
            return
        if all(tool.get("name") != self._name for tool in tools or ()):
            raise RequestError(f"tool_choice: Tool '{self._name}' not found in provided tools")
        self._kind = "auto"  # a server tool: nobody here can be made to call it

    def offers(self, name: str) -> bool:
        """Say whether the model may be shown a tool that the history does not need."""
        is_chosen: bool = self._kind != "tool" or name == self._name
        return is_chosen and self._kind != "none"

    @property
    def offers_any(self) -> bool:
        """Whether the model may call anything."""
        return bool(self._kind != "none")

    def demand(self, toolbox: Toolbox, wanted: dict[str, Any] | None) -> Demand | None:
        """Return what the answer is checked for. Order: after `toolbox.specifications`.

        Shape: `wanted` is the schema of the text. Where no tool is declared, none can be called,
        and neither demanded nor forbidden.
        """
        kind = self._kind if toolbox.is_used and self._kind in ("any", "tool", "none") else ""
        if not kind and wanted is None:
            return None
        if kind == "tool":
            return Demand(kind, self._name, toolbox.use(self._name), wanted)
        return Demand(kind, schema=wanted)

    def max_calls(self, toolbox: Toolbox) -> int | None:
        """Return how many calls may reach the client; None = any number. Order: as demand."""
        if self._kind == "none":
            return 0 if toolbox.is_used else None
        return 1 if self._single else None

    def instruction(self, toolbox: Toolbox) -> str:
        """Say what the choice demands; "" when the model is free."""
        if not self._any_declared:
            return ""
        lines = []
        if self._kind == "tool":
            lines.append(f"Answer by calling the tool {toolbox.use(self._name)}.")
        elif self._kind == "any":
            lines.append("Answer by calling at least one of the tools.")
        elif self._kind == "none":
            lines.append("Answer without calling any tool.")
        if self._single and self._kind != "none":
            lines.append("Call at most one tool in this answer.")
        return " ".join(lines)
