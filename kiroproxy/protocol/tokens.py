"""How many tokens a request or a text has, estimated without Claude's vocabulary.

Rules of this file: pure and stateless; any JSON whatsoever gets a number, never an error
(validation is elsewhere); nesting is walked with a list, never with the call stack.

Source: Anthropic's published count_tokens answers (14, 403, 88, 2188 input tokens), its
tables of tool-use prompts, and its rule of 28-pixel image patches.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kiroproxy._json import write
from kiroproxy._tally import Weights, tally
from kiroproxy.errors import RequestError
from kiroproxy.protocol import media
from kiroproxy.protocol.documents import text_of
from kiroproxy.protocol.sources import document_format, inline
from kiroproxy.protocol.vocabulary import weigh, weigh_all, weights

# What the API adds around content; from the published answers: "Hello, Claude" is 3 tokens
# and 10 input tokens.
_REQUEST_TOKENS = 7
_TURN_TOKENS = 4
_THINKING_TOKENS = 16
# Around a call and its result: the tags that carry the name and the parameters.
_TOOL_USE_TOKENS = 12
_TOOL_RESULT_TOKENS = 8

_UNKNOWN_IMAGE_TOKENS = 1600
# Up to this limit an answer is kept, 2 KB or so, and weighed by the words it consists of.
SHORT_TOKENS = 512
# What that weighs too much is at most this, and a few words can be off by a token or two.
_TOLERANCE, _TOLERATED = 1.15, 2
_TOKENS_A_BYTE = 2.0  # no byte adds more to a weight
_MOST_TOKENS = 10**9  # of an answer; keeps the arithmetic of the stream within 64 bits
_PDF_PAGE_TOKENS = 2176  # the published one-page answer less its request
# Definitions the server supplies for its own tool types, as published.
_TYPED_TOOL_TOKENS = (("bash_", 245), ("text_editor_", 700), ("computer_", 735))

_BILLING_HEADER = "x-anthropic-billing-header:"
_CLAUDE = re.compile(r"claude|opus|sonnet|haiku|fable|mythos|^auto$|^$")
_NEWEST = (99, 0)
_DENSE_SINCE = (4, 7)


class _Tier(NamedTuple):
    """What changes with the model's generation. Units: tokens, pixels."""

    since: tuple[int, int]
    tools: int  # system prompt that enables tools, tool_choice auto or none
    forced_tools: int  # the same with any or tool
    image_edge: int
    image_tokens: int


# Newest first. Versions that were never listed take the row of the one before.
_TIERS = (
    _Tier((5, 0), 354, 474, 2576, 4784),
    _Tier((4, 8), 290, 410, 2576, 4784),
    _Tier((4, 7), 675, 804, 2576, 4784),
    _Tier((4, 5), 496, 588, 1568, 1568),
    _Tier((0, 0), 313, 315, 1568, 1568),
)


def count_text(text: str, model: str = "") -> int:
    """Estimate the tokens of one text; without a model, for the newest Claude.

    Cost: see vocabulary.weigh_all.
    """
    return round(weigh(text, dense=_version(model) >= _DENSE_SINCE))


def count_request(body: dict[str, Any]) -> int:
    """Estimate `input_tokens` of a Messages or count_tokens body, everything included."""
    model = body.get("model")
    version = _version(model if isinstance(model, str) else "")
    tier = next(row for row in _TIERS if version >= row.since)
    counted = _Counted(tier)
    counted.add_system(body.get("system"))
    counted.add_messages(body.get("messages"))
    counted.add_tools(body.get("tools"), body.get("tool_choice"))
    counted.add_format(body)
    if _kind(body.get("thinking")) in ("enabled", "adaptive"):
        counted.fixed += _THINKING_TOKENS
    return counted.fixed + round(weigh_all(counted.texts, dense=version >= _DENSE_SINCE))


class Share(NamedTuple):
    """What one part of a request adds: tokens that are not text, and `tally` of its texts."""

    fixed: int
    counts: tuple[int, ...]


def share_of_tools(tools: list[Any]) -> Share | None:
    """Return what tools add beside the prompt that enables them; None: none is shown."""
    counted = _Counted(_TIERS[0])
    shown = counted.shown(tools)
    counted.fixed = 0
    for tool in shown:
        counted.add_tool(tool)
    return Share(counted.fixed, tally(counted.texts)) if shown else None


def share_of_messages(counts: tuple[int, ...], *, messages: int, calls: int, results: int) -> Share:
    """Return what messages add that hold texts, thinking, calls and their results alone."""
    fixed = (messages - 1) * _TURN_TOKENS + calls * _TOOL_USE_TOKENS + results * _TOOL_RESULT_TOKENS
    return Share(fixed, counts)


