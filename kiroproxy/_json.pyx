"""JSON with long strings, read and written while other threads run.

Rules of this file: what it accepts, orjson accepts and reads as the same value, but that integers
of more than 64 bits keep their digits (and orjson refuses the longest); what it is not
sure of (faults, lone halves of surrogate pairs, NUL, great depth) it leaves to its caller's other
reader, so that there is one judge and one wording. What it writes is what orjson writes, to the
byte, and it refuses what orjson refuses. Every read is bounded by `end` first.

Theory of operation. A long prompt is a few long strings. Each is scanned for what is not plain
and copied, unescaped, in the same pass; the lock of the interpreter is let go as soon as a string
turns out to be long, for base64 of an image is one string of megabytes. Names of members come
from a small table of those seen lately.

Writing goes into one bytes object that grows. Numbers, and strings that are not ASCII, come from
orjson.

Why not orjson alone: it holds the interpreter for all of a body, reading 36 ms for 20 MB and
writing 10, and every stream of the process with it.

Source: RFC 8259; RFC 3629 by way of Python's own decoder.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_Append
from cpython.ref cimport Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

import orjson

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, uint32_t most)
    void *PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    bint PyUnicode_IS_ASCII(object)
    int PyDict_SetItem(object, object, object) except -1
    char *PyBytes_AS_STRING(PyObject *)
    Py_ssize_t PyBytes_GET_SIZE(PyObject *)
    PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1

cdef extern from "_scan.h":
    struct kp_literal:
        const uint8_t *at
        uint8_t *out
        int high
        int odd
    size_t kp_plain_run(
        const uint8_t *text, size_t size, uint8_t *copy, int *high
    ) noexcept nogil
    int kp_unescape_literal(kp_literal *it, const uint8_t *end, size_t budget) noexcept nogil
    uint8_t *kp_escape(const uint8_t *text, size_t size, uint8_t *out) noexcept nogil

cdef enum:
    DEPTH_MAX = 500    # of the C stack; orjson itself reads 1024
    NAMES = 1024       # a power of two; a conversation has a few dozen
    NAME_LEN_MAX = 40
    DIGITS_MAX = 18    # of what surely fits into 64 bits
    ROOM = 16          # what a scan may write behind its end
    # What is read without letting other threads run: that costs more than scanning so much.
    SHORT_LEN = 16384

    # How deep a value may nest that is written; orjson's own limit.
    WRITTEN_DEPTH_MAX = 254
    FIRST_LEN = 4096
    ESCAPE_LEN = 6     # the longest: \\u001f
    STRETCH_LEN = 65536  # of a string whose escapes are given room at once

cdef list KNOWN = [""] * NAMES


class LongInteger(float):
    """An integer of more than 64 bits: near enough to count with, and written as it came."""

    def __new__(cls, digits):
        made = float.__new__(cls, digits)
        made.digits = digits
        return made

    def __reduce__(self):
        return LongInteger, (self.digits,)


def _digits(value):
    if isinstance(value, LongInteger):
        return orjson.Fragment(value.digits)
    raise TypeError


class NotMine(Exception):
    """Something orjson shall judge."""


def read(raw, otherwise=orjson.loads):
    """Return the value of a JSON text, or what `otherwise(raw)` makes of it.

    Raises: what `otherwise` does.
    """
    cdef Py_buffer view
    cdef Reader reader
    PyObject_GetBuffer(raw, &view, PyBUF_SIMPLE)
    reader.at = <const uint8_t *>view.buf
    reader.end = reader.at + view.len
    reader.scratch = NULL
    try:
        found = read_value(&reader, 0)
        _skip_blanks(&reader)
        if reader.at == reader.end:
            return found
    except NotMine:
        pass
    finally:
        free(reader.scratch)
        PyBuffer_Release(&view)
    return otherwise(raw)


# -- structure -----------------------------------------------------------------------------


cdef inline void _skip_blanks(Reader *reader) noexcept nogil:
    while reader.at < reader.end and reader.at[0] <= c" ":
        if reader.at[0] not in (c" ", c"\n", c"\r", c"\t"):
            return
        reader.at += 1


cdef inline uint8_t _next(Reader *reader) noexcept nogil:
    """The next byte that is not blank, left where it is; 0 at the end."""
    _skip_blanks(reader)
    return reader.at[0] if reader.at < reader.end else 0


cdef object read_value(Reader *reader, int depth):
    cdef uint8_t first = _next(reader)
    if first == c'"':
        reader.at += 1
        return _string(reader)
    if first == c"{":
        return _object(reader, depth + 1)
    if first == c"[":
        return _list(reader, depth + 1)
    if first == c"t":
        return _word(reader, b"true", 4, True)
    if first == c"f":
        return _word(reader, b"false", 5, False)
    if first == c"n":
        return _word(reader, b"null", 4, None)
    return _number(reader)


cdef dict _object(Reader *reader, int depth):
    cdef dict found = {}
    cdef str name
    reader.at += 1
    if depth > DEPTH_MAX:
        raise NotMine
    if _next(reader) == c"}":
        reader.at += 1
        return found
    while True:
        if _next(reader) != c'"':
            raise NotMine
        reader.at += 1
        name = read_name(reader)
        if _next(reader) != c":":
            raise NotMine
        reader.at += 1
        PyDict_SetItem(found, name, read_value(reader, depth))  # the last of equal names counts
        if not _goes_on(reader, c"}"):
            return found


cdef list _list(Reader *reader, int depth):
    cdef list found = []
    reader.at += 1
    if depth > DEPTH_MAX:
        raise NotMine
    if _next(reader) == c"]":
        reader.at += 1
        return found
    while True:
        PyList_Append(found, read_value(reader, depth))
        if not _goes_on(reader, c"]"):
            return found


cdef bint _goes_on(Reader *reader, uint8_t closing) except -1:
    """Step over a comma (True) or over the end of an object or list (False)."""
    cdef uint8_t found = _next(reader)
    reader.at += 1
    if found == c",":
        return True
    if found != closing:
        raise NotMine
    return False


cdef object _word(Reader *reader, const char *word, Py_ssize_t size, object value):
    if reader.end - reader.at < size or memcmp(reader.at, word, size) != 0:
        raise NotMine
    reader.at += size
    return value


cdef object _number(Reader *reader):
    cdef const uint8_t *start = reader.at
    cdef const uint8_t *p = start
    cdef int64_t value = 0
    cdef bint is_negative = p < reader.end and p[0] == c"-"
    p += is_negative
    while p < reader.end and c"0" <= p[0] <= c"9" and p - start < DIGITS_MAX:
        value = value * 10 + (p[0] - c"0")
        p += 1
    reader.at = p
    if value == 0 or start[is_negative] == c"0" or (p < reader.end and _is_of_number(p[0])):
        return _any_number(reader, start)
    return -value if is_negative else value


cdef inline bint _is_of_number(uint8_t c) noexcept nogil:
    return c"0" <= c <= c"9" or c in (c".", c"e", c"E", c"+", c"-")


cdef object _any_number(Reader *reader, const uint8_t *start):
    """Have orjson read a zero, a fraction, a long number, or what is none at all."""
    cdef const uint8_t *p = start
    cdef bytes digits
    while p < reader.end and _is_of_number(p[0]):
        p += 1
    if p == start:
        raise NotMine
    reader.at = p
    digits = (<const char *>start)[: p - start]
    if p - start > DIGITS_MAX and digits.lstrip(b"-").isdigit():
        return _integer(digits)
    try:
        return orjson.loads(digits)
    except orjson.JSONDecodeError:
        raise NotMine from None


cdef object _integer(bytes digits):
    """Read a long run of digits; orjson makes a rounded number of what exceeds 64 bits."""
    if digits.lstrip(b"-").startswith(b"0") or digits.count(b"-") > 1:
        raise NotMine
    if len(digits) > 20 or not -(2 ** 63) <= int(digits) < 2 ** 64:
        return LongInteger(digits.decode())
    return int(digits)


# -- strings -------------------------------------------------------------------------------


cdef str read_name(Reader *reader):
    """Read a member's name, from the table if it is plain and short."""
    cdef const uint8_t *start = reader.at
    cdef const uint8_t *p = start
    cdef uint32_t mixed = 0
    cdef Py_ssize_t size
    cdef str known
    while p < reader.end and p - start <= NAME_LEN_MAX and 0x20 <= p[0] < 0x80 \
            and p[0] != c'"' and p[0] != c"\\":
        mixed = mixed * 31 + p[0]
        p += 1
    size = p - start
    if p >= reader.end or p[0] != c'"' or size > NAME_LEN_MAX:
        return _string(reader)
    reader.at = p + 1
    known = <str>KNOWN[mixed & (NAMES - 1)]
    if PyUnicode_GET_LENGTH(known) != size or memcmp(PyUnicode_DATA(known), start, size) != 0:
        known = _ascii(start, size)
        KNOWN[mixed & (NAMES - 1)] = known
    return known


