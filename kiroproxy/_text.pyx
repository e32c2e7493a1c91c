"""JSON string literals and UTF-8 by the byte: scan, decode, mend, write.

Rules of this file: pure, no state of its own but spare memory. What goes in may be cut or damaged anywhere; what
comes out is valid UTF-8, and the halves of a character that was cut between two literals are
joined. Input is read forward only, and every read is bounded by `end` first.

Theory of operation. Kiro's JSON is spliced into the client's event without being decoded as long
as `scan_literal` finds nothing wrong with it. Otherwise `decode_literal` turns the literal into
UTF-8, leaving the beginning of an unfinished character in a `Carry`. JSON that orjson refuses is
given a second chance by `mend`, which replaces only what breaks a *string* (never structure) by
something of the same length, so that offsets found in the mended copy hold in the original.

Source: RFC 8259 §7, RFC 3629 §4, Unicode 3.9 D93b (one U+FFFD for each maximal subpart).
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, strlen

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef enum:
    BUFFER_LEN_FIRST = 1024
    TOO_SHORT = -1
    REPLACEMENT = 0xFFFD

cdef Spares SPARES

cdef const char *HEX = "0123456789abcdef"

# One class per byte, so that the scan of plain text is one load and one branch a byte.
cdef enum ByteClass:
    PLAIN = 0
    QUOTE = 1
    BACKSLASH = 2
    MARKUP = 3    # < ` ~
    CONTROL = 4
    HIGH = 5      # part of a multi-byte character

cdef uint8_t CLASS[256]


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        CLASS[byte] = CONTROL if byte < 0x20 else HIGH if byte >= 0x80 else PLAIN
    CLASS[c'"'] = QUOTE
    CLASS[c"\\"] = BACKSLASH
    CLASS[c"<"] = CLASS[c"`"] = CLASS[c"~"] = MARKUP


_fill_classes()


# -- output --------------------------------------------------------------------------------


cdef int grow(Buffer *buffer, Py_ssize_t more) except -1:
    """Make room for `more` bytes behind those in use; amortised O(1) a byte."""
    cdef Py_ssize_t room = max(buffer.room, <Py_ssize_t>BUFFER_LEN_FIRST)
    cdef void *data
    while room - buffer.len < more:
        room *= 2
    data = realloc(buffer.data, room)
    if data == NULL:
        raise MemoryError
    buffer.data = <uint8_t *>data
    buffer.room = room
    return 0


cdef int put_chars(Buffer *buffer, const char *text) except -1:
    """Append a C string."""
    return put(buffer, text, strlen(text))


cdef void release(Buffer *buffer) noexcept:
    """Give the memory back; the buffer is empty and may be used again."""
    free(buffer.data)
    buffer.data = NULL
    buffer.len = buffer.room = 0


cdef Spares *spares() noexcept:
    """Return the process's spare memory, for `lend` and `give_back`; it is there for ever."""
    return &SPARES


cdef int put_escaped(Buffer *buffer, const uint8_t *text, Py_ssize_t size) except -1:
    """Append valid UTF-8 as the inside of a JSON string literal."""
    cdef const uint8_t *end = text + size
    cdef const uint8_t *start
    cdef uint8_t kind
    while text < end:
        start = text
        while text < end:
            kind = CLASS[text[0]]
            if kind == QUOTE or kind == BACKSLASH or kind == CONTROL:
                break
            text += 1
        put(buffer, start, text - start)
        if text < end:
            _put_escape(buffer, text[0])
            text += 1
    return 0


cdef int _put_escape(Buffer *buffer, uint8_t byte) except -1:
    cdef uint8_t out[6]
    out[0] = c"\\"
    if byte == c"\n":
        out[1] = c"n"
    elif byte == c"\r":
        out[1] = c"r"
    elif byte == c"\t":
        out[1] = c"t"
    elif byte >= 0x20:  # a quote or a backslash
        out[1] = byte
    else:
        out[1] = c"u"
        out[2] = out[3] = c"0"
        out[4] = HEX[byte >> 4]
        out[5] = HEX[byte & 15]
        return put(buffer, out, 6)
    return put(buffer, out, 2)


cdef int _put_code_point(Buffer *buffer, uint32_t c) except -1:
    cdef uint8_t out[4]
    if c < 0x80:
        out[0] = c
        return put(buffer, out, 1)
    if c < 0x800:
        out[0] = 0xC0 | (c >> 6)
        out[1] = 0x80 | (c & 63)
        return put(buffer, out, 2)
    if c < 0x10000:
        out[0] = 0xE0 | (c >> 12)
        out[1] = 0x80 | ((c >> 6) & 63)
        out[2] = 0x80 | (c & 63)
        return put(buffer, out, 3)
    out[0] = 0xF0 | (c >> 18)
    out[1] = 0x80 | ((c >> 12) & 63)
    out[2] = 0x80 | ((c >> 6) & 63)
    out[3] = 0x80 | (c & 63)
    return put(buffer, out, 4)


