"""The short way of an ordinary request: from socket to socket without a task.

Rules of this file: only what needs no waiting happens here. Whatever turns out otherwise, at any
point, is handed over to a task, which goes on from there; nothing is decided here that is not
decided there, and nothing is refused here. Every request ends exactly once: answered, handed over,
or left by its client; then nothing refers back to it any more.

Theory of operation. A request that came whole is planned at once, a credential with a fresh token
is leased, and the request is written to an idle connection (`_launch`). Kiro's answer goes through
a `Carrier` to the client, with the response's start in its first write and the end in its last; one
that is wanted whole waits in a `Gatherer` and is made one message at its end. What needs no speed is the
lane's, `server.express`.

Source: ARCHITECTURE.md, the way of a request.
"""

import logging

from kiroproxy._head import read_request
from kiroproxy.errors import GatewayError

from kiroproxy._answer cimport Answer, answer_to
from kiroproxy._launch cimport Launch, Launcher
from kiroproxy._line cimport Line
from kiroproxy._plain cimport fresh_id
from kiroproxy._pump cimport Carrier, Gatherer, Outlet, Owner
from kiroproxy._request cimport Arrived, Record, arrive, monotonic_s
from kiroproxy._wire cimport BODY

cdef enum:
    TARGETS_MAX = 256  # a handful of spellings; others come from the curious
    NAME_MAX = 200     # of a model, in the log
    DRAFTED_MIN = 2048 # bytes of a body that is likely more than a question
    DEBUG = 10         # logging's levels
    INFO = 20


cdef bytes JSON_FIELD = b"content-type", JSON_TYPE = b"application/json"
cdef bytes CODING_FIELD = b"content-encoding"
cdef bytes SESSION_FIELD = b"x-claude-code-session-id"