cdef str _string(Reader *reader):
    """Read the literal whose inside begins here."""
    cdef const uint8_t *start = reader.at
    cdef size_t left = reader.end - start
    cdef int high = 0
    cdef size_t size = kp_plain_run(start, min(left, <size_t>SHORT_LEN), NULL, &high)
    if size == SHORT_LEN and left > size:
        with nogil:
            size += kp_plain_run(start + size, left - size, NULL, &high)
    if size == left:
        raise NotMine  # it has no end
    if start[size] != c'"':
        return _escaped(reader, size, high)
    reader.at = start + size + 1
    return _utf8(start, size) if high else _ascii(start, size)


cdef str _escaped(Reader *reader, size_t plain, int high):
    """Read a literal that has an escape behind so many plain bytes."""
    cdef kp_literal it
    cdef int state
    if reader.scratch == NULL:
        # For all that is left: it is touched only as far as it is used.
        reader.scratch = <uint8_t *>malloc(reader.end - reader.at + ROOM)
        if reader.scratch == NULL:
            raise MemoryError
    memcpy(reader.scratch, reader.at, plain)
    it.at, it.out, it.high, it.odd = reader.at + plain, reader.scratch + plain, high, 0
    state = kp_unescape_literal(&it, reader.end, SHORT_LEN)
    if state == 0:
        with nogil:
            state = kp_unescape_literal(&it, reader.end, reader.end - it.at)
    if state != 1:
        raise NotMine
    reader.at = it.at + 1
    if it.high:
        return _utf8(reader.scratch, it.out - reader.scratch)
    return _ascii(reader.scratch, it.out - reader.scratch)


