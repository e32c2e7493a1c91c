# From Kiro's socket to the client's, for the compiled modules that serve a request.
from libc.stdint cimport uint8_t

from kiroproxy._line cimport Listener
from kiroproxy._sse cimport Translator
from kiroproxy._wire cimport Consumer


cdef class Outlet:
    cdef object _write           # the transport's; None when it takes no more
    cdef object _held            # the transport's get_write_buffer_size …
    cdef object _is_closing      # … and is_closing, for as long as there is an `_fd`
    cdef int _fd                 # the transport's socket; -1: it is written to by the transport only
    cdef object _on_close        # whom a lost client concerns
    cdef Pump _pump              # who feels a full buffer
    cdef readonly bint paused    # the client's buffer is above its high-water mark
    cdef readonly bint closed    # the client is gone
    cdef readonly double wrote_at  # in the loop's seconds

    cdef int put(self, bytes chunk, double now) except -1
    cdef Py_ssize_t _put_past(self, bytes chunk) except -1
    cdef int _shut(self) except -1


cdef class Pump(Consumer):
    cdef Translator _translator
    cdef Outlet _outlet
    cdef object _on_content      # called once, at the first content; None when it has been

    cdef int _note_content(self) except -1
    cdef int go_on(self) except -1


cdef class Owner(Listener):
    cpdef content_came(self)
    cpdef bint ends(self) except -1
    cpdef done(self)
    cpdef came_whole(self)


cdef class Carrier(Pump):
    cdef Owner _owner            # None when it has let go
    cdef bytes _lead             # status line and headers; None once written
    cdef bytes _opening          # the events before Kiro's first
    cdef bint _is_told           # of the first content

    cdef bint _is_whole(self) noexcept
    cdef int _put_last(self, double now) except -1
    cdef bytes _chunk(self, bytes tail)


cdef class Gatherer(Consumer):
    cdef Translator _translator
    cdef Owner _owner            # None when it has let go
    cdef bint _is_told           # of the first content
