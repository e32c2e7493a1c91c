"""JSON that goes on as it came: literals and values taken from one text into another.

Rules of this file: what comes out is what `_json.write` would make of what `_json.read` would have
read, to the byte, or `NotMine` is raised, and whoever asked has the body read that way. Every
read is bounded by the reader's `end` first; nothing that is copied is longer than it was, so the
room for copies is that of the request.

Theory of operation. A literal without unusual escapes is a span of the request. One that orjson
would have written in other escapes is written anew into `copies`, as is a whole value, without
blanks: so every span is what goes out. Texts are counted for the token estimate on the way. The
estimate wants what is behind the escapes, which is therefore decoded, into a buffer whose first
bytes stay in the CPU's cache; nothing else reads it.

Source: RFC 8259; `_json`, with whose outcome the tests compare this one's.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

import orjson

from kiroproxy._json cimport read_value
from kiroproxy._tally cimport count_text, counted

from kiroproxy._json import NotMine

cdef extern from "_scan.h":
    int kp_unescape_literal(kp_literal *it, const uint8_t *end, size_t budget) noexcept nogil
    uint8_t *kp_escape(const uint8_t *text, size_t size, uint8_t *out) noexcept nogil
    int kp_is_utf8(const uint8_t *text, size_t size) noexcept nogil

cdef enum:
    VALUE_DEPTH = 6      # of lists and objects around a value, more or less: for the limit
    DEPTH_MAX = 64       # of a value that is copied
    MEMBERS_MAX = 64     # of one of its objects: equal names are looked for among all pairs
    ID_MAX = 64          # of Kiro's toolUseId
    DIGITS_MAX = 18      # of what surely fits into 64 bits
    ROOM = 32            # what a scan or an escaping may write behind its end
    SHORT_LEN = 16384    # what is read without letting other threads run, as in _json
    TURN_LEN = 65536     # so much of many short literals, likewise

# A byte of a legal id.
cdef uint8_t LEGAL[256]
for _byte in range(256):
    LEGAL[_byte] = chr(_byte).isascii() and (chr(_byte).isalnum() or chr(_byte) in "_-")


cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int kp_keep_freed(int kept, int own) {
      return mallopt(M_MMAP_THRESHOLD, own) && mallopt(M_TRIM_THRESHOLD, kept);
    }
    #else
    static int kp_keep_freed(int kept, int own) { (void)kept; (void)own; return 0; }
    #endif
    """
    int kp_keep_freed(int kept, int own)


def keep_freed(int kept_bytes, int own_bytes) -> bool:
    """Have the C library keep what large requests free, for the next. Returns whether it will.

    Shape: up to `kept_bytes` stay; a block of `own_bytes` or more is the system's at once. Else
    glibc gives a few hundred KB back after each request, and the kernel clears and maps every page
    of them anew for the next: a fifth of what a prompt of 400 kB costs.
    """
    return bool(kp_keep_freed(kept_bytes, own_bytes))


cdef inline bint _is_of_number(uint8_t c) noexcept nogil:
    return c"0" <= c <= c"9" or c in (c".", c"e", c"E", c"+", c"-")


def _check_number(bytes digits not None):
    try:
        if orjson.dumps(orjson.loads(digits)) != digits:
            raise NotMine
    except orjson.JSONDecodeError:
        raise NotMine from None


