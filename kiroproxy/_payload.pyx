"""The JSON payload of one event: recognised without parsing, or parsed and asked for members.

Rules of this file: pure. A text member is always decoded from the bytes that came, never from
what a JSON reader made of them: half a character is only there to be joined with its other half.
What is missing reads as nothing; what is of the wrong type is a `Violation` where text depends on
it and nothing where only accounting does.

Source: Kiro's ChatResponseStream; captured streams for the two shapes of a plain text event.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcmp

from kiroproxy._text cimport decode_literal, decode_utf8, find_member, mend, scan_literal

import orjson

cdef enum:
    WORDS_LEN_MAX = 2000  # of upstream's own words: they go to the log only
    MODEL_OPENING_LEN = 12

cdef const char *MODEL_OPENING = b',"modelId":"'


class Violation(Exception):
    """Upstream sent something that its own model does not allow."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name, self.message = name, message


cdef class Payload:
    """What an event says.

    Order: valid while the frame is; see read_payload.
    """

    cdef bint decode(self, str key, Carry *carry, Buffer *out) except -1:
        """Append a text member to `out`; False: it is absent or null."""
        cdef const uint8_t *raw = NULL
        cdef Py_ssize_t size = 0
        cdef const char *text
        cdef object value = self.members.get(key)
        if value is None:
            return False
        if not isinstance(value, str):
            raise Violation(key, "not a string")
        if find_member(self._raw, self._raw_len, key.encode(), &raw, &size) and raw[0] == c'"':
            decode_literal(raw + 1, size - 2, carry, out)
        else:  # the key itself is written with escapes
            text = PyUnicode_AsUTF8AndSize(value, &size)
            decode_utf8(<const uint8_t *>text, size, carry, out)
        return True

    cdef str string(self, str key):
        """Return a member that must be a string where it is there; "" where it is not."""
        value = self.members.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Violation(key, "not a string")
        return value

    cdef str word(self, str key):
        """Return a string member; "" for anything else."""
        value = self.members.get(key)
        return value[:WORDS_LEN_MAX] if isinstance(value, str) else ""

    cdef object number(self, str key):
        """Return a number member; None for anything else."""
        return number_of(self.members.get(key))

    cdef bytes sent(self, str key):
        """Return a member's JSON as it was sent: a rewrite could change its numbers.

        Raises: Violation — its key is written with escapes, which nobody does.
        """
        cdef const uint8_t *raw = NULL
        cdef Py_ssize_t size = 0
        if not find_member(self._raw, self._raw_len, key.encode(), &raw, &size):
            raise Violation(key, "not found as sent")
        return PyBytes_FromStringAndSize(<const char *>raw, size)


cdef Payload read_payload(Slice payload):
    """Parse a payload, mended if only its strings are broken.

    Raises: Violation — it is not a JSON object.
    """
    cdef Payload found = Payload.__new__(Payload)
    cdef bytes text = PyBytes_FromStringAndSize(<const char *>payload.buf, payload.len)
    cdef int replaced = 0
    found._raw, found._raw_len = payload.buf, payload.len
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        text = mend(payload.buf, payload.len, &replaced)
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise Violation("malformed JSON", str(error)) from None
    if not isinstance(value, dict):
        raise Violation("malformed JSON", "not an object")
    found.members = value
    return found


cdef bint is_simple(
    Slice payload, const char *opening, Py_ssize_t opening_len, Literal *literal
) noexcept nogil:
    """Tell whether a payload is `opening`, a literal, and nothing else but a model's name."""
    cdef const uint8_t *end = payload.buf + payload.len
    cdef const uint8_t *p
    if payload.len <= opening_len or memcmp(payload.buf, opening, opening_len) != 0:
        return False
    p = scan_literal(payload.buf + opening_len, end, literal)
    if p == NULL:
        return False
    p += 1
    if end - p > MODEL_OPENING_LEN and memcmp(p, MODEL_OPENING, MODEL_OPENING_LEN) == 0:
        p += MODEL_OPENING_LEN
        while p < end and 0x20 <= p[0] < 0x80 and p[0] != c'"' and p[0] != c"\\":
            p += 1
        if p == end or p[0] != c'"':
            return False
        p += 1
    return end - p == 1 and p[0] == c"}"


cdef str words(Slice slice):
    """Upstream's words for the log: bounded, decoded whatever they are."""
    cdef Py_ssize_t size = min(slice.len, <Py_ssize_t>WORDS_LEN_MAX)
    return PyBytes_FromStringAndSize(<const char *>slice.buf, size).decode("utf-8", "replace")


cdef object number_of(object value):
    """A JSON value as a float, if it is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value)
