# The translator, for the compiled module that drives it from the socket.
from libc.stdint cimport int64_t, uint8_t

from kiroproxy._blocks cimport BlockWriter, Tally
from kiroproxy._calls cimport CallFinder, Part
from kiroproxy._codec cimport Frame, FrameParser, Slice
from kiroproxy._payload cimport Payload
from kiroproxy._text cimport Buffer, Carry, Literal
from kiroproxy._thinking cimport Splitter


cdef class Failure:
    cdef readonly str kind, name, message, reason
    cdef readonly object retry_after_s
    cdef readonly object expected, actual, offset


cdef class Translator:
    # Identity and policy, for life
    cdef readonly str message_id
    cdef str _model
    cdef dict _tool_names            # upstream's name → the client's, where they differ
    cdef bint _split                 # tags mark thinking, until a reasoning event says otherwise
    # Machinery
    cdef FrameParser _parser
    cdef Splitter _splitter          # None: no tags are looked for
    cdef CallFinder _finder          # None: no call is looked for in text
    cdef BlockWriter _writer
    cdef Buffer _plain               # decoded text of the running event; lent
    cdef Carry _text_carry, _thinking_carry
    # Tool calls; what there is none of yet is None
    cdef dict _tools                 # by id, in order of arrival
    cdef int _tools_done
    cdef list _sent                  # of each call, with a finder: name, arguments, is written
    cdef int _written                # calls that came as text
    cdef int _calls_left             # how many of them the client takes
    cdef str _own_tool               # the client's name of the tool that the server performs
    cdef list _own_calls             # its calls that were written: (id, arguments)
    cdef list _waiting_calls         # the client's behind them: (id, name, arguments)
    cdef bint _tool_cut              # one was not complete, or not valid
    # How it ends
    cdef bint _witnessed             # one of the events that close a healthy stream came
    cdef bint _length_exceeded       # upstream ended the answer with an exception that means that
    cdef bint _over                  # nothing more is taken in
    cdef str _upstream_stop
    # Facts
    cdef readonly Failure failure
    cdef readonly str stop_reason
    cdef readonly object context_usage_percent, token_usage
    cdef readonly double credits
    cdef list _called                # the client's names of the tools called, in order
    cdef readonly str upstream_request_id, conversation_id

    cdef int set_up(
        self, str message_id, str model, bint split_tags, bint drop_thinking, dict tool_names,
        tuple stop_sequences, tuple room, object measure, object max_calls, object read_calls,
        str own_tool, int first_index,
    ) except -1
    # What the constructor does, for one without keywords.
    cdef int take_in(self, const uint8_t *data, Py_ssize_t size) except -1
    # feed() without its objects: the events wait inside.
    cdef Py_ssize_t waiting(self) noexcept
    # Bytes of complete events that wait to be taken.
    cdef void move_to(self, char *target) noexcept
    # Copy them to a place that has room for waiting() bytes, and forget them.
    cdef bint is_content(self) noexcept
    # has_content, for compiled callers.
    cdef bint is_finished(self) noexcept
    # finished_early, for compiled callers.
    cdef bint is_failed(self) noexcept
    # Whether there is a failure.
    cdef int put_start(self, int64_t input_tokens) except -1
    # start() without its object: the events wait inside, behind those that do already.
    cdef bint put_end(self) except -1
    # end() likewise; False: it was not judged, or is none.
    cdef Tally generated(self) noexcept
    # What upstream generated: text, thinking (dropped or not), arguments.

    cdef bytes _start(self, int64_t input_tokens)
    cdef bytes _last(self, const char *usage, str stop_reason)
    cdef int _write_start(self, Buffer *out, int64_t input_tokens) except -1
    cdef int _write_last(self, Buffer *out, const char *usage, str stop_reason) except -1
    cdef int _put_names(self, Buffer *out) except -1
    # The message's id and, as members, all up to its model; the id's name stands before it.
    cdef int _put_reason(self, Buffer *out, str stop_reason) except -1
    # The stop reason and, as a member, the sequence; the reason's name stands before it.
    cdef Py_ssize_t _calls_seen(self) noexcept
    cdef int _on_event(self, Frame *frame) except -1
    cdef int _on_exception(self, Frame *frame) except -1
    cdef int _fail(self, Failure failure) except -1
    cdef int _on_assistant_response(self, Slice payload) except -1
    cdef bint _splice(self, Literal *literal) except -1
    cdef int _put_text(self) except -1
    cdef int _put_segments(self) except -1
    cdef int _put_answer(self, const uint8_t *text, Py_ssize_t size) except -1
    cdef int _put_parts(self) except -1
    cdef int _drain_calls(self) except -1
    cdef int _put_written(self, Part *part) except -1
    cdef bint _is_repeat(self, str name, bytes arguments, bint written) except *
    cdef int _send_call(self, str tool_id, str name, bytes arguments) except -1
    cdef int _drain_splitter(self) except -1
    cdef int _finish_text(self) except -1
    cdef int _on_reasoning_content(self, Slice payload) except -1
    cdef int _stop_splitting(self) except -1
    cdef int _on_tool_use(self, Payload event) except -1
    cdef int _stop_tool(self, object tool) except -1
    cdef int _refuse_call(self) except -1
    cdef int _put_own_call(self, str tool_id, str name, bytes arguments) except -1
    cdef int _spend(self, const uint8_t *arguments, Py_ssize_t size) except -1
    cdef int _on_metadata(self, Payload event) except -1
    cdef int _on_context_usage(self, Payload event) except -1
    cdef int _keep_percentage(self, object percent) except -1
    cdef int _on_metering(self, Payload event) except -1
    cdef int _on_message_metadata(self, Payload event) except -1
    cdef str _judge(self)