cdef class Way:
    """What the express requests of one worker share, where it has to be quick.

    Shape: `lane` offers what `server.express.Lane` does.
    """

    def __cinit__(self, *rest):
        self.young, self.old = set(), set()
        self._targets = {}

    def equip(
        self, Launcher launcher not None, type request not None, clock not None, soon not None
    ) -> None:
        """Say who makes first tries, as what a request is made, and the loop's time and call_soon.

        Order: before the first take().
        """
        self._launcher, self._request = launcher, request
        self._clock, self._soon = clock, soon

    def take(self, link, bytes data not None):
        """Begin a request of which the bytes so far are `data`.

        Shape: an Express to go() with; a number = so many bytes of the body are missing; None =
        it is not for here, and nothing has happened.
        """
        cdef Express express
        cdef Arrived request
        cdef Record record
        cdef dict body
        found = read_request(data)
        if found is None or type(found) is int:
            return found
        target, headers, raw = found
        is_ours = self._targets.get(target)
        if is_ours is None:
            is_ours = self._look_at(target)
        if not is_ours:
            return None
        config = self.settings.current
        if len(raw) > min(self.body_max_bytes, config.max_body_bytes):
            return None
        if self.log.isEnabledFor(DEBUG):
            return None  # each step is told then under the request's id, by its task
        if config.early_start_s < self.least_start_s:
            return None  # its response is to start before the lane's clock could tell
        try:
            request = arrive(self._request, target, headers, link.outlet, link.client)
            if not self._is_plain(request):
                return None
            known = self.drafted(request, config, raw) if len(raw) >= DRAFTED_MIN else None
            draft, found = known if known is not None else (None, self.read(raw, self.judged))
            if type(found) is not dict:
                return None
            body = found
            stream = body.get("stream", False)
            model = body.get("model")
            if type(stream) is not bool or type(model) is not str:
                return None
            if not self.keys.admits(headers):
                self.admit(request, True)
        except GatewayError:
            return None  # a task says so
        record = request.record
        record.request_bytes = len(raw)
        record.model, record.stream = (<str>model)[:NAME_MAX], stream
        self.metrics.begin()
        express = Express.__new__(Express)
        express.lane, express.link, express.request, express.config = self, link, request, config
        express.body, express.size, express._target = body, len(raw), target
        express.draft = draft
        express.message_id = self.new_message_id()
        express.began_at = self._clock()
        return express

    cdef bint _is_plain(self, Arrived request) except -1:
        """Whether the body is JSON as it stands. Raises: UnsupportedMedia."""
        cdef dict headers = request.headers
        if headers.get(JSON_FIELD) == JSON_TYPE and CODING_FIELD not in headers:
            return True
        return request.is_plain()

    cdef object _plan(self, Express express):
        """Plan a request, None where that has to wait for something. Raises: GatewayError."""
        cdef Arrived request = express.request
        plan = None if express.draft is not None else self.simple.plan_of(
            express.body, self.gateway.catalogue, self.ids,
            request.text(SESSION_FIELD), self.gateway.corrections.correct,
        )
        if plan is None:
            plan = self.plan(express)
            express._is_plain = plan is not None and self.is_plain(plan)
            return plan
        express._is_plain = True
        if request.grant is not None:
            request.grant.check_model(plan.requested_model, plan.model.id)
        request.record.kiro_model, request.record.input_tokens = plan.model.id, plan.input_tokens
        return plan

    cdef int _finish(self, Express express) except -1:
        """Count out a request that was answered at the first try."""
        cdef Arrived request = express.request
        cdef Record record = request.record
        cdef double first_s = record.first_token_s
        if self.ledger.recorder is not None or not express.launch.is_landed:
            self.finish(express, 200)
            return 0
        record.tries, record.credential_id = 1, express.launch.ready.sent.id
        self.metrics.finished_ok(
            record, monotonic_s() - request.started_s, first_s - request.started_s if first_s else 0
        )
        if self.tells(INFO):
            self.log_line(request, 200)
        return 0

    cdef bint _look_at(self, bytes target) except -1:
        cdef bint is_ours = self.owns(target)
        if len(self._targets) >= TARGETS_MAX:
            self._targets.clear()
        self._targets[target] = is_ours
        return is_ours

    cdef bytes _head_for(self, object link, str request_id):
        """Return status line and headers of a streamed answer."""
        found = link.server_state.default_headers
        if found is not self._defaults:  # they hold the date: made anew every second
            self._defaults, form = found, link.response_form()
            before, after = form.split(b"%b")
            self._before, self._after = before.replace(b"%%", b"%"), after.replace(b"%%", b"%")
        return self._before + request_id.encode("ascii") + self._after

    cdef bytes _whole(self, Express express):
        """Return the response that holds a whole answer."""
        cdef Arrived request = express.request
        cdef Answer answer = express.answer
        cdef bytes behind, body, response
        found = express.link.server_state.default_headers
        if found is not self._whole_defaults:
            self._take_whole_form(express.link.whole_form())
            self._whole_defaults = found
        behind = self._whole_between + (<str>request.id).encode("ascii") + self._whole_after
        response = answer.whole(self._whole_before, behind)
        if response is None:
            answer.put_last()
            body = self.folded(express, answer._writer.taken())
            response = self._whole_before + b"%d" % len(body) + behind + body
        return response

    cdef int _take_whole_form(self, bytes form) except -1:
        # Its own gaps are the last: a header of the server's may look like one.
        rest, _, after = form.rpartition(b"%b")
        before, _, between = rest.rpartition(b"%d")
        self._whole_before, self._whole_between, self._whole_after = [
            piece.replace(b"%%", b"%") for piece in (before, between, after)
        ]
        return 0


