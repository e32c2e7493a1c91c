"""The model catalogue: what Kiro offers, and what clients call it.

Rules of this file: a requested version is never answered by an older one, unless the operator's
aliases say so by name. A version Kiro has dropped goes up to the next one of its family; a version
newer than all known is not found.
A live listing replaces the built-in table, which is only a dated snapshot of it; the snapshot
lends what a listing may leave out (creation dates, thinking facts of old listings).

Public ids write the minor version with a dash (claude-opus-4-8), Kiro's with a dot.

Source: Kiro's ListAvailableModels answers up to 2026-10; dates are the vendor's where it
published one and the month of first sight otherwise.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from kiroproxy.errors import NotFound
from kiroproxy.values import fits

EFFORTS = ("none", "low", "medium", "high", "xhigh", "max")
_ALL = ("low", "medium", "high", "xhigh", "max")
_NO_XHIGH = ("low", "medium", "high", "max")
_SWITCHABLE = ("adaptive", "disabled")
_UNDATED = "2026-01-01T00:00:00Z"
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """One model as Kiro serves it.

    Shape: `thinking_types` and `efforts` are what the model's own request schema accepts;
    `effort_field` is where an effort goes ("output_config" or "reasoning").
    Units: windows in tokens; created_at RFC 3339.
    """

    id: str
    display_name: str
    context_window: int
    max_output_tokens: int
    created_at: str = _UNDATED
    native_thinking: bool = False
    efforts: tuple[str, ...] = ()
    can_disable_thinking: bool = False
    images: bool = True
    thinking_types: tuple[str, ...] = ()
    effort_field: str = "output_config"

    @property
    def is_claude(self) -> bool:
        return self.id.startswith("claude-")

    @property
    def public_id(self) -> str:
        """The id clients know: Claude's own spelling, others as they are."""
        return self.id.replace(".", "-") if self.is_claude else self.id


@dataclass(frozen=True, slots=True)
class Resolved:
    """A requested name understood."""

    model: Model
    thinking_suffix: bool


def _claude(
    version: str,
    window: int,
    output: int,
    created: str,
    efforts: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
) -> Model:
    return Model(
        id=f"claude-{version}",
        display_name="Claude " + version.replace("-", " ").title(),
        context_window=window,
        max_output_tokens=output,
        created_at=f"{created}T00:00:00Z",
        native_thinking=bool(types),
        efforts=efforts,
        can_disable_thinking="disabled" in types,
        thinking_types=types,
    )


def _gpt(variant: str) -> Model:
    return Model(
        id=f"gpt-5.6-{variant}",
        display_name=f"GPT-5.6 {variant.title()}",
        context_window=_MILLION,
        max_output_tokens=128_000,
        native_thinking=True,
        efforts=("none", *_ALL),
        can_disable_thinking=True,
        effort_field="reasoning",
    )


def _plain(model_id: str, name: str, window: int) -> Model:
    return Model(model_id, name, window, 64_000, images=False)


SNAPSHOT: tuple[Model, ...] = (
    _claude("opus-5.5", _MILLION, 128_000, "2026-09-22", _ALL, ("adaptive",)),
    _claude("sonnet-5.5", _MILLION, 128_000, "2026-09-29", _ALL, ("adaptive", "between_tools")),
    _claude("opus-5", _MILLION, 128_000, "2026-08-01", _ALL, _SWITCHABLE),
    _claude("sonnet-5", _MILLION, 64_000, "2026-07-01", _ALL, _SWITCHABLE),
    _claude("opus-4.8", _MILLION, 128_000, "2026-06-01", _ALL, _SWITCHABLE),
    _claude("opus-4.7", _MILLION, 128_000, "2026-04-01", _ALL, _SWITCHABLE),
    _claude("sonnet-4.6", _MILLION, 64_000, "2026-02-17", _NO_XHIGH, _SWITCHABLE),
    _claude("opus-4.6", _MILLION, 64_000, "2026-02-04", _NO_XHIGH, _SWITCHABLE),
    _claude("opus-4.5", 200_000, 64_000, "2025-11-24"),
    _claude("haiku-4.5", 200_000, 64_000, "2025-10-01"),
    _claude("sonnet-4.5", 200_000, 64_000, "2025-09-29"),
    _claude("sonnet-4", 200_000, 64_000, "2025-05-14"),
    Model("auto", "Auto", 200_000, 64_000),
    _gpt("sol"),
    _gpt("terra"),
    _gpt("luna"),
    _plain("deepseek-3.2", "DeepSeek 3.2", 128_000),
    _plain("glm-5", "GLM-5", 200_000),
    _plain("minimax-m2.5", "MiniMax M2.5", 196_000),
    _plain("minimax-m2.1", "MiniMax M2.1", 196_000),
    _plain("qwen3-coder-next", "Qwen3 Coder Next", 256_000),
)
_KNOWN = {model.id: model for model in SNAPSHOT}
_ALIASES = {"auto-kiro": "auto"}

