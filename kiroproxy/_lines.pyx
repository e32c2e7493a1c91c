"""Text that comes in pieces and is read line by line, around code fences.

Rules of this file: pure; it knows where a line and a fence begin and end, and keeps what a reader
could not decide yet. What is looked for, and what may be passed over, its readers know:
`_thinking` and `_calls`.

Fences follow CommonMark 4.5 as far as needed: three or more ` or ~ at the start of a line, closed
by as many; a run of backticks with another backtick on its line is inline code.
"""

from libc.string cimport memmove

from kiroproxy._text cimport put, release

cdef enum:
    HELD_KEPT_MAX = 4096  # a larger buffer is given back: one long line must not cost a stream


cdef class Lines:
    """What a reader of such text looks at. Order: feed_raw, read, hold, …, border, read, hold."""

    def __cinit__(self):
        self._line_start = True

    def __dealloc__(self):
        release(&self._held)

    cdef int feed_raw(self, const uint8_t *text, Py_ssize_t size) except -1:
        if self._held.len:
            put(&self._held, text, size)
            self._p = self._held.data
            self._end = self._p + self._held.len
        else:
            self._p = text
            self._end = text + size
        return 0

    cdef void border(self) noexcept:
        self._final = True
        self._p = self._held.data
        self._end = self._p + self._held.len

    cdef void fresh_line(self) noexcept:
        self._line_start = True
        self._fence = 0
        self._run_len = 0

    cdef int hold(self) except -1:
        """Keep what is left: it is looked at again together with what follows."""
        cdef Py_ssize_t size = self._end - self._p
        self._final = False
        if self._p == NULL:
            return 0
        if self._held.len:  # then that is where it lies
            memmove(self._held.data, self._p, size)
            self._held.len = size
        else:
            put(&self._held, self._p, size)
        if size == 0 and self._held.room > HELD_KEPT_MAX:
            release(&self._held)
        self._p = self._end = NULL
        return 0

    cdef void end_run(self) noexcept:
        """Open or close a code fence by the run of characters that opened this line."""
        if self._fence == 0 and self._run_len >= FENCE_LEN:
            self._fence = self._run_char
            self._fence_len = self._run_len
            self._fence_line = True
        elif self._fence == self._run_char and self._run_len >= self._fence_len:
            self._fence = 0
        self._run_len = 0

    def held_bytes(self) -> int:
        """Return how much waits for more text."""
        return self._held.len
