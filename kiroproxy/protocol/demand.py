"""What a request demands of the finished answer, and whether an answer meets it.

Rules of this file: pure. Kiro knows neither `tool_choice` nor `output_config.format`, so the model
is asked in words and the answer is judged here. Only a finished answer is judged: one that was
cut, refused or ended by the client's own sequence says so in its stop reason. Nothing is ever
added to an answer; of a demanded JSON value only a code fence and white space around it go.

Source: Anthropic's tool_choice and structured outputs; BEHAVIOUR.md, "Demands".
"""

import re
from dataclasses import dataclass
from typing import Any

from kiroproxy.protocol.conformity import Conformity

_FINISHED = ("end_turn", "tool_use")
# One fence around everything, as models like to write JSON, with or without a language.
_FENCED = re.compile(r"(`{3,}|~{3,})[^\n`]*\n(.*?)\n?[ \t]*\1`*~*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why an answer will not do: in words for the model, and for the client."""

    correction: str
    message: str


@dataclass(frozen=True, slots=True)
class Demand:
    """The demands of one request.

    Shape: `choice` is "any", "tool", "none", or "" for no demand on calls; `tool` is the client's
    name of the demanded tool, `wire_tool` the model's; `schema` is what the text must validate
    against.
    """

    choice: str = ""
    tool: str = ""
    wire_tool: str = ""
    schema: dict[str, Any] | None = None

    @property
    def needs_call(self) -> bool:
        """Whether an answer without a tool call will not do."""
        return self.choice in ("any", "tool")

    def is_settled(self, called: list[str], has_text: bool) -> bool:
        """Say whether what has come so far of an answer meets the demand, whatever follows."""
        if self.choice == "none" and self.schema is None:
            return has_text
        return self.tool in called if self.choice == "tool" else bool(called)

    def shortfall(self, message: dict[str, Any], conformity: Conformity | None) -> Shortfall | None:
        """Judge a finished message that `is_settled` has not let pass."""
        if message["stop_reason"] not in _FINISHED:
            return None
        if self.needs_call:
            return self._missing_call()
        if self.choice == "none" and not text_of(message):
            return Shortfall(
                "No tool can be called in this answer. Answer in words.",
                "The model gave no answer in words, only a call that tool_choice forbids or "
                "nothing, and again when it was told so",
            )
        faults = conformity.faults(_json_of(text_of(message))) if conformity is not None else []
        return _invalid(faults) if faults else None

    def _missing_call(self) -> Shortfall:
        if self.choice == "tool":
            return Shortfall(
                f"An answer without a call of the tool {self.wire_tool} is of no use here. "
                "Call it now.",
                f"The model did not call the tool '{self.tool}' that tool_choice demands, "
                "not even when asked a second time",
            )
        return Shortfall(
            "An answer without a tool call is of no use here. Call at least one of the tools now.",
            "The model did not call any tool although tool_choice demands it, "
            "not even when asked a second time",
        )


def _invalid(faults: list[str]) -> Shortfall:
    listed = "; ".join(faults)
    return Shortfall(
        f"That answer cannot be used: {listed}. Answer again with one JSON value that validates "
        "against the JSON schema, and nothing else, no code fence.",
        "The model's answer does not validate against output_config.format, not even when it was "
        f"corrected: {listed}",
    )


def text_of(message: dict[str, Any]) -> str:
    """Return all text of a message."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def only_json(message: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the content with its text as one block that holds the JSON value alone.

    Shape: None where it is so already, or where the answer was cut and is shown as it came.
    """
    content: list[dict[str, Any]] = message["content"]
    texts = [block["text"] for block in content if block["type"] == "text"]
    found = _json_of("".join(texts))
    if texts == [found] or message["stop_reason"] not in _FINISHED:
        return None
    others = [block for block in content if block["type"] != "text"]
    return [*others, {"type": "text", "text": found}]


def _json_of(text: str) -> str:
    """Return a text without the white space and the code fence around it."""
    text = text.strip()
    fenced = _FENCED.fullmatch(text)
    return fenced[2].strip() if fenced else text
