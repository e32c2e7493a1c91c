"""Kiro's events in, Anthropic's server-sent events out: the block state machine and its writer.

Rules of this file: pure; bytes in, bytes out; never raises for what upstream sends. Whatever is
wrong upstream becomes a `Failure`, after which nothing more comes out: an end is written only for
a stream that ended by Kiro's own word. Nothing grows with the answer but the arguments of tool
calls that are not complete yet. No Python object is made for a text event on the fast path.

Theory of operation. One content block is open at a time, or none:

              text           thinking         tool complete, redacted
    NO_BLOCK  open TEXT      open THINKING    whole block → NO_BLOCK
    TEXT      delta          close, open      close, whole block → NO_BLOCK
    THINKING  close, open    delta            close, whole block → NO_BLOCK

Closing THINKING writes its signature first. Text arrives as a JSON literal. Where nothing can hide
in it, it is copied into the delta as it stands (`_splice`); otherwise it is decoded, joined with
what the literal before left unfinished, split at thinking tags where the model writes such, and
escaped again. Tool calls are collected by id and written when they are complete and valid.

Source: Kiro's ChatResponseStream; Anthropic's streaming grammar, as BEHAVIOUR.md tells both.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, strlen

from kiroproxy._codec cimport (
    MESSAGE_ERROR, MESSAGE_EVENT, MESSAGE_EXCEPTION, Frame, FrameParser, Slice,
)
from kiroproxy._text cimport (
    IS_BROKEN, SURROGATES, Buffer, Carry, Literal, decode_literal, decode_utf8, end_text,
    find_member, mend, put, put_chars, put_escaped, release, scan_literal,
)
from kiroproxy._thinking cimport CLOSED, TEXT, THINKING, Segment, Splitter

import orjson

from kiroproxy._codec import FrameError

# A client replays a thinking block only if it is signed, so a block whose text upstream did not
# sign gets this: base64 of "kiroproxy: this thinking has no upstream signature". Never sent to Kiro.
UNSIGNED_SIGNATURE = (
    "a2lyb3Byb3h5OiB0aGlzIHRoaW5raW5nIGhhcyBubyB1cHN0cmVhbSBzaWduYXR1cmU="
)

cdef enum:
    NO_BLOCK = 0            # else TEXT or THINKING, as the splitter names them
    HEAD_LEN_MAX = 160      # a delta's beginning, index included
    OUT_KEPT_MAX = 16384    # a larger buffer is given back after the call that needed it
    PIECE_LEN = 8192        # of tool arguments a delta: line readers with a limit stop at 64 KiB
    DETAIL_LEN_MAX = 2000   # of upstream's words, for the log

cdef bytes PING = b'event: ping\ndata: {"type": "ping"}\n\n'
cdef bytes DELTA_END = b'"}}\n\n'

STOP_REASONS = {
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


cdef class Failure:
    """Why a stream cannot go on.

    Shape: kind is exception | error | invalid-state | frame | protocol | truncated | empty; name
    is the exception's type, the error code or the fault; message and reason are upstream's words,
    for the log only; expected, actual and offset are set for kind "frame".
    """

    cdef readonly str kind, name, message, reason
    cdef readonly object retry_after_s
    cdef readonly object expected, actual, offset

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
    cdef bint broken        # upstream sent bytes that had to be guessed

    def __cinit__(self, str id, str name):
        self.id, self.name = id, name

    def __dealloc__(self):
        release(&self.text)

    cdef bytes arguments(self):
        """Return the arguments as sent; None when they are not one whole JSON object."""
        cdef bytes found = self.snapshot
        cdef int replaced = 0
        end_text(&self.carry, &self.text)
        if found is None:
            found = PyBytes_FromStringAndSize(<const char *>self.text.data, self.text.len).strip()
        if self.broken:
            return None
        if not found:
            return b"{}"  # a call without parameters sends no input at all
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


cdef str _words(Slice slice):
    """Upstream's words for the log: bounded, decoded whatever they are."""
    cdef Py_ssize_t size = min(slice.len, <Py_ssize_t>DETAIL_LEN_MAX)
    return PyBytes_FromStringAndSize(<const char *>slice.buf, size).decode("utf-8", "replace")


