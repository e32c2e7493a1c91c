"""The plan of a request that holds nothing but one question: the short way through `request`.

Rules of this file: pure; it makes the plan that `request.convert` makes, to the byte, or none. It
refuses nothing and repairs nothing: what it does not know is `convert`'s.

Theory of operation. Much of what `convert` costs is to find out that there are no tools, no
history, no attachments, no thinking and no demands. A body with none of the members that could
hold such, and one message of text alone, has one form on Kiro's side; it is written here at once.

Source: request.convert, which the tests compare it with.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kiroproxy.protocol import conversation
from kiroproxy.protocol.history import ORIGIN
from kiroproxy.protocol.models import Catalogue
from kiroproxy.protocol.request import (
    BILLING_HEADER,
    OVERFLOW_FACTOR,
    CutCalls,
    Plan,
    nothing_cut,
    uncorrected,
)
from kiroproxy.protocol.tokens import count_plain

# Members that change nothing in the request to Kiro, or what this file reads.
_KNOWN = frozenset(
    (
        *("model", "max_tokens", "messages", "stream", "system", "metadata"),
        *("temperature", "top_p", "top_k", "service_tier"),
    )
)
_MESSAGE = {"role", "content"}
_TEXT_BLOCK = frozenset(("type", "text", "cache_control"))


def plan(
    body: dict[str, Any],
    catalogue: Catalogue,
    ids: Callable[[], str],
    session_id: str,
    correct: Callable[[str, int], int] = uncorrected,
    cut_calls: CutCalls = nothing_cut,
) -> Plan | None:
    """Translate a simple request; None: it is not simple. Shape: as `request.convert`.

    Raises: NotFound — the model, as `convert` says it.
    """
    limit, messages = body.get("max_tokens"), body.get("messages")
    if not body.keys() <= _KNOWN or type(limit) is not int or limit < 0:
        return None
    if type(messages) is not list or len(messages) != 1 or type(body.get("model")) is not str:
        return None
    if type(body.get("stream", False)) is not bool:
        return None
    question, system = _question(messages[0]), _system(body.get("system"))
    if question is None or system is None:
        return None
    resolved = catalogue.resolve(body["model"])
    model = resolved.model
    tokens = count_plain([*system, *question], body["model"])
    if resolved.thinking_suffix or tokens > model.context_window * OVERFLOW_FACTOR:
        return None
    conversation_id = conversation.conversation_id(body, session_id, ids)
    if cut_calls(conversation_id):
        return None
    text = "\n".join(question)
    if system:
        text = "\n\n".join((*system, text))
    return Plan(
        requested_model=body["model"],
        model=model,
        stream=body.get("stream") is True,
        split_tags=False,
        drop_thinking=False,
        tool_names={},
        stop_sequences=(),
        max_tokens=limit,
        input_tokens=correct(model.id, tokens),
        estimated_tokens=tokens,
        context_window=model.context_window,
        conversation_id=conversation_id,
        wants_web_search=None,
        demand=None,
        max_calls=None,
        mark=b"",
        written_calls=None,
        search=None,
        search_tool="",
        _open=_state(conversation_id, conversation.continuation_id(conversation_id, messages))
        % (orjson.dumps(text), orjson.dumps(model.id)),
    )


def _question(message: Any) -> list[str] | None:
    """Return the texts of a user's message that has nothing else."""
    if type(message) is not dict or message.keys() != _MESSAGE or message["role"] != "user":
        return None
    content = message["content"]
    if type(content) is str:
        return [content] if content else None
    return _texts(content)


def _system(system: Any) -> list[str] | None:
    """Return the texts of a system prompt that needs no looking through."""
    if system is None or system == "":
        return []
    found = [system] if type(system) is str else _texts(system)
    if found is None or any(text.startswith(BILLING_HEADER) for text in found):
        return None
    return found


def _texts(blocks: Any) -> list[str] | None:
    if type(blocks) is not list or not blocks:
        return None
    found = []
    for block in blocks:
        if (
            type(block) is not dict
            or not block.keys() <= _TEXT_BLOCK
            or block.get("type") != "text"
        ):
            return None
        text = block.get("text")
        if type(text) is not str or not text:
            return None
        found.append(text)
    return found


def _state(conversation_id: str, continuation_id: str) -> bytes:
    """Return the body's form, with gaps for the content and the model."""
    return (
        '{"conversationState":{"agentContinuationId":"' + continuation_id + '",'
        '"agentTaskType":"vibe","chatTriggerType":"MANUAL","conversationId":"'
        + conversation_id + '","currentMessage":{"userInputMessage":{"content":%b,"modelId":%b,'
        '"origin":"' + ORIGIN + '"}}}'
    ).encode("ascii")  # fmt: skip
