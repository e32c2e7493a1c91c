# What was read off a conversation, for the module that writes it as Kiro's.
from kiroproxy._splice cimport Source, Span


cdef enum Kind:
    UNKNOWN
    SAID       # a text of a message
    PART       # a text of a tool's result; stands behind its ANSWERED
    CALLED
    ANSWERED
    THOUGHT

cdef enum Role:
    USER
    ASSISTANT
    SYSTEM     # a user's once it is wrapped


cdef enum Flag:
    APART = 1     # a text: a blank line goes before it, if there is text before it
    OPENS = 2     # a text: the wrapping of a system message begins here
    CLOSES = 4    # … and ends here
    FAILED = 8    # a result
    REPLAYS = 16  # a thought: Kiro signed it


cdef struct Item:
    int kind
    int role
    int flags
    int name              # of a call: its place in `names`
    Span text             # of a call: the input, JSON
    Span id               # of a thought: the signature
    int parts             # of a result: how many PARTs follow


cdef class Prompt(Source):
    cdef Item *items
    cdef Py_ssize_t count, most
    cdef Span first_user, last_user
    cdef bytes unsigned
    cdef dict numbered           # tool's name → its place in `names`
    cdef readonly dict head      # the body without messages, and without tools that are a list
    cdef readonly object tools, offer
    cdef readonly bytes tools_raw
    cdef readonly list names     # of called tools, as JSON literals hold them, none twice
    cdef readonly list configs   # `output_config` of system messages behind the last answer
    cdef readonly int messages, calls, results
    cdef readonly int users      # messages of theirs
    cdef readonly int prompts    # … that are no results

    cdef object _again(self, Span *span)
    cdef int _read(self, list known) except -1
    cdef int _tools(self, list known) except -1
    cdef int _messages(self) except -1
    cdef int _message(self) except -1
    cdef int _content(self) except -1
    cdef int _told(self, Py_ssize_t first, int role, Span *whole) except -1
    cdef int _block(self) except -1
    cdef int _check(self, int kind, int seen) except -1
    cdef bint _is_unsigned(self, Span *span) noexcept
    cdef int _answer(self) except -1
    cdef int _part(self) except -1
    cdef int _name(self) except -1
    cdef int _kind(self) except -1
    cdef int _role(self) except -1
    cdef int _member(self) except -1
    cdef Py_ssize_t _new(self, int kind) except -1
