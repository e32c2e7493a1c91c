"""The plan of an ordinary conversation: the quick way through `request`, from the bytes.

Rules of this file: pure but for the tools it remembers; it makes the plan that `request.convert`
makes of what `request.parse_body` reads, to the byte, or none. It refuses nothing and repairs
nothing: what it does not know, and whatever is to be refused, is `convert`'s.

Theory of operation. What grows with a conversation is its messages: `_prompt` reads, counts and
writes those without an object for each. Everything else, a few KB, is read into `head` and goes the
way it goes in `convert`, by the same functions; tools that were seen lately are not even read
(`offers`).

Source: request.convert, which the tests compare it with.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from kiroproxy._json import NotMine, read
from kiroproxy._prompt import Prompt, read_prompt
from kiroproxy._sse import UNSIGNED_SIGNATURE
from kiroproxy._turns import Turns
from kiroproxy.errors import GatewayError
from kiroproxy.protocol import conversation, reasoning
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.offers import Offer, Offers, is_ordinary
from kiroproxy.protocol.recollection import mark_of
from kiroproxy.protocol.request import (
    OVERFLOW_FACTOR,
    CutCalls,
    Plan,
    demanded,
    instructions,
    nothing_cut,
    planned,
    uncorrected,
    validate,
)
from kiroproxy.protocol.tokens import count_shares, share_of_messages
from kiroproxy.protocol.tools import Toolbox

_UNSIGNED = UNSIGNED_SIGNATURE.encode("ascii")
_OFFERS = Offers()


def plan(
    raw: bytes | bytearray,
    *,
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str = "",
    correct: Callable[[str, int], int] = uncorrected,
    cut_calls: CutCalls = nothing_cut,
    offers: Offers = _OFFERS,
) -> tuple[Plan, dict[str, Any]] | None:
    """Read and translate an ordinary request; None: it is not ordinary.

    Shape: as `request.convert`, and the body's members that are neither messages nor tools.
    """
    prompt = read_prompt(raw, offers.known, _UNSIGNED)
    if prompt is None:
        return None
    try:
        made = _plan(prompt, catalogue, ids, session_id, correct, cut_calls, offers)
    except (GatewayError, NotMine, orjson.JSONEncodeError, UnicodeEncodeError, RecursionError):
        return None  # `convert` says what is wrong, in its order
    return None if made is None else (made, prompt.head)


def _plan(
    prompt: Prompt,
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str,
    correct: Callable[[str, int], int],
    cut_calls: CutCalls,
    offers: Offers,
) -> Plan | None:
    head = prompt.head
    # What looks at messages beside `_prompt` finds in such as these an effort of the turn's own,
    # and no tools brought up.
    told = ({"role": "system", "output_config": config} for config in prompt.configs)
    body = {**head, "messages": [{"role": "user"}, *told]}
    validate(body)
    resolved = catalogue.resolve(body["model"])
    offer = _offer(prompt, offers)
    if offer is None and head.get("tools") is not None:
        return None
    thought = reasoning.plan(body, resolved.model, suffix=resolved.thinking_suffix)
    tokens = _tokens(prompt, body, offer)
    if tokens > resolved.model.context_window * OVERFLOW_FACTOR:
        return None
    conversation_id = _conversation_id(prompt, body, session_id, ids)
    if cut_calls(conversation_id):
        return None
    toolbox, wires, after, declared = _tools(prompt, body, offer)
    turns = Turns(prompt)
    opened = _written(
        turns,
        prompt.prompts,
        conversation_id,
        before=instructions(body, thought, toolbox),
        after=after,
        model_id=resolved.model.id,
        wires=wires,
        declared=declared,
        keeps=resolved.model.native_thinking,
        fields=thought.fields,
    )
    if opened is None:
        return None
    made = planned(
        body,
        resolved,
        thought,
        toolbox,
        tokens=(correct(resolved.model.id, tokens), tokens),
        conversation_id=conversation_id,
        answer_mark=mark_of(prompt.users - 1, prompt.last()) if toolbox.is_offered else b"",
        opened=opened,
    )
    if turns.replays or made.demand is not None:
        return replace(made, _parts=partial(_read_again, opened))
    return made


def _read_again(opened: bytes) -> dict[str, Any]:
    parts: dict[str, Any] = read(opened + b"}")
    return parts


def _offer(prompt: Prompt, offers: Offers) -> Offer | None:
    """Return the tools offered, of which none is a search; None where there is no list of them."""
    if prompt.offer is not None:
        known: Offer = prompt.offer
        offers.use(known)
        return known
    if prompt.tools_raw is None:
        return None
    if not is_ordinary(prompt.tools):
        raise NotMine
    offer = Offer(prompt.tools)
    offers.keep(prompt.tools_raw, offer)
    return offer


def _tokens(prompt: Prompt, body: dict[str, Any], offer: Offer | None) -> int:
    messages = share_of_messages(
        prompt.counts, messages=prompt.messages, calls=prompt.calls, results=prompt.results
    )
    return count_shares(body, messages, offer.share if offer is not None else None)


def _conversation_id(
    prompt: Prompt, body: dict[str, Any], session_id: str, ids: Callable[[], str]
) -> str:
    known = conversation.by_session(body, session_id)
    if known:
        return known
    return conversation.conversation_id({**body, "messages": [prompt.opening()]}, session_id, ids)


def _tools(
    prompt: Prompt, body: dict[str, Any], offer: Offer | None
) -> tuple[Toolbox, list[bytes], str, bytes | None]:
    """Return the toolbox, the wire names of `prompt.names`, the demands, and the declarations."""
    names = [name.decode("ascii") for name in prompt.names]
    if offer is not None and body.get("tool_choice") in _FREE:
        toolbox, declared = offer.declared(names)
        wires = [orjson.dumps(toolbox.wire_name(name)) for name in names]
        return toolbox, wires, demanded(body, toolbox), declared
    toolbox = Toolbox({**body, "tools": offer.tools if offer is not None else None}, [])
    wires = [orjson.dumps(toolbox.use(name)) for name in names]
    after = demanded(body, toolbox)
    specifications = toolbox.specifications()
    return toolbox, wires, after, orjson.dumps(specifications) if specifications else None


_FREE = (None, {"type": "auto"})


def _written(
    turns: Turns,
    prompts: int,
    conversation_id: str,
    *,
    before: str,
    after: str,
    model_id: str,
    wires: list[bytes],
    declared: bytes | None,
    keeps: bool,
    fields: dict[str, Any],
) -> bytes | None:
    head = _HEAD % (
        conversation.numbered(conversation_id, prompts).encode("ascii"),
        orjson.dumps(conversation_id),
    )
    tail = b"}"
    if fields:
        tail += b',"additionalModelRequestFields":' + orjson.dumps(fields)
    return turns.write(
        head,
        tail,
        before=orjson.dumps(before)[1:-1],
        after=orjson.dumps(after)[1:-1],
        model=orjson.dumps(model_id),
        wires=wires,
        tools=declared,
        keeps=keeps,
    )


_HEAD = (
    b'{"conversationState":{"agentContinuationId":"%b","agentTaskType":"vibe",'
    b'"chatTriggerType":"MANUAL","conversationId":%b,"currentMessage":'
)