# -- names ---------------------------------------------------------------------------------

_THINKING = "-thinking"
# What clients and resellers append to an id without meaning another model.
_DECORATION = re.compile(r"(\[1m\]|-1m|-latest|[-@]\d{8}|-v\d+(:\d+)?)$")
_KIRO_CLAUDE = re.compile(r"claude-([a-z]+)(?:-(\d+)(?:\.(\d+))?)?$")
# A longer second number is a date that some other word follows.
_VERSION = r"(\d+)(?:[.-](\d{1,2})(?!\d))?(?!\d)"

Version: TypeAlias = tuple[int, int]
Overrides: TypeAlias = Mapping[str, Mapping[str, Any]]
_OVERRIDES = {
    "contextWindow": "context_window",
    "maxOutputTokens": "max_output_tokens",
    "displayName": "display_name",
}


def _bare(requested: str) -> tuple[str, bool]:
    """Strip decorations; report whether one of them was `-thinking`."""
    name, thinking = requested.strip().lower(), False
    while True:
        if name.endswith(_THINKING):
            name, thinking = name.removesuffix(_THINKING), True
        shorter = _DECORATION.sub("", name)
        if shorter == name and not name.endswith(_THINKING):
            return name, thinking
        name = shorter


def _family_version(name: str, families: Iterable[str]) -> tuple[str, Version | None] | None:
    """Find a family and, in either old or new word order, its version."""
    family = next((word for word in families if word in name), None)
    if family is None:
        return None
    match = re.search(rf"{family}-?{_VERSION}", name) or re.search(
        rf"claude-{_VERSION}-{family}", name
    )
    if match is None:
        return family, None
    return family, (int(match[1]), int(match[2] or 0))


class Catalogue:
    """The models of one moment, by every name a client may use.

    Shape: `aliases` are the operator's own: requested name → Kiro id. They count only for names
    that Kiro does not offer itself. `overrides` are what the operator knows better, by Kiro's id
    or a pattern of it: contextWindow, maxOutputTokens, displayName, hidden.
    """

    BUILT_IN: ClassVar["Catalogue"]

    def __init__(
        self,
        models: Iterable[Model] = SNAPSHOT,
        aliases: Mapping[str, str] | None = None,
        overrides: Overrides | None = None,
    ) -> None:
        overridden = (_overridden(model, overrides or {}) for model in models)
        self.models = tuple(model for model in overridden if model is not None)
        self._aliases = _ALIASES | {
            name.lower(): target.lower() for name, target in (aliases or {}).items()
        }
        self._exact: dict[str, Model] = {}
        self._families: dict[str, dict[Version, Model]] = {}
        for model in self.models:
            self._exact[model.id.lower()] = model
            self._exact.setdefault(model.id.lower().replace(".", "-"), model)
            match = _KIRO_CLAUDE.match(model.id)
            if match and match[2]:
                version = int(match[2]), int(match[3] or 0)
                self._families.setdefault(match[1], {})[version] = model

    @classmethod
    def from_live(
        cls,
        listing: list[dict[str, Any]],
        aliases: Mapping[str, str] | None = None,
        overrides: Overrides | None = None,
    ) -> "Catalogue":
        """Read the `models` of a ListAvailableModels answer; entries without an id are skipped.

        An empty listing says nothing about Kiro, so it yields the built-in table.
        """
        rows = [row for row in listing if isinstance(row.get("modelId"), str) and row["modelId"]]
        if not rows:
            return cls(SNAPSHOT, aliases, overrides) if aliases or overrides else cls.BUILT_IN
        # Older generations of the listing have no request schemas at all; then their absence
        # on one model does not mean that it cannot think.
        schemas_listed = any(row.get("additionalModelRequestFieldsSchema") for row in rows)
        # Several credentials' listings may come joined: the first of an id counts.
        unique = {row["modelId"]: row for row in reversed(rows)}
        ordered = [unique.pop(row["modelId"]) for row in rows if row["modelId"] in unique]
        return cls((_live_model(row, schemas_listed) for row in ordered), aliases, overrides)

    def resolve(self, requested: str) -> Resolved:
        """Find the model a client means.

        Raises: NotFound — unknown family, or a version newer than any in the catalogue.
        """
        if exact := self._exact.get(requested.strip().lower()):
            return Resolved(exact, thinking_suffix=False)  # an id may itself end in -thinking
        name, thinking = _bare(requested)
        model = self._exact.get(name) or self._by_alias(requested, name) or self._by_family(name)
        if model is None:
            raise NotFound(f"model: {requested}")
        return Resolved(model, thinking)

    def _by_alias(self, requested: str, name: str) -> Model | None:
        target = self._aliases.get(requested.strip().lower()) or self._aliases.get(name)
        return self._exact.get(target) if target else None

    def _by_family(self, name: str) -> Model | None:
        found = _family_version(name, self._families)
        if found is None:
            return None
        family, version = found
        offered = self._families[family]
        if version is None:
            return offered[max(offered)]
        upward = [known for known in offered if known >= version]
        return offered[min(upward)] if upward else None

    def entries(self) -> list[dict[str, Any]]:
        """Describe every model for `GET /v1/models`: Claude's first, newest first."""
        ordered = sorted(self.models, key=lambda model: model.created_at, reverse=True)
        ordered.sort(key=lambda model: not model.is_claude)
        return [entry(model) for model in ordered]


