"""Anthropic's content blocks, written as server-sent events: one open at a time, numbered from 0.

Rules of this file: it knows nothing of Kiro. A block is opened by its first content, so none is
empty; it is closed before the next begins.

Theory of operation. What is asked for, by the block that is open:

              text           thinking         signature      tool, redacted thinking
    NO_BLOCK  open TEXT      open THINKING    open THINKING  whole block → NO_BLOCK
    TEXT      delta          close, open      close, open    close, whole block → NO_BLOCK
    THINKING  close, open    delta            keep           close, whole block → NO_BLOCK

A signature is kept until its block closes, because it must be the block's last delta; the last
one given counts, and a block that got none is given UNSIGNED_SIGNATURE.

Source: Anthropic's streaming grammar.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdio cimport snprintf

from kiroproxy._text cimport (
    Spares, give_back, put, put_chars, put_escaped, release, spares,
)
from kiroproxy._thinking cimport TEXT, THINKING

cdef extern from *:
    """
    #ifdef KP_DEBUG
    #define KP_CHECK(truth) do { if (!(truth)) Py_FatalError("_blocks: " #truth); } while (0)
    #else
    #define KP_CHECK(truth) ((void)0)
    #endif
    """
    void KP_CHECK(bint truth) noexcept nogil

# Clients replay a thinking block only if it is signed, and some refuse one that is not. This is
# base64 of "kiroproxy: this thinking has no upstream signature", and it is never sent to Kiro.
UNSIGNED_SIGNATURE = "a2lyb3Byb3h5OiB0aGlzIHRoaW5raW5nIGhhcyBubyB1cHN0cmVhbSBzaWduYXR1cmU="

cdef enum:
    PIECE_LEN = 8192        # of tool arguments a delta: line readers with a limit stop at 64 KiB

# What an open block begins with, up to where its text will stand; DELTA_END closes it.
TEXT_OPEN = b'{"type":"text","text":"'
THINKING_OPEN = b'{"type":"thinking","thinking":"'
SIGNATURE = b'","signature":"'
TOOL_INPUT = b'","input":{}}}\n\n'
DELTA_END = b'"}}\n\n'


cdef Spares *SPARES = spares()


cdef class BlockWriter:
    """Write content blocks into one buffer.

    Order: any; `taken` hands out what was written since the last time.
    Cost: one copy of the content, and of about 110 bytes around each delta.
    """

    def __dealloc__(self):
        release(&self._out)

    # -- content ---------------------------------------------------------------------------

    cdef int put_literal(self, int kind, Literal *literal) except -1:
        """Write a delta around the inside of a JSON string, as it is; always taken here."""
        cdef Tally *tally = &self.thinking if kind == THINKING else &self.text
        tally.ascii += literal.ascii
        tally.other += literal.other
        if kind == THINKING and self.drops_thinking:
            return 1
        self._begin_delta(kind)
        put(&self._out, literal.start, literal.len)
        self._end_delta()
        return 1

    cdef int put_plain(self, int kind, const uint8_t *text, Py_ssize_t size) except -1:
        """Write a delta around valid UTF-8."""
        if size == 0:
            return 0
        count_chars(text, size, &self.thinking if kind == THINKING else &self.text)
        if kind == THINKING and self.drops_thinking:
            return 0
        self._begin_delta(kind)
        put_escaped(&self._out, text, size)
        return self._end_delta()

    cdef int put_signature(self, str signature) except -1:
        """Keep a signature for the end of the thinking block, opening one if need be."""
        if not signature or self.drops_thinking:
            return 0
        self._open_block(THINKING)
        self._signature = signature.encode()
        return 0

    cdef int put_redacted(self, str data) except -1:
        """Write a whole block of thinking that only the model can read."""
        if not data or self.drops_thinking:
            return 0
        self.close_block()
        self._put_start(b'{"type":"redacted_thinking","data":"')
        self._put_string(data)
        self._end_delta()
        return self._put_stop()

    cdef int put_tool(self, str tool_id, str name, bytes arguments, bint is_ours) except -1:
        """Write a whole tool call; `arguments` is a valid JSON object.

        Shape: `is_ours` = the server performs it; else the client does.
        """
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(arguments)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(arguments)
        cdef Py_ssize_t size
        self.close_block()
        self._put_start(
            b'{"type":"server_tool_use","id":"' if is_ours else b'{"type":"tool_use","id":"'
        )
        self._put_string(tool_id)
        put_chars(&self._out, b'","name":"')
        self._put_string(name)
        put_chars(&self._out, TOOL_INPUT)
        self._set_head(b"input_json_delta", b"partial_json")
        count_chars(p, left, &self.tools)
        while left:
            size = min(left, <Py_ssize_t>PIECE_LEN)
            while size < left and (p[size] & 0xC0) == 0x80:
                size -= 1  # not within a character
            put(&self._out, self._head, self._head_len)
            put_escaped(&self._out, p, size)
            self._end_delta()
            p += size
            left -= size
        return self._put_stop()

    cdef int put_block(self, bytes block) except -1:
        """Write a whole block that comes without deltas; `block` is its JSON object."""
        self.close_block()
        self._put_start(PyBytes_AS_STRING(block))
        put_chars(&self._out, b"}\n\n")
        return self._put_stop()

    cdef int close_block(self) except -1:
        """Close the open block, if any; a thinking block is signed first."""
        if self.block == NO_BLOCK:
            return 0
        if self.block == THINKING:
            if self._signature is None:
                self._signature = UNSIGNED_SIGNATURE.encode()
            self._set_head(b"signature_delta", b"signature")
            put(&self._out, self._head, self._head_len)
            put_escaped(
                &self._out,
                <const uint8_t *>PyBytes_AS_STRING(self._signature),
                PyBytes_GET_SIZE(self._signature),
            )
            self._end_delta()
            self._signature = None
        self.block = NO_BLOCK
        return self._put_stop()

    # -- what a writer with limits does more (`_limits`) -------------------------------------

    cdef int settle(self) except -1:
        return 0

    cdef bint spend(self, const uint8_t *arguments, Py_ssize_t size) except -1:
        return True

    cdef int run_out(self) except -1:
        return 0

    # -- output ----------------------------------------------------------------------------

    cdef bytes taken(self):
        """Hand out what was written."""
        cdef bytes out = PyBytes_FromStringAndSize(<const char *>self._out.data, self._out.len)
        give_back(SPARES, &self._out)
        return out

    cdef void clear(self) noexcept:
        """Forget what was written: it has been taken."""
        give_back(SPARES, &self._out)

    # -- events ----------------------------------------------------------------------------

    cdef int _begin_delta(self, int kind) except -1:
        if self.block != kind:
            self._open_block(kind)
        return put(&self._out, self._head, self._head_len)

    cdef int _end_delta(self) except -1:
        return put(&self._out, DELTA_END, 5)

    cdef int _open_block(self, int kind) except -1:
        """Have a block of this kind open; a different one is closed first."""
        if self.block == kind:
            return 0
        self.close_block()
        if kind == TEXT:
            self._put_start(TEXT_OPEN)
            self._set_head(b"text_delta", b"text")
        else:
            self._put_start(THINKING_OPEN)
            put_chars(&self._out, SIGNATURE)
            self._set_head(b"thinking_delta", b"thinking")
        self._end_delta()
        self.block = kind
        return 0

    cdef int _put_start(self, const char *block) except -1:
        """Write content_block_start up to and including `block`."""
        KP_CHECK(self.block == NO_BLOCK)
        cdef char head[HEAD_LEN_MAX]
        put(&self._out, head, start_head(head, self.index))
        self.has_content = True
        return put_chars(&self._out, block)

    cdef int _put_stop(self) except -1:
        cdef char stop[HEAD_LEN_MAX]
        cdef int size = stop_event(stop, self.index)
        self.index += 1
        return put(&self._out, stop, size)

    cdef int _put_string(self, str value) except -1:
        cdef Py_ssize_t size = 0
        cdef const char *text = PyUnicode_AsUTF8AndSize(value, &size)
        return put_escaped(&self._out, <const uint8_t *>text, size)

    cdef void _set_head(self, const char *delta, const char *member) noexcept:
        """Write the beginning of the open block's deltas once for all of them."""
        self._head_len = delta_head(self._head, self.index, delta, member)
        KP_CHECK(self._head_len < HEAD_LEN_MAX)


cdef int start_head(char *out, int index) noexcept nogil:
    return snprintf(
        out, HEAD_LEN_MAX,
        b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,'
        b'"content_block":', index,
    )


cdef int delta_head(char *out, int index, const char *delta, const char *member) noexcept nogil:
    return snprintf(
        out, HEAD_LEN_MAX,
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%s","%s":"', index, delta, member,
    )


cdef int stop_event(char *out, int index) noexcept nogil:
    return snprintf(
        out, HEAD_LEN_MAX,
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n', index,
    )


cdef void count_chars(const uint8_t *text, Py_ssize_t size, Tally *tally) noexcept nogil:
    """Add the characters of valid UTF-8: a character has one byte that does not continue it."""
    cdef Py_ssize_t index
    cdef Py_ssize_t high = 0
    cdef Py_ssize_t leads = 0
    for index in range(size):
        high += text[index] >= 0x80
        leads += text[index] >= 0xC0
    tally.ascii += size - high
    tally.other += leads