def count_shares(body: dict[str, Any], messages: Share, tools: Share | None) -> int:
    """Estimate what count_request does, for a body whose messages and tools were counted."""
    version = _version(body["model"])
    tier = next(row for row in _TIERS if version >= row.since)
    counted = _Counted(tier)
    counted.add_system(body.get("system"))
    counted.add_format(body)
    if _kind(body.get("thinking")) in ("enabled", "adaptive"):
        counted.fixed += _THINKING_TOKENS
    shares = [tally(counted.texts), messages.counts]
    if tools is not None:
        counted.enable_tools(body.get("tool_choice"))
        counted.fixed += tools.fixed
        shares.append(tools.counts)
    weight = weights(dense=version >= _DENSE_SINCE).weigh_counts(*shares)
    return counted.fixed + messages.fixed + round(weight)


def plain_measure(model: str) -> tuple[int, Weights]:
    """Return what count_request is made of for one message that holds texts alone.

    Shape: tokens besides the texts', and what the texts weigh by, all together.
    """
    return _REQUEST_TOKENS, weights(dense=_version(model) >= _DENSE_SINCE)


def estimate_output(ascii_chars: int, other_chars: int, model: str = "") -> int:
    """Estimate the tokens of an answer of which only the lengths were kept.

    Units: characters (not bytes); everything that is not ASCII counts as other.
    """
    return round(ascii_chars * 10 / _tenths_per_token(model) + other_chars)


@functools.lru_cache(maxsize=256)  # a client asks with one or two limits, for a few models
def output_limits(
    max_tokens: int, model: str
) -> tuple[int, tuple[int, int, int] | None, Callable[[bytes], tuple[int, int]] | None]:
    """Return what an answer is counted and limited by: one of room and measure.

    Shape: (ASCII characters that ten tokens have, output_room, output_measure).
    """
    measure = output_measure(max_tokens, model)
    room = None if measure else output_room(max_tokens, model)
    return _tenths_per_token(model), room, measure


def output_measure(max_tokens: int, model: str = "") -> Callable[[bytes], tuple[int, int]] | None:
    """Return what weighs an answer to a short limit as it is; None for the others.

    Shape: all that was generated so far → (bytes that fit, bytes that may surely follow).
    """
    if not 0 < max_tokens <= SHORT_TOKENS:
        return None
    return functools.partial(
        _fitting, _TOLERANCE * max_tokens + _TOLERATED, _version(model) >= _DENSE_SINCE
    )


def _fitting(limit: float, dense: bool, spent: bytes) -> tuple[int, int]:
    text = spent.decode()
    weight = weigh(text, dense=dense)
    if weight <= limit:
        return len(spent), int((limit - weight) / _TOKENS_A_BYTE)
    fits, over = 0, len(text)
    while over - fits > 1:
        middle = (fits + over) // 2
        if weigh(text[:middle], dense=dense) <= limit:
            fits = middle
        else:
            over = middle
    return len(text[:fits].encode()), 0


def output_room(max_tokens: int, model: str = "") -> tuple[int, int, int]:
    """Return how much an answer may hold before it is clearly longer than `max_tokens`.

    Shape: (units in all, units of an ASCII character, units of any other), by the same estimate
    as the count of tokens; whole numbers, so that it does not matter how the text is cut.
    """
    per_token = _tenths_per_token(model)
    # Arabic and Russian are estimated at 1.7 times their tokens, English prose at 1.4 times; a
    # few words can be further off. Nothing was asked for with 0, so nothing is given.
    clearly = 2 * min(max_tokens, _MOST_TOKENS) + 8 if max_tokens else 0
    return clearly * per_token, 10, per_token


def _tenths_per_token(model: str) -> int:
    """Return how many ASCII characters ten tokens have."""
    # Between prose (43 and 32) and code full of signs (31 and 25).
    return 29 if _version(model) >= _DENSE_SINCE else 35


@functools.lru_cache(maxsize=256)  # asked three times a request
def _version(model: str) -> tuple[int, int]:
    """Return the Claude version in a model name, dates aside.

    A Claude without a number counts as the newest, since too high an estimate compacts early
    and too low a one overflows; another maker's model counts with the oldest vocabulary.
    """
    name = model.lower().partition("[")[0]
    if not _CLAUDE.search(name):
        return 0, 0
    numbers = [int(digits) for digits in re.findall(r"\d+", name) if len(digits) < 3]
    if not numbers:
        return _NEWEST
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


# -- requests ----------------------------------------------------------------------------


