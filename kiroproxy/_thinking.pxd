# The splitter's layout, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._text cimport Buffer


cdef enum SegmentKind:
    NOTHING = 0    # the input is used up, but for what is held back
    TEXT = 1       # `buf[:len]` is answer
    THINKING = 2   # `buf[:len]` is thinking
    CLOSED = 3     # a thinking segment has ended; no bytes


cdef struct Segment:
    int kind
    const uint8_t *buf  # borrowed: valid until the next feed_raw or border
    Py_ssize_t len


cdef class Splitter:
    # Input being split
    cdef const uint8_t *_p       # next byte to look at; in the fed bytes or in _joined
    cdef const uint8_t *_end
    cdef Buffer _joined          # what was held back, with the bytes fed after it
    # Where we are
    cdef int _mode               # TEXT or THINKING
    cdef bint _line_start        # only blanks since the last newline, or since the segment began
    cdef bint _leading           # TEXT: only white space since the segment began
    cdef bint _swallow           # one newline, if it comes next, belongs to the tag before
    cdef bint _final             # nothing will follow the bytes at hand: decide
    # Code fence
    cdef uint8_t _fence          # the open fence's character, 0 = none
    cdef int _fence_len          # and how many of them opened it
    cdef bint _fence_line        # still on the line that opened it
    cdef uint8_t _run_char       # the run of fence characters at the start of this line …
    cdef int _run_len            # … and its length so far, 0 = none

    cdef int feed_raw(self, const uint8_t *text, Py_ssize_t size) except -1
    # Lends valid UTF-8. The caller keeps it alive until next_segment returned NOTHING.
    cdef int next_segment(self, Segment *segment) except -1
    # 1: *segment is filled. 0: more is needed; at most HELD_LEN_MAX bytes are held back.
    cdef void border(self) noexcept
    # Nothing that follows belongs to what is held back: next_segment decides it now.
    cdef void fresh_line(self) noexcept
    # After a border: what follows opens a new block of the answer.
    cdef bint may_skip(self, uint8_t first) noexcept
    # Whether text that holds no newline and none of < ` ~ may be taken past the splitter …
    cdef void skip(self, const uint8_t *text, Py_ssize_t size) noexcept
    # … which is then told about it; it is of the kind `_mode`.

    cdef int _hold(self) except -1
    cdef int _cut(self, Segment *segment, const uint8_t *q) noexcept
    cdef bint _take_newline(self) noexcept
    cdef bint _take_leading(self) noexcept
    cdef int _scan_text(self, Segment *segment) noexcept
    cdef int _scan_thinking(self, Segment *segment) noexcept
    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept
    cdef void _end_run(self) noexcept
    cdef void _open(self, const uint8_t *behind) noexcept
    cdef const uint8_t *_closes(self, const uint8_t *q, bint *undecided) noexcept
    cdef list _segments(self)
