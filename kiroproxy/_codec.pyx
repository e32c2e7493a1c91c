"""AWS event-stream messages out of bytes that arrive in any pieces.

Rules of this file: no I/O, no clock; on the compiled path no Python object per frame. A length
is used only after the CRC over it and its limit hold; bounds are checked before anything is
subtracted. Bad bytes end the stream: there is no resynchronising, because every byte that looks
like a prelude inside a payload would become invented text.

Theory of operation. A message is

    total u32 | headers u32 | prelude CRC u32 | header block | payload | message CRC u32

big endian, the prelude CRC over the first 8 bytes, the message CRC over all before it. When a
whole message lies in the fed chunk, its slices point into the chunk. Otherwise the part that is
there moves to the carry buffer, which then holds that one message and nothing else: first up to
12 bytes, to prove the lengths as soon as they are there, then up to the total. The message CRC
continues from the prelude's, so every byte is summed once. Consecutive messages nearly always
repeat their header block byte by byte; the last one walked is kept with its offsets.

Source: the Smithy event-stream specification (application/vnd.amazon.eventstream).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int8_t, int16_t, int32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset, strlen

cdef extern from "_crc32.h":
    void kp_crc32_init() noexcept
    int kp_crc_has_hardware() noexcept
    uint32_t kp_crc32(uint32_t seed, const uint8_t *data, size_t size) noexcept nogil
    uint32_t kp_crc32_tables(uint32_t seed, const uint8_t *data, size_t size) noexcept nogil
    uint32_t kp_crc32_hardware(uint32_t seed, const uint8_t *data, size_t size) noexcept nogil

cdef extern from *:
    """
    #ifdef KP_DEBUG
    #define KP_CHECK(truth) do { if (!(truth)) Py_FatalError("_codec: " #truth); } while (0)
    #else
    #define KP_CHECK(truth) ((void)0)
    #endif
    """
    void KP_CHECK(bint truth) noexcept nogil

kp_crc32_init()

cdef enum:
    PRELUDE_LEN = 12           # two lengths and their CRC
    CRC_LEN = 4
    FRAME_LEN_MIN = 16         # PRELUDE_LEN + CRC_LEN: no headers, no payload
    # 16 MiB and 128 KiB are aws-c-event-stream's limits; botocore has the same for headers
    # and 24 MiB for a payload.
    FRAME_LEN_MAX = 16 << 20
    HEADERS_LEN_MAX = 128 << 10
    CARRY_LEN_FIRST = 256      # a text event has about 130 bytes
    COMPARED_NAMES_MAX = 16    # headers compared each with each; more go through a dict

cdef enum Fault:
    NO_FAULT
    PRELUDE_CRC
    MESSAGE_TOO_SHORT
    MESSAGE_TOO_LONG
    HEADERS_TOO_LONG
    HEADERS_OVERRUN
    MESSAGE_CRC
    HEADER_NAME
    HEADER_TYPE
    HEADER_VALUE
    HEADER_TRUNCATED
    HEADER_DUPLICATE

# Indexed by Fault: what FrameError.fault says, and what `expected` and `actual` hold.
FAULTS = (
    "",
    "prelude-crc",        # the CRC on the wire, the CRC of the bytes
    "message-too-short",  # shortest length allowed, length claimed
    "message-too-long",   # longest length allowed, length claimed
    "headers-too-long",   # longest length allowed, length claimed
    "headers-overrun",    # room for headers in the message, length claimed
    "message-crc",        # the CRC on the wire, the CRC of the bytes
    "header-name",        # not UTF-8: highest byte of ASCII, the byte that breaks the rule
    "header-type",        # highest type known, type found
    "header-value",       # a string that is not UTF-8: as for header-name
    "header-truncated",   # bytes the header needs from its first, bytes left in the block
    "header-duplicate",   # where in the block the name came first, where it came again
)

cdef enum HeaderType:
    TYPE_TRUE
    TYPE_FALSE
    TYPE_BYTE
    TYPE_SHORT
    TYPE_INT
    TYPE_LONG
    TYPE_BYTES
    TYPE_STRING
    TYPE_TIMESTAMP
    TYPE_UUID
    TYPES_END

# Bytes of a value by HeaderType; -1 = a u16 length comes first.
cdef int8_t[<int>TYPES_END] VALUE_LEN = [0, 0, 1, 2, 4, 8, -1, -1, 8, 16]

cdef struct Header:
    Slice name
    int type         # a HeaderType
    Slice value      # without its own length field
    Py_ssize_t end   # offset of the next header in the block


cdef struct Known:   # values of the headers that route; len 0 when absent
    Slice message_type
    Slice event_type
    Slice exception_type
    Slice error_code
    Slice error_message
    Slice content_type


cdef struct Flaw:
    int fault        # a Fault
    int64_t expected
    int64_t actual
    Py_ssize_t at    # offset in the block


class FrameError(ValueError):
    """Bytes that are not an event-stream message.

    Shape: fault is one of FAULTS; what expected and actual hold stands beside each of them.
        messages holds what feed() had decoded before the damage.
    Units: offset in bytes from the first byte fed since the start or reset(): of the CRC, length
        or header that is wrong.
    """

    def __init__(self, fault, expected, actual, offset):
        super().__init__(fault, expected, actual, offset)
        self.fault = fault
        self.expected = expected
        self.actual = actual
        self.offset = offset
        self.messages = []

    def __str__(self):
        return (
            f"{self.fault} at byte {self.offset}:"
            f" expected {self.expected:#x}, got {self.actual:#x}"
        )


@cython.final
@cython.auto_pickle(False)
cdef class Message:
    """One decoded message, for users off the hot path.

    Shape: message_type is "event", "exception", "error" or "" for any other; name, error_message
        and content_type are what Frame holds, "" when absent.
    Units: a timestamp is ms since the epoch, a uuid its 16 bytes.
    """

    cdef readonly str message_type
    cdef readonly str name
    cdef readonly str error_message
    cdef readonly str content_type
    cdef readonly dict headers
    cdef readonly bytes payload

    def __repr__(self):
        return f"Message(headers={self.headers!r}, payload={self.payload!r})"


@cython.final
@cython.auto_pickle(False)
cdef class FrameParser:
    """Turn bytes of any size into whole messages.

    Order: feed_raw, then next_frame until it gives 0, and again. After a FrameError only
        reset() helps.
    Cost: no copy and no allocation for a message that lies whole in its chunk; one copy
        otherwise. Memory held: the incomplete message.
    """

    def __cinit__(self):
        self._block_len = -1

    def __dealloc__(self):
        free(self._carry)

    # -- compiled face ---------------------------------------------------------------------

    cdef int feed_raw(self, const uint8_t *data, Py_ssize_t size) except -1:
        if self._chunk_left:
            raise RuntimeError("feed before the bytes fed last were read to their end")
        if not self._fault:  # a failed parser reads nothing; next_frame tells
            self._chunk = data
            self._chunk_left = size
        return 0

    cdef int next_frame(self, Frame *frame) except -1:
        if self._fault:
            self._raise()
        if self._spent:
            self._drop_carry()
        self._check()
        if self._chunk_left == 0:  # what is carried was looked at when it came
            return 0
        if self._carry_len == 0 and self._chunk_left >= PRELUDE_LEN:
            self._check_prelude(self._chunk)
            if self._chunk_left >= self._total_len:
                self._read_frame(self._chunk, frame)
                self._chunk += self._total_len
                self._chunk_left -= self._total_len
                self._offset += self._total_len
                self._total_len = 0
                return 1
        if not self._take(PRELUDE_LEN):
            return 0
        if self._total_len == 0:
            self._check_prelude(self._carry)
        if not self._take(self._total_len):
            return 0
        self._read_frame(self._carry, frame)
        self._offset += self._total_len
        self._total_len = 0
        self._spent = True
        return 1

    cdef Py_ssize_t pending(self) noexcept:
        return self._chunk_left if self._spent else self._carry_len + self._chunk_left

    # -- Python face -----------------------------------------------------------------------

    def feed(self, data):
        """Decode every message that `data` completes.

        Raises: FrameError — its `messages` were good; the parser stays failed until reset().
        Cost: copies all it gives; for tests and rare users.
        """
        messages = []
        try:
            drain(self, data, messages)
        except FrameError as error:
            error.messages = messages
            raise
        return messages

    def count(self, data):
        """Check the messages that `data` completes as feed() does, but decode none; count them.

        Cost: what the compiled face costs, which is what this is for: to measure it.
        """
        return drain(self, data, None)

    def pending_bytes(self):
        """Count the bytes held of a message that is not complete yet."""
        return self.pending()

    def carry_capacity(self):
        """Count the bytes of memory held for messages cut by a chunk's end."""
        return self._carry_size

    def reset(self):
        """Forget everything, as if new; the only way out of a failure."""
        self._chunk = NULL
        self._chunk_left = 0
        self._carry_len = 0
        self._spent = True  # so that a big carry buffer goes, too
        self._drop_carry()
        self._total_len = 0
        self._offset = 0
        self._fault = NO_FAULT

    # -- carry buffer ----------------------------------------------------------------------

    cdef bint _take(self, Py_ssize_t target) except -1:
        """Move bytes from the chunk until the carry holds `target`; say whether it does."""
        cdef Py_ssize_t size = target - self._carry_len
        if size <= 0:
            return True
        if size > self._chunk_left:
            size = self._chunk_left
        if size:
            self._grow(self._carry_len + size)
            memcpy(self._carry + self._carry_len, self._chunk, size)
            self._carry_len += size
            self._chunk += size
            self._chunk_left -= size
        return self._carry_len == target

    cdef int _grow(self, Py_ssize_t least) except -1:
        """Make room for `least` bytes, at least doubling: a frame of n bytes costs O(n).

        Grows with what arrived, not with what a prelude claims: 12 bytes cannot order 16 MiB.
        """
        if least <= self._carry_size:
            return 0
        cdef Py_ssize_t size = max(least, 2 * self._carry_size, CARRY_LEN_FIRST)
        cdef uint8_t *carry = <uint8_t *>realloc(self._carry, size)
        if carry == NULL:
            raise MemoryError
        self._carry = carry
        self._carry_size = size
        return 0

    cdef void _drop_carry(self) noexcept:
        self._spent = False
        self._carry_len = 0
        if self._carry != NULL:
            free(self._carry)
            self._carry = NULL
            self._carry_size = 0

    # -- one frame -------------------------------------------------------------------------

    cdef int _check_prelude(self, const uint8_t *start) except -1:
        cdef Py_ssize_t total = be32(start)
        cdef Py_ssize_t headers = be32(start + 4)
        cdef uint32_t claimed = be32(start + 8)
        cdef uint32_t crc = kp_crc32(0, start, 8)
        if crc != claimed:
            return self._fail(PRELUDE_CRC, claimed, crc, 8)
        if total < FRAME_LEN_MIN:
            return self._fail(MESSAGE_TOO_SHORT, FRAME_LEN_MIN, total, 0)
        if total > FRAME_LEN_MAX:
            return self._fail(MESSAGE_TOO_LONG, FRAME_LEN_MAX, total, 0)
        if headers > HEADERS_LEN_MAX:
            return self._fail(HEADERS_TOO_LONG, HEADERS_LEN_MAX, headers, 4)
        if headers > total - FRAME_LEN_MIN:
            return self._fail(HEADERS_OVERRUN, total - FRAME_LEN_MIN, headers, 4)
        self._total_len = total
        self._headers_len = headers
        self._prelude_crc = crc
        return 0

    cdef int _read_frame(self, const uint8_t *start, Frame *frame) except -1:
        """Fill *frame from the whole message at `start`, whose prelude is proven."""
        cdef Py_ssize_t end = self._total_len - CRC_LEN
        cdef uint32_t claimed = be32(start + end)
        cdef uint32_t crc = kp_crc32(self._prelude_crc, start + 8, end - 8)
        if crc != claimed:
            return self._fail(MESSAGE_CRC, claimed, crc, end)
        frame.headers.buf = start + PRELUDE_LEN
        frame.headers.len = self._headers_len
        frame.payload.buf = frame.headers.buf + self._headers_len
        frame.payload.len = end - PRELUDE_LEN - self._headers_len
        if (
            self._block_len != self._headers_len
            or memcmp(self._block, frame.headers.buf, <size_t>self._headers_len) != 0
        ):
            self._walk(frame.headers)
        frame.message_type = self._routing.message_type
        frame.name = resolve(self._routing.name, frame.headers.buf)
        frame.error_message = resolve(self._routing.error_message, frame.headers.buf)
        frame.content_type = resolve(self._routing.content_type, frame.headers.buf)
        KP_CHECK(frame.payload.buf + frame.payload.len == start + end)
        KP_CHECK(frame.payload.len >= 0)
        KP_CHECK(self._routing.name.at + self._routing.name.len <= frame.headers.len)
        return 0

    cdef int _walk(self, Slice block) except -1:
        """Validate every header, note what routes the frame, remember a block of usual size."""
        cdef Flaw flaw
        cdef Known known
        self._block_len = -1
        if not read_block(block, &known, &flaw):
            return self._fail(flaw.fault, flaw.expected, flaw.actual, PRELUDE_LEN + flaw.at)
        self._routing = route(&known, block.buf)
        if block.len <= CACHED_BLOCK_MAX:
            memcpy(self._block, block.buf, <size_t>block.len)
            self._block_len = block.len
        return 0

    # -- failure ---------------------------------------------------------------------------

    cdef int _fail(self, int fault, int64_t expected, int64_t actual, Py_ssize_t at) except -1:
        """Fail for good; `at` is the place in the frame at hand."""
        self._fault = fault
        self._expected = expected
        self._actual = actual
        self._fault_at = self._offset + at
        self._chunk = NULL
        self._chunk_left = 0
        self._total_len = 0
        self._drop_carry()
        return self._raise()

    cdef int _raise(self) except -1:
        # A new exception each time: one kept here would collect a traceback entry per raise.
        raise FrameError(FAULTS[self._fault], self._expected, self._actual, self._fault_at)

    cdef void _check(self) noexcept:
        """Under KP_DEBUG, die on a state that no sequence of calls may produce."""
        KP_CHECK(0 <= self._carry_len <= self._carry_size)
        KP_CHECK((self._carry == NULL) == (self._carry_size == 0))
        KP_CHECK(self._chunk_left >= 0 and self._offset >= 0)
        KP_CHECK(self._total_len == 0 or self._carry_len < self._total_len)
        KP_CHECK(self._total_len == 0 or self._headers_len <= self._total_len - FRAME_LEN_MIN)
        KP_CHECK(self._total_len != 0 or self._carry_len < PRELUDE_LEN)


