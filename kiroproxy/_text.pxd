# JSON string literals and UTF-8 by the byte, for the compiled modules that cimport them.
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy


cdef struct Buffer:
    uint8_t *data    # owned; NULL until the first put
    Py_ssize_t len   # bytes in use
    Py_ssize_t room  # bytes allocated


cdef enum LiteralFlag:
    HAS_ESCAPE = 1   # a backslash: anything may hide behind it, a newline or a tag too
    HAS_MARKUP = 2   # < ` ~ as they are: a tag or a code fence may stand here
    IS_BROKEN = 4    # a raw control character, bytes that are not UTF-8, half a surrogate pair


cdef enum Replaced:
    CONTROLS = 1     # raw control characters inside a string
    BYTES = 2        # bytes that are not UTF-8
    SURROGATES = 4   # escapes of half a surrogate pair


cdef struct Literal:
    const uint8_t *start   # first byte behind the opening quote; borrowed
    Py_ssize_t len         # bytes up to the closing quote
    int flags              # LiteralFlags
    Py_ssize_t ascii       # characters of the decoded text below U+0080 …
    Py_ssize_t other       # … and from there on; both are exact unless IS_BROKEN


cdef struct Carry:
    # The beginning of a character whose rest must open the next literal of the same text.
    uint8_t bytes[4]       # first bytes of a UTF-8 sequence
    int len                # how many; 0 = none
    uint32_t high          # a high surrogate that came as an escape; 0 = none


cdef int grow(Buffer *buffer, Py_ssize_t more) except -1


cdef inline int put(Buffer *buffer, const void *data, Py_ssize_t size) except -1:
    # Append bytes. Here, so that it is compiled into its callers: every event takes three.
    if buffer.room - buffer.len < size:
        grow(buffer, size)
    if size:  # memcpy may not be given NULL, not even for nothing
        memcpy(buffer.data + buffer.len, data, size)
        buffer.len += size
    return 0


cdef int put_chars(Buffer *buffer, const char *text) except -1
cdef int put_escaped(Buffer *buffer, const uint8_t *text, Py_ssize_t size) except -1
cdef void release(Buffer *buffer) noexcept


cdef enum:
    SPARE_LEN_MAX = 16384   # a larger buffer is freed: one long text must not cost for ever
    SPARES_MAX = 4          # a translator writes and decodes; more than two only wait in a burst


cdef struct Spares:
    # Memory that nobody uses: streams that wait hold none, so those at work hand it on.
    Buffer buffers[SPARES_MAX]  # the last comes first
    int count


cdef Spares *spares() noexcept


# Here, so that they are compiled into their callers: every read takes both.
cdef inline void lend(Spares *spare, Buffer *buffer) noexcept:
    # Give memory to a buffer that has none, if any is spare.
    # Order: give_back as soon as the buffer is empty.
    if buffer.data == NULL and spare.count:
        spare.count -= 1
        buffer[0] = spare.buffers[spare.count]


cdef inline void give_back(Spares *spare, Buffer *buffer) noexcept:
    # Take a buffer's memory for the next; it is empty and may be used again.
    if buffer.data == NULL:
        return
    if buffer.room > SPARE_LEN_MAX or spare.count == SPARES_MAX:
        release(buffer)
        return
    buffer.len = 0
    spare.buffers[spare.count] = buffer[0]
    spare.count += 1
    buffer.data = NULL
    buffer.room = 0


cdef const uint8_t *scan_literal(
    const uint8_t *p, const uint8_t *end, Literal *literal
) noexcept nogil
cdef int decode_literal(
    const uint8_t *p, Py_ssize_t size, Carry *carry, Buffer *out
) except -1
cdef int decode_utf8(const uint8_t *p, Py_ssize_t size, Carry *carry, Buffer *out) except -1
cdef int end_text(Carry *carry, Buffer *out) except -1

cdef bytes mend(const uint8_t *p, Py_ssize_t size, int *replaced)
cdef int find_member(
    const uint8_t *p, Py_ssize_t size, const char *key, const uint8_t **value, Py_ssize_t *value_len
) noexcept nogil
