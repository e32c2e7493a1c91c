"""An ordinary conversation, read off a request's bytes.

Rules of this file: it reads what `protocol.request.parse_body` and `convert` read, or says "not
mine"; it refuses nothing and repairs nothing. Whatever a conversation may hold beyond texts, tool
calls, their results and thinking is not its own: `convert` reads that body from its beginning.

Theory of operation. A session's request is nearly all literals that go from one JSON text into
another: so no object is made of them. One pass over the bytes (`_splice`) checks and counts them
and leaves one `Item` each, in the order in which they stand. `_turns` makes Kiro's messages of
them.

Source: protocol.turns, history, request and tokens, whose words these are and with whose outcome
the tests compare this one's.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memset

from kiroproxy._json cimport read_name, read_value
from kiroproxy._splice cimport Source, Span, is_word, next_byte
from kiroproxy._tally cimport count_text

from kiroproxy._json import NotMine

cdef enum Member:  # what a message or a block may hold, one bit each
    OTHER = 0
    TYPE = 1
    TEXT = 2
    ID = 4
    NAME = 8
    INPUT = 16
    TOOL_USE_ID = 32
    CONTENT = 64
    IS_ERROR = 128
    THINKING = 256
    SIGNATURE = 512
    ROLE = 1024
    OUTPUT_CONFIG = 2048

cdef enum:
    MESSAGE_DEPTH = 2    # of lists and objects a message stands in
    BLOCK_DEPTH = 5      # … a block's members
    PART_DEPTH = 7
    ITEMS_FIRST = 256

cdef const char *WRAPPER = b"<system-reminder>"
cdef Py_ssize_t WRAPPER_LEN = 17


cdef class Prompt(Source):
    """What was read off one request. Order: made by `read_prompt`."""

    def __cinit__(self):
        self.head, self.names, self.numbered, self.configs = {}, [], {}, []

    def __dealloc__(self):
        free(self.items)

    def opening(self) -> object:
        """Return the first message of the user's."""
        return self._again(&self.first_user)

    def last(self) -> object:
        """Return the last message of the user's."""
        return self._again(&self.last_user)

    cdef object _again(self, Span *span):
        self.reader.at = span.at
        return read_value(&self.reader, MESSAGE_DEPTH)

    # -- reading ---------------------------------------------------------------------------

    cdef int _read(self, list known) except -1:
        cdef str name
        cdef bint has_messages = False
        self.expect(c"{")
        while True:
            self.expect(c'"')
            name = read_name(&self.reader)
            self.expect(c":")
            if name == "messages":
                if has_messages:
                    raise NotMine
                has_messages = True
                self._messages()
            elif name == "tools" and next_byte(&self.reader) == c"[":
                if self.tools_raw is not None or self.offer is not None:
                    raise NotMine
                self._tools(known)
            else:
                self.head[name] = read_value(&self.reader, 1)  # the last of equal names counts
            if not self.goes_on(c"}"):
                break
        next_byte(&self.reader)
        if self.reader.at != self.reader.end or not has_messages or self.first_user.at == NULL:
            raise NotMine
        if "tools" in self.head and (self.offer is not None or self.tools_raw is not None):
            raise NotMine
        return 0

    cdef int _tools(self, list known) except -1:
        """Recognise a known list of tools, or read it."""
        cdef const uint8_t *start = self.reader.at
        cdef Py_ssize_t size
        cdef bytes raw
        for raw, offer in known:
            size = PyBytes_GET_SIZE(raw)
            if self.reader.end - start >= size and memcmp(start, PyBytes_AS_STRING(raw), size) == 0:
                self.offer = offer
                self.reader.at += size
                return 0
        self.tools = read_value(&self.reader, 1)
        self.tools_raw = PyBytes_FromStringAndSize(<const char *>start, self.reader.at - start)
        return 0

    cdef int _messages(self) except -1:
        self.expect(c"[")
        while True:
            self._message()
            self.messages += 1
            self.share()
            if not self.goes_on(c"]"):
                return 0

    cdef int _message(self) except -1:
        cdef Py_ssize_t first = self.count
        cdef int seen = 0, role = USER, member
        cdef Span whole
        cdef object config = None
        self.expect(c"{")
        whole.at = self.reader.at - 1
        while True:
            member = self._member()
            if seen & member & (ROLE | CONTENT):
                raise NotMine
            seen |= member
            if member == ROLE:
                role = self._role()
            elif member == CONTENT:
                self._content()
            else:
                value = read_value(&self.reader, MESSAGE_DEPTH + 1)
                config = value if member == OUTPUT_CONFIG else config
            if not self.goes_on(c"}"):
                break
        if not seen & ROLE or not seen & CONTENT:
            raise NotMine
        if role == ASSISTANT:
            self.configs.clear()
        elif role == SYSTEM and config is not None:
            self.configs.append(config)
        whole.size = self.reader.at - whole.at
        return self._told(first, role, &whole)

    cdef int _content(self) except -1:
        cdef Item *item
        if next_byte(&self.reader) == c'"':
            item = &self.items[self._new(SAID)]
            return self.string(&item.text, True)
        self.expect(c"[")
        while True:
            self._block()
            if not self.goes_on(c"]"):
                return 0

    cdef int _told(self, Py_ssize_t first, int role, Span *whole) except -1:
        """Check a message as a whole, and mark what depends on its neighbours in it."""
        cdef Py_ssize_t at
        cdef Item *item
        cdef Item *opening = NULL
        cdef Item *closing = NULL
        cdef bint after_text = False, has_results = False
        for at in range(first, self.count):
            item = &self.items[at]
            item.role = ASSISTANT if role == ASSISTANT else USER
            if item.kind == SAID:
                if item.text.size:
                    # Before a message's first text, whatever stood before it in the message.
                    item.flags = APART if opening == NULL or not after_text else 0
                    opening = item if opening == NULL else opening
                    closing = item
                after_text = True
                continue
            after_text = False
            has_results = has_results or item.kind == ANSWERED
            if role == SYSTEM or (role == ASSISTANT) != (item.kind in (CALLED, THOUGHT)):
                raise NotMine
        if role == ASSISTANT:
            return 0
        if opening == NULL and not has_results:
            raise NotMine  # it leaves no turn
        if role == SYSTEM:
            if not _is_wrapped(&opening.text):
                opening.flags |= OPENS
                closing.flags |= CLOSES
            return 0
        self.users += 1
        self.prompts += not has_results
        self.last_user = whole[0]
        if self.first_user.at == NULL:
            self.first_user = whole[0]
        return 0

    # -- blocks ----------------------------------------------------------------------------

    cdef int _block(self) except -1:
        cdef Py_ssize_t place = self._new(UNKNOWN)
        cdef int seen = 0, member, kind = UNKNOWN, name = 0, flags = 0
        cdef Span text, id
        cdef Item *item
        text.at = id.at = NULL
        text.size = id.size = 0
        self.expect(c"{")
        while True:
            member = self._member()
            if seen & member:
                raise NotMine
            seen |= member
            if member == TYPE:
                kind = self._kind()
            elif member == TEXT or member == THINKING:
                self.string(&text, True)
            elif member == CONTENT:
                self._answer()
            elif member == INPUT:
                self.value(&text)
            elif member == ID or member == TOOL_USE_ID:
                self.id(&id)
            elif member == NAME:
                name = self._name()
            elif member == SIGNATURE:
                self.string(&id, False)
            elif read_value(&self.reader, BLOCK_DEPTH) and member == IS_ERROR:
                flags = FAILED
            if not self.goes_on(c"}"):
                break
        self._check(kind, seen)
        if kind == THOUGHT and id.size and not self._is_unsigned(&id):
            flags = REPLAYS
        item = &self.items[place]
        item.kind, item.flags, item.name, item.text, item.id = kind, flags, name, text, id
        if kind == ANSWERED:
            item.parts = self.count - place - 1
        self.calls += kind == CALLED
        self.results += kind == ANSWERED
        return 0

    cdef int _check(self, int kind, int seen) except -1:
        """Let through what has the members of its type: all that are needed, none of others'."""
        cdef int needed = 0, allowed = TYPE | TEXT  # of a text
        if kind == UNKNOWN:
            raise NotMine
        if kind == CALLED:
            needed = allowed = TYPE | ID | NAME | INPUT
        elif kind == ANSWERED:
            needed = TYPE | TOOL_USE_ID
            allowed = needed | CONTENT | IS_ERROR
        elif kind == THOUGHT:
            needed = TYPE | THINKING
            allowed = needed | SIGNATURE
        if seen & ~allowed or needed & ~seen:
            raise NotMine
        return 0

    cdef bint _is_unsigned(self, Span *span) noexcept:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.unsigned)
        return span.size == size and memcmp(span.at, PyBytes_AS_STRING(self.unsigned), size) == 0

    cdef int _answer(self) except -1:
        """Read what a tool answered: a string, or a list of texts."""
        cdef uint8_t first = next_byte(&self.reader)
        if first == c'"':
            return self.string(&self.items[self._new(PART)].text, True)
        if first == c"n":
            read_value(&self.reader, BLOCK_DEPTH)
            return 0
        self.expect(c"[")
        if next_byte(&self.reader) == c"]":
            self.reader.at += 1
            return 0
        while True:
            self._part()
            if not self.goes_on(c"]"):
                return 0

    cdef int _part(self) except -1:
        cdef Py_ssize_t place = self._new(PART)
        cdef int seen = 0, member
        self.expect(c"{")
        while True:
            member = self._member()
            if seen & member:
                raise NotMine
            seen |= member
            if member == TYPE:
                if self._kind() != SAID:
                    raise NotMine
            elif member == TEXT:
                self.string(&self.items[place].text, True)
            elif member == OTHER:
                read_value(&self.reader, PART_DEPTH)
            else:
                raise NotMine
            if not self.goes_on(c"}"):
                break
        if seen != TYPE | TEXT:
            raise NotMine
        return 0

    cdef int _name(self) except -1:
        """Read and count the name of a called tool. Returns its place in `names`."""
        cdef Span span
        cdef bytes name
        self.token(&span)
        if span.size == 0:
            raise NotMine
        count_text(span.at, span.size, True, &self.found)
        name = PyBytes_FromStringAndSize(<const char *>span.at, span.size)
        place = self.numbered.get(name)
        if place is None:
            place = self.numbered[name] = len(self.names)
            self.names.append(name)
        return place

    cdef int _kind(self) except -1:
        cdef Span span
        self.token(&span)
        if is_word(&span, b"text", 4):
            return SAID
        if is_word(&span, b"tool_use", 8):
            return CALLED
        if is_word(&span, b"tool_result", 11):
            return ANSWERED
        if is_word(&span, b"thinking", 8):
            return THOUGHT
        raise NotMine

    cdef int _role(self) except -1:
        cdef Span span
        self.token(&span)
        if is_word(&span, b"user", 4):
            return USER
        if is_word(&span, b"assistant", 9):
            return ASSISTANT
        if is_word(&span, b"system", 6):
            return SYSTEM
        raise NotMine

    cdef int _member(self) except -1:
        """Read a member's name and the colon behind it."""
        cdef Span span
        self.token(&span)
        self.expect(c":")
        if is_word(&span, b"type", 4):
            return TYPE
        if is_word(&span, b"text", 4):
            return TEXT
        if is_word(&span, b"content", 7):
            return CONTENT
        if is_word(&span, b"role", 4):
            return ROLE
        if is_word(&span, b"tool_use_id", 11):
            return TOOL_USE_ID
        if is_word(&span, b"id", 2):
            return ID
        if is_word(&span, b"name", 4):
            return NAME
        if is_word(&span, b"input", 5):
            return INPUT
        if is_word(&span, b"is_error", 8):
            return IS_ERROR
        if is_word(&span, b"thinking", 8):
            return THINKING
        if is_word(&span, b"signature", 9):
            return SIGNATURE
        if is_word(&span, b"output_config", 13):
            return OUTPUT_CONFIG
        return OTHER

    cdef Py_ssize_t _new(self, int kind) except -1:
        cdef Item *items
        cdef Py_ssize_t most
        if self.count == self.most:
            most = 2 * self.most + ITEMS_FIRST
            items = <Item *>realloc(self.items, most * sizeof(Item))
            if items == NULL:
                raise MemoryError
            self.items, self.most = items, most
        memset(&self.items[self.count], 0, sizeof(Item))
        self.items[self.count].kind = kind
        self.count += 1
        return self.count - 1


cdef bint _is_wrapped(const Span *text) noexcept nogil:
    return text.size >= WRAPPER_LEN and memcmp(text.at, WRAPPER, WRAPPER_LEN) == 0


def read_prompt(raw, list known not None, bytes unsigned not None) -> Prompt | None:
    """Read a request's body; None: it is not mine.

    Shape: `known` are pairs of a list of tools, as JSON, and what stands for it as `offer`;
    `unsigned` is the signature of thoughts that nobody signed.
    """
    cdef Prompt prompt = Prompt()
    prompt.unsigned = unsigned
    prompt.begin(raw)
    try:
        prompt._read(known)
    except NotMine:
        return None
    return prompt