# -- header block --------------------------------------------------------------------------


cdef bint read_block(Slice block, Known *known, Flaw *flaw) except -1:
    """Validate every header and note those that route; False: *flaw says what is wrong."""
    cdef Header header
    cdef Slice[COMPARED_NAMES_MAX] names
    cdef Py_ssize_t at = 0, count = 0, i
    memset(known, 0, sizeof(Known))
    while at < block.len:
        if not read_header(block, at, &header, flaw):
            return False
        if count < COMPARED_NAMES_MAX:
            for i in range(count):
                if are_equal(names[i], header.name):
                    return blame(flaw, HEADER_DUPLICATE, names[i].buf - 1 - block.buf, at, at)
            names[count] = header.name
        note_header(known, &header)
        at = header.end
        count += 1
    return count <= COMPARED_NAMES_MAX or are_distinct(block, flaw)


cdef bint read_header(Slice block, Py_ssize_t at, Header *header, Flaw *flaw) except -1:
    """Read the header at `at` (which lies in the block); False: *flaw says what is wrong."""
    cdef Py_ssize_t name_len = block.buf[at]
    cdef Py_ssize_t end = at + 1 + name_len + 1  # behind the type
    cdef Py_ssize_t value_len
    if end > block.len:
        return blame(flaw, HEADER_TRUNCATED, end - at, block.len - at, at)
    header.name = Slice(block.buf + at + 1, name_len)
    header.type = block.buf[end - 1]
    if header.type >= TYPES_END:
        return blame(flaw, HEADER_TYPE, TYPES_END - 1, header.type, end - 1)
    value_len = VALUE_LEN[header.type]
    if value_len < 0:
        end += 2
        if end > block.len:
            return blame(flaw, HEADER_TRUNCATED, end - at, block.len - at, at)
        value_len = be16(block.buf + end - 2)
    if end + value_len > block.len:
        return blame(flaw, HEADER_TRUNCATED, end + value_len - at, block.len - at, at)
    header.value = Slice(block.buf + end, value_len)
    header.end = end + value_len
    if not is_utf8(header.name, block, HEADER_NAME, flaw):
        return False
    return header.type != TYPE_STRING or is_utf8(header.value, block, HEADER_VALUE, flaw)