cdef class Express(Owner):
    """One request. Order: go() once."""

    def go(self) -> None:
        """Plan and send, or hand over at once."""
        cdef Launch launch
        try:
            self.plan = self.lane._plan(self)
            if self._is_plain:
                launch = self.launch = self.lane._launcher.launch(self.plan, self.config, self)
                if launch.is_under_way():
                    if launch.connecting is not None:
                        launch.connecting.add_done_callback(self._connected)
                    self.body = self.draft = None  # they have become the plan's
                    self.lane.young.add(self)
                    if not self.lane.is_ticking:
                        self.lane.tick_soon()
                    self.request.outlet.watch(self._left)
                    return
        except Exception:  # the task meets it again, and says what it is
            pass
        self.hand_over()

    def hand_over(self) -> None:
        """Let a task go on from here. More often does no harm."""
        if self._is_over:
            return
        link = self.link
        self._end()
        self.lane.hand_over(self, link)

    @property
    def has_content(self) -> bool:
        """Whether content has come, so that only pings are to be thought of."""
        if self._gatherer is not None:
            return self._gatherer._is_told
        return self._carrier is not None and self._carrier._is_told

    @property
    def head(self) -> bytes:
        """The request's head as the server's parser is to see it: its body is taken already."""
        lines = [b"POST %b HTTP/1.1" % self._target]
        lines += [
            b"%b: %b" % field for field in self.request.headers.items()
            if field[0] != b"content-length"
        ]
        lines += [b"content-length: 0", b"", b""]
        return b"\r\n".join(lines)

    # -- told by Kiro's connection -----------------------------------------------------------

    def _connected(self, connecting) -> None:
        """A connection was opened, or could not be."""
        if connecting.cancelled():
            return
        fault = connecting.exception()  # asked for in any case: nobody else may, and asyncio minds
        if self._is_over:
            return
        if fault is None:
            self.launch.connected(self)
            if self.launch.is_under_way():
                return
        self.hand_over()

    cpdef stirred(self):
        """The head is there, or the answer ended."""
        cdef Line line
        if self._is_over or self._is_leaving:
            return
        line = self.launch.line
        if self.answer is None:
            if self.launch.lands():
                self._carry()
            else:
                self._hand_over_soon()
        elif line.fault is not None or self.answer.is_failed() or self.answer.is_finished():
            self._hand_over_soon()

    cdef int _carry(self) except -1:
        cdef Carrier carrier
        plan = self.plan
        self.answer = answer_to(plan, self.message_id, 0)
        if not plan.stream:
            self._gatherer = Gatherer(self.answer, self)
            return self.launch.attach(self._gatherer)
        self._carrier = carrier = Carrier(self.answer, self.request.outlet, None, self)
        self.launch.attach(carrier)
        carrier.lead(self.lane._head_for(self.link, self.request.id), self.answer.start())
        return 0

    cdef int _hand_over_soon(self) except -1:
        # Not from within: Kiro's connection is in the middle of a read.
        self._is_leaving = True
        self.lane._soon(self.hand_over)
        return 0

    # -- told by the carrier -------------------------------------------------------------------

    cpdef content_came(self):
        self.request.record.first_token_s = monotonic_s()
        cdef Line line = self.launch.line
        if self._carrier is not None and line is not None and line.phase == BODY:
            # A whole answer may be taken back, and asked for again; an ended one is done with it.
            self.plan.forget_body()
            self.launch.forget()

    cpdef came_whole(self):
        cdef Outlet outlet = self.request.outlet
        cdef bytes response
        try:
            if not self._has_ended():
                return
            response = self.lane._whole(self)
        except Exception as bug:
            self.bug = bug
            self._hand_over_soon()
            return
        outlet.put(response, self.lane._clock())
        self.done()

    cpdef bint ends(self) except -1:
        try:
            if not self._has_ended():
                return False
            self.answer.put_last()
            return True
        except Exception as bug:
            self.bug = bug
            self._hand_over_soon()
            return False

    cdef bint _has_ended(self) except -1:
        self.answer.put_end()
        if self.answer.is_failed():
            return False
        self._settle()
        return True

    cdef int _settle(self) except -1:
        """Note how the answer ended, and what is to be learned of it: as `server.relay` does."""
        cdef Answer answer = self.answer
        cdef Record record = self.request.record
        answer.count()
        record.charge(answer.credits)
        record.input_tokens, record.output_tokens = answer.input_tokens, answer.output_tokens
        record.cache_read_tokens = answer.cache_read_input_tokens
        record.stop_reason = answer.stop_reason
        record.cut = answer.stop_reason == "max_tokens" and not answer.is_finished()
        if self.plan.mark or (
            answer.usage_source != "estimate" and self.plan.estimated_tokens >= self.lane.learned_min
        ):
            self.lane.learn(self)
        return 0

    cpdef done(self):
        if self._is_over:
            return  # the client left while the end was written
        link, launch = self.link, self.launch
        self._end()
        try:
            launch.succeeded()
            self.lane._finish(self)
        except Exception:  # the client has its answer; the connection must go on
            self.lane.log.exception("internal error")
        finally:
            link.over()

    # -- told by the client's connection -------------------------------------------------------

    def _left(self) -> None:
        """The client is gone: so is the answer, at once."""
        if self._is_over:
            return
        self._end()
        self.launch.give_up()
        self.lane.left(self, 200 if self.started else 0)

    # -- inside --------------------------------------------------------------------------------

    cdef int _end(self) except -1:
        self._is_over = True
        self.link = None
        self.lane.young.discard(self)
        self.lane.old.discard(self)
        self.request.outlet.watch(None)
        if self._carrier is not None:
            self.started = self._carrier.has_begun
            self._carrier.close()
        if self._gatherer is not None:
            self._gatherer.close()
        self._carrier = self._gatherer = None
        return 0
