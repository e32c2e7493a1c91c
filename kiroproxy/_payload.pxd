# One event's payload, for the compiled module that reads events.
from libc.stdint cimport uint8_t

from kiroproxy._codec cimport Slice
from kiroproxy._text cimport Buffer, Carry, Literal


cdef class Payload:
    cdef dict members            # as orjson reads them, mended where that was needed
    cdef const uint8_t *_raw     # the payload as sent; borrowed from the frame, dies with it
    cdef Py_ssize_t _raw_len

    cdef bint decode(self, str key, Carry *carry, Buffer *out) except -1
    cdef str string(self, str key)
    cdef str word(self, str key)
    cdef object number(self, str key)
    cdef bytes sent(self, str key)


cdef Payload read_payload(Slice payload)
cdef bint is_simple(
    Slice payload, const char *opening, Py_ssize_t opening_len, Literal *literal
) noexcept nogil
cdef str words(Slice slice)
cdef object number_of(object value)