cdef bint blame(
    Flaw *flaw, int fault, int64_t expected, int64_t actual, Py_ssize_t at
) noexcept nogil:
    flaw[0] = Flaw(fault, expected, actual, at)
    return False


cdef bint is_utf8(Slice text, Slice block, int fault, Flaw *flaw) except -1:
    """Accept what Python's strict decoder accepts; nearly always plain ASCII."""
    cdef Py_ssize_t i
    cdef uint8_t seen = 0
    for i in range(text.len):
        seen |= text.buf[i]
    if seen < 0x80:
        return True
    try:
        PyUnicode_DecodeUTF8(<const char *>text.buf, text.len, "strict")
    except UnicodeDecodeError as error:
        i = error.start
        return blame(flaw, fault, 0x7f, text.buf[i], text.buf - block.buf + i)
    return True


cdef bint are_distinct(Slice block, Flaw *flaw) except -1:
    """Tell whether no two headers of a valid block share a name, in O(its length)."""
    cdef Header header
    cdef Py_ssize_t at = 0
    seen = {}
    while at < block.len:
        if not read_header(block, at, &header, flaw):
            return False  # impossible: read_block just read it
        first = seen.setdefault(bytes_of(header.name), at)
        if first != at:
            return blame(flaw, HEADER_DUPLICATE, first, at, at)
        at = header.end
    return True


