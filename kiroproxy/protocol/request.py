"""One Anthropic Messages request as one Kiro `generateAssistantResponse` body.

Rules of this file: pure; ids come in as an argument. The client's prompt is passed on as it is:
nothing is added but what a parameter of the request asks for. The body is built once; a retry
on another credential only splices another profile ARN into it.

Theory of operation: `parse_body` reads JSON, `convert` validates the outer shape, folds the
messages (`turns`, `history`), declares the tools (`tools`), plans the thinking (`reasoning`),
and puts the system prompt in front of the first user message, where it stays for the whole
conversation and keeps Kiro's prompt cache warm.

Source: Kiro's GenerateAssistantResponse as its IDE sends it; Anthropic's error texts, which
clients match on.
"""

import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, TypeAlias

import orjson

from kiroproxy._json import LongInteger, read, write_open
from kiroproxy.errors import RequestError
from kiroproxy.protocol import conversation, reasoning
from kiroproxy.protocol.content import as_json
from kiroproxy.protocol.demand import Demand
from kiroproxy.protocol.history import Writer, continued, pair
from kiroproxy.protocol.models import Catalogue, Model, Resolved
from kiroproxy.protocol.recollection import mark, told
from kiroproxy.protocol.searching import WebSearch
from kiroproxy.protocol.tokens import count_request
from kiroproxy.protocol.tools import Toolbox
from kiroproxy.protocol.turns import AssistantTurn, Turn, fold
from kiroproxy.protocol.websearch import detect, question
from kiroproxy.protocol.written import WrittenCalls

# A local estimate may be off by a third; beyond this factor Kiro could only refuse.
OVERFLOW_FACTOR = 1.5
# The matcher takes 32 bytes for each byte of them; real ones are a few words.
STOP_CHARS_MAX = 16_384
BILLING_HEADER = "x-anthropic-billing-header:"
_TOO_DEEP = "The request body is nested too deeply"


@functools.lru_cache(maxsize=1024)  # as many as there are credentials, or nearly
def closing(profile_arn: str) -> bytes:
    """Return what ends every body of a credential."""
    return b',"profileArn":%b}' % orjson.dumps(profile_arn) if profile_arn else b"}"


CutCalls: TypeAlias = Callable[[str], Mapping[bytes, str]]


def nothing_cut(conversation_id: str) -> Mapping[bytes, str]:
    """Remember nothing of any conversation."""
    return {}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the rest of the gateway needs to know about one request.

    Shape: `tool_names` maps wire names to the client's, only where they differ.
    """

    requested_model: str
    model: Model
    stream: bool
    split_tags: bool
    drop_thinking: bool
    tool_names: dict[str, str]
    stop_sequences: tuple[str, ...]
    max_tokens: int
    input_tokens: int  # the best guess, for the client
    estimated_tokens: int  # the same before Kiro's earlier counts corrected it
    context_window: int
    conversation_id: str
    wants_web_search: WebSearch | None  # the request is nothing else
    search: WebSearch | None  # the model may search, on these terms …
    search_tool: str  # … by calling the tool of this name; "" = there is none
    demand: Demand | None  # what the finished answer is checked for
    max_calls: int | None  # tool calls that may reach the client; None = any number
    mark: bytes  # names the answer, in its conversation; b"" where no tool can be called
    written_calls: WrittenCalls | None  # who understands calls written as text; None = nobody
    # The JSON body without its closing brace, and what tells the value it was made of, if that
    # may be needed again: because reasoning is replayed, or because the answer is checked.
    _open: bytes = field(repr=False)
    _parts: Callable[[], dict[str, Any]] | None = field(default=None, repr=False)

    def body(self, profile_arn: str | None) -> bytes:
        """Return the body for a credential. Cost: one concatenation."""
        assert self._open, "it was forgotten"
        return self._open + closing(profile_arn or "")

    def forget_body(self) -> None:
        """Let go of the body: it may be megabytes, and its answer may run for an hour.

        Order: when the client has seen content of the answer, so that nobody tries again.
        """
        object.__setattr__(self, "_open", b"")  # the one thing of a plan that ever changes
        object.__setattr__(self, "_parts", None)

    def without_reasoning(self) -> "Plan | None":
        """Return the same request without replayed reasoning; None when it holds none."""
        if self._parts is None:
            return None
        state = self._parts()["conversationState"]
        history = [_without_reasoning(entry) for entry in state.get("history", ())]
        if history == state.get("history", []):
            return None
        return self._remade({**state, "history": history})

    def corrected(self, said: str, correction: str) -> "Plan":
        """Return the request that follows an answer which will not do.

        Shape: `said` is that answer's text; the model sees it, and is told what it lacked.
        """
        assert self._parts is not None, "a plan with a demand keeps what it was made of"
        return self._remade(continued(self._parts()["conversationState"], said, correction))

    def _remade(self, state: dict[str, Any]) -> "Plan":
        parts = {**self._parts(), "conversationState": state} if self._parts else {}
        facts = {name: getattr(self, name) for name in self.__slots__ if name[0] != "_"}
        return Plan(**facts, _open=write_open(parts), _parts=lambda: parts)


def _without_reasoning(entry: dict[str, Any]) -> dict[str, Any]:
    message = entry.get("assistantResponseMessage")
    if message is None or "reasoningContent" not in message:
        return entry
    kept = {key: value for key, value in message.items() if key != "reasoningContent"}
    return {"assistantResponseMessage": kept}


# -- reading -------------------------------------------------------------------------------


def parse_body(raw: bytes | bytearray) -> dict[str, Any]:
    """Read a request body.

    Clients cut strings between the halves of a surrogate pair, and JavaScript writes such
    halves as escapes; they are read and replaced, as is NUL, which no prompt can hold.
    Raises: RequestError — not JSON, with line and column; not an object.
    """
    body = read(raw, judged)
    if not isinstance(body, dict):
        raise RequestError("Input should be a valid dictionary")
    return body


def judged(raw: bytes | bytearray) -> Any:
    """Read what the quick reader leaves alone: NUL, lone surrogates, and what is no JSON."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return _parse_leniently(raw, error)
    if _LONG_DIGITS.search(raw):  # orjson rounds an integer of more than 64 bits
        with contextlib.suppress(ValueError, RecursionError):
            return well_formed(_LENIENT.decode(raw.decode()))
    return well_formed(value) if b"\\u0000" in raw else value