cdef str _word(object value):
    """A string member, or nothing."""
    return (<str>value)[:DETAIL_LEN_MAX] if isinstance(value, str) else ""


cdef object _number(object value):
    """A number member, or None: accounting that makes no sense is no reason to lose an answer."""
    return float(value) if isinstance(value, (int, float)) and value is not True else None


cdef class Translator:
    """Translate one answer.

    Order: start once for the client's answer, feed…, end, finish; abort instead of what is left.
    After a failed try a new Translator goes on without start.
    Cost: one copy of the text; one bytes object a call.
    """

    # Identity and policy, for life
    cdef str _message_id, _model
    cdef dict _tool_names            # upstream's name → the client's, where they differ
    cdef bint _split                 # tags mark thinking, until a reasoning event says otherwise
    cdef bint _drop                  # the client wants no thinking
    # Machinery
    cdef FrameParser _parser
    cdef Splitter _splitter
    cdef Buffer _out                 # SSE bytes of the running call
    cdef Buffer _plain               # decoded text of the running event
    cdef bytes _mended               # the running payload where it had to be mended, or None
    cdef Carry _text_carry, _thinking_carry
    # The block that is open
    cdef int _block                  # NO_BLOCK, TEXT or THINKING
    cdef int _index                  # of the open block, or of the next
    cdef bytes _signature            # waits for the end of the thinking block
    cdef char _head[HEAD_LEN_MAX]    # what each of its deltas begins with
    cdef int _head_len
    # Tool calls by id, in order of arrival
    cdef dict _tools
    cdef int _tools_done
    cdef bint _tool_cut              # one was not complete, or not valid
    # How it ends
    cdef bint _witnessed             # one of the events that close a healthy stream came
    cdef bint _length_exceeded       # upstream ended the answer with an exception that means that
    cdef bint _over                  # nothing more is taken in
    cdef str _upstream_stop
    # Facts
    cdef readonly bint has_content
    cdef readonly Failure failure
    cdef readonly str stop_reason
    cdef readonly Py_ssize_t text_ascii, text_other, thinking_ascii, thinking_other
    cdef readonly Py_ssize_t tool_ascii, tool_other
    cdef readonly object context_usage_percent, token_usage
    cdef readonly double credits
    cdef readonly str upstream_request_id, conversation_id

    def __cinit__(
        self, *, str message_id, str model, bint split_tags, bint drop_thinking, dict tool_names
    ):
        self._message_id, self._model, self._tool_names = message_id, model, tool_names
        self._split, self._drop = split_tags, drop_thinking
        self._parser = FrameParser()
        self._splitter = Splitter()
        self._tools = {}
        self._upstream_stop = self.stop_reason = ""
        self.upstream_request_id = self.conversation_id = ""

    def __dealloc__(self):
        release(&self._out)
        release(&self._plain)

    # -- the verbs -------------------------------------------------------------------------

    def start(self, input_tokens: int) -> bytes:
        """Return message_start and a ping."""
        return _event("message_start", {
            "type": "message_start",
            "message": {
                "id": self._message_id,
                "type": "message",
                "role": "assistant",
                "model": self._model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": input_tokens,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 1,
                },
            },
        }) + PING

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take bytes of the upstream body; return the events they complete, maybe none.

        Order: not after end or abort. Once `failure` is set, nothing is taken in any more; what
        was complete before it has been returned.
        """
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._take_in(<const uint8_t *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        return self._taken()

    def end(self) -> bytes:
        """The body ended cleanly: close the open block and judge how the answer ended.

        Shape: sets `stop_reason`, or `failure` when this was no end: bytes of a frame are left,
        or nothing came at all.
        """
        if self._over and not self._length_exceeded:
            return b""
        if not self._over and self._parser.pending():
            self._fail(Failure("truncated", "frame", actual=self._parser.pending()))
            return b""
        self._over = True
        self._finish_text()
        self._close_block()
        self._tool_cut |= any([not (<_Tool>tool).stopped for tool in self._tools.values()])
        self.stop_reason = self._judge()
        if not self.has_content and self.stop_reason in ("end_turn", "tool_use"):
            self._fail(Failure("empty", self._upstream_stop))
        return self._taken()

    def finish(self, usage: dict) -> bytes:
        """Return message_delta and message_stop.

        Order: after end, with failure None; else RuntimeError, for that would invent an end.
        """
        if self.failure is not None or not self.stop_reason:
            raise RuntimeError("finish() without an end to report")
        return _event("message_delta", {
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason, "stop_sequence": None},
            "usage": usage,
        }) + _event("message_stop", {"type": "message_stop"})

    def abort(self, error_type: str, message: str, request_id: str) -> bytes:
        """Return what is complete but was held back, then the error event.

        The open block stays open and no message_stop follows, as with the real API.
        """
        self._over = True
        self._drain_splitter()
        return self._taken() + _event("error", {
            "type": "error",
            "error": {"type": error_type, "message": message},
            "request_id": request_id,
        })

    def ping(self) -> bytes:
        """Return a ping; it may stand anywhere behind message_start."""
        return PING

    # -- frames ----------------------------------------------------------------------------

    cdef int _take_in(self, const uint8_t *data, Py_ssize_t size) except -1:
        cdef Frame frame
        if self._over:
            return 0
        try:
            self._parser.feed_raw(data, size)
            while not self._over and self._parser.next_frame(&frame):
                if frame.message_type == MESSAGE_EVENT:
                    self._on_event(&frame)
                elif frame.message_type == MESSAGE_EXCEPTION:
                    self._on_exception(&frame)
                elif frame.message_type == MESSAGE_ERROR:
                    self._fail(Failure("error", _words(frame.name), _words(frame.error_message)))
        except FrameError as error:
            self._fail(Failure(
                "frame", error.fault,
                expected=error.expected, actual=error.actual, offset=error.offset,
            ))
        return 0

    cdef int _on_event(self, Frame *frame) except -1:
        """Pass an event to its method; what this version does not know is ignored."""
        cdef Slice name = frame.name
        if _is(name, b"assistantResponseEvent"):
            return self._on_assistant_response(frame.payload)
        if _is(name, b"reasoningContentEvent"):
            return self._on_reasoning_content(frame.payload)
        if _is(name, b"toolUseEvent"):
            return self._on_tool_use(frame.payload)
        if _is(name, b"metadataEvent"):
            return self._on_metadata(frame.payload)
        if _is(name, b"contextUsageEvent"):
            return self._on_context_usage(frame.payload)
        if _is(name, b"meteringEvent"):
            return self._on_metering(frame.payload)
        if _is(name, b"messageMetadataEvent"):
            return self._on_message_metadata(frame.payload)
        if _is(name, b"invalidStateEvent"):
            return self._on_invalid_state(frame.payload)
        if _is(name, b"error"):  # the stream union's own member for InternalServerException
            return self._fail(_told("exception", "InternalServerException", frame.payload))
        return 0

    cdef int _on_exception(self, Frame *frame) except -1:
        """An exception ends the stream; one of them is how upstream says "cut for length"."""
        cdef str name = _words(frame.name).rpartition("#")[2].partition(":")[0]
        if name == "ContentLengthExceededException":
            self._drain_splitter()
            if self.has_content:
                self._length_exceeded = self._over = True
                return 0
        return self._fail(_told("exception", name, frame.payload))

    cdef int _fail(self, Failure failure) except -1:
        self.failure = failure
        self._over = True
        return 0

    cdef int _violated(self, str name, str message) except -1:
        return self._fail(Failure("protocol", name, message))

    # -- text ------------------------------------------------------------------------------

    cdef int _on_assistant_response(self, Slice payload) except -1:
        cdef Literal literal
        cdef dict event
        self._plain.len = 0
        if _is_simple(payload, b'{"content":"', 12, &literal):
            if self._splice_text(&literal):
                return 0
            decode_literal(literal.start, literal.len, &self._text_carry, &self._plain)
        else:
            event = self._parse(payload, "assistantResponseEvent")
            if event is None or not self._decode(payload, event, "content", &self._text_carry):
                return 0
        return self._put_text()

    cdef bint _splice_text(self, Literal *literal) except -1:
        """Copy the literal as it is, if no tag and no half character can be involved."""
        cdef int kind = TEXT
        if literal.flags & IS_BROKEN or self._text_carry.len or self._text_carry.high:
            return False
        if literal.len == 0:
            return True
        if self._split:
            if literal.flags or not self._splitter.may_skip(literal.start[0]):
                return False
            self._splitter.skip(literal.start, literal.len)
            kind = self._splitter._mode
        self._put_literal(kind, literal)
        return True

    cdef int _put_text(self) except -1:
        """Write what was decoded into `_plain`, through the splitter while that is on."""
        if self._plain.len == 0:
            return 0
        if not self._split:
            return self._put_plain(TEXT, self._plain.data, self._plain.len)
        self._splitter.feed_raw(self._plain.data, self._plain.len)
        return self._put_segments()

    cdef int _put_segments(self) except -1:
        cdef Segment segment
        while self._splitter.next_segment(&segment):
            if segment.kind != CLOSED:
                self._put_plain(segment.kind, segment.buf, segment.len)
            elif self._block == THINKING:
                self._close_block()
        return 0

    cdef int _drain_splitter(self) except -1:
        """What comes next is no text: have the splitter decide what it holds."""
        if not self._split:
            return 0
        self._splitter.border()
        return self._put_segments()

    cdef int _finish_text(self) except -1:
        """No more text: half a character becomes U+FFFD, held text is written."""
        self._plain.len = 0
        end_text(&self._text_carry, &self._plain)
        self._put_text()
        self._drain_splitter()
        self._plain.len = 0
        end_text(&self._thinking_carry, &self._plain)
        if self._plain.len:
            self._put_plain(THINKING, self._plain.data, self._plain.len)
        return 0

    # -- native reasoning ------------------------------------------------------------------

    cdef int _on_reasoning_content(self, Slice payload) except -1:
        cdef Literal literal
        cdef dict event
        if self._split:
            self._stop_splitting()
        self._plain.len = 0
        if _is_simple(payload, b'{"text":"', 9, &literal):
            if not (literal.flags & IS_BROKEN or self._thinking_carry.len or self._thinking_carry.high):
                return self._put_literal(THINKING, &literal) if literal.len else 0
            decode_literal(literal.start, literal.len, &self._thinking_carry, &self._plain)
            return self._put_plain(THINKING, self._plain.data, self._plain.len)
        event = self._parse(payload, "reasoningContentEvent")
        if event is None:
            return 0
        if self._decode(payload, event, "text", &self._thinking_carry):
            self._put_plain(THINKING, self._plain.data, self._plain.len)
        self._keep_signature(event.get("signature"))
        return self._put_redacted(event.get("redactedContent"))

    cdef int _stop_splitting(self) except -1:
        """A model that reasons natively marks nothing with tags: they are text from here on."""
        self._drain_splitter()
        self._split = False
        if self._block == THINKING:
            self._close_block()
        return 0

    cdef int _keep_signature(self, object signature) except -1:
        """Open a thinking block if none is, for the signature to close; the last one counts."""
        if not signature or self._drop or self.failure is not None:
            return 0
        if not isinstance(signature, str):
            return self._violated("signature", "not a string")
        self._open_block(THINKING)
        self._signature = (<str>signature).encode()
        return 0

    cdef int _put_redacted(self, object data) except -1:
        if not data or self._drop or self.failure is not None:
            return 0
        if not isinstance(data, str):
            return self._violated("redactedContent", "not a string")
        self._close_block()
        self._open_whole(b'{"type":"redacted_thinking","data":"')
        self._put_string(data)
        return self._close_whole(b'"}}\n\n')

    # -- tools -----------------------------------------------------------------------------

    cdef int _on_tool_use(self, Slice payload) except -1:
        cdef dict event = self._parse(payload, "toolUseEvent")
        cdef _Tool tool
        if event is None:
            return 0
        tool_id, name = event.get("toolUseId"), event.get("name")
        if not isinstance(tool_id, str) or not tool_id:
            return self._violated("toolUseId", "missing")
        tool = self._tools.get(tool_id)
        if tool is None:
            if not isinstance(name, str) or not name:
                return self._violated("tool name", "missing")
            self._drain_splitter()
            tool = self._tools[tool_id] = _Tool(tool_id, name)
        elif name and name != tool.name:
            return self._violated("tool name", f"{_word(name)} after {tool.name}")
        if not self._add_input(tool, payload, event) or event.get("stop") is not True:
            return 0
        return 0 if tool.stopped else self._stop_tool(tool)

    cdef bint _add_input(self, _Tool tool, Slice payload, dict event) except -1:
        """Add a fragment, or take over a snapshot; False: it broke the rules."""
        value = event.get("input")
        if not value and (value is None or isinstance(value, str)):
            return True
        if not isinstance(value, (str, dict)):
            self._violated("tool input", "neither text nor an object")
        elif tool.stopped:
            if not value:
                return True
            self._violated("tool input", "after stop")
        elif isinstance(value, dict):
            tool.snapshot = self._raw_object(payload, value, tool)
            return True
        elif tool.snapshot is not None and tool.snapshot != b"{}":
            self._violated("tool input", "text after an object")
        else:
            tool.snapshot = None
            return self._decode_into(payload, value, b"input", &tool.carry, &tool.text)
        return False

    cdef bytes _raw_object(self, Slice payload, dict value, _Tool tool):
        """The object as sent: a rewrite could change its numbers."""
        cdef const uint8_t *found = NULL
        cdef Py_ssize_t size = 0
        if not value:
            return b"{}"
        if self._mended is not None:
            tool.broken = True
        elif find_member(payload.buf, payload.len, b"input", &found, &size):
            return PyBytes_FromStringAndSize(<const char *>found, size)
        return orjson.dumps(value)

    cdef int _stop_tool(self, _Tool tool) except -1:
        """Write the call if it is complete and valid; never something in its place."""
        cdef bytes arguments = tool.arguments()
        tool.stopped = True
        release(&tool.text)
        tool.snapshot = None
        if arguments is None:
            self._tool_cut = True
            return 0
        self._drain_splitter()
        self._close_block()
        self._splitter.fresh_line()
        self._open_whole(b'{"type":"tool_use","id":"')
        self._put_string(tool.id)
        put_chars(&self._out, b'","name":"')
        self._put_string(self._tool_names.get(tool.name, tool.name))
        put_chars(&self._out, b'","input":{}}}\n\n')
        self._put_arguments(arguments)
        self._tools_done += 1
        return self._close_whole(b"")

    cdef int _put_arguments(self, bytes arguments) except -1:
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(arguments)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(arguments)
        cdef Py_ssize_t size
        _count(p, left, &self.tool_ascii, &self.tool_other)
        self._set_head(b"input_json_delta", b"partial_json")
        while left:
            size = min(left, <Py_ssize_t>PIECE_LEN)
            while size < left and (p[size] & 0xC0) == 0x80:
                size -= 1  # not within a character
            put(&self._out, self._head, self._head_len)
            put_escaped(&self._out, p, size)
            put(&self._out, PyBytes_AS_STRING(DELTA_END), 5)
            p += size
            left -= size
        return 0

    # -- accounting ------------------------------------------------------------------------

    cdef int _on_metadata(self, Slice payload) except -1:
        cdef dict event = self._parse(payload, "metadataEvent")
        if event is None:
            return 0
        self._witnessed = True
        self._upstream_stop = _word(event.get("stopReason")) or self._upstream_stop
        self.upstream_request_id = _word(event.get("requestId")) or self.upstream_request_id
        usage = event.get("tokenUsage")
        if isinstance(usage, dict):
            self.token_usage = usage
            self._keep_percentage(usage.get("contextUsagePercentage"))
        return 0

    cdef int _on_context_usage(self, Slice payload) except -1:
        cdef dict event = self._parse(payload, "contextUsageEvent")
        if event is not None:
            self._witnessed = True
            self._keep_percentage(event.get("contextUsagePercentage"))
        return 0

    cdef int _on_metering(self, Slice payload) except -1:
        cdef dict event = self._parse(payload, "meteringEvent")
        if event is not None:
            self._witnessed = True
            self.credits += _number(event.get("usage")) or 0.0  # several may come; they add up
        return 0

    cdef int _on_message_metadata(self, Slice payload) except -1:
        cdef dict event = self._parse(payload, "messageMetadataEvent")
        if event is not None:
            self.conversation_id = _word(event.get("conversationId")) or self.conversation_id
        return 0

    cdef int _on_invalid_state(self, Slice payload) except -1:
        cdef Failure told = _told("invalid-state", "", payload)
        return self._fail(
            Failure("invalid-state", told.reason, told.message, reason=told.reason)
        )

    cdef int _keep_percentage(self, object value) except -1:
        number = _number(value)
        if number is not None:
            self.context_usage_percent = number
        return 0

    cdef str _judge(self):
        """Decide the stop reason; "end_turn" is only ever upstream's own word."""
        cdef str known = STOP_REASONS.get(self._upstream_stop.upper())
        if self._tool_cut or self._length_exceeded:
            return "max_tokens"
        if self.has_content and not self._witnessed:
            return "max_tokens"
        if self._tools_done:
            return "tool_use"
        if known is not None:
            return known
        if self.context_usage_percent is not None and self.context_usage_percent >= 100:
            return "model_context_window_exceeded"
        return "end_turn"

    # -- payloads --------------------------------------------------------------------------

    cdef dict _parse(self, Slice payload, str name):
        """Parse a payload, mended if only its strings are broken; None: failure is set."""
        cdef int replaced = 0
        cdef bytes text = PyBytes_FromStringAndSize(<const char *>payload.buf, payload.len)
        self._mended = None
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            self._mended = mend(payload.buf, payload.len, &replaced)
            try:
                event = orjson.loads(self._mended)
            except orjson.JSONDecodeError as error:
                self._violated("malformed JSON", f"{name}: {error}")
                return None
        if not isinstance(event, dict):
            self._violated("malformed JSON", f"{name}: not an object")
            return None
        return event

    cdef bint _decode(self, Slice payload, dict event, str key, Carry *carry) except -1:
        """Decode a text member into `_plain`; False: there is none."""
        value = event.get(key)
        if value is None:
            return False
        if not isinstance(value, str):
            self._violated(key, "not a string")
            return False
        return self._decode_into(payload, value, key.encode(), carry, &self._plain)

    cdef bint _decode_into(
        self, Slice payload, str value, bytes key, Carry *carry, Buffer *out
    ) except -1:
        """Decode from the payload itself: what was mended there cannot be joined any more."""
        cdef const uint8_t *raw = NULL
        cdef Py_ssize_t size = 0
        cdef const char *text
        if find_member(payload.buf, payload.len, key, &raw, &size) and raw[0] == c'"':
            decode_literal(raw + 1, size - 2, carry, out)
        else:  # the key is written with escapes
            text = PyUnicode_AsUTF8AndSize(value, &size)
            decode_utf8(<const uint8_t *>text, size, carry, out)
        return True

    # -- the writer ------------------------------------------------------------------------

    cdef int _put_literal(self, int kind, Literal *literal) except -1:
        """Write a delta around a literal as it came."""
        if kind == THINKING:
            self.thinking_ascii += literal.ascii
            self.thinking_other += literal.other
            if self._drop:
                return 0
        else:
            self.text_ascii += literal.ascii
            self.text_other += literal.other
        if self._block != kind:
            self._open_block(kind)
        put(&self._out, self._head, self._head_len)
        put(&self._out, literal.start, literal.len)
        return put(&self._out, PyBytes_AS_STRING(DELTA_END), 5)

    cdef int _put_plain(self, int kind, const uint8_t *text, Py_ssize_t size) except -1:
        """Write a delta around decoded text."""
        if size == 0:
            return 0
        if kind == THINKING:
            _count(text, size, &self.thinking_ascii, &self.thinking_other)
            if self._drop:
                return 0
        else:
            _count(text, size, &self.text_ascii, &self.text_other)
        if self._block != kind:
            self._open_block(kind)
        put(&self._out, self._head, self._head_len)
        put_escaped(&self._out, text, size)
        return put(&self._out, PyBytes_AS_STRING(DELTA_END), 5)

    cdef int _open_block(self, int kind) except -1:
        """Have a block of this kind open; a different one is closed first."""
        if self._block == kind:
            return 0
        self._close_block()
        if kind == TEXT:
            self._open_whole(b'{"type":"text","text":""}}\n\n')
            self._set_head(b"text_delta", b"text")
        else:
            self._open_whole(b'{"type":"thinking","thinking":"","signature":""}}\n\n')
            self._set_head(b"thinking_delta", b"thinking")
        self._block = kind
        return 0

    cdef int _close_block(self) except -1:
        """Close the open block, if any; a thinking block is signed first."""
        cdef bytes signature
        if self._block == NO_BLOCK:
            return 0
        if self._block == THINKING:
            signature = self._signature or UNSIGNED_SIGNATURE.encode()
            self._signature = None
            self._set_head(b"signature_delta", b"signature")
            put(&self._out, self._head, self._head_len)
            put_escaped(&self._out, <const uint8_t *>PyBytes_AS_STRING(signature), len(signature))
            put(&self._out, PyBytes_AS_STRING(DELTA_END), 5)
        self._block = NO_BLOCK
        return self._close_whole(b"")

    cdef int _open_whole(self, const char *block) except -1:
        """Write content_block_start up to and including `block`."""
        cdef char head[HEAD_LEN_MAX]
        cdef int size = snprintf(
            head, HEAD_LEN_MAX,
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,'
            b'"content_block":', self._index,
        )
        put(&self._out, head, size)
        self.has_content = True
        return put_chars(&self._out, block)

    cdef int _close_whole(self, const char *rest) except -1:
        """Write the rest of content_block_start, and content_block_stop."""
        cdef char tail[HEAD_LEN_MAX]
        cdef int size = snprintf(
            tail, HEAD_LEN_MAX,
            b'%sevent: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n',
            rest, self._index,
        )
        self._index += 1
        return put(&self._out, tail, size)

    cdef void _set_head(self, const char *delta, const char *member) noexcept:
        self._head_len = snprintf(
            self._head, HEAD_LEN_MAX,
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%s","%s":"', self._index, delta, member,
        )

    cdef int _put_string(self, str value) except -1:
        cdef Py_ssize_t size = 0
        cdef const char *text = PyUnicode_AsUTF8AndSize(value, &size)
        return put_escaped(&self._out, <const uint8_t *>text, size)

    cdef bytes _taken(self):
        """Hand out what the call has written."""
        cdef bytes out = PyBytes_FromStringAndSize(<const char *>self._out.data, self._out.len)
        self._out.len = 0
        if self._out.room > OUT_KEPT_MAX:
            release(&self._out)
        if self._plain.room > OUT_KEPT_MAX:
            release(&self._plain)
        return out


