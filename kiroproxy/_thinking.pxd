# The splitter's layout, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._lines cimport Lines


cdef enum SegmentKind:
    NOTHING = 0    # the input is used up, but for what is held back
    TEXT = 1       # `buf[:len]` is answer
    THINKING = 2   # `buf[:len]` is thinking
    CLOSED = 3     # a thinking segment has ended; no bytes


cdef struct Segment:
    int kind
    const uint8_t *buf  # borrowed: valid until the next feed_raw or border
    Py_ssize_t len


cdef class Splitter(Lines):
    cdef int _mode               # TEXT or THINKING
    cdef bint _leading           # TEXT: only white space since the segment began

    cdef int next_segment(self, Segment *segment) except -1
    # 1: *segment is filled. 0: more is needed; at most HELD_LEN_MAX bytes are held back.
    cdef bint may_skip(self, uint8_t first) noexcept
    # Whether text that holds no newline and none of < ` ~ may be taken past the splitter …
    cdef void skip(self, const uint8_t *text, Py_ssize_t size) noexcept
    # … which is then told about it; it is of the kind `_mode`.

    cdef int _cut(self, Segment *segment, const uint8_t *q) noexcept
    cdef bint _take_newline(self) noexcept
    cdef bint _take_leading(self) noexcept
    cdef int _scan_text(self, Segment *segment) noexcept
    cdef int _scan_thinking(self, Segment *segment) noexcept
    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept
    cdef void _open(self, const uint8_t *behind) noexcept
    cdef const uint8_t *_closes(self, const uint8_t *q, bint *undecided) noexcept
    cdef list _segments(self)
