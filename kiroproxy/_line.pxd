# One connection to Kiro, for the compiled modules that send on it and listen to it.
from kiroproxy._wire cimport Wire


cdef class Listener:
    # Who is told in place of a task's waking; cpdef, so that tests can listen in Python.
    cpdef stirred(self)
    # The head is there, or the answer ended, cleanly or not.


cdef class Limits:
    cdef readonly double first_byte_s, idle_s, total_s, head_s


cdef class Line(Wire):
    # For life
    cdef object _loop
    cdef object _owner               # who keeps count of connections
    cdef readonly object key         # the owner's, who files the line under it
    # For one answer
    cdef object _waiter              # the one reader's future
    cdef public Listener listener
    cdef object _unsent              # the rest of a long request
    cdef bint _writing_paused
    cdef Limits _limits
    cdef readonly object fault       # why the answer ended before its end, if it did
    cdef readonly double sent_at     # in the loop's seconds; of a long request's latest piece
    cdef double _started_at
    cdef readonly double idle_since
    # Across answers
    cdef object _timer
    cdef double _timer_at

    cdef int put(self, bytes head, bytes body, Limits limits) except -1
    cdef int _write_more(self) except -1
    cdef int _end(self, object fault) except -1
    cdef int _wake(self) except -1
    cdef int _arm(self, double limit_s) except -1
    cdef int _set_timer(self, double at) except -1
    cdef object _lost(self, str reason)