def _parse_leniently(raw: bytes | bytearray, refusal: orjson.JSONDecodeError) -> Any:
    fault = RequestError(
        "The request body is not valid JSON: "
        f"{refusal.msg}: line {refusal.lineno} column {refusal.colno}"
    )
    # The second reader is for lone surrogates, raw control characters and a byte order mark;
    # it must not turn deep nesting into a crash or accept NaN.
    if refusal.msg.startswith("depth limit"):
        raise fault
    try:
        text = raw.decode("utf-8-sig")
        return well_formed(_LENIENT.decode(text))
    except UnicodeDecodeError as found:  # orjson places it at the body's first byte
        at = found.start
        line, column = raw.count(b"\n", 0, at) + 1, at - raw.rfind(b"\n", 0, at)
        raise RequestError(
            "The request body is not valid JSON: it is not UTF-8 "
            f"({raw[at]:#04x}): line {line} column {column}"
        ) from refusal
    except (ValueError, RecursionError):
        raise fault from refusal


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(digits)
    return number


_LONG_DIGITS = re.compile(rb"[0-9]{19}")
_LENIENT = json.JSONDecoder(strict=False, parse_float=_finite, parse_constant=_finite)


def well_formed(value: Any) -> Any:
    """Replace what cannot be written as JSON for Kiro: lone surrogates, NUL, long integers."""
    if isinstance(value, str):
        if "\x00" in value:
            value = value.replace("\x00", "\N{SYMBOL FOR NULL}")
        # A pair written as two escapes arrives joined or split; utf-16 joins what belongs
        # together and replaces what does not.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [well_formed(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return LongInteger(str(value))
    return value


# -- converting ------------------------------------------------------------------------------


def uncorrected(_model: str, tokens: int) -> int:
    """Return an estimate as it is."""
    return tokens


def convert(
    body: dict[str, Any],
    *,
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str = "",
    correct: Callable[[str, int], int] = uncorrected,
    cut_calls: CutCalls = nothing_cut,
) -> Plan:
    """Translate a request.

    Shape: `session_id` is the client's own (`x-claude-code-session-id`), "" if it sent none;
    `ids` makes a UUID and is asked only for a conversation without any recognisable beginning;
    `correct` betters the estimated tokens of a model; `cut_calls` tells what
    `recollection.told` wants to know of a conversation.
    Raises: RequestError (NotFound for the model) — with the words of Anthropic's API.
    """
    try:
        return _convert(body, catalogue, ids, session_id, correct, cut_calls)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        pass  # unwritable strings; only a body that `parse_body` did not read can hold them
    except RecursionError:
        raise RequestError(_TOO_DEEP) from None
    try:
        return _convert(well_formed(body), catalogue, ids, session_id, correct, cut_calls)
    except (orjson.JSONEncodeError, RecursionError) as error:
        # What is left after that repair is the writer's own limit: 254 levels.
        raise RequestError(_TOO_DEEP) from error