cdef void note_header(Known *known, const Header *header) noexcept nogil:
    """Keep the value of a header that routes; only a string can."""
    if header.type != TYPE_STRING:
        return
    if is_named(header.name, b":message-type"):
        known.message_type = header.value
    elif is_named(header.name, b":event-type"):
        known.event_type = header.value
    elif is_named(header.name, b":content-type"):
        known.content_type = header.value
    elif is_named(header.name, b":exception-type"):
        known.exception_type = header.value
    elif is_named(header.name, b":error-code"):
        known.error_code = header.value
    elif is_named(header.name, b":error-message"):
        known.error_message = header.value


cdef Routing route(const Known *known, const uint8_t *start) noexcept nogil:
    """Reduce the noted headers to what a frame says of itself, as offsets from `start`."""
    cdef Routing routing
    cdef Slice name = Slice(NULL, 0)
    routing.message_type = MESSAGE_UNKNOWN
    if is_named(known.message_type, b"event"):
        routing.message_type = MESSAGE_EVENT
        name = known.event_type
    elif is_named(known.message_type, b"exception"):
        routing.message_type = MESSAGE_EXCEPTION
        name = known.exception_type
    elif is_named(known.message_type, b"error"):
        routing.message_type = MESSAGE_ERROR
        name = known.error_code
    routing.name = span_of(name, start)
    routing.error_message = span_of(known.error_message, start)
    routing.content_type = span_of(known.content_type, start)
    return routing


