# Parts of a request taken over as they came, for compiled modules that know what they read.
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from kiroproxy._json cimport Reader
from kiroproxy._tally cimport Counts

cdef extern from "_scan.h":
    struct kp_literal:
        const uint8_t *at
        uint8_t *out
        int high
        int odd


cdef struct Span:
    const uint8_t *at     # in the request or in its copies; as it goes out
    Py_ssize_t size


cdef inline bint is_word(const Span *span, const char *word, Py_ssize_t size) noexcept nogil:
    return span.size == size and memcmp(span.at, word, size) == 0


cdef inline uint8_t next_byte(Reader *reader) noexcept nogil:
    # The next byte that is not blank, left where it is; 0 at the end.
    while reader.at < reader.end and reader.at[0] <= c" ":
        if reader.at[0] not in (c" ", c"\n", c"\r", c"\t"):
            break
        reader.at += 1
    return reader.at[0] if reader.at < reader.end else 0


cdef class Source:
    cdef Py_buffer view           # of the request; held until the end
    cdef bint is_viewed
    cdef Reader reader
    cdef const uint8_t *shared    # how far it was read when other threads were last let run
    cdef uint8_t *copies          # owned; as long as the request
    cdef uint8_t *copied          # where the next copy goes
    cdef Counts found

    cdef int begin(self, raw) except -1
    cdef int share(self) except -1
    # All of these raise NotMine.
    cdef int expect(self, uint8_t c) except -1
    cdef int goes_on(self, uint8_t closing) except -1
    cdef int string(self, Span *span, bint counts) except -1
    cdef int token(self, Span *span) except -1
    cdef int id(self, Span *span) except -1
    cdef int value(self, Span *span) except -1
    cdef int _decode(self, kp_literal *literal) except -1
    cdef int _escape(self, const uint8_t *end) except -1
    cdef int _copy(self, int depth) except -1
    cdef int _copy_object(self, int depth) except -1
    cdef int _copy_list(self, int depth) except -1
    cdef int _copy_number(self) except -1
    cdef void _push(self, uint8_t c) noexcept
    cdef void _take(self, const uint8_t *text, Py_ssize_t size) noexcept
