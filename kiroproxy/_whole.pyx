"""The content blocks of a message, out of the events that `_blocks` wrote of them.

Rules of this file: it knows the very bytes that `_blocks` writes, by the constants it writes them
with, and nothing else: whatever differs is "not mine", and for `protocol.response.Fold`, which
reads any events. No JSON is parsed and none is made: insides of literals are joined as they stand.

Theory of operation. Events are read twice: first to count, so that the message is written once
and where it is to be; then to copy. A line holds no raw newline but the one that ends it, so the
end of an event is found without looking at what is inside. Only a tool's arguments are unescaped,
for they are JSON within a literal.

Source: `_blocks`; what a message has of each block, `protocol.response`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memcpy, strlen

from kiroproxy._blocks cimport (
    DELTA_END, HEAD_LEN_MAX, SIGNATURE, TEXT_OPEN, THINKING_OPEN, TOOL_INPUT, delta_head,
    start_head, stop_event,
)

cdef enum:
    EMPTY_LEN = 3           # of "{}}": a tool's input before its deltas, and the block's end
    EVENT_END_LEN = 3       # of "}\n\n" behind the block that a content_block_start holds
    NO_ESCAPE = -1


cdef struct Reading:
    const uint8_t *at       # of the events: what is not read yet …
    const uint8_t *end      # … up to here
    char *out               # NULL: what would be written is counted only
    Py_ssize_t size         # of what was


cdef Py_ssize_t read_blocks(const uint8_t *events, Py_ssize_t size, char *out) noexcept nogil:
    cdef Reading reading
    cdef int index = 0
    reading.at, reading.end, reading.out, reading.size = events, events + size, out, 0
    while reading.at < reading.end:
        if index:
            _add(&reading, b",", 1)
        if not _read_block(&reading, index):
            return NOT_MINE
        index += 1
    return reading.size


# -- blocks --------------------------------------------------------------------------------


cdef bint _read_block(Reading *reading, int index) noexcept nogil:
    cdef char head[HEAD_LEN_MAX]
    cdef bint is_read
    if not _skip(reading, head, start_head(head, index)):
        return False
    if _skip_chars(reading, TEXT_OPEN):
        is_read = _read_text(reading, index)
    elif _skip_chars(reading, THINKING_OPEN):
        is_read = _read_thinking(reading, index)
    else:
        is_read = _read_whole(reading, index)
    return is_read and _skip(reading, head, stop_event(head, index))


cdef bint _read_text(Reading *reading, int index) noexcept nogil:
    if not _skip_chars(reading, DELTA_END):
        return False
    _add_chars(reading, TEXT_OPEN)
    if not _read_deltas(reading, index, b"text_delta", b"text"):
        return False
    _add_chars(reading, b'"}')
    return True


cdef bint _read_thinking(Reading *reading, int index) noexcept nogil:
    if not _skip_chars(reading, SIGNATURE) or not _skip_chars(reading, DELTA_END):
        return False
    _add_chars(reading, THINKING_OPEN)
    if not _read_deltas(reading, index, b"thinking_delta", b"thinking"):
        return False
    _add_chars(reading, SIGNATURE)
    if not _read_deltas(reading, index, b"signature_delta", b"signature"):
        return False
    _add_chars(reading, b'"}')
    return True


cdef bint _read_whole(Reading *reading, int index) noexcept nogil:
    """Read a block that its start holds whole, but for the arguments of a tool."""
    cdef const uint8_t *block = reading.at
    cdef Py_ssize_t size
    if not _skip_line(reading):
        return False
    size = reading.at - block - EVENT_END_LEN
    if size < 0:
        return False
    _add(reading, block, size)
    if _ends_with(block, size + EVENT_END_LEN, TOOL_INPUT):
        return _read_arguments(reading, index)
    return True


cdef bint _read_arguments(Reading *reading, int index) noexcept nogil:
    """Put a tool's arguments, if any, in the place of the empty ones."""
    cdef char head[HEAD_LEN_MAX]
    cdef int head_len = delta_head(head, index, b"input_json_delta", b"partial_json")
    cdef Py_ssize_t size
    cdef const uint8_t *inside
    if not _skip(reading, head, head_len):
        return True
    reading.size -= EMPTY_LEN
    while True:
        inside = _skip_inside(reading, &size)
        if inside == NULL or not _add_unescaped(reading, inside, size):
            return False
        if not _skip(reading, head, head_len):
            _add(reading, b"}", 1)
            return True


