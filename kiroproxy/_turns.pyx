"""The items of an ordinary conversation, written as Kiro's current message and history.

Rules of this file: as `_prompt`'s: what it writes is what `protocol.request.convert` writes, to
the byte, or nothing. Every write is bounded by `_room` first.

Theory of operation. Neighbouring items of one role are a turn; a turn is one of Kiro's messages.
The current message comes first in the body although it is the last turn. A conversation is
ordinary if turns of user and assistant alternate, the first and the last the user's, and each
call has exactly one result, in the next turn: all else `protocol.history` mends.

Source: protocol.turns and history, whose words these are.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, strlen

from kiroproxy._prompt cimport (
    ANSWERED, APART, ASSISTANT, CALLED, CLOSES, FAILED, OPENS, REPLAYS, SAID, THOUGHT, USER, Item,
    Prompt,
)
from kiroproxy._splice cimport Span, is_word

from kiroproxy._json import NotMine

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *_new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *_inside "PyBytes_AS_STRING"(PyObject *)

cdef enum:
    CALLS_MAX = 64  # of one turn: results are looked for among all of them
    ITEM_LEN = 256  # more than is written around one item; the names of model and tool on top
    NAME_LEN = 80   # of a tool, with quotes; Kiro's limit is 64


cdef class Turns:
    """A body while it is written. Order: `write` once."""

    cdef Prompt _prompt             # keeps alive what the items point to
    cdef const Item *_items
    cdef Py_ssize_t _count
    cdef PyObject *_made            # owned
    cdef uint8_t *_out
    cdef uint8_t *_room             # where it ends
    cdef bint _keeps
    cdef list _wires
    cdef bytes _model
    cdef readonly bint replays      # whether a thought was written

    def __cinit__(self, Prompt prompt not None):
        self._prompt = prompt
        self._items, self._count = prompt.items, prompt.count

    def __dealloc__(self):
        Py_XDECREF(self._made)

    def write(
        self, bytes head not None, bytes tail not None, *, bytes before not None,
        bytes after not None, bytes model not None, list wires not None, bytes tools, bint keeps,
    ) -> bytes | None:
        """Return the conversation as Kiro's current message and history; None: not mine.

        Shape: `head` and `tail` go before and behind; `before` and `after` are insides of
        literals, for the first turn and the last; `wires` are literals, those of the prompt's
        `names`; `tools` is the list to declare; `keeps`: thoughts that Kiro signed are replayed.
        """
        self._keeps, self._wires, self._model = keeps, wires, model
        try:
            self._begin(len(head) + len(tail) + len(before) + len(after) + len(tools or b""))
            self._put_bytes(head)
            self._put_turns(before, after, tools)
            self._put_bytes(tail)
        except NotMine:
            return None
        _PyBytes_Resize(&self._made, self._out - <uint8_t *>_inside(self._made))
        return <bytes>self._made

    cdef int _begin(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t at
        cdef Py_ssize_t more = ITEM_LEN + NAME_LEN + PyBytes_GET_SIZE(self._model)
        if self._made != NULL:
            raise ValueError("it was written")
        for at in range(self._count):
            size += self._items[at].text.size + self._items[at].id.size + more
        self._made = _new_bytes(NULL, size + more)
        self._out = <uint8_t *>_inside(self._made)
        self._room = self._out + size + more
        return 0

    cdef int _put_turns(self, bytes before, bytes after, bytes tools) except -1:
        cdef Py_ssize_t start = 0, end = 0, asked = 0
        cdef Py_ssize_t last = self._count
        if self._items[0].role != USER or self._items[self._count - 1].role != USER:
            raise NotMine
        while last > 0 and self._items[last - 1].role == USER:
            last -= 1
        self._put_user(self._turn_before(last), last, self._count, b"" if last else before, after, tools)
        if last == 0:
            return 0
        self._puts(b',"history":[')
        while start < last:
            end = self._end_of(start)
            if self._items[start].role == USER:
                self._put_user(asked, start, end, b"" if start else before, b"", None)
            else:
                self._put_assistant(start, end)
            asked, start = start, end
            self._puts(b"," if start < last else b"]")
        return 0

    cdef Py_ssize_t _end_of(self, Py_ssize_t start) noexcept:
        cdef Py_ssize_t end = start
        while end < self._count and self._items[end].role == self._items[start].role:
            end += 1
        return end

    cdef Py_ssize_t _turn_before(self, Py_ssize_t end) noexcept:
        while end > 0 and self._items[end - 1].role == ASSISTANT:
            end -= 1
        return end

    cdef int _put_user(
        self, Py_ssize_t asked, Py_ssize_t start, Py_ssize_t end, bytes before, bytes after,
        bytes tools,
    ) except -1:
        """Write a user's turn; the calls it answers are in the turn from `asked` to `start`."""
        cdef bint is_written = PyBytes_GET_SIZE(before) > 0
        cdef bint has_results = self._has(ANSWERED, start, end)
        if not has_results and self._has(CALLED, asked, start):
            raise NotMine
        self._puts(b'{"userInputMessage":{"content":"')
        self._put_bytes(before)
        is_written |= self._put_said(start, end, is_written)
        if PyBytes_GET_SIZE(after):
            self._puts(b"\\n\\n" if is_written else b"")
            self._put_bytes(after)
        self._puts(b'","modelId":')
        self._put_bytes(self._model)
        self._puts(b',"origin":"AI_EDITOR"')
        if has_results or tools is not None:
            self._puts(b',"userInputMessageContext":{')
            if has_results:
                self._puts(b'"toolResults":[')
                self._put_results(asked, start, end)
                self._puts(b"]," if tools is not None else b"]")
            if tools is not None:
                self._puts(b'"tools":')
                self._put_bytes(tools)
            self._puts(b"}")
        return self._puts(b"}}")

    cdef bint _has(self, int kind, Py_ssize_t start, Py_ssize_t end) noexcept:
        cdef Py_ssize_t at
        for at in range(start, end):
            if self._items[at].kind == kind:
                return True
        return False

    cdef bint _put_said(self, Py_ssize_t start, Py_ssize_t end, bint is_written) except -1:
        """Write the texts of a user's turn. Returns whether there was one."""
        cdef Py_ssize_t at
        cdef const Item *item
        cdef bint found = False
        for at in range(start, end):
            item = &self._items[at]
            if item.kind != SAID or item.text.size == 0:
                continue
            if found:
                self._puts(b"\\n")
            elif is_written:
                self._puts(b"\\n\\n")
            found = True
            if item.flags & OPENS:
                self._puts(b"<system-reminder>\\n")
            self._put(item.text.at, item.text.size)
            if item.flags & CLOSES:
                self._puts(b"\\n</system-reminder>")
        return found

    cdef int _put_results(self, Py_ssize_t asked, Py_ssize_t start, Py_ssize_t end) except -1:
        """Write results in the order of their calls, of which each has one."""
        cdef Py_ssize_t at, other, count = 0, left = 0
        for at in range(start, end):
            left += self._items[at].kind == ANSWERED
        if left > CALLS_MAX or asked == start:
            raise NotMine
        for at in range(asked, start):
            if self._items[at].kind != CALLED:
                continue
            for other in range(asked, at):
                if self._items[other].kind == CALLED and self._is_same(other, at):
                    raise NotMine
            if count:
                self._puts(b",")
            self._put_result(self._answer_to(at, start, end))
            count += 1
        if count != left:
            raise NotMine
        return 0

    cdef Py_ssize_t _answer_to(self, Py_ssize_t call, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t at
        for at in range(start, end):
            if self._items[at].kind == ANSWERED and self._is_same(call, at):
                return at
        raise NotMine

    cdef bint _is_same(self, Py_ssize_t one, Py_ssize_t other) noexcept:
        cdef const Span *id = &self._items[one].id
        return is_word(&self._items[other].id, <const char *>id.at, id.size)

    cdef int _put_result(self, Py_ssize_t at) except -1:
        cdef const Item *item = &self._items[at]
        cdef const Span *part
        cdef bint is_empty = True
        cdef int index
        self._puts(b'{"toolUseId":"')
        self._put(item.id.at, item.id.size)
        self._puts(b'","content":[{"text":"')
        for index in range(item.parts):
            part = &self._items[at + 1 + index].text
            if part.size:
                if not is_empty:
                    self._puts(b"\\n")
                self._put(part.at, part.size)
                is_empty = False
        if is_empty:
            self._puts(b"(no output)")
        self._puts(b'"}],"status":"')
        return self._puts(b'error"}' if item.flags & FAILED else b'success"}')

    cdef int _put_assistant(self, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t at
        cdef const Item *item
        cdef const Item *thought = NULL
        cdef bint has_text = False, has_calls = False
        self._puts(b'{"assistantResponseMessage":{"content":"')
        for at in range(start, end):
            item = &self._items[at]
            if item.kind == SAID and item.text.size:
                if has_text and item.flags & APART:
                    self._puts(b"\\n\\n")
                self._put(item.text.at, item.text.size)
                has_text = True
            elif item.kind == THOUGHT and self._keeps and item.flags & REPLAYS:
                thought = item
            has_calls = has_calls or item.kind == CALLED
        if not has_text and not has_calls:
            if thought == NULL:
                raise NotMine  # it leaves no turn
            self._puts(b"(no text)")
        self._puts(b'"')
        if thought != NULL:
            self.replays = True
            self._puts(b',"reasoningContent":{"reasoningText":{"text":"')
            self._put(thought.text.at, thought.text.size)
            self._puts(b'","signature":"')
            self._put(thought.id.at, thought.id.size)
            self._puts(b'"}}')
        if has_calls:
            self._put_calls(start, end)
        return self._puts(b"}}")

    cdef int _put_calls(self, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Py_ssize_t at
        cdef const Item *item
        cdef const char *between = b',"toolUses":['
        for at in range(start, end):
            item = &self._items[at]
            if item.kind != CALLED:
                continue
            self._puts(between)
            between = b","
            self._puts(b'{"toolUseId":"')
            self._put(item.id.at, item.id.size)
            self._puts(b'","name":')
            self._put_bytes(self._wires[item.name])
            self._puts(b',"input":')
            self._put(item.text.at, item.text.size)
            self._puts(b"}")
        return self._puts(b"]")

    cdef int _put(self, const void *text, Py_ssize_t size) except -1:
        if self._room - self._out < size:
            raise MemoryError("a body is longer than was reckoned")
        memcpy(self._out, text, size)
        self._out += size
        return 0

    cdef int _puts(self, const char *text) except -1:
        return self._put(text, strlen(text))

    cdef int _put_bytes(self, bytes text) except -1:
        return self._put(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
