# The matcher's layout, for the compiled module that drives it.
from libc.stdint cimport uint8_t

from kiroproxy._text cimport Buffer


cdef struct Node:
    # What has been read so far is the beginning of a sequence; the nodes form a tree of them.
    uint8_t byte           # the last byte of that beginning
    int depth              # how many bytes it has
    int child, sibling     # first node one byte longer; next one that differs in the last byte
    int fail               # the longest ending of it that is a beginning too; 0 = none
    int hit_len            # bytes of the longest sequence it ends with; 0 = none
    int hit                # which one


cdef class Stops:
    # Sequences, for life
    cdef tuple _sequences        # as given
    cdef Node *_nodes            # owned; [0] is the root, the beginning of no bytes
    cdef int _count              # of the nodes
    cdef int _first[256]         # the root's children by byte; 0 = none
    # Where we are
    cdef int _state              # the node whose bytes are the end of `held`
    cdef Py_ssize_t _hit_at      # in `held`: where a complete sequence starts; -1 = none yet
    cdef int _hit                # which one; an earlier one may still complete
    cdef Buffer held             # text that was not given out
    cdef readonly str found      # the sequence that ended the text

    cdef Py_ssize_t take(self, const uint8_t *text, Py_ssize_t size) except -1
    # Adds valid UTF-8 to `held`; so many bytes at its beginning may be given out. At `found`,
    # what lies behind them is the sequence and what followed it.
    cdef Py_ssize_t give_up(self) noexcept
    # Nothing will follow what is held: so many bytes of it may be given out.
    cdef void drop(self, Py_ssize_t size) noexcept
    # They were given out.
    cdef bint passes(self, const uint8_t *text, Py_ssize_t size) noexcept nogil
    # Whether text may go past the matcher: nothing is held, and no sequence lies, begins or
    # ends in it.

    cdef void _plant(self, int index, bytes sequence) noexcept
    cdef int _link(self) except -1
    cdef void _link_node(self, int node, int parent) noexcept
    cdef int _child(self, int node, uint8_t byte) noexcept nogil
    cdef int _step(self, int node, uint8_t byte) noexcept nogil
    cdef Py_ssize_t _decide(self) noexcept
    cdef bytes _given(self, Py_ssize_t size)