# -- Python values -------------------------------------------------------------------------


cdef Py_ssize_t drain(FrameParser parser, data, list messages) except -1:
    """Feed `data` and count what it completes; decode into `messages` unless that is None."""
    cdef Frame frame
    cdef Py_buffer lent
    cdef Py_ssize_t count = 0
    PyObject_GetBuffer(data, &lent, PyBUF_SIMPLE)
    try:
        parser.feed_raw(<const uint8_t *>lent.buf, lent.len)
        while parser.next_frame(&frame):
            count += 1
            if messages is not None:
                messages.append(decode_message(&frame))
    finally:
        parser._chunk_left = 0  # lent for this call only, also when memory ran out in it
        PyBuffer_Release(&lent)
    return count


MESSAGE_TYPES = ("", "event", "exception", "error")  # by MessageType


cdef Message decode_message(const Frame *frame):
    cdef Header header
    cdef Flaw flaw
    cdef Py_ssize_t at = 0
    cdef Message message = Message.__new__(Message)
    message.message_type = MESSAGE_TYPES[frame.message_type]
    message.name = text_of(frame.name)
    message.error_message = text_of(frame.error_message)
    message.content_type = text_of(frame.content_type)
    message.headers = {}
    while at < frame.headers.len:
        if not read_header(frame.headers, at, &header, &flaw):
            raise AssertionError("a block that was walked reads differently now")
        message.headers[text_of(header.name)] = value_of(&header)
        at = header.end
    message.payload = bytes_of(frame.payload)
    return message