def entry(model: Model, requested: str = "") -> dict[str, Any]:
    """Describe one model, under the id it was asked for."""
    return {
        "type": "model",
        "id": requested or model.public_id,
        "display_name": model.display_name,
        "created_at": model.created_at,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
    }


def _overridden(model: Model, overrides: Overrides) -> Model | None:
    """Apply every row that fits, in order; None: it is hidden."""
    hidden = False
    for pattern, row in overrides.items():
        if not fits(model.id, pattern):
            continue
        hidden = row.get("hidden", hidden)
        facts = {_OVERRIDES[key]: value for key, value in row.items() if key in _OVERRIDES}
        model = replace(model, **facts)
    return None if hidden else model


# -- the live listing ----------------------------------------------------------------------


def _live_model(row: dict[str, Any], schemas_listed: bool) -> Model:
    model_id = row["modelId"]
    known = _KNOWN.get(model_id) or Model(model_id, model_id, 200_000, 64_000)
    limits = row.get("tokenLimits") or {}
    inputs = row.get("supportedInputTypes")
    base = {
        "id": model_id,
        "display_name": known.display_name
        if model_id in _KNOWN
        else row.get("modelName") or model_id,
        "context_window": limits.get("maxInputTokens") or known.context_window,
        "max_output_tokens": limits.get("maxOutputTokens") or known.max_output_tokens,
        "created_at": known.created_at,
        "images": "IMAGE" in inputs if isinstance(inputs, list) else known.images,
    }
    return Model(**base, **_thinking_facts(row, known, schemas_listed))


def _thinking_facts(row: dict[str, Any], known: Model, schemas_listed: bool) -> dict[str, Any]:
    if not schemas_listed:
        names = ("native_thinking", "efforts", "can_disable_thinking", "thinking_types")
        return {name: getattr(known, name) for name in (*names, "effort_field")}
    fields = _properties(row.get("additionalModelRequestFieldsSchema"))
    types = _choices(_properties(fields.get("thinking")).get("type"))
    if "thinking" in fields and not types:
        types = ("adaptive",)
    field = "reasoning" if "reasoning" in fields else "output_config"
    efforts = _choices(_properties(fields.get(field)).get("effort"))
    return {
        "native_thinking": bool(types or efforts),
        "efforts": tuple(effort for effort in EFFORTS if effort in efforts),
        "can_disable_thinking": "disabled" in types or "none" in efforts,
        "thinking_types": types,
        "effort_field": field,
    }


def _variants(schema: Any) -> list[dict[str, Any]]:
    """A schema and its alternatives, flattened one level."""
    if not isinstance(schema, dict):
        return []
    found = [schema]
    for word in ("anyOf", "oneOf", "allOf"):
        found += [part for part in schema.get(word) or () if isinstance(part, dict)]
    return found


def _properties(schema: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for variant in _variants(schema):
        for name, value in (variant.get("properties") or {}).items():
            # A member that differs between variants (`type: {const: adaptive}` beside
            # `type: {const: disabled}`) accepts what any of them accepts.
            merged[name] = {"anyOf": [*_variants(merged.get(name)), *_variants(value)]}
    return merged


def _choices(schema: Any) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for variant in _variants(schema):
        values = [*(variant.get("enum") or ()), variant.get("const")]
        found.update((value, None) for value in values if isinstance(value, str))
    return tuple(found)


Catalogue.BUILT_IN = Catalogue()
