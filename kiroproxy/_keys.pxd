# The check of the operator's keys, for the compiled way of a request.


cdef bint same(bytes presented, bytes secret) noexcept


cdef class KeyCheck:
    cdef bytes _secret    # UTF-8; empty = nobody is admitted

    cpdef bint admits(self, dict headers) except -1
    cdef bint _matches(self, bytes value, Py_ssize_t start) except -1
