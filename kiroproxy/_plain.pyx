"""Small things that every request needs: is its body a plain question, ids, a plan's members.

Rules of this file: no policy; pure but for what is drawn; what is recognised here is what `protocol.simple` says. It
answers "not that simple" to whatever it does not know; it repairs and refuses nothing.

Source: `protocol.simple`, whose tests compare the outcome with the long way's.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from os import urandom

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object holder, object name, object value) except -1
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)

cdef enum:
    DIGEST_BYTES = 16

cdef enum:
    DRAWN_BYTES = 4096

cdef const char *DIGITS = b"0123456789abcdef"


def texts_of(dict body not None, frozenset known not None, str unwanted not None):
    """Return (texts of the system prompt, texts of the one message); None: not that simple.

    Shape: `known` are the members a simple body may have; a system text that begins with
    `unwanted` is not simple. Every list but the system's has a text, and no text is empty.
    """
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    cdef list system, said
    cdef dict message
    cdef str text
    while PyDict_Next(body, &at, &key, &value):
        if <object>key not in known:
            return None
    messages = body.get("messages")
    if type(messages) is not list or len(<list>messages) != 1:
        return None
    if type((<list>messages)[0]) is not dict:
        return None
    message = <dict>(<list>messages)[0]
    if len(message) != 2 or message.get("role") != "user":
        return None
    said = _texts(message.get("content"))
    if said is None:
        return None
    found = body.get("system")
    system = [] if found is None or found == "" else _texts(found)
    if system is None:
        return None
    for text in system:
        if text.startswith(unwanted):
            return None
    return system, said


cdef list _texts(object content):
    """Return the texts of a string, or of text blocks that hold nothing else; else None."""
    cdef list found
    if type(content) is str:
        return [content] if content else None
    if type(content) is not list or not content:
        return None
    found = []
    for block in <list>content:
        if type(block) is not dict or not _is_text(<dict>block):
            return None
        found.append((<dict>block)["text"])
    return found


cdef bint _is_text(dict block) except -1:
    cdef Py_ssize_t members = 2 + ("cache_control" in block)
    cdef PyObject *text = PyDict_GetItem(block, "text")
    if text == NULL or type(<object>text) is not str or not <object>text:
        return False
    return len(block) == members and block.get("type") == "text"


cdef bytes _drawn = b""
cdef Py_ssize_t _spent = 0


def random_bytes(Py_ssize_t count) -> bytes:
    """Return random bytes for an id, which need not be secret.

    Cost: one system call for some hundred ids. A process that forks must not use it in both.
    """
    cdef const uint8_t *drawn = _draw(count)
    return drawn[:count]


def uuid_of(bytes digest not None, int version) -> str:
    """Write a UUID of the version made of a digest's (or any) first sixteen bytes."""
    cdef uint8_t raw[DIGEST_BYTES]
    cdef char text[36]
    cdef int at, out = 0
    cdef const uint8_t *given = <const uint8_t *>PyBytes_AS_STRING(digest)
    if PyBytes_GET_SIZE(digest) < DIGEST_BYTES:
        raise ValueError("a UUID needs sixteen bytes")
    for at in range(DIGEST_BYTES):
        raw[at] = given[at]
    raw[6] = raw[6] & 0x0F | version << 4
    raw[8] = raw[8] & 0x3F | 0x80  # RFC 9562's variant
    for at in range(DIGEST_BYTES):
        if at == 4 or at == 6 or at == 8 or at == 10:
            text[out] = c"-"
            out += 1
        text[out] = DIGITS[raw[at] >> 4]
        text[out + 1] = DIGITS[raw[at] & 15]
        out += 2
    return PyUnicode_DecodeASCII(text, 36, NULL)


def filled(type kind not None, tuple names not None, tuple values not None):
    """Make an instance of a frozen class with slots, as its `__init__` would.

    Cost: a fifth of that, which sets each member through a Python call.
    """
    cdef Py_ssize_t at, count = len(names)
    made = kind.__new__(kind)
    if len(values) != count:
        raise TypeError(f"{count} members, {len(values)} values")
    for at in range(count):
        PyObject_GenericSetAttr(made, names[at], values[at])
    return made


cdef enum:
    ID_BYTES = 12


cpdef str fresh_id(str prefix):
    """Make an id of the shape Anthropic's have: an ASCII prefix and 24 hexadecimal digits."""
    cdef Py_ssize_t at, size
    cdef const uint8_t *drawn
    if prefix is None or not PyUnicode_IS_COMPACT_ASCII(prefix):
        raise ValueError(prefix)
    size, drawn = PyUnicode_GET_LENGTH(prefix), _draw(ID_BYTES)
    made = PyUnicode_New(size + 2 * ID_BYTES, 127)
    cdef char *text = <char *>PyUnicode_DATA(made)
    memcpy(text, PyUnicode_DATA(prefix), size)
    text += size
    for at in range(ID_BYTES):
        text[2 * at] = DIGITS[drawn[at] >> 4]
        text[2 * at + 1] = DIGITS[drawn[at] & 15]
    return <str>made


cdef const uint8_t *_draw(Py_ssize_t count) except NULL:
    """Return random bytes that stay until the next are drawn."""
    global _drawn, _spent
    if not 0 < count <= DRAWN_BYTES:
        raise ValueError(count)
    if _spent + count > PyBytes_GET_SIZE(_drawn):
        _drawn, _spent = urandom(DRAWN_BYTES), 0
    _spent += count
    return <const uint8_t *>PyBytes_AS_STRING(_drawn) + (_spent - count)
