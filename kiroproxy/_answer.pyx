"""One client answer: the translator under a plan, and what the answer cost.

Rules of this file: no bytes of Kiro's are looked at here; that is `_sse`'s. Usage is never
invented: each source is used only when the better one said nothing, and `usage_source` names the
one that was.

Source: requirements on usage order as BEHAVIOUR.md has them; Kiro's percentage is measured after
generation, so it covers prompt and answer.
"""

from libc.math cimport rint
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf

from kiroproxy._blocks cimport Tally
from kiroproxy._sse cimport Translator
from kiroproxy._text cimport Spares, lend, spares

from orjson import dumps

from kiroproxy.protocol.tokens import output_limits

cdef enum:
    NO_COUNT = -1
    USAGE_LEN_MAX = 256  # of the four members below, whose numbers have 19 digits at most

# What a double holds exactly; no answer has as many tokens, and sums of them fit 64 bits.
cdef double COUNT_MAX = 2.0 ** 53

cdef const char *USAGE = (
    b'{"input_tokens":%lld,"cache_creation_input_tokens":%lld,'
    b'"cache_read_input_tokens":%lld,"output_tokens":%lld}'
)


cdef Spares *SPARES = spares()


cdef class Answer(Translator):
    """Kiro's bytes in, the client's events out.

    Order: start once a client, feed…, end, then finish if `failure` is None, else restart or
    abort. Once `finished_early`, nothing more is read: the connection is closed, for upstream
    charges to its end; then end and finish.
    """

    def __init__(self, plan, str message_id not None, int first_index=0):
        self.begin(plan, message_id, first_index)

    cdef int begin(self, object plan, str message_id, int first_index) except -1:
        cdef str model = plan.requested_model
        cdef tuple limits = output_limits(plan.max_tokens, model)
        written = plan.written_calls
        self._plan, self._first_index, self._chars_of_ten = plan, first_index, limits[0]
        self.usage_source = ""
        return self.set_up(
            message_id, model, plan.split_tags, plan.drop_thinking, plan.tool_names,
            plan.stop_sequences, limits[1], limits[2], plan.max_calls,
            None if written is None else written.read, plan.search_tool, first_index,
        )

    def restart(self) -> Answer:
        """Return a fresh answer for the next try; the client already has its message_start."""
        return answer_to(self._plan, self.message_id, self._first_index)

    def continued(self, plan) -> Answer:
        """Return what goes on behind this answer's blocks. Order: after end and release."""
        return answer_to(plan, self.message_id, self._writer.index)

    # -- events ----------------------------------------------------------------------------

    def start(self, input_tokens=None) -> bytes:
        """Return message_start and a ping; the plan's estimate unless told otherwise."""
        return self._start(self._plan.input_tokens if input_tokens is None else input_tokens)

    def finish(self, usage=None, str stop_reason="") -> bytes:
        """Return the last two events, in this answer's own words unless told others.

        Raises: RuntimeError — before end(), or after a failure.
        """
        cdef char own[USAGE_LEN_MAX]
        if usage:
            return self._last(dumps(dict(usage)), stop_reason)
        self._write_usage(own)
        return self._last(own, stop_reason)

    cdef int put_last(self) except -1:
        cdef char own[USAGE_LEN_MAX]
        self._write_usage(own)
        lend(SPARES, &self._writer._out)
        return self._write_last(&self._writer._out, own, "")

    # -- usage -----------------------------------------------------------------------------

    def usage(self) -> dict[str, int]:
        """Return the four counts a client reads.

        Units: tokens; input_tokens leaves out what the cache counts hold.
        """
        self.count()
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_creation_input_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "output_tokens": self.output_tokens,
        }

    cdef int count(self) except -1:
        cdef dict told = self.token_usage
        cdef int64_t plain, total, output, read, written
        if self.is_counted:
            return 0
        output = _told(told, "outputTokens")
        if output <= 0:
            output = self._estimated_output()
        read = max(_told(told, "cacheReadInputTokens"), 0)
        written = max(_told(told, "cacheWriteInputTokens"), 0)
        plain, total = _told(told, "uncachedInputTokens"), _told(told, "totalTokens")
        if plain != NO_COUNT:
            self.usage_source = "metadata"
        elif total != NO_COUNT:
            self.usage_source = "metadata"
            plain = max(total - output - read - written, 0)
        else:
            plain = self._estimated_input(output)
            read = written = 0
        self.input_tokens, self.output_tokens = plain, output
        self.cache_read_input_tokens, self.cache_creation_input_tokens = read, written
        self.is_counted = self.stop_reason != ""  # after the end nothing changes it
        return 0

    cdef int64_t _estimated_input(self, int64_t output) except? -1:
        cdef double total
        if self.context_usage_percent is not None:
            total = rint(
                <double>self.context_usage_percent / 100 * <double>self._plan.context_window
            )
            # Else it was rounded away, or the window is not what we think.
            if output < total <= COUNT_MAX:
                self.usage_source = "percentage"
                return <int64_t>total - output
        self.usage_source = "estimate"
        return self._plan.input_tokens

    cdef int64_t _estimated_output(self) noexcept:
        """What `tokens.estimate_output` says; at least one token for an answer with content."""
        cdef Tally all = self.generated()
        cdef int64_t tokens = <int64_t>rint(
            <double>all.ascii * 10 / self._chars_of_ten + <double>all.other
        )
        return max(tokens, 1) if self.is_content() else tokens

    cdef int _write_usage(self, char *target) except -1:
        self.count()
        return snprintf(
            target, USAGE_LEN_MAX, USAGE, <long long>self.input_tokens,
            <long long>self.cache_creation_input_tokens, <long long>self.cache_read_input_tokens,
            <long long>self.output_tokens,
        )


cdef Answer answer_to(object plan, str message_id, int first_index):
    cdef Answer answer = Answer.__new__(Answer)
    answer.begin(plan, message_id, first_index)
    return answer


cdef int64_t _told(dict usage, str name) except -2:
    """Return a member if it is a count: not every 200 fills them in."""
    if usage is None:
        return NO_COUNT
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NO_COUNT
    if not 0 <= value <= COUNT_MAX:
        return NO_COUNT
    return int(value)