# -- UTF-8 ---------------------------------------------------------------------------------


cdef inline int _sequence_len(uint8_t lead) noexcept nogil:
    """Bytes of the character that `lead` opens; 0 where it cannot open one."""
    if 0xC2 <= lead <= 0xDF:
        return 2
    if 0xE0 <= lead <= 0xEF:
        return 3
    if 0xF0 <= lead <= 0xF4:
        return 4
    return 0


cdef inline bint _continues(uint8_t lead, int index, uint8_t byte) noexcept nogil:
    """Tell whether `byte` may stand at `index` behind `lead`: no overlong form, no surrogate."""
    if byte < 0x80 or byte > 0xBF:
        return False
    if index > 1:
        return True
    if lead == 0xE0:
        return byte >= 0xA0
    if lead == 0xED:
        return byte <= 0x9F
    if lead == 0xF0:
        return byte >= 0x90
    if lead == 0xF4:
        return byte <= 0x8F
    return True


cdef inline int _measure(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Length of the character at `p`; 0 where it is invalid or cut."""
    cdef int size = _sequence_len(p[0])
    cdef int index
    if size == 0 or end - p < size:
        return 0
    for index in range(1, size):
        if not _continues(p[0], index, p[index]):
            return 0
    return size


cdef int end_text(Carry *carry, Buffer *out) except -1:
    """Give up on a character whose rest did not come: U+FFFD in its place."""
    if carry.len == 0 and carry.high == 0:
        return 0
    carry.len = 0
    carry.high = 0
    return _put_code_point(out, REPLACEMENT)


cdef const uint8_t *_take_utf8(
    const uint8_t *p, const uint8_t *end, Carry *carry, Buffer *out
) except NULL:
    """Take one character, or one byte of a damaged one, at a byte from 0x80 on."""
    cdef int size
    if carry.high:
        end_text(carry, out)
    if carry.len == 0:
        size = _measure(p, end)
        if size:
            put(out, p, size)
            return p + size
        if _sequence_len(p[0]) == 0:
            _put_code_point(out, REPLACEMENT)
            return p + 1
    elif not _continues(carry.bytes[0], carry.len, p[0]):
        end_text(carry, out)
        return p  # looked at again, as the start of something else
    carry.bytes[carry.len] = p[0]
    carry.len += 1
    if carry.len == _sequence_len(carry.bytes[0]):
        put(out, carry.bytes, carry.len)
        carry.len = 0
    return p + 1


cdef int decode_utf8(const uint8_t *p, Py_ssize_t size, Carry *carry, Buffer *out) except -1:
    """Append bytes that should be UTF-8 as bytes that are."""
    cdef const uint8_t *end = p + size
    cdef const uint8_t *start
    while p < end:
        start = p
        while p < end and p[0] < 0x80:
            p += 1
        if p > start:
            end_text(carry, out)
            put(out, start, p - start)
        else:
            p = _take_utf8(p, end, carry, out)
    return 0


# -- literals ------------------------------------------------------------------------------


cdef inline int _hex4(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Value of four hex digits; -1 where they are not."""
    cdef int value = 0
    cdef int index
    cdef uint8_t c
    if end - p < 4:
        return TOO_SHORT
    for index in range(4):
        c = p[index]
        if c"0" <= c <= c"9":
            value = value * 16 + (c - c"0")
        elif c"a" <= c | 0x20 <= c"f":
            value = value * 16 + ((c | 0x20) - c"a" + 10)
        else:
            return -1
    return value


cdef inline bint _is_low_escape(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Tell whether `p` opens an escape of the second half of a surrogate pair."""
    if end - p < 6 or p[0] != c"\\" or p[1] != c"u":
        return False
    return 0xDC00 <= _hex4(p + 2, end) <= 0xDFFF


cdef const uint8_t *scan_literal(
    const uint8_t *p, const uint8_t *end, Literal *literal
) noexcept nogil:
    """Find the closing quote of the literal whose inside starts at `p`.

    Shape: the address of the quote, *literal filled; NULL where there is none, or an escape that
    JSON does not have. Bytes that break only the text set IS_BROKEN and are passed over.
    """
    cdef Py_ssize_t not_one_to_one = 0  # bytes that are not one ASCII character each
    cdef int size
    literal.start = p
    literal.flags = 0
    literal.ascii = literal.other = 0
    while True:
        while p < end and CLASS[p[0]] == PLAIN:
            p += 1
        if p >= end:
            return NULL
        if CLASS[p[0]] == QUOTE:
            literal.len = p - literal.start
            literal.ascii += literal.len - not_one_to_one
            return p
        size = 1
        if CLASS[p[0]] == HIGH:
            size = _measure(p, end)
            if size == 0:
                literal.flags |= IS_BROKEN
                size = 1
            literal.other += 1
            not_one_to_one += size
        elif CLASS[p[0]] == MARKUP:
            literal.flags |= HAS_MARKUP
        elif CLASS[p[0]] == CONTROL:
            literal.flags |= IS_BROKEN
        else:
            size = _scan_escape(p, end, literal)
            if size == 0:
                return NULL
            not_one_to_one += size
        p += size


cdef int _scan_escape(const uint8_t *p, const uint8_t *end, Literal *literal) noexcept nogil:
    """Length of the escape at `p` (a whole surrogate pair counts as one); 0 where JSON has none."""
    cdef int c
    literal.flags |= HAS_ESCAPE
    if end - p < 2:
        return 0
    if p[1] != c"u":
        literal.ascii += 1
        return 2 if _simple_escape(p[1]) else 0
    c = _hex4(p + 2, end)
    if c < 0:
        return 0
    if c < 0x80:
        literal.ascii += 1
        return 6
    literal.other += 1
    if 0xD800 <= c <= 0xDBFF and _is_low_escape(p + 6, end):
        return 12
    if 0xD800 <= c <= 0xDFFF:
        literal.flags |= IS_BROKEN
    return 6


cdef inline uint8_t _simple_escape(uint8_t letter) noexcept nogil:
    """The character a two-byte escape stands for; 0 where there is no such escape."""
    if letter == c"n":
        return c"\n"
    if letter == c"t":
        return c"\t"
    if letter == c"r":
        return c"\r"
    if letter == c"b":
        return 8
    if letter == c"f":
        return 12
    if letter == c'"' or letter == c"\\" or letter == c"/":
        return letter
    return 0


cdef int decode_literal(
    const uint8_t *p, Py_ssize_t size, Carry *carry, Buffer *out
) except -1:
    """Append the text of a literal; a character cut at its end stays in `carry`.

    Order: the literal was accepted by `scan_literal`, or stands in JSON that orjson accepted.
    Cost: one copy, by runs of plain text.
    """
    cdef const uint8_t *end = p + size
    cdef const uint8_t *start
    while p < end:
        start = p
        while p < end and p[0] < 0x80 and p[0] != c"\\":
            p += 1
        if p > start:
            end_text(carry, out)
            put(out, start, p - start)
        elif p[0] == c"\\":
            p = _take_escape(p, end, carry, out)
        else:
            p = _take_utf8(p, end, carry, out)
    return 0


cdef const uint8_t *_take_escape(
    const uint8_t *p, const uint8_t *end, Carry *carry, Buffer *out
) except NULL:
    cdef uint8_t letter
    cdef int c
    if end - p < 2:
        return end  # impossible in a scanned literal
    if p[1] != c"u":
        end_text(carry, out)
        letter = _simple_escape(p[1])
        put(out, &letter, 1)
        return p + 2
    c = _hex4(p + 2, end)
    if c < 0:
        return end  # impossible in a scanned literal
    if 0xDC00 <= c <= 0xDFFF and carry.high:
        _put_code_point(out, 0x10000 + ((carry.high - 0xD800) << 10) + (c - 0xDC00))
        carry.high = 0
        return p + 6
    end_text(carry, out)
    if 0xD800 <= c <= 0xDBFF:
        carry.high = c
    elif 0xDC00 <= c <= 0xDFFF:
        _put_code_point(out, REPLACEMENT)
    else:
        _put_code_point(out, c)
    return p + 6


# -- whole payloads ------------------------------------------------------------------------


cdef bytes mend(const uint8_t *p, Py_ssize_t size, int *replaced):
    """Return a copy of the same length whose strings no longer break a JSON reader.

    Shape: raw control characters → blanks, invalid UTF-8 → '?', half a surrogate pair → U+FFFD's
    escape; *replaced tells which. Structure is not touched: what is malformed stays so.
    """
    cdef bytes copy = PyBytes_FromStringAndSize(<const char *>p, size)
    cdef uint8_t *q = <uint8_t *>PyBytes_AS_STRING(copy)
    cdef const uint8_t *end = q + size
    cdef bint inside = False
    cdef int step
    replaced[0] = 0
    while q < end:
        step = 1
        if q[0] == c'"':
            inside = not inside
        elif inside and CLASS[q[0]] == BACKSLASH:
            step = _mend_escape(q, end, replaced)
        elif inside and CLASS[q[0]] == CONTROL:
            q[0] = c" "
            replaced[0] |= CONTROLS
        elif inside and CLASS[q[0]] == HIGH:
            step = _measure(q, end)
            if step == 0:
                q[0] = c"?"
                replaced[0] |= BYTES
                step = 1
        q += step
    return copy


cdef int _mend_escape(uint8_t *q, const uint8_t *end, int *replaced) noexcept:
    """Mend the escape at `q`; return how far to go on."""
    cdef int c
    if end - q < 6 or q[1] != c"u":
        return 2
    c = _hex4(q + 2, end)
    if 0xD800 <= c <= 0xDBFF and _is_low_escape(q + 6, end):
        return 12
    if 0xD800 <= c <= 0xDFFF:
        memcpy(q + 2, b"fffd", 4)
        replaced[0] |= SURROGATES
    return 6


cdef inline const uint8_t *_skip_blanks(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and (p[0] == c" " or p[0] == c"\n" or p[0] == c"\r" or p[0] == c"\t"):
        p += 1
    return p


cdef inline const uint8_t *_skip_string(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Step behind the string that opens at `p`."""
    p += 1
    while p < end and p[0] != c'"':
        p += 2 if p[0] == c"\\" else 1
    return p + 1


cdef const uint8_t *_skip_value(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Step behind the value that opens at `p`; iterative, so depth costs no stack."""
    cdef Py_ssize_t depth = 0
    while p < end:
        if p[0] == c'"':
            p = _skip_string(p, end)
        elif p[0] == c"{" or p[0] == c"[":
            depth += 1
            p += 1
        elif depth and (p[0] == c"}" or p[0] == c"]"):
            depth -= 1
            p += 1
        elif depth == 0:  # a scalar
            while p < end and p[0] != c"," and p[0] != c"}" and p[0] > c" ":
                p += 1
        else:
            p += 1
            continue
        if depth == 0:
            return p
    return p


cdef int find_member(
    const uint8_t *p, Py_ssize_t size, const char *key, const uint8_t **value, Py_ssize_t *value_len
) noexcept nogil:
    """Find a member of the top object: 1 and its raw value, or 0.

    Order: the bytes, mended where needed, were accepted by orjson; this walk only skips. The last
    of equal keys counts, as in orjson. A key written with escapes is not found.
    """
    cdef const uint8_t *end = p + size
    cdef const uint8_t *name
    cdef Py_ssize_t key_len = strlen(key)
    cdef bint match
    cdef int found = 0
    p = _skip_blanks(p, end)
    while p < end and (p[0] == c"{" or p[0] == c","):
        name = _skip_blanks(p + 1, end)
        if name >= end or name[0] != c'"':
            break  # an empty object
        p = _skip_string(name, end)
        match = p - name - 2 == key_len and p <= end and memcmp(name + 1, key, key_len) == 0
        p = _skip_blanks(_skip_blanks(p, end) + 1, end)  # over the colon
        name = p
        p = _skip_value(p, end)
        if p > end:
            break
        if match:
            value[0] = name
            value_len[0] = p - name
            found = 1
        p = _skip_blanks(p, end)
    return found


# -- Python face, for tests ----------------------------------------------------------------


cdef class Decoder:
    """Text out of the literals of one text, one after the other."""

    cdef Carry _carry
    cdef Buffer _out

    def __dealloc__(self):
        release(&self._out)

    cdef bytes _taken(self):
        cdef bytes text = PyBytes_FromStringAndSize(<const char *>self._out.data, self._out.len)
        self._out.len = 0
        return text

    def feed(self, literal: bytes) -> bytes:
        """Return the text that the inside of a literal completes."""
        cdef Literal found
        cdef bytes quoted = literal + b'"'
        cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(quoted)
        if scan_literal(start, start + len(quoted), &found) == NULL or found.len != len(literal):
            raise ValueError("not the inside of a JSON string")
        decode_literal(found.start, found.len, &self._carry, &self._out)
        return self._taken()

    def end(self) -> bytes:
        """Return U+FFFD for a character that stayed incomplete, or nothing."""
        end_text(&self._carry, &self._out)
        return self._taken()


def mended(payload: bytes) -> bytes:
    """Return JSON with unbreakable strings, of the same length."""
    cdef int replaced = 0
    return mend(<const uint8_t *>PyBytes_AS_STRING(payload), len(payload), &replaced)


def member(payload: bytes, key: bytes) -> bytes | None:
    """Return the raw value of a member of the top object of valid JSON."""
    cdef const uint8_t *value = NULL
    cdef Py_ssize_t size = 0
    if not find_member(
        <const uint8_t *>PyBytes_AS_STRING(payload), len(payload), key, &value, &size
    ):
        return None
    return PyBytes_FromStringAndSize(<const char *>value, size)