cdef str _ascii(const uint8_t *text, Py_ssize_t size):
    cdef str made = PyUnicode_New(size, 127)
    cdef void *inside = PyUnicode_DATA(made)
    if size <= SHORT_LEN:
        memcpy(inside, text, size)
    else:  # nobody else knows of the object yet
        with nogil:
            memcpy(inside, text, size)
    return made


cdef str _utf8(const uint8_t *text, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(<const char *>text, size, NULL)
    except UnicodeDecodeError:
        raise NotMine from None


# -- writing -------------------------------------------------------------------------------


cdef struct Writer:
    PyObject *made       # bytes that nobody else knows of; owned
    Py_ssize_t size      # of them written


def write(value) -> bytes:
    """Return a value as compact JSON.

    Raises: orjson.JSONEncodeError — a value that is not JSON, or nested too deeply.
    """
    return _written(value, 0)


def write_open(value: dict) -> bytes:
    """Return an object's JSON without its closing brace, for more members to follow."""
    return _written(value, 1)


cdef bytes _written(object value, Py_ssize_t less):
    cdef Writer writer
    writer.made = PyBytes_FromStringAndSize(NULL, FIRST_LEN)
    writer.size = 0
    try:
        _put_value(&writer, value, 0)
        _PyBytes_Resize(&writer.made, writer.size - less)
        return <bytes>writer.made
    finally:
        Py_XDECREF(writer.made)  # NULL where resizing failed


cdef uint8_t *_room(Writer *writer, Py_ssize_t more) except NULL:
    """Where the next bytes go; large objects are moved by the kernel, not copied."""
    cdef Py_ssize_t room = PyBytes_GET_SIZE(writer.made)
    if room - writer.size < more:
        _PyBytes_Resize(&writer.made, max(room * 2, writer.size + more))
    return <uint8_t *>PyBytes_AS_STRING(writer.made) + writer.size


cdef int _put(Writer *writer, const void *text, Py_ssize_t size) except -1:
    memcpy(_room(writer, size), text, size)
    writer.size += size
    return 0


cdef int _put_value(Writer *writer, object value, int depth) except -1:
    if type(value) is str:
        return _put_string(writer, <str>value)
    if type(value) is dict:
        return _put_object(writer, <dict>value, depth + 1)
    if type(value) is list:
        return _put_list(writer, <list>value, depth + 1)
    if value is None:
        return _put(writer, b"null", 4)
    if value is True:
        return _put(writer, b"true", 4)
    if value is False:
        return _put(writer, b"false", 5)
    # Numbers, and what is JSON already.
    return _put_bytes(writer, orjson.dumps(value, default=_digits))


cdef int _put_bytes(Writer *writer, bytes text) except -1:
    return _put(writer, PyBytes_AS_STRING(<PyObject *>text), PyBytes_GET_SIZE(<PyObject *>text))


cdef int _put_object(Writer *writer, dict value, int depth) except -1:
    cdef const char *before = b"{"
    if depth > WRITTEN_DEPTH_MAX:
        raise orjson.JSONEncodeError("Recursion limit reached")
    if not value:
        return _put(writer, b"{}", 2)
    for name, item in value.items():
        if type(name) is not str:
            raise orjson.JSONEncodeError("Dict key must be str")
        _put(writer, before, 1)
        before = b","
        _put_string(writer, <str>name)
        _put(writer, b":", 1)
        _put_value(writer, item, depth)
    return _put(writer, b"}", 1)


cdef int _put_list(Writer *writer, list value, int depth) except -1:
    cdef const char *before = b"["
    if depth > WRITTEN_DEPTH_MAX:
        raise orjson.JSONEncodeError("Recursion limit reached")
    if not value:
        return _put(writer, b"[]", 2)
    for item in value:
        _put(writer, before, 1)
        before = b","
        _put_value(writer, item, depth)
    return _put(writer, b"]", 1)


cdef int _put_string(Writer *writer, str text) except -1:
    cdef const uint8_t *data
    cdef Py_ssize_t left, part
    cdef uint8_t *out
    if not PyUnicode_IS_ASCII(text):
        return _put_bytes(writer, orjson.dumps(text))
    data, left = <const uint8_t *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text)
    _put(writer, b'"', 1)
    while left:
        part = min(left, <Py_ssize_t>STRETCH_LEN)
        out = _room(writer, part * ESCAPE_LEN + ROOM)
        if part <= SHORT_LEN:
            out = kp_escape(data, part, out)
        else:
            with nogil:
                out = kp_escape(data, part, out)
        writer.size = out - <uint8_t *>PyBytes_AS_STRING(writer.made)
        data += part
        left -= part
    return _put(writer, b'"', 1)
