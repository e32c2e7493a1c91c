# The layout of text that is read line by line, for the compiled modules that build on it.
from libc.stdint cimport uint8_t

from kiroproxy._text cimport Buffer


cdef enum:
    FENCE_LEN = 3       # characters that open a code fence


cdef enum Match:
    MISMATCH = 0
    PARTIAL = 1         # the text ends inside what may become a match
    FULL = 2


cdef inline bint is_blank(uint8_t c) noexcept:
    return c == c" " or c == c"\t" or c == c"\r"


cdef inline bint is_white(uint8_t c) noexcept:
    return c == c"\n" or is_blank(c)


cdef class Lines:
    # Input being looked at
    cdef const uint8_t *_p       # next byte to look at; in the fed bytes or in _held
    cdef const uint8_t *_end
    cdef Buffer _held            # what was held back, with the bytes fed after it
    cdef bint _final             # nothing will follow the bytes at hand: decide
    cdef bint _swallow           # white space that comes next belongs to what was found before
    # Where we are
    cdef bint _line_start        # only blanks since the last newline, or since the text began
    cdef uint8_t _fence          # the open fence's character, 0 = none
    cdef int _fence_len          # and how many of them opened it
    cdef bint _fence_line        # still on the line that opened it
    cdef uint8_t _run_char       # the run of fence characters at the start of this line …
    cdef int _run_len            # … and its length so far, 0 = none

    cdef int feed_raw(self, const uint8_t *text, Py_ssize_t size) except -1
    # Lends valid UTF-8. The caller keeps it alive until all that is decided was handed out.
    cdef void border(self) noexcept
    # Nothing that follows belongs to what is held back: it is decided now.
    cdef void fresh_line(self) noexcept
    # After a border: what follows opens a new block of the answer.
    cdef int hold(self) except -1
    cdef void end_run(self) noexcept
