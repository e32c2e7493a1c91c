"""HTTP/1.1 heads of the one form that ordinary peers send, read in one pass.

Rules of this file: it accepts less than HTTP allows and never repairs. What is accepted means
the same to every reader of HTTP, so that nothing can hide between two requests; all else gets the
answer "not mine", and the caller gives the same bytes to a full parser.

Theory of operation. A head must lie whole in the bytes. Every line ends in CR LF; a name is a token,
followed by a colon without a space; a value is visible ASCII, blanks and tabs, with none at its
end. No name comes twice. Whatever changes how the message is framed or what becomes of the
connection is refused, but for the plain cases: `content-length` in digits, `transfer-encoding:
chunked` alone, `connection: keep-alive`.

Source: RFC 9112 §2-6, and its warnings about message framing (§6.1, §11.2).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains, PyDict_SetItem
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp

cdef enum:
    NAME_MAX = 64        # longer names exist nowhere
    HEAD_MAX = 16 * 1024
    TARGET_MAX = 8 * 1024  # of a request: what `server.asgi` serves
    FIELDS_MAX = 64
    DIGITS_MAX = 15      # of a length; what fits into the counters

# The lower-case form of each byte that may stand in a name, 0 for all others.
cdef uint8_t NAME[256]
# 1 for the bytes of a request target that every reader leaves as they are.
cdef uint8_t TARGET[256]


def _fill_tables():
    cdef int code
    for code in range(256):
        NAME[code] = TARGET[code] = 0
    for code in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        NAME[code] = code
    for code in range(c"A", c"Z" + 1):
        NAME[code] = code + 32
    for code in range(256):
        if chr(code).isascii() and chr(code).isalnum():
            TARGET[code] = 1
    for code in b"/-._~?=&":
        TARGET[code] = 1


_fill_tables()

cdef bytes CONTENT_LENGTH = b"content-length"
cdef bytes HOST = b"host"
cdef bytes TRANSFER_ENCODING = b"transfer-encoding"
# A message with one of these is more than a head and a body of known length.
cdef frozenset REFUSED = frozenset((
    b"upgrade", b"expect", b"te", b"trailer", b"proxy-connection", b"keep-alive", b"http2-settings",
))


cdef Py_ssize_t read_status(const uint8_t *data, Py_ssize_t size, int *status) noexcept:
    cdef Py_ssize_t at
    if size < 14 or memcmp(data, b"HTTP/1.1 ", 9) != 0:
        return 0
    status[0] = 0
    for at in range(9, 12):
        if not c"0" <= data[at] <= c"9":
            return 0
        status[0] = 10 * status[0] + data[at] - c"0"
    if data[12] != c" ":
        return 0
    at = 13
    while at < size and 0x20 <= data[at] < 0x7F:
        at += 1
    if at + 1 < size and data[at] == c"\r" and data[at + 1] == c"\n":
        return at + 2
    return 0


cdef Py_ssize_t read_fields(const uint8_t *data, Py_ssize_t size, dict fields) except -1:
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef const uint8_t *line
    cdef uint8_t name[NAME_MAX]
    cdef Py_ssize_t length
    cdef int left = FIELDS_MAX
    cdef bytes key, value
    while end - at >= 2:
        if at[0] == c"\r":
            return at + 2 - data if at[1] == c"\n" and _is_framed_once(fields) else 0
        left -= 1
        length = 0
        while at < end and length < NAME_MAX and NAME[at[0]]:
            name[length] = NAME[at[0]]
            length += 1
            at += 1
        if left < 0 or length == 0 or at == end or at[0] != c":":
            return 0
        at += 1
        while at < end and (at[0] == c" " or at[0] == c"\t"):
            at += 1
        line = at
        while at < end and (0x20 <= at[0] < 0x7F or at[0] == c"\t"):
            at += 1
        if end - at < 2 or at[0] != c"\r" or at[1] != c"\n":
            return 0
        if at > line and ((at - 1)[0] == c" " or (at - 1)[0] == c"\t"):
            return 0
        key = PyBytes_FromStringAndSize(<const char *>name, length)
        value = PyBytes_FromStringAndSize(<const char *>line, at - line)
        if PyDict_Contains(fields, key) or not _is_harmless(key, value):
            return 0
        PyDict_SetItem(fields, key, value)
        at += 2
    return 0


cdef bint _is_harmless(bytes name, bytes value) except -1:
    """Say whether a field leaves framing and connection as they are by default."""
    cdef char first = PyBytes_AS_STRING(name)[0]
    if first == c"c":
        if name == CONTENT_LENGTH:
            return _number(value) >= 0
        if name == b"connection":
            return value.lower() == b"keep-alive"
    elif first == c"t" and name == TRANSFER_ENCODING:
        return value == b"chunked"
    return name not in REFUSED


cdef bint _is_framed_once(dict fields) except -1:
    return not (CONTENT_LENGTH in fields and TRANSFER_ENCODING in fields)


cdef int64_t _number(bytes digits) noexcept:
    """Return a length; -1 = it is not written in digits alone."""
    cdef const char *text = PyBytes_AS_STRING(digits)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(digits), at
    cdef int64_t found = 0
    if size == 0 or size > DIGITS_MAX:
        return -1
    for at in range(size):
        if not c"0" <= text[at] <= c"9":
            return -1
        found = 10 * found + text[at] - c"0"
    return found


def read_request(bytes data):
    """Read one whole POST with a body of known length.

    Shape: (target, fields by lower-case name, body); a number = the head is whole and so many
    bytes of the body are not there; None = not of the ordinary form, or something follows it.
    Cost: one pass over the head, one copy of the body.
    """
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), line, length
    cdef int64_t missing
    cdef dict fields
    if size < 6 or memcmp(start, b"POST /", 6) != 0:
        return None
    line = 5
    while line < size and line <= 5 + TARGET_MAX and TARGET[start[line]]:
        line += 1
    if line > 5 + TARGET_MAX or size - line < 11 or memcmp(start + line, b" HTTP/1.1\r\n", 11) != 0:
        return None
    fields = {}
    length = read_fields(start + line + 11, min(size, HEAD_MAX) - line - 11, fields)
    length += line + 11
    if length == line + 11 or TRANSFER_ENCODING in fields or CONTENT_LENGTH not in fields:
        return None
    if HOST not in fields:
        return None
    missing = _number(fields[CONTENT_LENGTH]) - (size - length)
    if missing:
        return missing if missing > 0 else None
    return data[5:line], fields, data[length:]
