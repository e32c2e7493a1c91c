"""The plan of a request that holds nothing but one question: the short way through `request`.

Rules of this file: pure; it makes the plan that `request.convert` makes, to the byte, or none. It
refuses nothing and repairs nothing: what it does not know is `convert`'s.

Theory of operation. Much of what `convert` costs is to find out that there are no tools, no
history, no attachments, no thinking and no demands. A body with none of the members that could
hold such, and one message of text alone, has one form on Kiro's side; it is written here at once.
Of a call that was cut is told behind the answer that held it: a single message has no such.

Source: request.convert, which the tests compare it with.
"""

from collections.abc import Callable
from dataclasses import fields
from hashlib import sha256
from typing import Any

import orjson

from kiroproxy._plain import filled, texts_of
from kiroproxy.protocol import conversation
from kiroproxy.protocol.history import ORIGIN
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import BILLING_HEADER, OVERFLOW_FACTOR, Plan, uncorrected
from kiroproxy.protocol.tokens import count_plain

# Members that change nothing in the request to Kiro, or what this file reads.
_KNOWN = frozenset(
    (
        *("model", "max_tokens", "messages", "stream", "system", "metadata"),
        *("temperature", "top_p", "top_k", "service_tier"),
    )
)
_NAMES = tuple(field.name for field in fields(Plan))
# What the plan of a simple request has in common with every other's.
_ALIKE: dict[str, object] = {
    "split_tags": False,
    "drop_thinking": False,
    "tool_names": {},
    "stop_sequences": (),
    "wants_web_search": None,
    "search": None,
    "search_tool": "",
    "demand": None,
    "max_calls": None,
    "mark": b"",
    "written_calls": None,
    "_parts": None,
}


def plan(
    body: dict[str, Any],
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str,
    correct: Callable[[str, int], int] = uncorrected,
) -> Plan | None:
    """Translate a simple request; None: it is not simple. Shape: as `request.convert`.

    Raises: NotFound — the model, as `convert` says it.
    """
    texts = texts_of(body, _KNOWN, BILLING_HEADER)
    limit, name, stream = body.get("max_tokens"), body.get("model"), body.get("stream", False)
    if texts is None or type(limit) is not int or limit < 0:
        return None
    if type(name) is not str or type(stream) is not bool:
        return None
    system, said = texts
    resolved = catalogue.resolve(name)
    model = resolved.model
    tokens = count_plain([*system, *said], name)
    if resolved.thinking_suffix or tokens > model.context_window * OVERFLOW_FACTOR:
        return None
    conversation_id = _conversation(body, session_id, ids)
    text = said[0] if len(said) == 1 else "\n".join(said)
    if system:
        text = "\n\n".join((*system, text))
    values = _ALIKE | {
        "requested_model": name,
        "model": model,
        "stream": stream,
        "max_tokens": limit,
        "input_tokens": correct(model.id, tokens),
        "estimated_tokens": tokens,
        "context_window": model.context_window,
        "conversation_id": conversation_id,
        "_open": _FORM
        % (
            conversation.numbered(conversation_id, 1).encode("ascii"),
            conversation_id.encode("ascii"),
            orjson.dumps(text),
            orjson.dumps(model.id),
        ),
    }
    return filled(Plan, _NAMES, tuple([values[each] for each in _NAMES]))


def _conversation(body: dict[str, Any], session_id: str, ids: Callable[[], str]) -> str:
    if session_id or body.get("metadata") is not None:
        return conversation.conversation_id(body, session_id, ids)
    begun = (
        _NOBODY,
        orjson.dumps(body.get("system")),
        orjson.dumps(body["messages"][0]["content"]),
    )
    return conversation.named(sha256(b"".join(begun)).hexdigest())


_NOBODY = orjson.dumps("")  # the user of a request that names none
_FORM = (
    b'{"conversationState":{"agentContinuationId":"%b","agentTaskType":"vibe",'
    b'"chatTriggerType":"MANUAL","conversationId":"%b","currentMessage":{"userInputMessage":'
    b'{"content":%b,"modelId":%b,"origin":"' + ORIGIN.encode("ascii") + b'"}}}'
)
