# The writer of content blocks, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._text cimport Buffer, Literal


cdef enum:
    NO_BLOCK = 0            # else TEXT or THINKING, as the splitter names them
    HEAD_LEN_MAX = 160      # a delta's beginning, index included

# The bytes of events, for whoever reads them back; the comments are where they are written.
cdef const char *TEXT_OPEN
cdef const char *THINKING_OPEN
cdef const char *SIGNATURE
cdef const char *TOOL_INPUT
cdef const char *DELTA_END


cdef struct Tally:
    Py_ssize_t ascii        # characters below U+0080 …
    Py_ssize_t other        # … and from there on


cdef class BlockWriter:
    # The block that is open
    cdef int block                   # NO_BLOCK, TEXT or THINKING
    cdef int index                   # of the open block, or of the next
    cdef bytes _signature            # waits for the end of the thinking block
    cdef char _head[HEAD_LEN_MAX]    # what each of its deltas begins with
    cdef int _head_len
    # For the whole answer
    cdef bint drops_thinking         # the client wants none: it is counted, not written
    cdef bint has_content            # a block has been opened
    cdef str ended                   # the stop reason, once the client's limits ended the answer
    cdef str stop_sequence           # the sequence that did
    cdef Tally text, thinking, tools  # what upstream generated, dropped thinking included
    # Of the running call
    cdef Buffer _out

    cdef int put_literal(self, int kind, Literal *literal) except -1
    # 0: it was not taken, and has to come decoded.
    cdef int put_plain(self, int kind, const uint8_t *text, Py_ssize_t size) except -1
    cdef int put_signature(self, str signature) except -1
    cdef int put_redacted(self, str data) except -1
    cdef int put_tool(self, str tool_id, str name, bytes arguments, bint is_ours) except -1
    cdef int put_block(self, bytes block) except -1
    cdef int close_block(self) except -1
    cdef int settle(self) except -1
    # No text of the open block follows: what is held back is written.
    cdef bint spend(self, const uint8_t *arguments, Py_ssize_t size) except -1
    # Counts arguments of a tool call as they come; False: they are too many.
    cdef int run_out(self) except -1
    # Ends the answer for its length.
    cdef bytes taken(self)
    cdef void clear(self) noexcept

    cdef int _begin_delta(self, int kind) except -1
    cdef int _end_delta(self) except -1
    cdef int _open_block(self, int kind) except -1
    cdef int _put_start(self, const char *block) except -1
    cdef int _put_stop(self) except -1
    cdef int _put_string(self, str value) except -1
    cdef void _set_head(self, const char *delta, const char *member) noexcept


cdef void count_chars(const uint8_t *text, Py_ssize_t size, Tally *tally) noexcept nogil

# Each writes at most HEAD_LEN_MAX bytes, and returns how many.
cdef int start_head(char *out, int index) noexcept nogil
# Of a content_block_start: all up to the block.
cdef int delta_head(char *out, int index, const char *delta, const char *member) noexcept nogil
# Of a content_block_delta: all up to the inside of its literal.
cdef int stop_event(char *out, int index) noexcept nogil
# A content_block_stop.
