# The writer that knows when to end, for the compiled module that drives it.
from libc.stdint cimport int64_t, uint8_t

from kiroproxy._blocks cimport BlockWriter
from kiroproxy._stops cimport Stops
from kiroproxy._text cimport Buffer


cdef class LimitedWriter(BlockWriter):
    cdef Stops _stops            # None: no sequence was asked for
    cdef int64_t _left           # what may still be generated …
    cdef int64_t _ascii_cost     # … in the units in which a character below U+0080 costs this …
    cdef int64_t _other_cost     # … and any other this
    cdef object _measure         # weighs a short answer as it is; None: by its characters
    cdef Buffer _spent           # then: all that was generated, …
    cdef Py_ssize_t _due         # … of which so much may follow until it is weighed again

    cdef int limit(self, tuple stop_sequences, tuple room, object measure) except -1
    # What ends the answer. `room` is (units in all, of an ASCII character, of any other), in a
    # unit of the caller's choice; None = unlimited, as it is without this call.

    cdef int _put_watched(self, const uint8_t *text, Py_ssize_t size) except -1
    cdef int _give_out(self, Py_ssize_t size) except -1
    cdef bint _makes_way(self, int kind) except -1
    cdef bint _has_room(self) except -1
    cdef Py_ssize_t _afford(self, const uint8_t *text, Py_ssize_t size) except -1
    cdef Py_ssize_t _weigh(self, const uint8_t *text, Py_ssize_t size) except -1