class _Counted:
    """The texts of one request and the tokens of everything that is not text."""

    def __init__(self, tier: _Tier) -> None:
        self.tier = tier
        self.fixed = _REQUEST_TOKENS
        self.texts: list[str | bytes] = []
        self.loaded_tools: set[str] = set()

    def add_system(self, system: Any) -> None:
        for block in [system] if isinstance(system, str) else _objects(system):
            text = block if isinstance(block, str) else block.get("text")
            # Anthropic strips this entry; so does the conversion.
            if isinstance(text, str) and not text.startswith(_BILLING_HEADER):
                self.texts.append(text)

    def add_messages(self, messages: Any) -> None:
        for number, message in enumerate(_objects(messages)):
            self.fixed += _TURN_TOKENS if number else 0
            self._add_content(message.get("content"))

    def add_tools(self, tools: Any, choice: Any) -> None:
        shown = self.shown(tools)
        if shown:
            self.enable_tools(choice)
        for tool in shown:
            self.add_tool(tool)

    def shown(self, tools: Any) -> list[dict[str, Any]]:
        """List the tools that reach the model: deferred ones once a tool_reference named them."""
        return [
            tool
            for tool in _objects(tools)
            if not tool.get("defer_loading") or str(tool.get("name")) in self.loaded_tools
        ]

    def enable_tools(self, choice: Any) -> None:
        forced = _kind(choice) in ("any", "tool")
        self.fixed += self.tier.forced_tools if forced else self.tier.tools

    def add_format(self, body: dict[str, Any]) -> None:
        config = body.get("output_config")
        wanted = config.get("format") if isinstance(config, dict) else body.get("output_format")
        if isinstance(wanted, dict) and wanted.get("schema"):
            self._add_json(wanted["schema"])

    def add_tool(self, tool: dict[str, Any]) -> None:
        kind = _kind(tool)
        for prefix, tokens in _TYPED_TOOL_TOKENS:
            if kind.startswith(prefix):
                self.fixed += tokens
                return
        keys = ("name", "description", "input_schema", "input_examples")
        self._add_json({key: tool[key] for key in keys if key in tool})

    def _add_content(self, content: Any) -> None:
        """Add a message's content and whatever it nests, without recursion."""
        waiting = [content]
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                self.texts.append(part)
            elif isinstance(part, list):
                waiting.extend(reversed(part))
            elif isinstance(part, dict):
                waiting.extend(self._add_block(part))

    def _add_block(self, block: dict[str, Any]) -> tuple[Any, ...]:
        """Add one block and return what it holds that must be looked at as content."""
        match _kind(block):
            case "text":
                return (block.get("text"),)
            case "thinking":
                return (block.get("thinking"),)  # its signature never reaches the prompt
            case "redacted_thinking":
                # Base64 of encrypted text: 3 bytes in 4 characters, about 4 bytes a token.
                self.fixed += _length(block.get("data")) * 3 // 16
            case "image":
                self._add_image(block.get("source"))
            case "document":
                return (block.get("title"), block.get("context"), self._document(block))
            case "search_result":
                return (block.get("source"), block.get("title"), block.get("content"))
            case "tool_result":
                self.fixed += _TOOL_RESULT_TOKENS
                return (block.get("content"),)
            case "tool_use" | "server_tool_use":
                self.fixed += _TOOL_USE_TOKENS
                self._add_json(block.get("input"))
                return (block.get("name"),)
            case "tool_reference":
                name = block.get("tool_name")
                if isinstance(name, str):
                    self.loaded_tools.add(name)
                return (name,)
            case "tool_addition":
                tool = block.get("tool")
                name = tool.get("name") if isinstance(tool, dict) else None
                return ({"type": "tool_reference", "tool_name": name},)
            case _:
                self._add_json(block)
        return ()

    def _add_image(self, source: Any) -> None:
        _, data = _inline(source)
        size = media.image_size(data) if data else None
        if size is None:  # a URL, a file id, or a format without a known header
            self.fixed += _UNKNOWN_IMAGE_TOKENS
            return
        self.fixed += media.image_tokens(
            *size, edge=self.tier.image_edge, limit=self.tier.image_tokens
        )

    def _document(self, block: dict[str, Any]) -> Any:
        """Return a document's text or nested content; add the pages of one that has neither."""
        source = block.get("source")
        if not isinstance(source, dict):
            return None
        match _kind(source):
            case "text":
                return source.get("data")
            case "content":
                return source.get("content")
        media_type, data = _inline(source)
        title = block.get("title")
        kind = document_format(media_type, title if isinstance(title, str) else "", data)
        if kind and (text := text_of(kind, data)) is not None:
            return text
        # By URL or file id there is a document too; its length is unknown.
        self.fixed += _PDF_PAGE_TOKENS * (media.pdf_pages(data) if data else 1)
        return None

    def _add_json(self, value: Any) -> None:
        if value is None:
            return
        try:
            self.texts.append(write(value))
        except (TypeError, ValueError):  # deeper than orjson writes, though it could be read
            self.texts.extend(_leaves(value))


def _inline(source: Any) -> tuple[str, str]:
    """Return (media type, base64) of a source, "" for what it does not hold."""
    try:
        return inline(source, "", "") if isinstance(source, dict) else ("", "")
    except RequestError:
        return "", ""


def _leaves(value: Any) -> Iterator[str]:
    """Yield the keys and scalars of a nested value with about the punctuation JSON has."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield "{}"
            for key, member in part.items():
                yield f'"{key}":'
                waiting.append(member)
        elif isinstance(part, list):
            yield "[]"
            waiting.extend(part)
        else:
            yield str(part)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield item


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0
