"""One client answer: the compiled translator under a plan, and what it cost.

Rules of this file: no bytes are looked at here; that is `_sse`'s. Usage is never invented: each
source is used only when the better one said nothing, and `usage_source` names the one that was.

Source: requirements on usage order as BEHAVIOUR.md has them; Kiro's percentage is measured after
generation, so it covers prompt and answer.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from kiroproxy._sse import UNSIGNED_SIGNATURE, Failure, Translator
from kiroproxy.protocol.tokens import estimate_output, output_measure, output_room
from kiroproxy.protocol.written import WrittenCalls

__all__ = ["PING", "UNSIGNED_SIGNATURE", "Answer", "Failure", "StreamPlan", "farewell", "opening"]


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


class Answer:
    """Kiro's bytes in, the client's events out.

    Order: start once a client, feed…, end, then finish if `failure` is None, else restart or
    abort. Once `finished_early`, nothing more is read: the connection is closed, for upstream
    charges to its end; then end and finish.
    """

    __slots__ = (
        "_counted",
        "_first_index",
        "_plan",
        "feed",
        "message_id",
        "translator",
        "usage_source",
    )

    feed: Callable[[bytes | bytearray | memoryview], bytes]

    def __init__(self, plan: StreamPlan, message_id: str, first_index: int = 0) -> None:
        self._plan, self.message_id, self._first_index = plan, message_id, first_index
        measure = output_measure(plan.max_tokens, plan.requested_model)
        self.translator = Translator(
            message_id=message_id,
            model=plan.requested_model,
            split_tags=plan.split_tags,
            drop_thinking=plan.drop_thinking,
            tool_names=plan.tool_names,
            stop_sequences=plan.stop_sequences,
            room=None if measure else output_room(plan.max_tokens, plan.requested_model),
            measure=measure,
            max_calls=plan.max_calls,
            read_calls=None if plan.written_calls is None else plan.written_calls.read,
            own_tool=plan.search_tool,
            first_index=first_index,
        )
        self.feed = self.translator.feed  # bound here: called once a chunk
        self._counted: dict[str, int] | None = None
        self.usage_source = ""  # "metadata" | "percentage" | "estimate", set by usage()

    def restart(self) -> "Answer":
        """Return a fresh answer for the next try; the client already has its message_start."""
        return Answer(self._plan, self.message_id, self._first_index)

    def continued(self, plan: StreamPlan) -> "Answer":
        """Return what goes on behind this answer's blocks. Order: after end and release."""
        return Answer(plan, self.message_id, self.translator.next_index)

    # -- events --

    def start(self, input_tokens: int | None = None) -> bytes:
        """Return message_start and a ping; the plan's estimate unless told otherwise."""
        return self.translator.start(
            self._plan.input_tokens if input_tokens is None else input_tokens
        )

    def end(self) -> bytes:
        """Tell that the body ended cleanly, or early; sets `stop_reason`, or `failure`."""
        return self.translator.end()

    def insert(self, block: bytes) -> bytes:
        """Return a whole block of our own, the result of a call. Order: between end and finish."""
        return self.translator.insert(block)

    def release(self) -> bytes:
        """Return the client's calls that had to wait for our results. Order: after insert."""
        return self.translator.release()

    def finish(self, usage: Mapping[str, object] | None = None, stop_reason: str = "") -> bytes:
        """Return the last two events, in this answer's own words unless told others.

        Raises: RuntimeError — before end(), or after a failure.
        """
        return self.translator.finish(dict(usage or self.usage()), stop_reason)

    def abort(self, error_type: str, message: str, request_id: str) -> bytes:
        """Return what was held back, then the error event."""
        return self.translator.abort(error_type, message, request_id)

    def ping(self) -> bytes:
        """Return a ping."""
        return self.translator.ping()

    # -- facts --

    @property
    def has_content(self) -> bool:
        """Whether the client has been given content: no other try may follow."""
        return self.translator.has_content

    @property
    def called(self) -> list[str]:
        """The tools called so far, by the client's names, in order."""
        return self.translator.called

    @property
    def cut_calls(self) -> list[str]:
        """The tools whose calls did not get to the client, by the model's names. Order: end."""
        return self.translator.cut_calls

    @property
    def has_text(self) -> bool:
        """Whether the answer holds text by now."""
        return self.translator.has_text

    @property
    def finished_early(self) -> bool:
        """Whether a stop sequence, `max_tokens` or a call too many ended the answer."""
        return self.translator.finished_early

    @property
    def failure(self) -> Failure | None:
        """Why the stream cannot go on, or None."""
        return self.translator.failure

    @property
    def stop_reason(self) -> str:
        """How the answer ended; "" before end()."""
        return self.translator.stop_reason

    @property
    def own_calls(self) -> list[tuple[str, bytes]]:
        """The calls that the gateway performs itself: (id, arguments)."""
        return self.translator.own_calls

    @property
    def credits(self) -> float:
        """What Kiro charged, in credits; the sum of its metering events."""
        return self.translator.credits

    @property
    def upstream_request_id(self) -> str:
        """Kiro's own id for the request, for the log; "" where it told none."""
        return self.translator.upstream_request_id

    def usage(self) -> dict[str, int]:
        """Return the four counts a client reads.

        Units: tokens; input_tokens leaves out what the cache counts hold.
        """
        if self._counted is not None:
            return self._counted
        reported = self.translator.token_usage or {}
        output = _count(reported, "outputTokens") or self._estimated_output()
        read = _count(reported, "cacheReadInputTokens") or 0
        written = _count(reported, "cacheWriteInputTokens") or 0
        plain, total = _count(reported, "uncachedInputTokens"), _count(reported, "totalTokens")
        if plain is not None:
            self.usage_source = "metadata"
            uncached = plain
        elif total is not None:
            self.usage_source = "metadata"
            uncached = max(total - output - read - written, 0)
        else:
            uncached = self._estimated_input(output)
            read = written = 0
        usage = {
            "input_tokens": uncached,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": output,
        }
        if self.translator.stop_reason:
            self._counted = usage  # after the end nothing changes it
        return usage

    def _estimated_input(self, output: int) -> int:
        percent = self.translator.context_usage_percent
        if percent is not None:
            total = round(percent / 100 * self._plan.context_window)
            if total > output:  # else it was rounded away, or the window is not what we think
                self.usage_source = "percentage"
                return total - output
        self.usage_source = "estimate"
        return self._plan.input_tokens

    def _estimated_output(self) -> int:
        done = self.translator
        tokens = estimate_output(done.ascii_chars, done.other_chars, self._plan.requested_model)
        return max(tokens, 1) if done.has_content else tokens


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


def _count(usage: dict[str, object], name: str) -> int | None:
    """Return a member if it is a count: not every 200 fills them in."""
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return int(value)
