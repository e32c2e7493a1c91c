# Events read back as a message's content, for the compiled module that has them waiting.
from libc.stdint cimport uint8_t


cdef enum:
    NOT_MINE = -1


cdef Py_ssize_t read_blocks(const uint8_t *events, Py_ssize_t size, char *out) noexcept nogil
# The size of the blocks' JSON, commas between them; it is written too, unless `out` is NULL.
# NOT_MINE: there is something else among the events.
