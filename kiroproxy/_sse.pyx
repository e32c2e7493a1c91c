"""Kiro's events in, Anthropic's server-sent events out.

Rules of this file: pure; bytes in, bytes out; never raises for what upstream sends. Whatever is
wrong upstream becomes a `Failure`, after which nothing is taken in any more: an end is written
only for a stream that ended. Nothing grows with the answer but the arguments of tool calls that
are not complete yet. No Python object is made for a text event on the fast path.

Theory of operation. Each kind of frame has its method, `_on_<event>`. Text arrives as a JSON
literal; where nothing can hide in it, it is copied into a delta as it stands (`_splice`).
Otherwise it is decoded, joined with half a character left by the literal before, split at
thinking tags where the model writes such, and escaped again. Tool calls are collected by id and
written when they are complete and valid; the client's calls behind one that the server performs
wait for its result. Blocks and their order are `_blocks`'s business.

Source: Kiro's ChatResponseStream; Anthropic's streaming grammar, as BEHAVIOUR.md tells both.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_Size
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy, strlen

from kiroproxy._blocks cimport BlockWriter, Tally
from kiroproxy._calls cimport PLAIN, CallFinder, Part
from kiroproxy._codec cimport (
    MESSAGE_ERROR, MESSAGE_EVENT, MESSAGE_EXCEPTION, Frame, FrameParser, Slice,
)
from kiroproxy._limits cimport LimitedWriter
from kiroproxy._payload cimport Payload, is_simple, number_of, read_payload, words
from kiroproxy._text cimport (
    IS_BROKEN, SURROGATES, Buffer, Carry, Literal, Spares, decode_literal, end_text, give_back,
    lend, mend, put, put_chars, release, spares,
)
from kiroproxy._thinking cimport CLOSED, TEXT, THINKING, Segment, Splitter

import orjson
from orjson import dumps

from kiroproxy._blocks import UNSIGNED_SIGNATURE  # noqa: F401  (part of this module's face)
from kiroproxy._codec import FrameError
from kiroproxy._payload import Violation

cdef enum:
    NUMBER_LEN_MAX = 24     # digits, sign and the closing NUL of 64 bits
    CALLS_UNLIMITED = 0x7FFFFFFF

cdef const char *START_ID = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":'
)
cdef const char *START_MODEL = b',"type":"message","role":"assistant","model":'
cdef const char *START_TOKENS = (
    b',"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":'
)
cdef const char *START_END = (
    b',"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}\n\n'
)
cdef const char *LAST_REASON = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":'
)
cdef const char *LAST_SEQUENCE = b',"stop_sequence":'
cdef const char *LAST_USAGE = b'},"usage":'
cdef const char *LAST_END = (
    b'}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
cdef bytes PING = b'event: ping\ndata: {"type": "ping"}\n\n'

cdef dict _STOP_REASONS = {
    "END_TURN": "end_turn",
    "STOP": "end_turn",
    "COMPLETE": "end_turn",
    "STOP_SEQUENCE": "end_turn",  # none was asked of Kiro, so none of the client's matched
    "MAX_TOKENS": "max_tokens",
    "MAX_TOKEN": "max_tokens",
    "LENGTH": "max_tokens",
    "MODEL_CONTEXT_WINDOW_EXCEEDED": "model_context_window_exceeded",
    "CONTENT_FILTERED": "refusal",
    "CONTENT_FILTER": "refusal",
    "GUARDRAIL_INTERVENED": "refusal",
}
STOP_REASONS = _STOP_REASONS


cdef Spares *SPARES = spares()
cdef Buffer NOTHING  # zeros: what a buffer is before it has memory


cdef class Failure:
    """Why a stream cannot go on.

    Shape: kind is exception | error | invalid-state | frame | protocol | truncated | empty; name
    is the exception's type, the error code or the fault; message and reason are upstream's words,
    for the log only; expected, actual and offset are set for kind "frame".
    """

    def __cinit__(
        self, str kind, str name="", str message="", *, str reason="",
        retry_after_s=None, expected=0, actual=0, offset=0,
    ):
        self.kind, self.name, self.message, self.reason = kind, name, message, reason
        self.retry_after_s = retry_after_s
        self.expected, self.actual, self.offset = expected, actual, offset

    def __repr__(self) -> str:
        return f"Failure({self.kind!r}, {self.name!r}, {self.message!r}, reason={self.reason!r})"


cdef class _Tool:
    """One tool call while its arguments arrive."""

    cdef str id, name
    cdef Buffer text        # string fragments, joined
    cdef Carry carry        # a character cut between two fragments
    cdef bytes snapshot     # or: the latest arguments that came as an object
    cdef bint stopped       # upstream said it is complete
    cdef bint sent          # the client has it, or had it in another form
    cdef bint counted       # its fragments were counted as they came

    def __cinit__(self, str id, str name):
        self.id, self.name = id, name

    def __dealloc__(self):
        release(&self.text)

    cdef int add(self, Payload event) except -1:
        """Add a fragment to the arguments, or take over a snapshot of them."""
        value = event.members.get("input")
        if value is None or value == "" or (value == {} and self.text.len):
            return 0
        if not isinstance(value, (str, dict)):
            raise Violation("toolUseEvent", "input is neither text nor an object")
        if self.stopped:
            raise Violation("toolUseEvent", "input after stop")
        if isinstance(value, dict):
            self.snapshot = event.sent("input")
        elif self.snapshot is None or orjson.loads(self.snapshot) == {}:
            self.snapshot = None
            event.decode("input", &self.carry, &self.text)
        else:
            raise Violation("toolUseEvent", "text after an object")
        return 0

    cdef bytes stop(self):
        """Return the arguments as sent; None when they are not one whole JSON object."""
        cdef bytes found = self.snapshot
        cdef int replaced = 0
        end_text(&self.carry, &self.text)
        if found is None:
            found = PyBytes_FromStringAndSize(<const char *>self.text.data, self.text.len).strip()
        release(&self.text)
        self.snapshot = None
        self.stopped = True
        if not found:
            return b"{}"  # a call without parameters has no input in any of its events
        if not _is_object(found):
            found = mend(<const uint8_t *>PyBytes_AS_STRING(found), len(found), &replaced)
            if replaced != SURROGATES or not _is_object(found):
                return None
        return found


cdef bint _is_object(bytes text) except *:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


cdef inline bint _is(Slice name, const char *word) noexcept:
    return name.len == <Py_ssize_t>strlen(word) and memcmp(name.buf, word, name.len) == 0


cdef inline bint _is_pending(Carry *carry) noexcept:
    return carry.len != 0 or carry.high != 0


cdef class Translator:
    """Translate one answer.

    Shape: `room` is (units in all, of an ASCII character, of any other), after which the answer
    ends for its length; None = unlimited. `measure` takes its place for a short answer: all of it so
    far → (bytes that fit, bytes that may follow before it is asked again). `max_calls`: the tool call after these ends it.
    `read_calls` understands a call that is written as text (`_calls`); None = none is looked for.
    `own_tool` is the client's name of the tool whose calls the server performs, "" = none;
    `first_index` is where an answer goes on that has blocks already.
    Order: start once for the client's answer, feed…, end, finish; abort instead of what is left.
    After end, the results of `own_calls` by insert, then release; a new Translator goes on from
    `next_index` without start. After a failed try a new one goes on without start, too. Once
    `finished_early`, nothing more need be read: end and finish.
    Cost: one copy of the text; one bytes object a call.
    """

    def __init__(
        self, *, str message_id, str model, bint split_tags, bint drop_thinking, dict tool_names,
        tuple stop_sequences=(), tuple room=None, max_calls=None, read_calls=None,
        measure=None,
        str own_tool="", int first_index=0,
    ):
        self.set_up(
            message_id, model, split_tags, drop_thinking, tool_names, stop_sequences, room, measure,
            max_calls, read_calls, own_tool, first_index,
        )

    cdef int set_up(
        self, str message_id, str model, bint split_tags, bint drop_thinking, dict tool_names,
        tuple stop_sequences, tuple room, object measure, object max_calls, object read_calls,
        str own_tool, int first_index,
    ) except -1:
        self.message_id, self._model, self._tool_names = message_id, model, tool_names
        self._parser = FrameParser.__new__(FrameParser)
        self._split = split_tags
        if split_tags:
            self._splitter = Splitter.__new__(Splitter)
        if stop_sequences or room is not None or measure is not None:
            self._writer = LimitedWriter.__new__(LimitedWriter)
            (<LimitedWriter>self._writer).limit(stop_sequences, room, measure)
        else:
            self._writer = BlockWriter.__new__(BlockWriter)
        self._writer.drops_thinking = drop_thinking
        self._writer.index = first_index
        self._own_tool = own_tool
        self._calls_left = CALLS_UNLIMITED if max_calls is None else max_calls
        if read_calls is not None:
            self._finder = CallFinder(read_calls)
            self._sent = []
        self._upstream_stop = self.stop_reason = ""
        self.upstream_request_id = self.conversation_id = ""
        return 0

    def __dealloc__(self):
        release(&self._plain)

    # -- the verbs -------------------------------------------------------------------------

    def start(self, input_tokens: int) -> bytes:
        """Return message_start and a ping."""
        return self._start(input_tokens)

    cdef bytes _start(self, int64_t input_tokens):
        cdef Buffer out = NOTHING  # its own: events may wait already that stand behind it
        lend(SPARES, &out)
        try:
            self._write_start(&out, input_tokens)
            return PyBytes_FromStringAndSize(<const char *>out.data, out.len)
        finally:
            give_back(SPARES, &out)

    cdef int put_start(self, int64_t input_tokens) except -1:
        lend(SPARES, &self._writer._out)
        return self._write_start(&self._writer._out, input_tokens)

    cdef int _write_start(self, Buffer *out, int64_t input_tokens) except -1:
        # Put together: to build and write the dictionaries costs a tenth of a short answer.
        cdef char number[NUMBER_LEN_MAX]
        snprintf(number, NUMBER_LEN_MAX, b"%lld", <long long>input_tokens)
        put_chars(out, START_ID)
        self._put_names(out)
        put_chars(out, START_TOKENS)
        put_chars(out, number)
        put_chars(out, START_END)
        return put(out, PyBytes_AS_STRING(PING), PyBytes_GET_SIZE(PING))

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take bytes of the upstream body; return the events they complete, maybe none.

        Order: not after end or abort. Once `failure` or `finished_early` is set, nothing is taken
        in any more; what was complete before it has been returned.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.take_in(<const uint8_t *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return self._writer.taken()

    def end(self) -> bytes:
        """The body ended cleanly, or early: close the open block and judge how the answer ended.

        Shape: sets `stop_reason`, or `failure` when this was no end: bytes of a frame are left,
        or nothing came at all.
        """
        return self._writer.taken() if self.put_end() else b""

    cdef bint put_end(self) except -1:
        if self._over and not self._length_exceeded and not self.is_finished():
            return False
        if not self._over and self._parser.pending():
            self._fail(Failure("truncated", "frame", actual=self._parser.pending()))
            return False
        self._over = True
        lend(SPARES, &self._writer._out)
        self._finish_text()
        give_back(SPARES, &self._plain)
        self._writer.close_block()
        if self._tools is not None:
            self._tool_cut |= any([not (<_Tool>tool).stopped for tool in self._tools.values()])
        self.stop_reason = self._judge()
        if self._writer.has_content or self.is_finished():
            return True
        if self.stop_reason in ("end_turn", "tool_use"):
            self._fail(Failure("empty", self._upstream_stop))
        return True

    def insert(self, block: bytes) -> bytes:
        """Return a whole block of the server's own at the next index. Order: after end."""
        self._writer.put_block(block)
        return self._writer.taken()

    def release(self) -> bytes:
        """Return the client's calls that waited for the server's results. Order: after insert."""
        waiting, self._waiting_calls = self._waiting_calls, None
        for tool_id, name, arguments in waiting or ():
            # Past the limits of a limited writer: they were complete before it reached them.
            BlockWriter.put_tool(self._writer, tool_id, name, arguments, False)
        return self._writer.taken()

    def finish(self, usage: dict, stop_reason: str = "") -> bytes:
        """Return message_delta and message_stop.

        Shape: `stop_reason` replaces the one that was found.
        Order: after end, with failure None; else RuntimeError, for that would invent an end.
        """
        return self._last(orjson.dumps(usage), stop_reason)

    cdef bytes _last(self, const char *usage, str stop_reason):
        """Return the last two events; `usage` is JSON."""
        cdef Buffer out = NOTHING
        lend(SPARES, &out)
        try:
            self._write_last(&out, usage, stop_reason)
            return PyBytes_FromStringAndSize(<const char *>out.data, out.len)
        finally:
            give_back(SPARES, &out)

    cdef int _write_last(self, Buffer *out, const char *usage, str stop_reason) except -1:
        if self.failure is not None or not self.stop_reason:
            raise RuntimeError("finish() without an end to report")
        put_chars(out, LAST_REASON)
        self._put_reason(out, stop_reason)
        put_chars(out, LAST_USAGE)
        put_chars(out, usage)
        return put_chars(out, LAST_END)

    cdef int _put_names(self, Buffer *out) except -1:
        _put_json(out, self.message_id)
        put_chars(out, START_MODEL)
        return _put_json(out, self._model)

    cdef int _put_reason(self, Buffer *out, str stop_reason) except -1:
        _put_json(out, stop_reason or self.stop_reason)
        put_chars(out, LAST_SEQUENCE)
        return _put_json(out, self._writer.stop_sequence)

    def abort(self, error_type: str, message: str, request_id: str) -> bytes:
        """Return what is complete but was held back, then the error event.

        The open block stays open and no message_stop follows, as with the real API.
        """
        self._over = True
        self._drain_splitter()
        self._writer.settle()
        return self._writer.taken() + _event("error", {
            "type": "error",
            "error": {"type": error_type, "message": message},
            "request_id": request_id,
        })

    def ping(self) -> bytes:
        """Return a ping; it may stand anywhere behind message_start."""
        return PING

    cdef Py_ssize_t waiting(self) noexcept:
        return self._writer._out.len

    cdef void move_to(self, char *target) noexcept:
        memcpy(target, self._writer._out.data, self._writer._out.len)
        self._writer.clear()

    cdef bint is_content(self) noexcept:
        return self._writer.has_content

    cdef bint is_finished(self) noexcept:
        return self._writer.ended is not None

    cdef bint is_failed(self) noexcept:
        return self.failure is not None

    # -- facts -----------------------------------------------------------------------------

    @property
    def has_content(self) -> bool:
        """Whether a content block has been opened: from then on no other try may follow."""
        return self._writer.has_content

    @property
    def cut_calls(self) -> list[str]:
        """Upstream's names of the tools whose calls were not sent, because they were not whole.

        Order: after end.
        """
        if self._tools is None:
            return []
        return [(<_Tool>tool).name for tool in self._tools.values() if not (<_Tool>tool).sent]

    @property
    def called(self) -> list[str]:
        """The tools called so far, by the client's names, in order."""
        return [] if self._called is None else self._called

    @property
    def own_calls(self) -> list[tuple[str, bytes]]:
        """The calls that the server performs itself: (id, arguments)."""
        return [] if self._own_calls is None else self._own_calls

    @property
    def has_text(self) -> bool:
        """Whether the client has been given text: thinking alone is no answer."""
        return self._writer.text.ascii + self._writer.text.other > 0

    @property
    def finished_early(self) -> bool:
        """Whether the client's limits ended the answer: the rest of the body is not wanted."""
        return self.is_finished()

    @property
    def next_index(self) -> int:
        """The index of the next block. Order: after end."""
        return self._writer.index

    @property
    def ascii_chars(self) -> int:
        """ASCII characters upstream generated: text, thinking (dropped or not), arguments."""
        return self.generated().ascii

    @property
    def other_chars(self) -> int:
        """The other characters upstream generated."""
        return self.generated().other

    cdef Tally generated(self) noexcept:
        cdef BlockWriter writer = self._writer
        cdef Tally sum
        sum.ascii = writer.text.ascii + writer.thinking.ascii + writer.tools.ascii
        sum.other = writer.text.other + writer.thinking.other + writer.tools.other
        return sum

    # -- frames ----------------------------------------------------------------------------

    cdef int take_in(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef Frame frame
        if self._over:
            return 0
        lend(SPARES, &self._writer._out)
        try:
            self._parser.feed_raw(data, size)
            while not self._over and self._parser.next_frame(&frame):
                if frame.message_type == MESSAGE_EVENT:
                    self._on_event(&frame)
                elif frame.message_type == MESSAGE_EXCEPTION:
                    self._on_exception(&frame)
                elif frame.message_type == MESSAGE_ERROR:
                    self._fail(Failure("error", words(frame.name), words(frame.error_message)))
                self._over |= self._writer.ended is not None
        except Violation as violation:
            self._fail(Failure("protocol", violation.name, violation.message))
        except FrameError as error:
            self._fail(Failure(
                "frame", error.fault,
                expected=error.expected, actual=error.actual, offset=error.offset,
            ))
        # Between two reads a stream holds nothing but what the client has not been given.
        give_back(SPARES, &self._plain)
        if self._writer._out.len == 0:
            self._writer.clear()
        return 0

    cdef int _on_event(self, Frame *frame) except -1:
        """Pass an event to its method; what this version does not know is ignored."""
        cdef Slice name = frame.name
        if _is(name, b"assistantResponseEvent"):
            return self._on_assistant_response(frame.payload)
        if _is(name, b"reasoningContentEvent"):
            return self._on_reasoning_content(frame.payload)
        if _is(name, b"toolUseEvent"):
            return self._on_tool_use(read_payload(frame.payload))
        if _is(name, b"metadataEvent"):
            return self._on_metadata(read_payload(frame.payload))
        if _is(name, b"contextUsageEvent"):
            return self._on_context_usage(read_payload(frame.payload))
        if _is(name, b"meteringEvent"):
            return self._on_metering(read_payload(frame.payload))
        if _is(name, b"messageMetadataEvent"):
            return self._on_message_metadata(read_payload(frame.payload))
        if _is(name, b"invalidStateEvent"):
            return self._fail(_told("invalid-state", "", frame.payload))
        if _is(name, b"error"):  # the stream union's own member for that exception
            return self._fail(_told("exception", "InternalServerException", frame.payload))
        return 0

    cdef int _on_exception(self, Frame *frame) except -1:
        """An exception ends the stream; one of them is how upstream says "cut for length"."""
        cdef str name = words(frame.name).rpartition("#")[2].partition(":")[0]
        if name == "ContentLengthExceededException":
            self._finish_text()
            if self._writer.has_content:
                self._length_exceeded = self._over = True
                return 0
        return self._fail(_told("exception", name, frame.payload))

    cdef int _fail(self, Failure failure) except -1:
        self.failure = failure
        self._over = True
        return 0

    # -- text ------------------------------------------------------------------------------

    cdef int _on_assistant_response(self, Slice payload) except -1:
        cdef Literal literal
        self._plain.len = 0
        if not is_simple(payload, b'{"content":"', 12, &literal):
            lend(SPARES, &self._plain)
            read_payload(payload).decode("content", &self._text_carry, &self._plain)
        elif self._splice(&literal):
            return 0
        else:
            lend(SPARES, &self._plain)
            decode_literal(literal.start, literal.len, &self._text_carry, &self._plain)
        return self._put_text()

    cdef bint _splice(self, Literal *literal) except -1:
        """Copy the literal as it is, if no tag and no half character can be involved."""
        cdef int kind = TEXT
        if literal.flags & IS_BROKEN or _is_pending(&self._text_carry):
            return False
        if literal.len == 0:
            return True
        if self._split:
            if literal.flags or not self._splitter.may_skip(literal.start[0]):
                return False
            kind = self._splitter._mode
        if self._finder is not None and kind == TEXT:
            if not self._finder.may_skip(literal) or not self._writer.put_literal(kind, literal):
                return False
            self._finder.skip(literal)
        elif not self._writer.put_literal(kind, literal):
            return False
        if self._split:
            self._splitter.skip(literal.start, literal.len)
        return True

    cdef int _put_text(self) except -1:
        """Write what was decoded into `_plain`, through the splitter while that is on."""
        if self._plain.len == 0:
            return 0
        if not self._split:
            return self._put_answer(self._plain.data, self._plain.len)
        self._splitter.feed_raw(self._plain.data, self._plain.len)
        return self._put_segments()

    cdef int _put_segments(self) except -1:
        cdef Segment segment
        while self._splitter.next_segment(&segment):
            if segment.kind == TEXT:
                self._put_answer(segment.buf, segment.len)
                continue
            self._drain_calls()
            if segment.kind != CLOSED:
                self._writer.put_plain(segment.kind, segment.buf, segment.len)
            elif self._writer.block == THINKING:
                self._writer.close_block()
        return 0

    cdef int _drain_splitter(self) except -1:
        """What comes next is no text: have the splitter decide what it holds."""
        if self._split:
            self._splitter.border()
            self._put_segments()
        return self._drain_calls()

    # -- calls written as text -------------------------------------------------------------

    cdef int _put_answer(self, const uint8_t *text, Py_ssize_t size) except -1:
        """Write text of the answer, through the finder if there is one."""
        if self._finder is None:
            return self._writer.put_plain(TEXT, text, size)
        self._finder.feed_raw(text, size)
        return self._put_parts()

    cdef int _put_parts(self) except -1:
        cdef Part part
        while self._finder.next_part(&part):
            if part.kind == PLAIN:
                self._writer.put_plain(TEXT, part.buf, part.len)
            else:
                self._put_written(&part)
        return 0

    cdef int _drain_calls(self) except -1:
        """What comes next is no text of this block: have the finder decide what it holds."""
        if self._finder is None:
            return 0
        self._finder.border()
        self._put_parts()
        self._finder.fresh_line()
        return 0

    cdef int _put_written(self, Part *part) except -1:
        """Write calls that were found in text; as text where they only tell of one that came."""
        cdef list calls = self._finder.calls
        if any([self._is_repeat(name, arguments, True) for name, arguments in calls]):
            return self._writer.put_plain(TEXT, part.buf, part.len)
        for name, arguments in calls:
            if self._calls_seen() >= self._calls_left:
                self._refuse_call()
            elif not self._writer.spend(
                <const uint8_t *>PyBytes_AS_STRING(arguments), len(arguments)
            ):
                self._writer.run_out()
            else:
                self._written += 1
                # Unlike a count of calls, a block's number is no other one's in a longer answer.
                number = self._writer.index + len(self._waiting_calls or ())
                tool_id = f"toolu_{self.message_id.rpartition('_')[2]}{number:02d}"
                self._send_call(tool_id, name, arguments)
                self._sent.append((name, orjson.loads(arguments), True))
        return 0

    cdef Py_ssize_t _calls_seen(self) noexcept:
        return self._written + (0 if self._tools is None else PyDict_Size(self._tools))

    cdef bint _is_repeat(self, str name, bytes arguments, bint written) except *:
        """Whether the same call has come in the other form: a model that wrote it, then made it."""
        if self._finder is None:
            return False
        call = (name, orjson.loads(arguments), not written)
        if call not in self._sent:
            return False
        if not written:
            self._sent.remove(call)  # one for one: a third is a call again
        return True

    cdef int _send_call(self, str tool_id, str name, bytes arguments) except -1:
        if self._writer.ended is not None:
            return 0
        if name == self._own_tool:
            return self._put_own_call(tool_id, name, arguments)
        self._tools_done += 1
        if self._called is None:
            self._called = []
        self._called.append(name)
        if self._own_calls:
            if self._waiting_calls is None:
                self._waiting_calls = []
            self._waiting_calls.append((tool_id, name, arguments))
            return 0
        return self._writer.put_tool(tool_id, name, arguments, False)

    cdef int _finish_text(self) except -1:
        """No more text: half a character becomes U+FFFD, what is held is written."""
        self._plain.len = 0
        end_text(&self._text_carry, &self._plain)
        self._put_text()
        self._drain_splitter()
        self._writer.settle()
        self._plain.len = 0
        end_text(&self._thinking_carry, &self._plain)
        return self._writer.put_plain(THINKING, self._plain.data, self._plain.len)

    # -- native reasoning ------------------------------------------------------------------

    cdef int _on_reasoning_content(self, Slice payload) except -1:
        cdef Literal literal
        cdef Payload event
        if self._split:
            self._stop_splitting()
        self._drain_calls()
        self._plain.len = 0
        if is_simple(payload, b'{"text":"', 9, &literal):
            if literal.len == 0:
                return 0
            if not (literal.flags & IS_BROKEN or _is_pending(&self._thinking_carry)):
                if self._writer.put_literal(THINKING, &literal):
                    return 0
            lend(SPARES, &self._plain)
            decode_literal(literal.start, literal.len, &self._thinking_carry, &self._plain)
            return self._writer.put_plain(THINKING, self._plain.data, self._plain.len)
        event = read_payload(payload)
        lend(SPARES, &self._plain)
        event.decode("text", &self._thinking_carry, &self._plain)
        self._writer.put_plain(THINKING, self._plain.data, self._plain.len)
        self._writer.put_signature(event.string("signature"))
        return self._writer.put_redacted(event.string("redactedContent"))

    cdef int _stop_splitting(self) except -1:
        """A model that reasons natively marks nothing with tags: they are text from here on."""
        self._drain_splitter()
        self._split = False
        if self._writer.block == THINKING:
            self._writer.close_block()
        return 0

    # -- tools -----------------------------------------------------------------------------

    cdef int _on_tool_use(self, Payload event) except -1:
        cdef str tool_id = event.string("toolUseId")
        cdef str name = event.string("name")
        cdef _Tool tool
        cdef Py_ssize_t known
        if self._tools is None:
            self._tools = {}
        tool = self._tools.get(tool_id)
        if tool is None:
            if not tool_id or not name:
                raise Violation("toolUseEvent", "without id or name")
            self._drain_splitter()
            if self._calls_seen() >= self._calls_left:
                return self._refuse_call()
            tool = self._tools[tool_id] = _Tool(tool_id, name)
        elif name and name != tool.name:
            raise Violation("toolUseEvent", "another name for the same id")
        known = tool.text.len
        tool.add(event)
        if tool.text.len > known:
            tool.counted = True
            self._spend(tool.text.data + known, tool.text.len - known)
        if event.members.get("stop") is True and not tool.stopped:
            self._stop_tool(tool)
        return 0

    cdef int _stop_tool(self, object call) except -1:
        """Write the call if it is complete and valid; never something in its place."""
        cdef _Tool tool = call
        cdef bytes arguments = tool.stop()
        if arguments is None:
            self._tool_cut = True
            return 0
        if not tool.counted:
            self._spend(<const uint8_t *>PyBytes_AS_STRING(arguments), len(arguments))
        self._drain_splitter()
        if self._split:
            self._splitter.fresh_line()
        name = self._tool_names.get(tool.name, tool.name)
        tool.sent = self._is_repeat(name, arguments, False)
        if tool.sent:
            return 0
        tool.sent = self._writer.ended is None
        self._send_call(tool.id, name, arguments)
        if self._finder is not None:
            self._sent.append((name, orjson.loads(arguments), False))
        return 0

    cdef int _put_own_call(self, str tool_id, str name, bytes arguments) except -1:
        """Write a call that the server performs, under an id of the shape Anthropic's have."""
        cdef str bare_id = tool_id.removeprefix("tooluse_").removeprefix("toolu_")
        cdef str own_id = "srvtoolu_" + bare_id.replace("-", "_")
        self._writer.put_tool(own_id, name, arguments, True)
        if self._writer.ended is None:  # else a stop sequence before it was found, and it is not
            if self._own_calls is None:
                self._own_calls = []
            self._own_calls.append((own_id, arguments))
        return 0

    cdef int _refuse_call(self) except -1:
        """A call too many: the client's limit ends the answer, once the calls before are whole."""
        for tool in (self._tools or {}).values():
            if not (<_Tool>tool).stopped:
                return 0  # this one's frames are passed over meanwhile
        self._writer.settle()
        if self._writer.ended is None:
            self._writer.ended = (
                "max_tokens" if self._tool_cut else "tool_use" if self._tools_done else "end_turn"
            )
        return 0

    cdef int _spend(self, const uint8_t *arguments, Py_ssize_t size) except -1:
        """Count arguments as output; too many end the answer without the call."""
        if self._writer.spend(arguments, size):
            return 0
        self._drain_splitter()
        return self._writer.run_out()

    # -- accounting ------------------------------------------------------------------------

    cdef int _on_metadata(self, Payload event) except -1:
        self._witnessed = True
        self._upstream_stop = event.word("stopReason") or self._upstream_stop
        self.upstream_request_id = event.word("requestId") or self.upstream_request_id
        usage = event.members.get("tokenUsage")
        if isinstance(usage, dict):
            self.token_usage = usage
            return self._keep_percentage(number_of(usage.get("contextUsagePercentage")))
        return 0

    cdef int _on_context_usage(self, Payload event) except -1:
        self._witnessed = True
        return self._keep_percentage(event.number("contextUsagePercentage"))

    cdef int _keep_percentage(self, object percent) except -1:
        if percent is not None:
            self.context_usage_percent = percent
        return 0

    cdef int _on_metering(self, Payload event) except -1:
        self._witnessed = True
        self.credits += event.number("usage") or 0.0  # several may come; they add up
        return 0

    cdef int _on_message_metadata(self, Payload event) except -1:
        self.conversation_id = event.word("conversationId") or self.conversation_id
        return 0

    cdef str _judge(self):
        """Decide the stop reason."""
        if self._writer.ended is not None:
            return self._writer.ended
        if self._tool_cut or self._length_exceeded:
            return "max_tokens"
        if self._writer.has_content and not self._witnessed:
            return "max_tokens"  # upstream fell silent: what came may be cut
        if self._tools_done:
            return "tool_use"  # upstream's own word is unreliable here: often END_TURN
        known = _STOP_REASONS.get(self._upstream_stop.upper())
        if known is not None:
            return known
        if self.context_usage_percent is not None and self.context_usage_percent >= 100:
            return "model_context_window_exceeded"
        return "end_turn"


cdef int _put_json(Buffer *out, str value) except -1:
    """Append a string, or null."""
    cdef bytes text = dumps(value)
    return put(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef bytes _event(str name, dict data):
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


cdef Failure _told(str kind, str name, Slice payload):
    """Read what an exception says for itself; whatever it is, it is a failure."""
    cdef Payload said
    try:
        said = read_payload(payload)
    except Violation:
        return Failure(kind, name, words(payload))
    inner = said.members.get("error")
    reason = said.word("reason") or (inner.get("reason") if isinstance(inner, dict) else None)
    wait_ms = said.number("retryAfterMilliseconds")
    return Failure(
        kind,
        name or said.word("reason"),
        said.word("message") or said.word("Message"),
        reason=reason if isinstance(reason, str) else "",
        retry_after_s=None if wait_ms is None else wait_ms / 1000,
    )
