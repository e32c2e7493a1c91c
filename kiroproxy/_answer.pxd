# An answer, for the compiled module that takes it from socket to socket.
cimport cython
from libc.stdint cimport int64_t

from kiroproxy._sse cimport Translator
from kiroproxy._text cimport Buffer


@cython.final
cdef class Answer(Translator):
    cdef object _plan                # protocol.stream.StreamPlan
    cdef int _first_index
    cdef int _chars_of_ten           # ASCII characters that ten tokens have
    # What it cost, in tokens: by count(), anew until `is_counted`
    cdef readonly int64_t input_tokens, output_tokens
    cdef readonly int64_t cache_creation_input_tokens, cache_read_input_tokens
    cdef readonly bint is_counted    # after the end: nothing changes the counts any more
    cdef readonly str usage_source   # metadata, percentage or estimate; "" before the first count

    cdef int begin(self, object plan, str message_id, int first_index) except -1
    # What the constructor does. Order: once, before all else.
    cdef int count(self) except -1
    # Fills in the counts above.
    cdef int put_last(self) except -1
    # finish() without its object: the events wait inside, behind those that do already.
    cdef bytes whole(self, bytes before, bytes behind)
    # An HTTP response of which all events wait, as one message; its size in bytes, as digits,
    # goes between the two halves of the head. None: it is `Fold`'s, and the events still wait.
    # Order: after put_end, instead of put_last; not where the client has any of the events.

    cdef int64_t _estimated_input(self, int64_t output) except? -1
    cdef int64_t _estimated_output(self) noexcept
    cdef int _write_usage(self, char *target) except -1
    cdef bytes _response(self, bytes before, bytes behind, Py_ssize_t content, Buffer *around)
    cdef Py_ssize_t _put_message(self, Buffer *out) except -1


cdef Answer answer_to(object plan, str message_id, int first_index)
# Answer(plan, message_id, first_index), without the constructor's arguments.
