"""Counts of how classes of characters follow each other: what a token estimate is made of.

Rules of this file: no weight is chosen here, those are the estimate's own; a text is read once,
from where it lies, whatever its size, and other threads run meanwhile if it is long.

Theory of operation. `_tally.h` counts what is ASCII, with one bit a character. Everything else
is told apart by the first byte its UTF-8 has, and stands between two words like a sign would.

Source: RFC 3629 §3 for the first bytes; kiroproxy.protocol.vocabulary for what is worth counting.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

cdef extern from "Python.h":
    int PyUnicode_KIND(object)
    const void *PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    bint PyUnicode_IS_ASCII(object)

cdef extern from "_tally.h":
    struct kp_tally:
        int64_t words, stretches, humps, capitals, digits, numbers, signs, sign_pairs
        int64_t lines, walls, gaps
    void kp_tally_init() noexcept
    void kp_tally_text "kp_tally"(const uint8_t *text, size_t size, kp_tally *found) noexcept nogil
    void kp_tally_portable(const uint8_t *text, size_t size, kp_tally *found) noexcept nogil

cdef enum:
    LONG_LEN = 65536  # letting other threads run costs about as much as counting this takes
    NOT_ASCII = 0xFF

# In the order of the counts. A script is a range of first bytes; C0, C1 and F8 on are in none.
SCRIPT_NAMES = (
    *("latin", "cyrillic", "indic", "symbols", "kana", "han", "hangul", "fullwidth", "emoji"),
    "greek",
)
cdef int SCRIPT_OF[256]


cdef void _fill_scripts() noexcept:
    cdef int lead, script
    for lead in range(256):
        script = -1
        if 0xC2 <= lead < 0xC6:
            script = 0  # with accents
        elif 0xD0 <= lead < 0xD4:
            script = 1
        elif 0xC6 <= lead < 0xE0:
            script = 9  # and Hebrew, Arabic
        elif 0xE0 <= lead < 0xE2:
            script = 2  # and Thai, Vietnamese
        elif lead == 0xE2 or lead == 0xEE:
            script = 3  # arrows, boxes, typographic signs
        elif lead == 0xE3:
            script = 4  # and CJK punctuation
        elif 0xE4 <= lead < 0xEA:
            script = 5
        elif 0xEA <= lead < 0xEE:
            script = 6
        elif lead == 0xEF:
            script = 7
        elif 0xF0 <= lead < 0xF8:
            script = 8  # and rare Han
        SCRIPT_OF[lead] = script


_fill_scripts()
kp_tally_init()

ctypedef fused wide:
    uint16_t
    uint32_t



cdef inline kp_tally *_ascii(Counts *found) noexcept nogil:
    return <kp_tally *>found.classes
cdef inline int _lead(uint32_t c) noexcept nogil:
    """The first byte of a character's UTF-8, from 0x80 on."""
    if c < 0x800:
        return 0xC0 | c >> 6
    if c < 0x10000:
        return 0xE0 | c >> 12
    return 0xF0 | c >> 18


cdef int _count_wide(const wide *text, Py_ssize_t size, Counts *found) except -1 nogil:
    """Count a text of two or four bytes a character."""
    cdef uint8_t *narrow = <uint8_t *>malloc(size + 1)
    cdef const uint8_t *other
    cdef Py_ssize_t at
    if narrow == NULL:
        raise MemoryError
    for at in range(size):  # compilers do many at once
        narrow[at] = <uint8_t>text[at] if text[at] < 0x80 else <uint8_t>NOT_ASCII
    kp_tally_text(narrow, size, _ascii(found))
    other = <const uint8_t *>memchr(narrow, NOT_ASCII, size)
    while other != NULL:
        at = other - narrow
        while at < size and text[at] >= 0x80:
            found.scripts[SCRIPT_OF[_lead(text[at])]] += 1
            at += 1
        other = <const uint8_t *>memchr(narrow + at, NOT_ASCII, size - at)
    free(narrow)
    return 0


cdef inline uint64_t _high_bits(const uint8_t *text) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, text, 8)
    return word & 0x8080808080808080ULL


cdef void _count_bytes(
    const uint8_t *text, Py_ssize_t size, bint is_utf8, Counts *found
) noexcept nogil:
    """Count a text of one byte a character, or UTF-8."""
    cdef Py_ssize_t at = 0
    kp_tally_text(text, size, _ascii(found))
    while at < size:
        if size - at >= 8 and _high_bits(text + at) == 0:
            at += 8
            continue
        if text[at] >= 0x80:
            if not is_utf8:
                found.scripts[0] += 1  # up to U+00FF
            elif SCRIPT_OF[text[at]] >= 0:
                found.scripts[SCRIPT_OF[text[at]]] += 1
        at += 1


cdef int _count(const void *text, Py_ssize_t size, int kind, Counts *found) except -1 nogil:
    if kind == 2:
        return _count_wide(<const uint16_t *>text, size, found)
    if kind == 4:
        return _count_wide(<const uint32_t *>text, size, found)
    _count_bytes(<const uint8_t *>text, size, kind == 0, found)
    return 0


