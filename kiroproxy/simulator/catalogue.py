"""Models the simulator offers, and the request-field schema each of them publishes.

Rules of this file: data. A model without a schema takes no additionalModelRequestFields at all.

Source: ListAvailableModels answers published by gateways in September and October 2026.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

FIVE: Final = ("low", "medium", "high", "xhigh", "max")
FOUR: Final = ("low", "medium", "high", "max")
SIX: Final = ("none", *FIVE)


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the catalogue; `thinking` lists thinking.type values, empty = none accepted."""

    model_id: str
    name: str
    max_input_tokens: int
    max_output_tokens: int
    rate: float
    thinking: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    default_effort: str = ""
    images: bool = True
    fallbacks: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Which of the two request-field dialects applies: "claude", "gpt" or "" for none."""
        if self.efforts:
            return "claude" if self.thinking else "gpt"
        return ""

    def fields_schema(self) -> dict[str, object] | None:
        """Return additionalModelRequestFieldsSchema, or None when the model takes no fields."""
        if self.family == "claude":
            return _claude_schema(self)
        if self.family == "gpt":
            effort = {"type": "string", "enum": list(self.efforts), "default": self.default_effort}
            return _closed({"reasoning": _closed({"effort": effort})})
        return None

    def entry(self) -> dict[str, object]:
        """Return the model's entry in a ListAvailableModels answer."""
        schema = self.fields_schema()
        out: dict[str, object] = {
            "modelId": self.model_id,
            "modelName": self.name,
            "description": f"{self.name} (simulated)",
            "rateMultiplier": self.rate,
            "rateUnit": "Credit",
            "tokenLimits": {
                "maxInputTokens": self.max_input_tokens,
                "maxOutputTokens": self.max_output_tokens,
            },
            "supportedInputTypes": ["TEXT", "IMAGE"] if self.images else ["TEXT"],
            "promptCaching": {
                "supportsPromptCaching": True,
                "maximumCacheCheckpointsPerRequest": 4,
                "minimumTokensPerCacheCheckpoint": 1024,
            },
        }
        if schema is not None:
            out["additionalModelRequestFieldsSchema"] = schema
        if self.fallbacks:
            out["refusalFallbackModels"] = list(self.fallbacks)
        return out


def _closed(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _claude_schema(model: Model) -> dict[str, object]:
    thinking = {
        "type": {"type": "string", "enum": list(model.thinking)},
        "display": {"type": "string", "enum": ["summarized", "omitted"]},
    }
    effort = {"type": "string", "enum": list(model.efforts), "default": model.default_effort}
    limit = {"type": "integer", "minimum": 1024, "maximum": model.max_output_tokens}
    return _closed(
        {
            "thinking": _closed(dict(thinking)),
            "output_config": _closed({"effort": effort}),
            "max_tokens": limit,
        }
    )


_SWITCH: Final = ("adaptive", "disabled")
_M: Final = 1_000_000
_K: Final = 1_000

MODELS: Final = {
    model.model_id: model
    for model in (
        Model("auto", "Auto", _M, 64 * _K, 1.0),
        Model("claude-opus-5.5", "Claude Opus 5.5", _M, 128 * _K, 2.0, ("adaptive",), FIVE,
              "medium", fallbacks=("claude-opus-4.8",)),
        Model("claude-opus-5", "Claude Opus 5", _M, 128 * _K, 2.2, _SWITCH, FIVE, "high",
              fallbacks=("claude-opus-4.8",)),
        Model("claude-opus-4.8", "Claude Opus 4.8", _M, 128 * _K, 2.2, _SWITCH, FIVE, "high"),
        Model("claude-opus-4.7", "Claude Opus 4.7", _M, 128 * _K, 2.2, _SWITCH, FIVE, "xhigh"),
        Model("claude-opus-4.6", "Claude Opus 4.6", _M, 64 * _K, 2.2, _SWITCH, FOUR, "high"),
        Model("claude-opus-4.5", "Claude Opus 4.5", 200 * _K, 64 * _K, 2.2),
        Model("claude-sonnet-5.5", "Claude Sonnet 5.5", _M, 128 * _K, 1.3,
              ("adaptive", "between_tools"), FIVE, "high", fallbacks=("claude-sonnet-5",)),
        Model("claude-sonnet-5", "Claude Sonnet 5", _M, 64 * _K, 1.3, _SWITCH, FIVE, "high"),
        Model("claude-sonnet-4.6", "Claude Sonnet 4.6", _M, 64 * _K, 1.3, _SWITCH, FOUR, "high"),
        Model("claude-sonnet-4.5", "Claude Sonnet 4.5", 200 * _K, 64 * _K, 1.3),
        Model("claude-sonnet-4", "Claude Sonnet 4", 200 * _K, 64 * _K, 1.3),
        Model("claude-haiku-4.5", "Claude Haiku 4.5", 200 * _K, 64 * _K, 0.4),
        Model("gpt-5.6-sol", "GPT 5.6 Sol", _M, 128 * _K, 4.4, (), SIX, "high"),
        Model("gpt-5.6-terra", "GPT 5.6 Terra", _M, 128 * _K, 2.2, (), SIX, "high"),
        Model("gpt-5.6-luna", "GPT 5.6 Luna", _M, 128 * _K, 1.1, (), SIX, "high"),
        Model("deepseek-3.2", "DeepSeek 3.2", 128 * _K, 64 * _K, 0.25, images=False),
        Model("glm-5", "GLM 5", 200 * _K, 64 * _K, 0.5, images=False),
        Model("minimax-m2.5", "MiniMax M2.5", 196 * _K, 64 * _K, 0.25, images=False),
        Model("minimax-m2.1", "MiniMax M2.1", 196 * _K, 64 * _K, 0.15, images=False),
        Model("qwen3-coder-next", "Qwen3 Coder Next", 256 * _K, 64 * _K, 0.05, images=False),
    )
}  # fmt: skip

DEFAULT_MODEL: Final = "auto"


def listing(limit: int = 50, after: str = "", only: Collection[str] = ()) -> dict[str, object]:
    """Return one page of ListAvailableModels; `after` is the token the page before gave.

    Shape: `only` are the ids a plan includes, () = all.
    """
    ids = [model_id for model_id in MODELS if not only or model_id in only]
    start = ids.index(after) + 1 if after in ids else 0
    page = ids[start : start + limit]
    more = page[-1] if page and start + limit < len(ids) else None
    return {
        "models": [MODELS[model_id].entry() for model_id in page],
        "defaultModel": {"modelId": DEFAULT_MODEL},
        "nextToken": more,
    }