cdef bytes _event(str name, dict data):
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


cdef Failure _told(str kind, str name, Slice payload):
    """Read what an exception says for itself; whatever it is, it is a failure."""
    try:
        said = orjson.loads(PyBytes_FromStringAndSize(<const char *>payload.buf, payload.len))
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        return Failure(kind, name, _words(payload))
    inner = said.get("error")
    wait_ms = _number(said.get("retryAfterMilliseconds"))
    return Failure(
        kind, name, _word(said.get("message") or said.get("Message")),
        reason=_word(said.get("reason") or (inner.get("reason") if isinstance(inner, dict) else "")),
        retry_after_s=None if wait_ms is None else wait_ms / 1000,
    )


cdef bint _is_simple(
    Slice payload, const char *opening, Py_ssize_t opening_len, Literal *literal
) noexcept nogil:
    """Tell whether a payload is `opening`, a literal, and nothing else but a model's name."""
    cdef const uint8_t *end = payload.buf + payload.len
    cdef const uint8_t *p
    if payload.len <= opening_len or memcmp(payload.buf, opening, opening_len) != 0:
        return False
    p = scan_literal(payload.buf + opening_len, end, literal)
    if p == NULL:
        return False
    p += 1
    if end - p >= 14 and memcmp(p, b',"modelId":"', 12) == 0:
        p += 12
        while p < end and 0x20 <= p[0] < 0x80 and p[0] != c'"' and p[0] != c"\\":
            p += 1
        if p == end or p[0] != c'"':
            return False
        p += 1
    return end - p == 1 and p[0] == c"}"


cdef void _count(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t *ascii_chars, Py_ssize_t *other_chars
) noexcept nogil:
    """Add the characters of valid UTF-8."""
    cdef Py_ssize_t index
    cdef Py_ssize_t high = 0
    cdef Py_ssize_t leads = 0
    for index in range(size):
        high += text[index] >= 0x80
        leads += text[index] >= 0xC0
    ascii_chars[0] += size - high
    other_chars[0] += leads
