# The finder of written tool calls, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._text cimport Buffer, Literal


cdef enum PartKind:
    NOTHING = 0    # the input is used up, but for what is held back
    PLAIN = 1      # `buf[:len]` is text
    WRITTEN = 2    # `buf[:len]` is the text of the calls in `CallFinder.calls`


cdef struct Part:
    int kind
    const uint8_t *buf  # borrowed: valid until the next feed_raw or border
    Py_ssize_t len


cdef class CallFinder:
    cdef object _read            # what understands a call; see the module
    cdef readonly list calls     # of the latest WRITTEN: (name, arguments)
    # Input being looked at
    cdef const uint8_t *_p       # next byte; in the fed bytes or in _held
    cdef const uint8_t *_end
    cdef Buffer _held            # what was held back, with the bytes fed after it
    cdef bint _final             # nothing will follow the bytes at hand: decide
    cdef bint _swallow           # white space behind a call belongs to it
    # What is held back
    cdef Py_ssize_t _seen        # bytes of it that were looked at for an end
    cdef Py_ssize_t _read_len    # its length when it was last read as a call
    cdef int _reads              # how often it was
    cdef int _reads_left         # and how often that may happen in this answer
    # Where we are
    cdef bint _line_start        # only blanks since the last newline, or since the text began
    cdef uint8_t _fence          # the open fence's character, 0 = none
    cdef int _fence_len          # and how many of them opened it
    cdef bint _fence_line        # still on the line that opened it
    cdef uint8_t _run_char       # the run of fence characters at the start of this line …
    cdef int _run_len            # … and its length so far, 0 = none

    cdef int feed_raw(self, const uint8_t *text, Py_ssize_t size) except -1
    # Lends valid UTF-8. The caller keeps it alive until next_part returned NOTHING.
    cdef int next_part(self, Part *part) except -1
    # 1: *part is filled. 0: more is needed.
    cdef void border(self) noexcept
    # Nothing that follows belongs to what is held back: next_part decides it now.
    cdef void fresh_line(self) noexcept
    # After a border: what follows opens a new block of the answer.
    cdef bint may_skip(self, Literal *literal) noexcept
    # Whether the literal's text may be taken past the finder …
    cdef void skip(self, Literal *literal) noexcept
    # … which is then told about it.

    cdef bint _begins_line(self) noexcept
    cdef int _judge(self) except -2
    cdef int _try(self) except -2
    cdef bint _may_end(self) noexcept
    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept
    cdef void _end_run(self) noexcept
    cdef int _hold(self) except -1
    cdef int _cut(self, Part *part, const uint8_t *q) noexcept
