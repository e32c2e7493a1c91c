"""The first of several sequences in a text that comes in pieces.

Rules of this file: pure; valid UTF-8 in, the same bytes out up to the sequence. What comes out
does not depend on how the text was cut. Held back is only what is the beginning of a sequence,
and only until it cannot become one.

Theory of operation. An Aho-Corasick automaton: the state is the longest ending of the text that
begins a sequence, so the text before it is free. The sequence that *starts* first wins; of those
that start at the same place, the one that is complete first, which is the shortest: a model that
stops as it writes never gets to the longer one. A complete sequence waits only while one that
started before it may still be completed. Sequences are whole characters, so a border between
held and free text never lies within one.

Source: Aho, Corasick: Efficient string matching (1975); Anthropic's stop_sequences.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memmove

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from kiroproxy._text cimport put, release

cdef enum:
    ROOT = 0
    HELD_KEPT_MAX = 4096  # a larger buffer is given back: one long text must not cost a stream


cdef class Stops:
    """Watch one text for sequences.

    Shape: UTF-8 cut anywhere between characters → the part of it that is free.
    Order: take, drop, …, give_up, drop; nothing more once `found` is set.
    Raises: ValueError — an empty sequence, or none.
    Cost: O(bytes) for any number of sequences; one copy of the text.
    """

    def __cinit__(self, tuple sequences):
        cdef list encoded = [word.encode("utf-8", "surrogatepass") for word in sequences]
        if not all(encoded) or not encoded:
            raise ValueError("a sequence has at least one character")
        self._sequences = sequences
        self._hit_at = -1
        self._count = 1
        self._nodes = <Node *>calloc(1 + sum(map(len, encoded)), sizeof(Node))
        if self._nodes == NULL:
            raise MemoryError
        for index, sequence in enumerate(encoded):
            self._plant(index, sequence)
        self._link()

    def __dealloc__(self):
        free(self._nodes)
        release(&self.held)

    # -- the automaton --

    cdef void _plant(self, int index, bytes sequence) noexcept:
        """Add a sequence to the tree."""
        cdef int node = ROOT
        cdef int child
        cdef uint8_t byte
        for byte in sequence:
            child = self._child(node, byte)
            if child == 0:
                child = self._count
                self._count += 1
                self._nodes[child].byte = byte
                self._nodes[child].depth = self._nodes[node].depth + 1
                self._nodes[child].sibling = self._nodes[node].child
                self._nodes[node].child = child
            node = child
        if self._nodes[node].hit_len == 0:  # else it was given twice
            self._nodes[node].hit_len = self._nodes[node].depth
            self._nodes[node].hit = index

    cdef int _link(self) except -1:
        """Find every node's `fail`, the shorter beginnings first."""
        cdef int *queue = <int *>malloc(self._count * sizeof(int))
        cdef int taken = 0
        cdef int queued = 1
        cdef int child
        if queue == NULL:
            raise MemoryError
        queue[0] = ROOT
        while taken < queued:
            child = self._nodes[queue[taken]].child
            while child:
                self._link_node(child, queue[taken])
                queue[queued] = child
                queued += 1
                child = self._nodes[child].sibling
            taken += 1
        free(queue)
        return 0

    cdef void _link_node(self, int node, int parent) noexcept:
        cdef Node *it = &self._nodes[node]
        cdef Node *shorter
        if parent == ROOT:
            self._first[it.byte] = node
            return
        it.fail = self._step(self._nodes[parent].fail, it.byte)
        shorter = &self._nodes[it.fail]
        if it.hit_len == 0:  # else its own sequence is the longest it can end with
            it.hit_len, it.hit = shorter.hit_len, shorter.hit

    cdef int _child(self, int node, uint8_t byte) noexcept nogil:
        cdef int child = self._nodes[node].child
        while child and self._nodes[child].byte != byte:
            child = self._nodes[child].sibling
        return child

    cdef int _step(self, int node, uint8_t byte) noexcept nogil:
        """Return the node of the longest ending once `byte` follows."""
        cdef int child
        while node:
            child = self._child(node, byte)
            if child:
                return child
            node = self._nodes[node].fail
        return self._first[byte]

    # -- the text --

    cdef Py_ssize_t take(self, const uint8_t *text, Py_ssize_t size) except -1:
        cdef Py_ssize_t at = self.held.len
        cdef Node *node = &self._nodes[self._state]
        put(&self.held, text, size)
        while at < self.held.len:
            self._state = self._step(self._state, self.held.data[at])
            node = &self._nodes[self._state]
            at += 1
            if self._hit_at >= 0 and at - node.depth >= self._hit_at:
                return self._decide()  # nothing that started before it is left
            if node.hit_len and (self._hit_at < 0 or at - node.hit_len < self._hit_at):
                self._hit_at = at - node.hit_len
                self._hit = node.hit
                if node.hit_len == node.depth:
                    return self._decide()
        return at - node.depth

    cdef Py_ssize_t give_up(self) noexcept:
        if self._hit_at >= 0:
            return self._decide()
        self._state = ROOT
        return self.held.len

    cdef Py_ssize_t _decide(self) noexcept:
        self.found = self._sequences[self._hit]
        return self._hit_at

    cdef void drop(self, Py_ssize_t size) noexcept:
        self.held.len -= size
        if self.held.len:
            memmove(self.held.data, self.held.data + size, self.held.len)
        elif self.held.room > HELD_KEPT_MAX:
            release(&self.held)
        if self._hit_at >= 0:
            self._hit_at -= size

    cdef bint passes(self, const uint8_t *text, Py_ssize_t size) noexcept nogil:
        cdef const uint8_t *end = text + size
        cdef int state = self._state
        if state != ROOT:
            return False
        while text < end:
            state = self._step(state, text[0])
            if self._nodes[state].hit_len:
                return False
            text += 1
        return state == ROOT

    # -- Python face, for tests --

    cdef bytes _given(self, Py_ssize_t size):
        cdef bytes free_text = PyBytes_FromStringAndSize(<const char *>self.held.data, size)
        self.drop(size)
        return free_text

    def feed(self, text: bytes) -> bytes:
        """Return what is free once whole characters were added."""
        return self._given(self.take(<const uint8_t *>PyBytes_AS_STRING(text), len(text)))

    def end(self) -> bytes:
        """Return what is free as nothing follows."""
        return self._given(self.give_up())

    def held_bytes(self) -> int:
        """Return how much waits for more text."""
        return self.held.len