cdef bint _read_deltas(
    Reading *reading, int index, const char *delta, const char *member
) noexcept nogil:
    """Join the texts of all deltas of a kind that follow."""
    cdef char head[HEAD_LEN_MAX]
    cdef int head_len = delta_head(head, index, delta, member)
    cdef Py_ssize_t size
    cdef const uint8_t *inside
    while _skip(reading, head, head_len):
        inside = _skip_inside(reading, &size)
        if inside == NULL:
            return False
        _add(reading, inside, size)
    return True


# -- bytes ---------------------------------------------------------------------------------


cdef inline bint _skip(Reading *reading, const void *what, Py_ssize_t size) noexcept nogil:
    """Step over these bytes; False: others stand here."""
    if reading.end - reading.at < size or memcmp(reading.at, what, size) != 0:
        return False
    reading.at += size
    return True


cdef inline bint _skip_chars(Reading *reading, const char *what) noexcept nogil:
    return _skip(reading, what, strlen(what))


cdef bint _skip_line(Reading *reading) noexcept nogil:
    """Step behind the empty line that ends an event; False: there is none."""
    cdef const uint8_t *line_end = <const uint8_t *>memchr(
        reading.at, c"\n", reading.end - reading.at
    )
    if line_end == NULL or reading.end - line_end < 2 or line_end[1] != c"\n":
        return False
    reading.at = line_end + 2
    return True


cdef const uint8_t *_skip_inside(Reading *reading, Py_ssize_t *size) noexcept nogil:
    """Return the inside of the literal that ends a delta, and step behind it; NULL = none does."""
    cdef const uint8_t *inside = reading.at
    if not _skip_line(reading) or not _ends_with(inside, reading.at - inside, DELTA_END):
        return NULL
    size[0] = reading.at - inside - <Py_ssize_t>strlen(DELTA_END)
    return inside


cdef inline bint _ends_with(const uint8_t *text, Py_ssize_t size, const char *end) noexcept nogil:
    cdef Py_ssize_t end_len = strlen(end)
    return size >= end_len and memcmp(text + size - end_len, end, end_len) == 0


cdef inline void _add(Reading *reading, const void *text, Py_ssize_t size) noexcept nogil:
    if reading.out != NULL and size:
        memcpy(reading.out + reading.size, text, size)
    reading.size += size


cdef inline void _add_chars(Reading *reading, const char *text) noexcept nogil:
    _add(reading, text, strlen(text))


cdef bint _add_unescaped(Reading *reading, const uint8_t *text, Py_ssize_t size) noexcept nogil:
    """Add what the inside of a literal says; False: it has an escape that JSON needs none of."""
    cdef const uint8_t *end = text + size
    cdef const uint8_t *start
    cdef int code
    cdef uint8_t byte
    while text < end:
        start = text
        while text < end and text[0] != c"\\":
            text += 1
        _add(reading, start, text - start)
        if text == end:
            break
        code = _escaped(text, end - text)
        if code == NO_ESCAPE:
            return False
        byte = <uint8_t>code
        _add(reading, &byte, 1)
        text += 2
    return True


cdef int _escaped(const uint8_t *escape, Py_ssize_t size) noexcept nogil:
    """Return the character that an escape of `put_escaped` stands for."""
    if size < 2:
        return NO_ESCAPE
    if escape[1] == c'"' or escape[1] == c"\\":
        return escape[1]
    if escape[1] == c"n":
        return c"\n"
    if escape[1] == c"r":
        return c"\r"
    if escape[1] == c"t":
        return c"\t"
    return NO_ESCAPE  # another control character: no valid object has one as it is


# -- Python face, for tests ----------------------------------------------------------------


def blocks_of(events: bytes) -> bytes | None:
    """Return what a message's content has between its brackets."""
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(events)
    cdef Py_ssize_t size = read_blocks(start, PyBytes_GET_SIZE(events), NULL)
    cdef bytes blocks
    if size == NOT_MINE:
        return None
    blocks = PyBytes_FromStringAndSize(NULL, size)
    read_blocks(start, PyBytes_GET_SIZE(events), PyBytes_AS_STRING(blocks))
    return blocks
