"""A request's first try, where nothing need be waited for: credential, token, connection are there.

Rules of this file: it makes the try that `upstream.dispatch` would make, or none; it judges no
answer but the ordinary one, and decides nothing after a failure. A lease that was taken is given
back here, or handed on to an `Exchange`, which goes on from wherever this came to.

Theory of operation. What the first tries of one credential have in common (its head, its profile,
whose connections it may use, until when its token will do) is put together by the dispatcher and
kept as a `Ready` for as long as credential, settings and findings are the same objects.

Source: `upstream.dispatch`, whose rules it shortens.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from kiroproxy._line cimport Limits, Line, Listener
from kiroproxy._wire cimport Consumer

cdef bytes STREAM_TYPE = b"application/vnd.amazon.eventstream"


cdef class Ready:
    """What the first tries of a credential have in common.

    Shape: `head` are a request's lines before and after its invocation id; `arn` is None for a
    credential that names no profile; `is_shaped` = the plan's body is what this door takes.
    Units: until_ms since epoch, when the token has to be looked at again.
    """

    def __cinit__(
        self, credential, sent, config, tuple head, key, arn, bint is_shaped, int64_t until_ms,
    ):
        self.credential, self.sent, self._config = credential, sent, config
        self._before, self._after = head
        self.key, self._arn, self._is_shaped = key, arn, is_shaped
        self._until_ms = until_ms


cdef class Launcher:
    """The first tries of one worker. Shape: `dispatcher` is `upstream.dispatch.Dispatcher`."""

    def __cinit__(self, dispatcher):
        self._dispatcher, self._pool = dispatcher, dispatcher.pool
        self._connections, self._budget = dispatcher.connections, dispatcher.budget
        self._doors, self._profiles = dispatcher.doors, dispatcher.profiles
        self._ids = dispatcher.ids
        self._ready = {}

    cdef Launch launch(self, object plan, object config, Listener listener):
        """Lease a credential and send, or begin to connect in order to.

        Shape: not `is_under_way` where something else has to be waited for; `listener` is told
        whatever happens to the answer, from when it was sent.
        Raises: GatewayError — nobody can be asked.
        """
        cdef Launch launch = Launch.__new__(Launch)
        cdef Ready ready
        launch._launcher = self
        launch.started_ms = now_ms()
        launch.slot, launch.is_probe = self._pool.lease(
            plan.model.id, plan.conversation_id, launch.started_ms
        )
        self._budget.deposit()  # who finds nobody here is counted where the long way asks again
        try:
            ready = self._ready_for(launch.slot.credential, config, launch.started_ms)
            if ready is not None:
                self._prepare(launch, ready, plan, config)
                launch._send(listener)
        except BaseException:
            launch.give_up()
            raise
        return launch

    cdef Ready _ready_for(self, object credential, object config, int64_t at_ms):
        cdef Ready ready = self._ready.get(credential.id)
        if (
            ready is not None and ready.credential is credential and ready._config is config
            and at_ms < ready._until_ms and ready._findings == self._findings()
        ):
            return ready
        found = self._findings()
        ready = self._dispatcher.ready_now(credential, config)
        if ready is not None:
            ready._findings = found
            self._ready[credential.id] = ready
        return ready

    cdef int64_t _findings(self) except -1:
        """Count what was found out about doors and profiles so far."""
        return self._doors.version + self._profiles.version

    cdef int _prepare(self, Launch launch, Ready ready, object plan, object config) except -1:
        cdef bytes body
        launch.ready = ready
        launch.times = config.times_for(plan.model.id) if config.timeouts else config.times
        launch.line = self._connections.take_idle(ready.key)
        if launch.line is None:
            launch.connecting = self._connections.connect(ready.key, launch.times)
        launch.invocation_id = self._ids()
        body = plan.body(ready._arn)
        if not ready._is_shaped:
            body = self._dispatcher.shaped(ready.sent, config, body, plan.conversation_id)
        launch.body = body
        launch.head = b"%b%b%b\r\ncontent-length: %d\r\n\r\n" % (
            ready._before, launch.invocation_id.encode("ascii"), ready._after,
            PyBytes_GET_SIZE(body),
        )
        return 0

    cdef Limits _limits_of(self, object times):
        if times is not self._times:
            self._times, self._limits = times, self._connections.limits_of(times)
        return self._limits


cdef class Launch:
    """One first try. Order: it ends by succeeded(), give_up() or handed_on(), exactly once."""

    cdef bint is_under_way(self) except -1:
        """Say whether its listener will hear of it."""
        return self.connecting is not None or (self.line is not None and self.line.fault is None)

    cdef int connected(self, Listener listener) except -1:
        """Go on when the line is open. Raises: whatever kept it from being opened."""
        connecting, self.connecting = self.connecting, None
        self.line, self.is_fresh = connecting.result(), True
        return self._send(listener)

    cdef int _send(self, Listener listener) except -1:
        cdef Line line = self.line
        if line is not None:
            line.put(self.head, self.body, self._launcher._limits_of(self.times))
            line.listener = listener
        return 0

    cdef bint lands(self) except -1:
        """Say whether the answer is a stream that says itself where it ends, and may be taken."""
        cdef Line line = self.line
        self.is_landed = (
            line.status == 200 and line.keep_alive and line.fault is None
            and line.headers.get(b"content-type") == STREAM_TYPE
        )
        return self.is_landed

    cdef int attach(self, Consumer consumer) except -1:
        self.line.attach(consumer)
        return 0

    cdef int forget(self) except -1:
        """Let go of what was sent: the client has seen content, so nobody sends it again."""
        self.head = self.body = b""
        return 0

    cdef int succeeded(self) except -1:
        """Note that the answer was read to its end, and give everything back."""
        cdef Line line = self.line
        self._launcher._budget.succeeded()
        if self.slot is not None:
            self.slot.succeeded(now_ms())
        if line is not None:
            self.line = None
            line.listener = None
            line.detach()
            self._launcher._connections.release(line)
        return self._give_back()

    cdef int give_up(self) except -1:
        """Abort, and give everything back."""
        cdef Line line = self.line
        connecting, self.connecting = self.connecting, None
        if connecting is not None and not connecting.cancel() and not connecting.cancelled():
            if connecting.exception() is None:  # it has just been opened
                line = connecting.result()
        if line is not None:
            self.line = None
            line.listener = None
            line.detach()
            line.abort()
        return self._give_back()

    def handed_on(self) -> None:
        """Leave lease and line to somebody else."""
        if self.line is not None:
            self.line.listener = None
            self.line.detach()
        self.line = self.connecting = self.slot = None

    cdef int _give_back(self) except -1:
        slot, self.slot = self.slot, None
        if slot is not None:
            slot.ring.release(slot.index, self.is_probe)
        return 0
