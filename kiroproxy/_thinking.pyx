"""Thinking and answer, told apart in text that marks thinking with tags.

Rules of this file: pure; valid UTF-8 in, the same bytes out, minus tags and the newlines that
belong to them. What comes out does not depend on how the text was cut. Nothing is held back but
what may still turn out to be a tag or its surroundings, so HELD_LEN_MAX bytes at most.

Theory of operation. Models without native reasoning write `<thinking>…</thinking>`, blank line,
answer. They also write *about* such tags, so the place decides:

* an opening tag counts at the start of a line (blanks before it allowed), outside code fences;
* a closing tag counts outside code fences, at the end of its line, at the end of the text, at a
  border (a tool call), or at the start of its line unless a quote follows. A tag within a
  sentence or in quotes is text. When in doubt this closes: thinking shown as answer is a
  blemish, an answer hidden as thinking is lost;
* a thinking segment that nobody closes stays thinking;
* swallowed: one newline behind `<thinking>`, two behind `</thinking>`, and white space before an
  opening tag when nothing else came before it in its segment.

Lines and code fences are `_lines`'s.

Source: the forms that non-native Kiro models are told to write, and do.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp

from kiroproxy._lines cimport FENCE_LEN, FULL, MISMATCH, PARTIAL, is_blank, is_white

cdef extern from *:
    """
    #ifdef KP_DEBUG
    #define KP_CHECK(truth) do { if (!(truth)) Py_FatalError("_thinking: " #truth); } while (0)
    #else
    #define KP_CHECK(truth) ((void)0)
    #endif
    """
    void KP_CHECK(bint truth) noexcept nogil

cdef enum:
    OPEN_LEN = 10       # <thinking>
    CLOSE_LEN = 11      # </thinking>
    BLANKS_MAX = 16     # between a closing tag and its newline; more is not how models write
    LEADING_MAX = 64    # white space looked past for an opening tag; bounds what is held back
    HELD_LEN_MAX = LEADING_MAX + OPEN_LEN

cdef inline int _match(const uint8_t *p, const uint8_t *end, const char *tag, int tag_len) noexcept:
    if end - p >= tag_len:
        return FULL if memcmp(p, tag, tag_len) == 0 else MISMATCH
    return PARTIAL if memcmp(p, tag, end - p) == 0 else MISMATCH


cdef class Splitter:
    """Split one text into answer and thinking.

    Shape: UTF-8 of any size, cut anywhere → segments; neighbours of one kind belong together.
    Order: feed_raw, next_segment until 0, …, border, next_segment until 0.
    Cost: none for text that passes by `skip`; else one scan; one copy only while bytes are held.
    """

    def __cinit__(self):
        self._mode = TEXT
        self._leading = True

    # -- what goes in --

    cdef void fresh_line(self) noexcept:
        Lines.fresh_line(self)
        self._leading = self._mode == TEXT

    cdef bint may_skip(self, uint8_t first) noexcept:
        if self._held.len or self._swallow or self._run_len:
            return False
        return not (self._leading and is_white(first))

    cdef void skip(self, const uint8_t *text, Py_ssize_t size) noexcept:
        cdef Py_ssize_t index = 0
        self._leading = False
        while self._line_start and index < size:
            self._line_start = is_blank(text[index])
            index += 1

    # -- what comes out --

    cdef int next_segment(self, Segment *segment) except -1:
        cdef int found = 0
        if self._p < self._end:
            found = self._scan_text(segment) if self._mode == TEXT else self._scan_thinking(segment)
        if not found:
            segment.kind = NOTHING
            KP_CHECK(self._end - self._p <= HELD_LEN_MAX)
            self.hold()
        return found

    cdef int _cut(self, Segment *segment, const uint8_t *q) noexcept:
        """Hand out what lies before `q`; 0 when that is nothing."""
        segment.kind = self._mode
        segment.buf = self._p
        segment.len = q - self._p
        self._p = q
        return segment.len > 0

    # -- answer --

    cdef int _scan_text(self, Segment *segment) noexcept:
        cdef const uint8_t *q
        cdef int match
        if not self._take_newline() or not self._take_leading():
            return 0
        if self._mode == THINKING:
            return self._scan_thinking(segment)
        q = self._p
        while q < self._end:
            if self._line_start and q[0] == c"<" and not self._fence and not self._run_len:
                match = _match(q, self._end, b"<thinking>", OPEN_LEN)
                if match == PARTIAL and not self._final:
                    break
                if match == FULL:
                    if q > self._p:
                        break
                    self._open(q + OPEN_LEN)
                    return self._scan_thinking(segment)
            q = self._pass(q)
        return self._cut(segment, q)

    cdef bint _take_newline(self) noexcept:
        """Swallow the newline that belongs to the tag before; False: cannot tell yet."""
        if not self._swallow:
            return True
        if self._end - self._p == 0:
            return False
        if self._p[0] == c"\r":
            if self._end - self._p == 1 and not self._final:
                return False
            if self._end - self._p > 1 and self._p[1] == c"\n":
                self._p += 1
        if self._p[0] == c"\n":
            self._p += 1
        self._swallow = False
        return True

    cdef bint _take_leading(self) noexcept:
        """Drop white space before a tag that opens its segment; False: cannot tell yet."""
        cdef const uint8_t *q = self._p
        cdef int match = PARTIAL
        if not self._leading:
            return True
        while q < self._end and is_white(q[0]) and q - self._p < LEADING_MAX:
            q += 1
        if q < self._end:
            match = _match(q, self._end, b"<thinking>", OPEN_LEN)
        if match == PARTIAL and not self._final:
            return False
        if match == FULL:
            self._open(q + OPEN_LEN)
        self._leading = False
        return True

    cdef void _open(self, const uint8_t *behind) noexcept:
        self._p = behind
        self._mode = THINKING
        self._swallow = self._line_start = True
        self._leading = False

    # -- thinking --

    cdef int _scan_thinking(self, Segment *segment) noexcept:
        cdef const uint8_t *q
        cdef const uint8_t *behind
        cdef bint undecided = False
        if not self._take_newline():
            return 0
        q = self._p
        while q < self._end:
            if q[0] == c"<" and not self._fence and self._run_len < FENCE_LEN:
                behind = self._closes(q, &undecided)
                if undecided or (behind != NULL and q > self._p):
                    break
                if behind != NULL:
                    self._p = behind
                    self._swallow = (behind - 1)[0] == c"\n"
                    self._mode = TEXT
                    self._line_start = self._leading = True
                    self._run_len = 0
                    segment.kind = CLOSED
                    segment.len = 0
                    return 1
            q = self._pass(q)
        return self._cut(segment, q)

    cdef const uint8_t *_closes(self, const uint8_t *q, bint *undecided) noexcept:
        """Return the byte behind the closing tag at `q` and its newline; NULL when it is none."""
        cdef const uint8_t *behind = q + CLOSE_LEN
        cdef const uint8_t *p = behind
        cdef int match = _match(q, self._end, b"</thinking>", CLOSE_LEN)
        undecided[0] = match == PARTIAL and not self._final
        if match != FULL:
            return NULL
        while p < self._end and is_blank(p[0]) and p - behind < BLANKS_MAX:
            p += 1
        if p == self._end:
            undecided[0] = not self._final
            return p
        if p[0] == c"\n":
            return p + 1
        if self._line_start and not self._run_len and not memchr(b"`\"'", behind[0], 3):
            return behind
        return NULL

    # -- lines and fences --

    cdef const uint8_t *_pass(self, const uint8_t *q) noexcept:
        """Step over a byte that opens no tag, or over the rest of a line that cannot hold one."""
        cdef uint8_t c = q[0]
        cdef const uint8_t *stop
        cdef const uint8_t *hit
        if self._line_start:
            if (c == c"`" or c == c"~") and (self._run_len == 0 or c == self._run_char):
                self._run_char = c
                self._run_len += 1
                return q + 1
            if self._run_len:
                self.end_run()
                self._line_start = False
            else:
                self._line_start = is_white(c)
                return q + 1
        stop = <const uint8_t *>memchr(q, c"\n", self._end - q)
        if stop == NULL:
            stop = self._end
        if stop > q and self._mode == THINKING and not self._fence:
            hit = <const uint8_t *>memchr(q + 1, c"<", stop - q - 1)
            if hit != NULL:
                return hit
        if self._fence_line and self._fence == c"`":
            hit = <const uint8_t *>memchr(q, c"`", stop - q)
            if hit != NULL:
                self._fence = 0
                return hit + 1
        if stop < self._end:
            self._line_start = True
            self._fence_line = False
            return stop + 1
        return stop

    # -- Python face --

    cdef list _segments(self):
        cdef Segment segment
        cdef list found = []
        segment.kind = NOTHING
        while self.next_segment(&segment):
            text = b"" if segment.kind == CLOSED else PyBytes_FromStringAndSize(
                <const char *>segment.buf, segment.len
            )
            found.append((NAMES[segment.kind], text))
        return found

    def feed(self, text: bytes) -> list[tuple[str, bytes]]:
        """Return what is decided, as ("text" | "thinking" | "closed", bytes)."""
        self.feed_raw(<const uint8_t *>PyBytes_AS_STRING(text), len(text))
        return self._segments()

    def end(self) -> list[tuple[str, bytes]]:
        """Decide what is held back, as a tool call or the end of the answer does."""
        self.border()
        return self._segments()


NAMES = {TEXT: "text", THINKING: "thinking", CLOSED: "closed"}
