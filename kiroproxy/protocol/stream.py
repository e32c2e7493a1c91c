"""What an answer needs to know of its request, and the events of one that has no plan yet.

Rules of this file: no bytes are looked at here; that is `_sse`'s. The answer under a plan is
`_answer`'s.

Source: Anthropic's streaming grammar, as BEHAVIOUR.md tells it.
"""

from typing import Protocol

from kiroproxy._sse import UNSIGNED_SIGNATURE, Failure, Translator
from kiroproxy.protocol.written import WrittenCalls

__all__ = ["PING", "UNSIGNED_SIGNATURE", "Failure", "StreamPlan", "farewell", "opening"]


class StreamPlan(Protocol):
    """What an answer needs to know of its request."""

    @property
    def requested_model(self) -> str: ...
    @property
    def split_tags(self) -> bool: ...
    @property
    def drop_thinking(self) -> bool: ...
    @property
    def tool_names(self) -> dict[str, str]: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def context_window(self) -> int: ...
    @property
    def stop_sequences(self) -> tuple[str, ...]: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def max_calls(self) -> int | None: ...
    @property
    def written_calls(self) -> WrittenCalls | None: ...
    @property
    def search_tool(self) -> str: ...


def opening(message_id: str, model: str, input_tokens: int) -> bytes:
    """Return message_start and a ping for an answer that has no plan yet."""
    return _blank(message_id, model).start(input_tokens)


def farewell(error_type: str, message: str, request_id: str) -> bytes:
    """Return the error event of an answer that never got a plan."""
    return _blank("", "").abort(error_type, message, request_id)


def _blank(message_id: str, model: str) -> Translator:
    return Translator(
        message_id=message_id, model=model, split_tags=False, drop_thinking=False, tool_names={}
    )


PING = _blank("", "").ping()
