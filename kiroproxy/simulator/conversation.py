"""A request body laid out as turns, for the rules to read.

Rules of this file: only a body whose shape has been checked comes in.
"""

from dataclasses import dataclass
from typing import Any, Final

from kiroproxy.simulator.catalogue import DEFAULT_MODEL, MODELS, Model

_HISTORY: Final = "conversationState.history"
CURRENT: Final = "conversationState.currentMessage"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message with the path that leads to it."""

    role: str  # "user" | "assistant"
    message: dict[str, Any]
    where: str

    @property
    def context(self) -> dict[str, Any]:
        """The user turn's context, empty when it has none."""
        found: dict[str, Any] = self.message.get("userInputMessageContext", {})
        return found

    @property
    def uses(self) -> list[dict[str, Any]]:
        """Tool calls of an assistant turn."""
        return list(self.message.get("toolUses", []))

    @property
    def results(self) -> list[dict[str, Any]]:
        """Tool results of a user turn."""
        return list(self.context.get("toolResults", []))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A body of the right shape, laid out as turns; the last one is currentMessage."""

    turns: list[Turn]
    tools: list[dict[str, Any]]
    model: Model | None
    fields: dict[str, Any] | None
    generation: str
    body: dict[str, Any]


def read(body: dict[str, Any], generation: str) -> Conversation:
    """Lay out a body whose shape has been checked."""
    state = body["conversationState"]
    turns = [_turn(entry, f"{_HISTORY}[{i}]") for i, entry in enumerate(state.get("history", []))]
    current = _turn(state["currentMessage"], CURRENT)
    entries = current.context.get("tools", [])
    tools = [entry["toolSpecification"] for entry in entries if "toolSpecification" in entry]
    model = MODELS.get(current.message.get("modelId", DEFAULT_MODEL))
    fields = body.get("additionalModelRequestFields")
    return Conversation([*turns, current], tools, model, fields, generation, body)


def _turn(entry: dict[str, Any], where: str) -> Turn:
    if "userInputMessage" in entry:
        return Turn("user", entry["userInputMessage"], f"{where}.userInputMessage")
    name = "assistantResponseMessage"
    return Turn("assistant", entry[name], f"{where}.{name}")
