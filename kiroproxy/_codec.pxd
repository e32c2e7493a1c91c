# Data layout of the event-stream parser, for the compiled modules that cimport it.
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef struct Slice:
    const uint8_t *buf  # first byte; borrowed, never freed through this struct
    Py_ssize_t len      # bytes; 0 when absent


cdef enum MessageType:
    MESSAGE_UNKNOWN = 0    # no :message-type, or one this version does not know
    MESSAGE_EVENT = 1      # `name` is :event-type
    MESSAGE_EXCEPTION = 2  # `name` is :exception-type
    MESSAGE_ERROR = 3      # `name` is :error-code, `error_message` is :error-message


cdef struct Frame:
    # Every slice points into the chunk being parsed or into the parser's own carry buffer:
    # valid until the next call of next_frame, feed or reset.
    int message_type      # a MessageType
    Slice name
    Slice error_message
    Slice content_type
    Slice headers         # the raw header block
    Slice payload


cdef enum:
    CACHED_BLOCK_MAX = 192  # bytes; an assistantResponseEvent's block has 83


cdef struct Span:
    Py_ssize_t at   # offset from the start of a header block
    Py_ssize_t len  # bytes; 0 when absent


cdef struct Routing:
    # What a header block says about its frame, as offsets, so that it outlives the bytes.
    int message_type
    Span name
    Span error_message
    Span content_type


@cython.final
cdef class FrameParser:
    cdef const uint8_t *_chunk     # next unread byte of the caller's chunk; borrowed until 0
    cdef Py_ssize_t _chunk_left    # unread bytes of it
    cdef uint8_t *_carry           # start of the frame that spans chunks; owned, or NULL
    cdef Py_ssize_t _carry_len     # bytes of that frame held so far
    cdef Py_ssize_t _carry_size    # bytes allocated
    cdef bint _spent               # the carried frame was handed out; its bytes may go
    cdef Py_ssize_t _total_len     # of the frame at hand; 0 until its prelude is proven
    cdef Py_ssize_t _headers_len   # of the frame at hand
    cdef uint32_t _prelude_crc     # of the frame at hand; where its message CRC continues
    cdef int64_t _offset           # of the frame at hand, from the first byte ever fed
    cdef int _fault                # a Fault; not 0 = failed until reset
    cdef int64_t _expected         # numbers of that fault
    cdef int64_t _actual
    cdef int64_t _fault_at         # its absolute offset
    cdef Routing _routing          # of the block below
    cdef Py_ssize_t _block_len     # bytes of it; 0 = none yet
    cdef uint8_t[CACHED_BLOCK_MAX] _block  # the last header block that was walked

    cdef int feed_raw(self, const uint8_t *data, Py_ssize_t size) except -1
    # Lends `size` bytes to the parser. The caller keeps them alive until next_frame returned 0,
    # by which time an incomplete tail has been copied into the carry buffer.
    cdef int next_frame(self, Frame *frame) except -1
    # 1: *frame is filled. 0: more bytes are needed. Raises FrameError, after which the parser
    # stays failed (the same error again) until reset().
    cdef Py_ssize_t pending(self) noexcept
    # Bytes held of a frame that is not complete yet; > 0 at the end of a body = truncated.

    cdef bint _take(self, Py_ssize_t target) except -1
    cdef int _grow(self, Py_ssize_t least) except -1
    cdef int _check_prelude(self, const uint8_t *start) except -1
    cdef int _read_frame(self, const uint8_t *start, Frame *frame) except -1
    cdef int _walk(self, Slice block) except -1
    cdef int _fail(self, int fault, int64_t expected, int64_t actual, Py_ssize_t at) except -1
    cdef int _raise(self) except -1
    cdef void _drop_carry(self) noexcept
    cdef void _check(self) noexcept


cdef uint32_t crc32_of(uint32_t seed, const uint8_t *data, Py_ssize_t size) noexcept nogil
