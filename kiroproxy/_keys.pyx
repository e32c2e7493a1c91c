"""The check of keys that the operator's configuration names.

Rules of this file: how long a comparison takes depends on what was presented and on nothing else,
so that time tells neither how much of it was right nor how long a right one is. No key leaves it.

Theory of operation. Every presented byte is compared with a byte of the key, which is begun anew at
its end, and all differences go into one word; so does that of the lengths. Comparing digests would
hide no more than that, and costs twenty times as much.

Source: the headers that Anthropic's SDKs and Claude Code present a key in.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject

cdef extern from *:
    """
    /* volatile: no compiler may end the loop at the first difference. */
    static int kp_same(const char *presented, size_t count, const char *secret, size_t size) {
        volatile size_t differing = count ^ size;
        size_t at = 0;
        if (!size)
            return !count;
        for (size_t i = 0; i < count; i++) {
            differing |= (unsigned char) (presented[i] ^ secret[at]);
            at++;
            at &= (size_t) 0 - (size_t) (at != size);  /* no branch: it would tell the size */
        }
        return differing == 0;
    }
    static int kp_is_blank(char c) { return c == ' ' || (c >= '\\t' && c <= '\\r'); }
    """
    bint kp_same(const char *presented, size_t count, const char *secret, size_t size) nogil
    bint kp_is_blank(char c) nogil

cdef const char *SCHEME = b"bearer "

cdef enum:
    SCHEME_LEN = 7


cdef bint same(bytes presented, bytes secret) noexcept:
    """Compare in a time that depends on the length of what was presented only."""
    return kp_same(PyBytes_AS_STRING(presented), PyBytes_GET_SIZE(presented),
                   PyBytes_AS_STRING(secret), PyBytes_GET_SIZE(secret))


def is_same(bytes presented not None, bytes secret not None) -> bool:
    """Compare in a time that depends on the length of what was presented only."""
    return same(presented, secret)


@cython.final
cdef class KeyCheck:
    """Compares presented keys in constant time; any right one is enough.

    Claude Code sends `x-api-key` and `authorization` at once with different values when both
    of its variables are set, and new SDKs send API keys as bearer tokens.
    """

    def __cinit__(self, str key not None):
        self._secret = key.encode()

    cpdef bint admits(self, dict headers) except -1:
        """Tell whether one of a request's keys is ours. Shape: names in lower case."""
        cdef PyObject *bearer = PyDict_GetItem(headers, b"authorization")
        cdef PyObject *plain = PyDict_GetItem(headers, b"x-api-key")
        cdef bint first = plain != NULL and self._matches(<bytes?><object>plain, 0)
        # Always both: which header matched is nobody's business.
        cdef bint second = (
            bearer != NULL
            and _is_bearer(<bytes?><object>bearer)
            and self._matches(<bytes><object>bearer, SCHEME_LEN)
        )
        return first or second

    cdef bint _matches(self, bytes value, Py_ssize_t start) except -1:
        cdef const char *begin = PyBytes_AS_STRING(value) + start
        cdef const char *end = PyBytes_AS_STRING(value) + PyBytes_GET_SIZE(value)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._secret)
        if not value.isascii():  # headers are Latin-1, settings UTF-8
            value = value[start:].decode("latin-1").encode()
            begin = PyBytes_AS_STRING(value)
            end = begin + PyBytes_GET_SIZE(value)
        while begin < end and kp_is_blank(begin[0]):
            begin += 1
        while begin < end and kp_is_blank((end - 1)[0]):
            end -= 1
        # An empty key would match an empty header.
        return size != 0 and kp_same(begin, end - begin, PyBytes_AS_STRING(self._secret), size)


cdef bint _is_bearer(bytes value) noexcept:
    cdef const char *text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t at
    if PyBytes_GET_SIZE(value) < SCHEME_LEN:
        return False
    for at in range(SCHEME_LEN):
        # 0x20 makes a letter a small one, and leaves the space as it is.
        if text[at] != SCHEME[at] and (at == SCHEME_LEN - 1 or text[at] | 0x20 != SCHEME[at]):
            return False
    return True
