"""The block writer that ends an answer where the client asked for it: at a sequence, or in length.

Rules of this file: what was written before the limits were reached is what BlockWriter would have
written; nothing is written after it. Sequences are looked for in text only, one text block at a
time: what the client reads as one text is what is searched. Text is held back only as `_stops`
does it.

Theory of operation. Every character upstream generates costs something, thinking (dropped or not)
and tool arguments included; the first that cannot be paid for ends the answer. A sequence found
within what can be paid for comes first. `ended` tells the reason, in Anthropic's words; the block
that is open then is closed by the owner, as at any end. A short answer is weighed as a whole instead, by
`measure`: how many of its bytes fit, and how many more may come before it has to be asked again.

Source: Anthropic's stop_sequences, max_tokens and stop reasons, as BEHAVIOUR.md has them.
"""

from kiroproxy._blocks cimport BlockWriter, Tally, count_chars
from cpython.bytes cimport PyBytes_FromStringAndSize

from kiroproxy._text cimport HAS_ESCAPE, Literal, put, release
from kiroproxy._thinking cimport TEXT, THINKING


cdef class LimitedWriter(BlockWriter):
    """Write content blocks until a limit is reached.

    Order: limit first, then as BlockWriter; settle before the last close_block.
    Cost: one call and one addition a delta; with sequences, one pass over the text, and one copy
    of it where a sequence may lie.
    """

    cdef int limit(self, tuple stop_sequences, tuple room, object measure) except -1:
        self._measure = measure
        self._stops = Stops(stop_sequences) if stop_sequences else None
        if room is not None:
            self._left, self._ascii_cost, self._other_cost = room
        return 0

    def __dealloc__(self):
        release(&self._spent)

    # -- content ---------------------------------------------------------------------------

    cdef int put_literal(self, int kind, Literal *literal) except -1:
        cdef int64_t cost = literal.ascii * self._ascii_cost + literal.other * self._other_cost
        if self.ended is not None:
            return 1
        if cost > self._left or self._measure is not None:
            return 0  # the end lies within: found by the character
        if self._stops is not None:
            if kind == THINKING:
                if not self._makes_way(kind):
                    return 1
            elif literal.flags & HAS_ESCAPE or not self._stops.passes(literal.start, literal.len):
                return 0
        self._left -= cost
        return BlockWriter.put_literal(self, kind, literal)

    cdef int put_plain(self, int kind, const uint8_t *text, Py_ssize_t size) except -1:
        cdef Py_ssize_t affordable
        if self.ended is not None or size == 0:
            return 0
        affordable = self._afford(text, size)
        if kind == TEXT and self._stops is not None:
            self._put_watched(text, affordable)
        elif self._makes_way(kind):
            BlockWriter.put_plain(self, kind, text, affordable)
        return 0 if affordable == size else self.run_out()

    cdef int put_signature(self, str signature) except -1:
        if not signature or self.drops_thinking or not self._has_room():
            return 0
        return BlockWriter.put_signature(self, signature)

    cdef int put_redacted(self, str data) except -1:
        if not data or self.drops_thinking or not self._has_room():
            return 0
        return BlockWriter.put_redacted(self, data)

    cdef int put_tool(self, str tool_id, str name, bytes arguments, bint is_ours) except -1:
        """Write a whole tool call; it was paid for by `spend`."""
        if not self._makes_way(-1):
            return 0
        return BlockWriter.put_tool(self, tool_id, name, arguments, is_ours)

    # -- sequences -------------------------------------------------------------------------

    cdef int _put_watched(self, const uint8_t *text, Py_ssize_t size) except -1:
        return self._give_out(self._stops.take(text, size))

    cdef int _give_out(self, Py_ssize_t size) except -1:
        """Write the first bytes of what is held; the sequence behind them, if any, ends it."""
        BlockWriter.put_plain(self, TEXT, self._stops.held.data, size)
        self._stops.drop(size)
        if self._stops.found is not None:
            self.ended, self.stop_sequence = "stop_sequence", self._stops.found
        return 0

    cdef int settle(self) except -1:
        if self._stops is None or self.ended is not None:
            return 0
        return self._give_out(self._stops.give_up())

    cdef bint _makes_way(self, int kind) except -1:
        """Have the held text written before something that stands behind it; False: it ended."""
        if kind != THINKING or not self.drops_thinking:  # dropped thinking parts no text
            self.settle()
        return self.ended is None

    # -- length ----------------------------------------------------------------------------

    cdef bint spend(self, const uint8_t *arguments, Py_ssize_t size) except -1:
        cdef Tally tally
        cdef int64_t cost
        if self._measure is not None:
            return self._weigh(arguments, size) == size
        tally.ascii = tally.other = 0
        count_chars(arguments, size, &tally)
        cost = tally.ascii * self._ascii_cost + tally.other * self._other_cost
        if cost > self._left:
            return False
        self._left -= cost
        return True

    cdef int run_out(self) except -1:
        self.settle()
        if self.ended is None:
            self.ended = "max_tokens"
        return 0

    cdef bint _has_room(self) except -1:
        """Whether something without characters may follow: not once all is spent."""
        if self._makes_way(-1) and self._ascii_cost and self._left <= 0:
            self.run_out()
        return self.ended is None

    cdef Py_ssize_t _weigh(self, const uint8_t *text, Py_ssize_t size) except -1:
        """Return how many bytes of the text fit behind all that came before it."""
        cdef Py_ssize_t fits
        put(&self._spent, text, size)
        if size <= self._due:
            self._due -= size
            return size
        fits, self._due = self._measure(
            PyBytes_FromStringAndSize(<const char *>self._spent.data, self._spent.len)
        )
        return max(size - (self._spent.len - fits), 0)

    cdef Py_ssize_t _afford(self, const uint8_t *text, Py_ssize_t size) except -1:
        """Pay for as many whole characters as there is room for; return their bytes."""
        cdef Py_ssize_t index
        cdef int64_t cost
        if self._measure is not None:
            return self._weigh(text, size)
        for index in range(size):
            if text[index] & 0xC0 == 0x80:
                continue  # it was paid for with the byte that opened it
            cost = self._ascii_cost if text[index] < 0x80 else self._other_cost
            if cost > self._left:
                return index
            self._left -= cost
        return size