cdef object value_of(const Header *header):
    cdef const uint8_t *buf = header.value.buf
    if header.type == TYPE_TRUE:
        return True
    if header.type == TYPE_FALSE:
        return False
    if header.type == TYPE_BYTE:
        return <int8_t>buf[0]
    if header.type == TYPE_SHORT:
        return <int16_t>be16(buf)
    if header.type == TYPE_INT:
        return <int32_t>be32(buf)
    if header.type == TYPE_LONG or header.type == TYPE_TIMESTAMP:
        return <int64_t>be64(buf)
    if header.type == TYPE_STRING:
        return text_of(header.value)
    return bytes_of(header.value)


def crc32(data, uint32_t seed=0):
    """Sum `data`, or continue the sum `seed`; the same number as zlib.crc32."""
    return crc32_by("", data, seed)


# The ways to sum that this CPU has; all give the same number.
CRC32_PATHS = ("tables", "hardware") if kp_crc_has_hardware() else ("tables",)


def crc32_by(path, data, uint32_t seed=0):
    """Sum like crc32 on one of CRC32_PATHS ("" = the way a frame is summed).

    Raises: ValueError — this CPU has no such path.
    """
    cdef Py_buffer lent
    if path and path not in CRC32_PATHS:
        raise ValueError(path)
    PyObject_GetBuffer(data, &lent, PyBUF_SIMPLE)
    try:
        if path == "tables":
            return kp_crc32_tables(seed, <const uint8_t *>lent.buf, <size_t>lent.len)
        if path == "hardware":
            return kp_crc32_hardware(seed, <const uint8_t *>lent.buf, <size_t>lent.len)
        return crc32_of(seed, <const uint8_t *>lent.buf, lent.len)
    finally:
        PyBuffer_Release(&lent)


cdef uint32_t crc32_of(uint32_t seed, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """Sum like crc32, for compiled callers."""
    return kp_crc32(seed, data, <size_t>size)


# -- slices --------------------------------------------------------------------------------


cdef inline uint32_t be16(const uint8_t *p) noexcept nogil:
    return <uint32_t>p[0] << 8 | p[1]


cdef inline uint32_t be32(const uint8_t *p) noexcept nogil:
    return be16(p) << 16 | be16(p + 2)


cdef inline uint64_t be64(const uint8_t *p) noexcept nogil:
    return <uint64_t>be32(p) << 32 | be32(p + 4)


cdef inline bint are_equal(Slice a, Slice b) noexcept nogil:
    return a.len == b.len and memcmp(a.buf, b.buf, <size_t>a.len) == 0


cdef inline bint is_named(Slice text, const char *name) noexcept nogil:
    return text.len == <Py_ssize_t>strlen(name) and memcmp(text.buf, name, strlen(name)) == 0


cdef inline Span span_of(Slice slice, const uint8_t *start) noexcept nogil:
    return Span(slice.buf - start if slice.len else 0, slice.len)


cdef inline Slice resolve(Span span, const uint8_t *start) noexcept nogil:
    return Slice(start + span.at, span.len)


cdef inline bytes bytes_of(Slice slice):
    return PyBytes_FromStringAndSize(<const char *>slice.buf, slice.len)


cdef inline str text_of(Slice slice):
    return PyUnicode_DecodeUTF8(<const char *>slice.buf, slice.len, "strict")
