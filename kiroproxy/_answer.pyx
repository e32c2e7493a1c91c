"""One client answer: the translator under a plan, and what the answer cost.

Rules of this file: no bytes of Kiro's are looked at here; that is `_sse`'s. Usage is never
invented: each source is used only when the better one said nothing, and `usage_source` names the
one that was.

Source: requirements on usage order as BEHAVIOUR.md has them; Kiro's percentage is measured after
generation, so it covers prompt and answer.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport rint
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from kiroproxy._blocks cimport Tally
from kiroproxy._sse cimport Translator
from kiroproxy._text cimport Buffer, Spares, give_back, lend, put_chars, spares
from kiroproxy._whole cimport NOT_MINE, read_blocks

from orjson import dumps

from kiroproxy.protocol.tokens import output_limits

cdef enum:
    NO_COUNT = -1
    USAGE_LEN_MAX = 256  # of the four members below, whose numbers have 19 digits at most
    SIZE_LEN_MAX = 24    # digits of 64 bits, and the closing NUL

# What a double holds exactly; no answer has as many tokens, and sums of them fit 64 bits.
cdef double COUNT_MAX = 2.0 ** 53

cdef const char *USAGE = (
    b'{"input_tokens":%lld,"cache_creation_input_tokens":%lld,'
    b'"cache_read_input_tokens":%lld,"output_tokens":%lld}'
)

# Around what `_sse` writes of a message, in the order in which `Fold` has its members.
cdef const char *WHOLE_ID = b'{"stop_details":null,"id":'
cdef const char *WHOLE_CONTENT = b',"content":['
cdef const char *WHOLE_REASON = b'],"stop_reason":'
cdef const char *WHOLE_USAGE = b',"usage":'


cdef Spares *SPARES = spares()
cdef Buffer NOTHING  # zeros: what a buffer is before it has memory


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

    # -- the answer as one message ---------------------------------------------------------

    cdef bytes whole(self, bytes before, bytes behind):
        cdef Buffer around = NOTHING
        cdef Py_ssize_t content
        if self.failure is not None or not self.stop_reason:
            return None
        content = read_blocks(self._writer._out.data, self._writer._out.len, NULL)
        if content == NOT_MINE:
            return None
        lend(SPARES, &around)
        try:
            return self._response(before, behind, content, &around)
        finally:
            give_back(SPARES, &around)
            self._writer.clear()

    cdef bytes _response(self, bytes before, bytes behind, Py_ssize_t content, Buffer *around):
        """Put head and message together, the `content` bytes of its blocks where they are to be."""
        cdef char number[SIZE_LEN_MAX]
        cdef Py_ssize_t split = self._put_message(around)
        cdef Py_ssize_t size = around.len + content
        cdef int digits = snprintf(number, SIZE_LEN_MAX, b"%lld", <long long>size)
        cdef bytes response = PyBytes_FromStringAndSize(
            NULL, PyBytes_GET_SIZE(before) + digits + PyBytes_GET_SIZE(behind) + size
        )
        cdef char *out = PyBytes_AS_STRING(response)
        out = _copied(out, PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before))
        out = _copied(out, number, digits)
        out = _copied(out, PyBytes_AS_STRING(behind), PyBytes_GET_SIZE(behind))
        out = _copied(out, around.data, split)
        out += read_blocks(self._writer._out.data, self._writer._out.len, out)
        _copied(out, around.data + split, around.len - split)
        return response

    cdef Py_ssize_t _put_message(self, Buffer *out) except -1:
        """Write the message without its blocks; return where they stand."""
        cdef char own[USAGE_LEN_MAX]
        cdef Py_ssize_t split
        put_chars(out, WHOLE_ID)
        self._put_names(out)
        put_chars(out, WHOLE_CONTENT)
        split = out.len
        put_chars(out, WHOLE_REASON)
        self._put_reason(out, "")
        put_chars(out, WHOLE_USAGE)
        self._write_usage(own)
        put_chars(out, own)
        put_chars(out, b"}")
        return split

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


cdef inline char *_copied(char *out, const void *text, Py_ssize_t size) noexcept:
    memcpy(out, text, size)
    return out + size


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
