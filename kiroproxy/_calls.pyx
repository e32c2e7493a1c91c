"""Tool calls that a model writes out as text, found in text that comes in pieces.

Rules of this file: valid UTF-8 in, the same bytes out, in the same order; what comes out does not
depend on how the text was cut. Text is held back only from the beginning of what may be a call,
which stands at the start of a line and outside code fences, until it is read as one or cannot be
one any more.

Theory of operation. Scanning is compiled and knows only how a call begins (`OPENINGS`) and where
one may end; understanding is the caller's `read(text, final)`, asked at those places: it answers
None (more is needed), False (no call), or (bytes it takes, [(name, arguments), …]). A call may be
read a few times while it grows, then only when it has grown by a quarter, so a long one costs
O(n); what is still held at a border is read once more. Lines and code fences are
`_lines`'s.

Source: the forms in which models behind Kiro were seen to write calls: their training formats,
`<invoke>` with and without a prefix or wrapper, and `[Called name with args: {…}]`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp

from kiroproxy._lines cimport FULL, MISMATCH, PARTIAL, is_blank, is_white
from kiroproxy._text cimport HAS_ESCAPE, HAS_MARKUP

cdef enum:
    HELD_MAX = 1 << 20      # bytes of a call; Kiro cuts real ones far earlier
    READS_FREE = 16         # of one held text, before it has to grow in between
    READS_MAX = 1000        # of all held texts in an answer: then the rest of it is text

_PREFIXES = ("", "antml" ":", "｜DSML｜")  # what models put before the names of these tags
_TAGS = ("invoke ", "function_calls>", "tool_calls>")
OPENINGS = tuple(word.encode() for word in (
    *[f"<{prefix}{tag}" for prefix in _PREFIXES for tag in _TAGS],
    "<tool_use>", "<tool_call>", "<minimax:tool_call>", "[Called ",
))
cdef tuple _OPENINGS = OPENINGS


cdef int _opens(const uint8_t *p, Py_ssize_t size) noexcept:
    """Tell whether a call may begin at `p`."""
    cdef bytes word
    cdef Py_ssize_t length
    cdef int found = MISMATCH
    for word in _OPENINGS:
        length = min(<Py_ssize_t>len(word), size)
        if memcmp(p, PyBytes_AS_STRING(word), length) == 0:
            if length == len(word):
                return FULL
            found = PARTIAL
    return found


cdef class CallFinder:
    """Find the calls in one text.

    Shape: UTF-8 of any size, cut between characters → text, and calls in place of theirs.
    Order: feed_raw, next_part until 0, …, border, next_part until 0.
    Cost: none for text that passes by `skip`; else one scan; a copy only while bytes are held.
    """

    def __cinit__(self, read):
        self._read = read
        self._reads_left = READS_MAX
        self.calls = []

    # -- what goes in --

    cdef void fresh_line(self) noexcept:
        Lines.fresh_line(self)
        self._swallow = False

    cdef bint may_skip(self, Literal *literal) noexcept:
        cdef const uint8_t *p = literal.start
        cdef const uint8_t *end = p + literal.len
        if self._held.len or self._swallow or self._run_len or self._fence_line:
            return False
        if literal.flags & HAS_ESCAPE:  # lines may begin in it, and a marker hide in an escape
            if literal.flags & HAS_MARKUP or memchr(p, c"[", literal.len) != NULL:
                return False
            return not _has_code_escape(p, end)
        if not self._line_start:
            return True
        while p < end and is_blank(p[0]):
            p += 1
        return p == end or not (p[0] == c"<" or p[0] == c"[" or p[0] == c"`" or p[0] == c"~")

    cdef void skip(self, Literal *literal) noexcept:
        cdef const uint8_t *start = literal.start
        cdef const uint8_t *q = start + literal.len - 1
        cdef const uint8_t *slash
        while q >= start:  # backwards to the last line's first character, if it has any
            if q[0] == c" ":
                q -= 1
                continue
            slash = q
            while slash > start and (slash - 1)[0] == c"\\":
                slash -= 1
            if (q - slash) % 2 == 0 or not (q[0] == c"n" or q[0] == c"t" or q[0] == c"r"):
                self._line_start = False
                return
            if q[0] == c"n":
                self._line_start = True
                return
            q -= 2

    # -- what comes out --

    cdef int next_part(self, Part *part) except -1:
        cdef const uint8_t *q
        cdef int match
        while self._swallow and self._p < self._end and is_white(self._p[0]):
            self._p += 1
        self._swallow &= self._p >= self._end
        q = self._p
        while q < self._end:
            if (q[0] == c"<" or q[0] == c"[") and self._begins_line():
                if q > self._p:
                    return self._cut(part, q)
                match = self._judge()
                if match == FULL:
                    part.kind = WRITTEN
                    part.buf = q
                    part.len = self._p - q
                    return 1
                if match == PARTIAL:
                    break
            q = self._pass(q)
        if q > self._p:
            return self._cut(part, q)
        part.kind = NOTHING
        self.hold()
        return 0

    cdef bint _begins_line(self) noexcept:
        return self._line_start and not self._fence and not self._run_len

    cdef int _judge(self) except -2:
        """Decide on what begins at `_p`."""
        cdef Py_ssize_t size = self._end - self._p
        cdef int match = _opens(self._p, size)
        if match == MISMATCH or self._reads_left <= 0 or size > HELD_MAX:
            self._seen = self._read_len = self._reads = 0
            return MISMATCH
        if match == FULL and (self._final or self._may_end()):
            match = self._try()
        elif match == FULL:
            match = PARTIAL
        if match == PARTIAL and self._final:
            match = MISMATCH
        if match != PARTIAL:
            self._seen = self._read_len = self._reads = 0
        return match

    cdef bint _may_end(self) noexcept:
        """Whether what has come since the last look can have ended a call, or told its name."""
        cdef Py_ssize_t size = self._end - self._p
        cdef uint8_t last = c"]" if self._p[0] == c"[" else c">"
        cdef bint found = memchr(self._p + self._seen, last, size - self._seen) != NULL
        self._seen = size
        if not found:
            return False
        return self._reads < READS_FREE or size >= self._read_len + self._read_len // 4

    cdef int _try(self) except -2:
        """Have the held text read as a call."""
        cdef Py_ssize_t size = self._end - self._p
        cdef Py_ssize_t used
        self._reads += 1
        self._reads_left -= 1
        self._read_len = size
        text = PyBytes_FromStringAndSize(<const char *>self._p, size)
        found = self._read(text, bool(self._final))
        if found is None:
            return PARTIAL
        if found is False:
            return MISMATCH
        used, self.calls = found
        self._p += used
        self._swallow = self._line_start = True
        return FULL

    cdef int _cut(self, Part *part, const uint8_t *q) noexcept:
        """Hand out what lies before `q`."""
        part.kind = PLAIN
        part.buf = self._p
        part.len = q - self._p
        self._p = q
        return 1

    # -- lines and fences --

    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept:
        """Step over a byte at the start of a line, or over the rest of a line."""
        cdef uint8_t c = q[0]
        cdef const uint8_t *stop
        if self._line_start:
            if (c == c"`" or c == c"~") and (self._run_len == 0 or c == self._run_char):
                self._run_char = c
                self._run_len += 1
                return q + 1
            if self._run_len:
                self.end_run()
            elif is_white(c):
                return q + 1
            self._line_start = False
        stop = <const uint8_t *>memchr(q, c"\n", self._end - q)
        if self._fence_line and self._fence == c"`":
            if memchr(q, c"`", (self._end if stop == NULL else stop) - q) != NULL:
                self._fence = 0  # inline code
        if stop == NULL:
            return self._end
        self._line_start = True
        self._fence_line = False
        return stop + 1

    # -- Python face, for tests --

    def _parts(self):
        cdef Part part
        cdef list found = []
        while self.next_part(&part):
            if part.kind == WRITTEN:
                found.append(list(self.calls))
            else:
                found.append(PyBytes_FromStringAndSize(<const char *>part.buf, part.len))
        return found

    def feed(self, text: bytes) -> list[object]:
        """Return what is decided: texts as bytes, and lists of calls."""
        self.feed_raw(<const uint8_t *>PyBytes_AS_STRING(text), len(text))
        return self._parts()

    def end(self) -> list[object]:
        """Decide what is held back, as the end of the text does."""
        self.border()
        return self._parts()


cdef bint _has_code_escape(const uint8_t *p, const uint8_t *end) noexcept:
    """Whether an escape of the form \\uXXXX stands in a literal; at worst a false yes."""
    while True:
        p = <const uint8_t *>memchr(p, c"\\", end - p)
        if p == NULL or end - p < 2:
            return False
        if p[1] == c"u":
            return True
        p += 2
