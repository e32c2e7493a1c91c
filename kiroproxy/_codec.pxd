# Data layout of the event-stream parser, for the compiled modules that cimport it.
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


cdef class FrameParser:
    # (fields are the codec author's; these three methods are the contract)
    cdef int feed_raw(self, const uint8_t *data, Py_ssize_t size) except -1
    # Lends `size` bytes to the parser. The caller keeps them alive until next_frame returned 0,
    # by which time an incomplete tail has been copied into the carry buffer.
    cdef int next_frame(self, Frame *frame) except -1
    # 1: *frame is filled. 0: more bytes are needed. Raises FrameError, after which the parser
    # stays failed (the same error again) until reset().
    cdef Py_ssize_t pending(self) noexcept
    # Bytes held of a frame that is not complete yet; > 0 at the end of a body = truncated.


cdef uint32_t crc32_of(uint32_t seed, const uint8_t *data, Py_ssize_t size) noexcept nogil
