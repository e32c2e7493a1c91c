# One HTTP/1.1 answer as it arrives, for the compiled modules that take its body.
from libc.stdint cimport int64_t, uint8_t


cdef class Consumer:
    # Who takes a body straight from the socket's buffer, before any task is woken.
    cdef Wire source     # where the bytes come from; None while not attached
    cdef bint is_full    # the source should stop reading until settle() finds it is not
    cdef bint is_done    # it takes no more: whoever waits for it is woken

    cdef int consume(self, const uint8_t *data, Py_ssize_t size) except -1
    # A piece of the body, in order; the bytes are the source's and gone after the call.
    cdef int flush(self, double now) except -1
    # All of one read has been given. Units: now in the loop's seconds.


cpdef enum Phase:
    IDLE = 0    # nobody asked: a byte is a fault
    HEAD = 1    # the next byte belongs to an answer's head
    BODY = 2    # … to its body
    DONE = 3    # the answer is complete: a byte is a fault
    CLOSED = 4


cdef enum Framing:
    BY_LENGTH = 0
    BY_CHUNKS = 1
    BY_CLOSE = 2


cdef enum Step:
    # Where in the chunked coding the next byte stands
    SIZE_FIRST = 0   # the first digit of a size
    SIZE_MORE = 1
    EXTENSION = 2    # behind the size, up to its line's end
    SIZE_LF = 3
    DATA = 4
    DATA_CR = 5
    DATA_LF = 6
    LINE_FIRST = 7   # the first byte of a trailer, or of the last line
    LINE = 8
    LINE_LF = 9
    LAST_LF = 10


cdef class Wire:
    # For life
    cdef object _clock               # the loop's time()
    cdef object _view                # the read buffer, shared with other wires of the loop
    cdef uint8_t *_start             # its first byte
    cdef Py_ssize_t _room            # its size
    cdef public object _transport    # None before connection_made and after connection_lost
    cdef public int phase            # a Phase
    # For one answer
    cdef object _parser              # httptools' parser while in an unusual head, else None
    cdef readonly int status         # 0 until the head is complete
    cdef readonly dict headers
    cdef readonly bint answered      # at least one byte of it came
    cdef public bint keep_alive      # the connection outlives it
    cdef public bint paused          # the socket is, because of who takes the body
    cdef public double quiet_since
    cdef readonly int64_t body_bytes
    cdef Py_ssize_t _head_bytes
    cdef int _ends                   # how much of CR LF CR LF the latest head bytes are
    cdef int _framing                # a Framing
    cdef int _step                   # a Step
    cdef int64_t _left               # of the body, or of the running chunk
    cdef int _digits                 # of the running chunk size
    cdef Py_ssize_t _extra           # bytes of extensions and trailers since the last data
    cdef Consumer _consumer
    cdef list _queue                 # pieces of the body nobody took yet
    cdef readonly Py_ssize_t queued_bytes

    cpdef arrived(self)
    cpdef began(self)
    cpdef ended(self)
    cpdef broken(self, fault)
    cdef int take(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int settle(self) except -1
    # Pause or resume the socket, as who takes the body asks.
    cdef int _take_all(self, const uint8_t *data, const uint8_t *end) except -1
    cdef const uint8_t *_take_head(self, const uint8_t *data, const uint8_t *end) except NULL
    cdef Py_ssize_t _take_ordinary_head(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef const uint8_t *_take_body(self, const uint8_t *data, const uint8_t *end) except NULL
    cdef const uint8_t *_take_coding(self, const uint8_t *data, const uint8_t *end) except NULL
    cdef int _take_size(self, uint8_t byte) except -1
    cdef int _begin_body(self) except -1
    cdef int _deliver(self, const uint8_t *data, Py_ssize_t size) except -1
    cdef int _finish(self) except -1
