# The finder of written tool calls, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._lines cimport Lines
from kiroproxy._text cimport Literal


cdef enum PartKind:
    NOTHING = 0    # the input is used up, but for what is held back
    PLAIN = 1      # `buf[:len]` is text
    WRITTEN = 2    # `buf[:len]` is the text of the calls in `CallFinder.calls`


cdef struct Part:
    int kind
    const uint8_t *buf  # borrowed: valid until the next feed_raw or border
    Py_ssize_t len


cdef class CallFinder(Lines):
    cdef object _read            # what understands a call; see the module
    cdef readonly list calls     # of the latest WRITTEN: (name, arguments)
    # What is held back
    cdef Py_ssize_t _seen        # bytes of it that were looked at for an end
    cdef Py_ssize_t _read_len    # its length when it was last read as a call
    cdef int _reads              # how often it was
    cdef int _reads_left         # and how often that may happen in this answer

    cdef int next_part(self, Part *part) except -1
    # 1: *part is filled. 0: more is needed.
    cdef bint may_skip(self, Literal *literal) noexcept
    # Whether the literal's text may be taken past the finder …
    cdef void skip(self, Literal *literal) noexcept
    # … which is then told about it.

    cdef bint _begins_line(self) noexcept
    cdef int _judge(self) except -2
    cdef int _try(self) except -2
    cdef bint _may_end(self) noexcept
    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept
    cdef int _cut(self, Part *part, const uint8_t *q) noexcept