cdef class Source:
    """A request that is read, and the copies made of its parts."""

    def __dealloc__(self):
        free(self.copies)
        free(self.reader.scratch)
        if self.is_viewed:
            PyBuffer_Release(&self.view)

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts of all texts so far, as `_tally.tally` has them."""
        return counted(&self.found)

    cdef int begin(self, raw) except -1:
        """Start reading. Order: once; bytes that may change are held as they are."""
        PyObject_GetBuffer(raw, &self.view, PyBUF_SIMPLE)
        self.is_viewed = True
        self.reader.at = self.shared = <const uint8_t *>self.view.buf
        self.reader.end = self.reader.at + self.view.len
        self.reader.scratch = <uint8_t *>malloc(self.view.len + ROOM)
        self.copies = self.copied = <uint8_t *>malloc(self.view.len + ROOM)
        if self.reader.scratch == NULL or self.copies == NULL:
            raise MemoryError
        return 0

    cdef int share(self) except -1:
        """Let other threads run, if it has been long. Order: between any two values."""
        if self.reader.at - self.shared > TURN_LEN:
            self.shared = self.reader.at
            with nogil:
                pass  # who waits for the interpreter gets it here
        return 0

    # -- structure -------------------------------------------------------------------------

    cdef int expect(self, uint8_t c) except -1:
        if next_byte(&self.reader) != c:
            raise NotMine
        self.reader.at += 1
        return 0

    cdef int goes_on(self, uint8_t closing) except -1:
        """Step over a comma (True) or over the end of an object or list (False)."""
        cdef uint8_t c = next_byte(&self.reader)
        if c != c"," and c != closing:
            raise NotMine
        self.reader.at += 1
        return c == c","

    # -- literals --------------------------------------------------------------------------

    cdef int string(self, Span *span, bint counts) except -1:
        """Read a literal, and count it."""
        cdef kp_literal literal
        cdef const uint8_t *start
        self.expect(c'"')
        start = self.reader.at
        self._decode(&literal)
        if counts:
            count_text(
                self.reader.scratch, literal.out - self.reader.scratch, not literal.high, &self.found
            )
        if literal.odd:
            start = self.copied
            self._escape(literal.out)
            span.at, span.size = start, self.copied - start
        else:
            span.at, span.size = start, self.reader.at - 1 - start
        return 0

    cdef int _decode(self, kp_literal *literal) except -1:
        """Decode the literal whose inside begins here, into the scratch; go behind it."""
        cdef int state
        cdef Py_ssize_t size
        literal.at, literal.out, literal.high, literal.odd = (
            self.reader.at, self.reader.scratch, 0, 0
        )
        state = kp_unescape_literal(literal, self.reader.end, SHORT_LEN)
        if state == 0:
            with nogil:
                state = kp_unescape_literal(
                    literal, self.reader.end, self.reader.end - literal.at
                )
        if state != 1:
            raise NotMine
        size = literal.out - self.reader.scratch
        if literal.high:
            with nogil:
                state = kp_is_utf8(self.reader.scratch, size)
            if not state:
                raise NotMine
        self.reader.at = literal.at + 1
        return 0

    cdef int _escape(self, const uint8_t *end) except -1:
        """Copy what was decoded, escaped in orjson's way."""
        cdef size_t size = end - self.reader.scratch
        with nogil:
            self.copied = kp_escape(self.reader.scratch, size, self.copied)
        return 0

    cdef int token(self, Span *span) except -1:
        """Read a literal of plain ASCII."""
        cdef const uint8_t *p
        self.expect(c'"')
        p = span.at = self.reader.at
        while p < self.reader.end and 0x20 <= p[0] < 0x80 and p[0] != c'"' and p[0] != c"\\":
            p += 1
        if p == self.reader.end or p[0] != c'"':
            raise NotMine
        span.size = p - span.at
        self.reader.at = p + 1
        return 0

    cdef int id(self, Span *span) except -1:
        cdef Py_ssize_t at
        self.token(span)
        if not 0 < span.size <= ID_MAX:
            raise NotMine
        for at in range(span.size):
            if not LEGAL[span.at[at]]:
                raise NotMine
        return 0

    # -- values, copied ----------------------------------------------------------------------

    cdef int value(self, Span *span) except -1:
        """Copy an object as compact JSON, and count it so."""
        cdef int is_ascii
        if next_byte(&self.reader) != c"{":
            raise NotMine
        span.at = self.copied
        is_ascii = self._copy(0)
        span.size = self.copied - span.at
        return count_text(span.at, span.size, is_ascii, &self.found)

    cdef int _copy(self, int depth) except -1:
        """Copy any value. Returns whether it is ASCII."""
        cdef uint8_t first = next_byte(&self.reader)
        cdef kp_literal literal
        cdef const uint8_t *start = self.reader.at
        if first == c'"':
            self.reader.at += 1
            self._decode(&literal)
            if literal.odd:
                self._push(c'"')
                self._escape(literal.out)
                self._push(c'"')
            else:
                self._take(start, self.reader.at - start)
            return not literal.high
        if depth > DEPTH_MAX:
            raise NotMine
        if first == c"{":
            return self._copy_object(depth + 1)
        if first == c"[":
            return self._copy_list(depth + 1)
        if first == c"-" or c"0" <= first <= c"9":
            return self._copy_number()
        read_value(&self.reader, VALUE_DEPTH)  # true, false, null: there is one way to write it
        self._take(start, self.reader.at - start)
        return True

    cdef int _copy_object(self, int depth) except -1:
        cdef Span names[MEMBERS_MAX]
        cdef Py_ssize_t count = 0, at
        cdef int is_ascii = True
        self.expect(c"{")
        self._push(c"{")
        if next_byte(&self.reader) == c"}":
            self.reader.at += 1
            self._push(c"}")
            return True
        while True:
            if count == MEMBERS_MAX:
                raise NotMine
            self.token(&names[count])
            if names[count].size == 0:
                raise NotMine  # Kiro takes no such name
            for at in range(count):
                if names[at].size == names[count].size and memcmp(
                    names[at].at, names[count].at, names[at].size
                ) == 0:
                    raise NotMine
            self._take(names[count].at - 1, names[count].size + 2)
            self.expect(c":")
            self._push(c":")
            is_ascii &= self._copy(depth)
            count += 1
            if not self.goes_on(c"}"):
                self._push(c"}")
                return is_ascii
            self._push(c",")

    cdef int _copy_list(self, int depth) except -1:
        cdef int is_ascii = True
        self.expect(c"[")
        self._push(c"[")
        if next_byte(&self.reader) == c"]":
            self.reader.at += 1
            self._push(c"]")
            return True
        while True:
            is_ascii &= self._copy(depth)
            if not self.goes_on(c"]"):
                self._push(c"]")
                return is_ascii
            self._push(c",")

    cdef int _copy_number(self) except -1:
        """Copy a number that orjson would write as it stands."""
        cdef const uint8_t *start = self.reader.at
        cdef const uint8_t *first = start + (start[0] == c"-")
        cdef const uint8_t *p = first
        while p < self.reader.end and c"0" <= p[0] <= c"9":
            p += 1
        if not 0 < p - first < DIGITS_MAX or first[0] == c"0" or (
            p < self.reader.end and _is_of_number(p[0])
        ):
            while p < self.reader.end and _is_of_number(p[0]):
                p += 1
            _check_number((<const char *>start)[: p - start])
        self.reader.at = p
        self._take(start, p - start)
        return True

    cdef inline void _push(self, uint8_t c) noexcept:
        self.copied[0] = c
        self.copied += 1

    cdef inline void _take(self, const uint8_t *text, Py_ssize_t size) noexcept:
        memcpy(self.copied, text, size)
        self.copied += size