def _convert(
    body: dict[str, Any],
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str,
    correct: Callable[[str, int], int],
    cut_calls: CutCalls,
) -> Plan:
    validate(body)
    resolved = catalogue.resolve(body["model"])
    model = resolved.model
    tokens = count_request(body)
    if tokens > model.context_window * OVERFLOW_FACTOR:
        raise RequestError(f"prompt is too long: {tokens} tokens > {model.context_window} maximum")
    thought = reasoning.plan(body, model, suffix=resolved.thinking_suffix)
    conversation_id = conversation.conversation_id(body, session_id, ids)
    messages = body["messages"]
    if cut := cut_calls(conversation_id):
        body = {**body, "messages": told(messages, cut)}
    state, toolbox = _state(body, resolved, thought, conversation_id)
    search_tool, search = toolbox.search or ("", None)
    if search is not None:
        search = replace(search, query=question(body))
    parts = {"conversationState": state}
    if thought.fields:
        parts["additionalModelRequestFields"] = thought.fields
    replays = any("reasoningContent" in _message(entry) for entry in state.get("history", ()))
    plan = planned(
        body,
        resolved,
        thought,
        toolbox,
        tokens=(correct(model.id, tokens), tokens),
        conversation_id=conversation_id,
        answer_mark=mark(messages) if toolbox.is_offered else b"",
        opened=write_open(parts),
        search=search,
        search_tool=search_tool,
        wants_web_search=detect(body),
    )
    return replace(plan, _parts=lambda: parts) if replays or plan.demand is not None else plan


def planned(
    body: dict[str, Any],
    resolved: Resolved,
    thought: reasoning.Reasoning,
    toolbox: Toolbox,
    *,
    tokens: tuple[int, int],
    conversation_id: str,
    answer_mark: bytes,
    opened: bytes,
    search: WebSearch | None = None,
    search_tool: str = "",
    wants_web_search: WebSearch | None = None,
) -> Plan:
    """Return the plan of a conversation that is written.

    Shape: `tokens` are the corrected estimate and the plain one; of `body` everything is looked
    at but its messages and tools. What the body was made of, where it may be needed again, is
    to be added. Order: after `toolbox.specifications`.
    """
    model = resolved.model
    return Plan(
        requested_model=body["model"],
        model=model,
        stream=body.get("stream") is True,
        split_tags=thought.split_tags,
        drop_thinking=thought.drop_thinking,
        tool_names=toolbox.renamed,
        stop_sequences=_stop_sequences(body),
        max_tokens=int(body["max_tokens"]),
        input_tokens=tokens[0],
        estimated_tokens=tokens[1],
        context_window=model.context_window,
        conversation_id=conversation_id,
        wants_web_search=wants_web_search,
        demand=toolbox.choice.demand(toolbox, _wanted_schema(body)),
        max_calls=toolbox.choice.max_calls(toolbox),
        mark=answer_mark,
        written_calls=WrittenCalls(toolbox.callable) if toolbox.is_offered else None,
        search=search,
        search_tool=search_tool,
        _open=opened,
    )


def _state(
    body: dict[str, Any], resolved: Resolved, thought: reasoning.Reasoning, conversation_id: str
) -> tuple[dict[str, Any], Toolbox]:
    messages = body["messages"]
    toolbox = Toolbox(body, messages)
    found = fold(
        messages,
        keep_reasoning=resolved.model.native_thinking,
        searches=toolbox.search is not None,
    )
    pair(found)
    for turn in found:
        for call in turn.calls if isinstance(turn, AssistantTurn) else ():
            toolbox.use(call.name)
    demands = demanded(body, toolbox)
    specifications = toolbox.specifications()
    system = instructions(body, thought, toolbox)
    entries = _entries(found, Writer(toolbox, resolved.model), system, demands)
    current = entries.pop()
    if specifications:
        context = current["userInputMessage"].setdefault("userInputMessageContext", {})
        context["tools"] = specifications
    state = {
        "agentContinuationId": conversation.continuation_id(conversation_id, messages),
        "agentTaskType": "vibe",
        "chatTriggerType": "MANUAL",
        "conversationId": conversation_id,
        "currentMessage": current,
    }
    return {**state, "history": entries} if entries else state, toolbox