cdef int _add(object text, Counts *found) except -1:
    cdef const void *data
    cdef Py_ssize_t size
    cdef int kind = 0  # UTF-8
    if isinstance(text, str):
        data, size, kind = PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text), PyUnicode_KIND(text)
        if PyUnicode_IS_ASCII(text):
            return count_text(<const uint8_t *>data, size, True, found)
    elif isinstance(text, bytes):
        data, size = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
    else:
        raise TypeError("text is str or bytes")
    if size < LONG_LEN:
        return _count(data, size, kind, found)
    with nogil:
        _count(data, size, kind, found)
    return 0


cdef int _count_all(list texts, Counts *found) except -1:
    memset(found, 0, sizeof(Counts))
    for text in texts:
        _add(text, found)
    return 0


cdef int count_text(
    const uint8_t *text, Py_ssize_t size, bint is_ascii, Counts *found
) except -1:
    """Count one more text, of UTF-8."""
    if size < LONG_LEN:
        _count_known(text, size, is_ascii, found)
        return 0
    with nogil:
        _count_known(text, size, is_ascii, found)
    return 0


cdef inline void _count_known(
    const uint8_t *text, Py_ssize_t size, bint is_ascii, Counts *found
) noexcept nogil:
    if is_ascii:  # no character from 0x80 on is to be looked for
        kp_tally_text(text, size, _ascii(found))
    else:
        _count_bytes(text, size, True, found)


cdef tuple counted(Counts *found):
    """Return counts in the shape that `tally` has."""
    cdef kp_tally *of = _ascii(found)
    return (
        of.words, of.stretches, of.humps, of.capitals, of.digits, of.numbers, of.signs,
        of.sign_pairs, of.lines, of.walls, of.gaps,
        *[found.scripts[script] for script in range(SCRIPTS)],
    )


def tally(texts: list[str | bytes]) -> tuple[int, ...]:
    """Count texts; none of them continues another.

    Shape: bytes are UTF-8. words, stretches (16 small letters), humps (`aA`), pairs of capitals,
    digits, numbers, signs, pairs of signs, lines, walls (64 blanks), gaps (two blanks or more
    within a line), then characters by script, in the order of SCRIPT_NAMES.
    Cost: one pass, 0.3 ms a MB of ASCII; nothing is copied but texts with characters past U+00FF.
    """
    cdef Counts found
    _count_all(texts, &found)
    return counted(&found)


cdef class Weights:
    """What each count adds to an estimate, handed in once: no list of counts is made of a text.

    Shape: `words` go with the first four counts of `tally`, `rest` with the next seven, `scripts`
    with SCRIPT_NAMES; words and the first script, Latin, are multiplied by `factor`.
    """

    def __init__(self, tuple words not None, tuple rest not None, tuple scripts not None, factor):
        if (len(words), len(rest), len(scripts)) != (WORDS, REST, SCRIPTS):
            raise ValueError("each count has one weight")
        self._words, self._rest, self._scripts = words, rest, scripts
        self._factor = factor

    cdef double weight_of(self, list texts) except? -1.0:
        cdef Counts found
        _count_all(texts, &found)
        return self._weight(&found)

    cdef double _weight(self, Counts *found) noexcept:
        cdef kp_tally *of = _ascii(found)
        cdef const double *rest = self._rest
        cdef double words, others, scripts = 0.0
        cdef int script
        # In one order for ever: a sum's last bit depends on it, and a rounded half on that.
        words = self._words[0] * of.words + self._words[1] * of.stretches
        words = words + self._words[2] * of.humps + self._words[3] * of.capitals
        others = rest[0] * of.digits + rest[1] * of.numbers + rest[2] * of.signs
        others = others + rest[3] * of.sign_pairs + rest[4] * of.lines
        others = others + rest[5] * of.walls + rest[6] * of.gaps
        words += self._scripts[0] * found.scripts[0]
        for script in range(1, SCRIPTS):
            scripts += self._scripts[script] * found.scripts[script]
        return words * self._factor + (others + scripts)

    def weigh(self, list texts not None) -> float:
        """Return the weight of texts together, none of which continues another.

        Cost: as `tally`, and a handful of multiplications.
        """
        return self.weight_of(texts)

    def weigh_counts(self, *parts) -> float:
        """Return the weight of all texts that `tally` counted, in any number of parts."""
        cdef Counts found
        cdef int index
        cdef tuple counts
        memset(&found, 0, sizeof(found))
        for counts in parts:
            if len(counts) != CLASSES + SCRIPTS:
                raise ValueError("these are no counts")
            for index in range(CLASSES):
                found.classes[index] += counts[index]
            for index in range(SCRIPTS):
                found.scripts[index] += counts[CLASSES + index]
        return self._weight(&found)


def tally_portable(text: bytes) -> tuple[int, ...]:
    """Count ASCII as a CPU without population count does, for tests."""
    cdef kp_tally of
    memset(&of, 0, sizeof(of))
    kp_tally_portable(<const uint8_t *>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &of)
    return (
        of.words, of.stretches, of.humps, of.capitals, of.digits, of.numbers, of.signs,
        of.sign_pairs, of.lines, of.walls, of.gaps,
    )
