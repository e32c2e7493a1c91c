"""How hard to think: Anthropic's `thinking` and `output_config.effort` in Kiro's terms.

Rules of this file: send only members that the model's own schema lists, because Kiro refuses
any other. Models without a schema are asked in the prompt, with tags that make them write
their thinking between `<thinking>` and `</thinking>`; only Claude was trained on those.

Source: additionalModelRequestFieldsSchema of ListAvailableModels.
"""

from dataclasses import dataclass, field
from typing import Any

from kiroproxy.protocol.models import EFFORTS, Model

_DEFAULT_LENGTH = 20_000
_MIN_LENGTH = 1024  # Anthropic's own least budget
# Efforts for budgets (up to, in tokens) and thinking lengths for efforts.
_EFFORT_OF_BUDGET = ((10_000, "low"), (20_000, "medium"), (28_000, "high"))
_LENGTH_OF_EFFORT = {"none": 1024, "low": 4096, "medium": 10_000, "xhigh": 24_000, "max": 32_000}


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Shape: `fields` for additionalModelRequestFields; `tags` to stand before the prompt."""

    fields: dict[str, Any] = field(default_factory=dict)
    tags: str = ""
    drop_thinking: bool = False

    @property
    def split_tags(self) -> bool:
        return bool(self.tags)


def plan(body: dict[str, Any], model: Model, *, suffix: bool) -> Reasoning:
    """Decide what to ask of the model. `suffix`: the client named it with `-thinking`."""
    wish = body.get("thinking")
    wish = wish if isinstance(wish, dict) else {}
    kind = wish.get("type") or ("enabled" if suffix else "")
    kind = kind if isinstance(kind, str) else ""
    budget = wish.get("budget_tokens")
    budget = budget if isinstance(budget, int) and budget > 0 else 0
    effort = _effort(body)
    if not model.native_thinking:
        tags = _tags(kind, budget, effort, model) if model.is_claude else ""
        return Reasoning(tags=tags, drop_thinking=kind == "disabled")
    if kind == "enabled" and budget and not effort:
        effort = _of_budget(budget)
    if model.effort_field == "reasoning":
        return _opaque(model, kind, effort)
    return _native(model, kind, effort, wish.get("display"))


def _native(model: Model, kind: str, effort: str, display: Any) -> Reasoning:
    """Claude's fields. Kiro refuses an effort beside any other type than adaptive."""
    disabled = kind == "disabled"
    if disabled and model.can_disable_thinking:
        return Reasoning({"thinking": {"type": "disabled"}}, drop_thinking=True)
    fields: dict[str, Any] = {}
    if kind and model.thinking_types:
        thinking = {"type": kind if kind in model.thinking_types else "adaptive"}
        if display in ("summarized", "omitted") and not disabled:
            thinking["display"] = display
        elif display == "updates":
            thinking["display"] = "summarized"  # the nearest Kiro has
        fields["thinking"] = thinking
        if thinking["type"] != "adaptive":
            return Reasoning(fields)
    effort = clamp("low" if disabled else effort, model.efforts)
    if effort:
        fields["output_config"] = {"effort": effort}
    return Reasoning(fields, drop_thinking=disabled)


def _opaque(model: Model, kind: str, effort: str) -> Reasoning:
    """Models that take an effort and show no thinking types."""
    effort = clamp("none" if kind == "disabled" else effort, model.efforts)
    fields = {"reasoning": {"effort": effort}} if effort else {}
    return Reasoning(fields, drop_thinking=kind == "disabled")


def _tags(kind: str, budget: int, effort: str, model: Model) -> str:
    if kind in ("", "disabled"):
        return ""
    # The adaptive form of these tags makes such models think inside the answer.
    length = budget or _LENGTH_OF_EFFORT.get(effort, _DEFAULT_LENGTH)
    length = min(max(length, _MIN_LENGTH), model.max_output_tokens)
    return (
        f"<thinking_mode>enabled</thinking_mode><max_thinking_length>{length}</max_thinking_length>"
    )


def _of_budget(budget: int) -> str:
    return next((effort for limit, effort in _EFFORT_OF_BUDGET if budget <= limit), "max")


def _effort(body: dict[str, Any]) -> str:
    """Read the effort of this turn: a system message after the last answer may set its own."""
    for message in reversed(body["messages"]):
        if message["role"] == "assistant":
            break
        if message["role"] == "system" and (effort := _stated(message)):
            return effort
    return _stated(body)


def _stated(holder: dict[str, Any]) -> str:
    config = holder.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    return effort if isinstance(effort, str) and effort in EFFORTS else ""


def clamp(effort: str, offered: tuple[str, ...]) -> str:
    """Return the wished effort, or the next lower one that the model has, or its lowest."""
    if not effort or not offered:
        return ""
    rank = EFFORTS.index(effort)
    lower = [known for known in offered if EFFORTS.index(known) <= rank]
    return lower[-1] if lower else offered[0]