def _entries(found: list[Turn], writer: Writer, system: str, after: str) -> list[dict[str, Any]]:
    last = len(found) - 1
    return [
        writer.assistant(turn)
        if isinstance(turn, AssistantTurn)
        else writer.user(
            turn,
            before="" if index else system,
            after=after if index == last else "",
            current=index == last,
        )
        for index, turn in enumerate(found)
    ]


def instructions(body: dict[str, Any], thought: reasoning.Reasoning, toolbox: Toolbox) -> str:
    """Return what goes before the first message. Order: after `toolbox.specifications`."""
    texts = (thought.tags, _system(body.get("system")), toolbox.documentation)
    return "\n\n".join(text for text in texts if text)


def demanded(body: dict[str, Any], toolbox: Toolbox) -> str:
    """Return what goes behind the last message. Order: before `toolbox.specifications`."""
    demands = (toolbox.choice.instruction(toolbox), _format_instruction(body))
    return "\n".join(demand for demand in demands if demand)


def _message(entry: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = entry.get("assistantResponseMessage") or {}
    return message


# -- parameters --------------------------------------------------------------------------------


def validate(body: dict[str, Any]) -> None:
    """Check a body's own members. Raises: RequestError."""
    if body.get("thread") is not None:
        raise RequestError(
            "thread is not supported by this gateway; resend the full conversation.",
            error_code="thread_unsupported_request",
        )
    for name in ("model", "max_tokens", "messages"):
        if body.get(name) is None:
            raise RequestError(f"{name}: Field required")
    if not isinstance(body["model"], str):
        raise RequestError("model: Input should be a valid string")
    _check_max_tokens(body["max_tokens"])
    if not isinstance(body.get("stream") or False, bool):
        raise RequestError("stream: Input should be a valid boolean")
    if not isinstance(body["messages"], list):
        raise RequestError("messages: Input should be a valid list")
    if not body["messages"]:
        raise RequestError("messages: at least one message is required")
    for index, message in enumerate(body["messages"]):
        if not isinstance(message, dict):
            raise RequestError(f"messages.{index}: Input should be a valid dictionary")
        if not isinstance(message.get("role"), str):
            raise RequestError(f"messages.{index}.role: Field required")


def _check_max_tokens(limit: Any) -> None:
    is_whole = isinstance(limit, int) or (isinstance(limit, float) and limit.is_integer())
    if not is_whole or isinstance(limit, bool):
        raise RequestError("max_tokens: Input should be a valid integer")
    if limit < 0:
        raise RequestError("max_tokens: Input should be greater than or equal to 0")


def _stop_sequences(body: dict[str, Any]) -> tuple[str, ...]:
    given = body.get("stop_sequences") or []
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise RequestError("stop_sequences: Input should be a valid list")
    if not all(word.strip() for word in given):
        raise RequestError("stop_sequences: each stop sequence must contain non-whitespace")
    if sum(map(len, given)) > STOP_CHARS_MAX:
        raise RequestError(
            f"stop_sequences: Input should have at most {STOP_CHARS_MAX} characters in all"
        )
    return tuple(given)


def _system(system: Any) -> str:
    """Join the system prompt's blocks, without Claude Code's accounting line."""
    if system is None:
        return ""
    if isinstance(system, str):
        if not system.startswith(BILLING_HEADER):
            return system
        return system.partition("\n")[2].lstrip("\n")
    if not isinstance(system, list):
        raise RequestError("system: Input should be a valid list")
    texts = []
    for block in system:
        text = block.get("text") if isinstance(block, dict) else block
        if not isinstance(text, str):
            text = as_json(block)
        if text and not text.startswith(BILLING_HEADER):
            texts.append(text)
    return "\n\n".join(texts)


def _wanted_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of structured output, in its place or the older one."""
    config = body.get("output_config")
    wish = (config.get("format") if isinstance(config, dict) else None) or body.get("output_format")
    wanted = wish.get("schema") if isinstance(wish, dict) else None
    return wanted if isinstance(wanted, dict) else None


def _format_instruction(body: dict[str, Any]) -> str:
    """Ask for structured output in words: Kiro has no field for it."""
    wanted = _wanted_schema(body)
    if wanted is None:
        return ""
    return (
        "Answer with one JSON value and nothing else, no code fence. It must validate against "
        f"this JSON schema: {as_json(wanted)}"
    )
