"""Request bodies as Python objects: a strict JSON reader that lets other threads run.

Rules of this file: what it accepts, orjson accepts and reads as the same value; what it is not
sure of (faults, lone halves of surrogate pairs, NUL, great depth) it leaves to its caller's other
reader, so that there is one judge and one wording. Every read is bounded by `end` first.

Theory of operation. A long prompt is a few long strings. Each is scanned for what is not plain
and copied, unescaped, in the same pass; the lock of the interpreter is let go as soon as a string
turns out to be long, for base64 of an image is one string of megabytes. Names of members come
from a small table of those seen lately.

Why not orjson alone: it holds the interpreter for all of a body, 36 ms for 20 MB, and every
stream of the process with it. 400 kB of code take a third of the time here.

Source: RFC 8259; RFC 3629 by way of Python's own decoder.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_Append
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

import orjson

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, uint32_t most)
    void *PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    int PyDict_SetItem(object, object, object) except -1

cdef extern from "_scan.h":
    struct kp_literal:
        const uint8_t *at
        uint8_t *out
        int high
    size_t kp_plain_run(
        const uint8_t *text, size_t size, uint8_t *copy, int *high
    ) noexcept nogil
    int kp_unescape_literal(kp_literal *it, const uint8_t *end, size_t budget) noexcept nogil

cdef enum:
    DEPTH_MAX = 500    # of the C stack; orjson itself reads 1024
    NAMES = 1024       # a power of two; a conversation has a few dozen
    NAME_LEN_MAX = 40
    DIGITS_MAX = 18    # of what surely fits into 64 bits
    ROOM = 16          # what a scan may write behind its end
    # What is read without letting other threads run: that costs more than scanning so much.
    SHORT_LEN = 16384

cdef list KNOWN = [""] * NAMES


class _NotMine(Exception):
    """Something orjson shall judge."""


cdef struct Reader:
    const uint8_t *at
    const uint8_t *end
    uint8_t *scratch     # where literals with escapes are decoded; NULL until the first


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
        found = _value(&reader, 0)
        _skip_blanks(&reader)
        if reader.at == reader.end:
            return found
    except _NotMine:
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


cdef object _value(Reader *reader, int depth):
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
        raise _NotMine
    if _next(reader) == c"}":
        reader.at += 1
        return found
    while True:
        if _next(reader) != c'"':
            raise _NotMine
        reader.at += 1
        name = _name(reader)
        if _next(reader) != c":":
            raise _NotMine
        reader.at += 1
        PyDict_SetItem(found, name, _value(reader, depth))  # the last of equal names counts
        if not _goes_on(reader, c"}"):
            return found


cdef list _list(Reader *reader, int depth):
    cdef list found = []
    reader.at += 1
    if depth > DEPTH_MAX:
        raise _NotMine
    if _next(reader) == c"]":
        reader.at += 1
        return found
    while True:
        PyList_Append(found, _value(reader, depth))
        if not _goes_on(reader, c"]"):
            return found


cdef bint _goes_on(Reader *reader, uint8_t closing) except -1:
    """Step over a comma (True) or over the end of an object or list (False)."""
    cdef uint8_t found = _next(reader)
    reader.at += 1
    if found == c",":
        return True
    if found != closing:
        raise _NotMine
    return False


cdef object _word(Reader *reader, const char *word, Py_ssize_t size, object value):
    if reader.end - reader.at < size or memcmp(reader.at, word, size) != 0:
        raise _NotMine
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
    while p < reader.end and _is_of_number(p[0]):
        p += 1
    if p == start:
        raise _NotMine
    reader.at = p
    try:
        return orjson.loads((<const char *>start)[: p - start])
    except orjson.JSONDecodeError:
        raise _NotMine from None


# -- strings -------------------------------------------------------------------------------


cdef str _name(Reader *reader):
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
        raise _NotMine  # it has no end
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
    it.at, it.out, it.high = reader.at + plain, reader.scratch + plain, high
    state = kp_unescape_literal(&it, reader.end, SHORT_LEN)
    if state == 0:
        with nogil:
            state = kp_unescape_literal(&it, reader.end, reader.end - it.at)
    if state != 1:
        raise _NotMine
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
        raise _NotMine from None
