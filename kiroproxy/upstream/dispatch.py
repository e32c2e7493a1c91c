"""The tries of one request: which credential, what to send, what a failure leads to.

Rules of this file: at most three tries a credential and nine a request; every try is logged
once, and reported to the pool once unless its cause could be cured; a lease and a connection
never outlive the exchange, in whatever phase it ends. Nothing here looks at Kiro's words
(`faults` does) or at content.

Theory of operation. `open()` loops: mend what the last failure asked for (a new token, a
profile), wait, take a lease, send, judge. A failure is either the request's own (raised at
once), curable on the same credential (token, profile, signature: once each), or a reason to go
on with another credential. Two sets steer the choice: `_spent` will not be asked again for this
request, `_passed` only when nobody else is left.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self, cast

from kiroproxy._launch import Launch, Launcher, Ready
from kiroproxy._plain import fresh_uuid
from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.pool import Lease, Pool
from kiroproxy.config import Config, Source
from kiroproxy.errors import (
    BadFrame,
    EmptyAnswer,
    GatewayError,
    ModelRefused,
    OutputTooLong,
    PromptTooLong,
    ProtocolViolation,
    Refused,
    Retry,
    SignatureRefused,
    TokenRejected,
    UpstreamError,
    WrongDoor,
    WrongProfile,
    forget_frames,
)
from kiroproxy.upstream import endpoint, faults, verdict
from kiroproxy.upstream.budget import RetryBudget
from kiroproxy.upstream.connection import Call, ConnectionPool, Form, Key, Response
from kiroproxy.upstream.doors import Doors
from kiroproxy.upstream.profile import Profiles, ProfileSource

log = logging.getLogger(__name__)

_TRIES_A_CREDENTIAL = 3
_TRIES_A_REQUEST = 9
_BACKOFF_FIRST_S, _BACKOFF_CAP_S, _JITTER = 0.2, 2.0, 0.25
# A longer wait is the client's: it sees 429 or 529 with retry-after instead of a stalled call.
_LONGEST_WAIT_S = 8.0
_GAP = "00000000-0000-0000-0000-000000000000"  # where each request's own id is filled in
_STREAM_TYPE = b"application/vnd.amazon.eventstream"
_ERROR_BODY_BYTES = 64 * 1024  # Kiro's are under 1 KiB


class ModelId(Protocol):
    @property
    def id(self) -> str: ...


class Plan(Protocol):
    """What the request has become; `protocol.request.Plan` is one."""

    @property
    def model(self) -> ModelId: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def context_window(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def conversation_id(self) -> str: ...
    def body(self, profile_arn: str | None) -> bytes: ...
    def without_reasoning(self) -> "Plan | None": ...


class TokenSource(Protocol):
    """Who renews tokens; `refresh.Refresher` does."""

    async def fresh(
        self, credential: Credential, *, force: bool = False, rejected_token: str = ""
    ) -> Credential: ...
    def fresh_until_ms(self, credential: Credential) -> int: ...


@dataclass(slots=True)
class Attempt:
    """One request that was sent, and how it ended."""

    credential_id: int
    endpoint: str
    number: int  # within the request, from 1
    started_ms: int
    status: int = 0  # 0 = no answer
    ended_ms: int = 0  # 0 = it has not
    error: UpstreamError | None = None

    def told(self) -> tuple[int, str, int, int, int, str, str]:
        """Return it as the request log has it; Kiro's own words are not among it."""
        error = self.error
        return (
            *(self.credential_id, self.endpoint, self.started_ms, self.status),
            max(self.ended_ms - self.started_ms, 0),
            *(("", "") if error is None else (type(error).__name__, error.message)),
        )


class Dispatcher:
    """What the exchanges of one worker share.

    Units: clock in ms since epoch. `rng` gives numbers in [0, 1).
    """

    def __init__(
        self,
        config: Source,
        pool: Pool,
        refresher: TokenSource,
        connections: ConnectionPool,
        control: ProfileSource,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ids: Callable[[], str] = fresh_uuid,
    ) -> None:
        self.source = config
        self.pool = pool
        self.refresher = refresher
        self.connections = connections
        self.profiles = Profiles(control)
        self.doors = Doors()
        self.clock = clock
        self.rng = rng
        self.sleep = sleep
        self.ids = ids
        self.budget = RetryBudget()
        self.shaped = endpoint.shaped
        self._forms: dict[int, tuple[Credential, Config, Form]] = {}  # by credential id

    def launcher(self) -> Launcher:
        """Return who makes first tries where nothing has to be awaited."""
        return Launcher(self)

    def exchange(self, plan: Plan, config: Config | None = None) -> "Exchange":
        """Begin the tries of one client request. Shape: `config` is the one it started with."""
        self.budget.deposit()
        return Exchange(self, plan, config or self.source.current)

    def adopted(
        self, launch: Launch, plan: Plan, config: Config, into: list[Attempt]
    ) -> "Exchange":
        """Go on with a request's tries after a first one that was made by a `Launcher`.

        Shape: attempts are noted in `into`.
        """
        exchange = Exchange(self, plan, config)
        exchange.attempts = into
        exchange.adopt(launch)
        return exchange

    async def ready(self, credential: Credential, *, door: str = "") -> Credential:
        """Return a credential as a call sends it now: with its token, its door, its profile.

        Shape: `door` is the generation to go through instead of the one it goes through by now.
        Raises: RefreshFailed, CredentialDead.
        """
        sent = self.doors.applied(await self.refresher.fresh(credential))
        if door:
            sent = replace(sent, endpoint=door)
        sent = self.profiles.applied(sent)
        if endpoint.needs_profile(sent, self.source.current) and await self.profiles.resolve(sent):
            sent = self.profiles.applied(sent)
        return sent

    def ready_now(self, credential: Credential, config: Config) -> Ready | None:
        """Return what `ready` would, in the form of a first try, if nothing need be awaited."""
        until_ms = self.refresher.fresh_until_ms(credential)
        if until_ms <= self.clock():
            return None
        sent = self.profiles.applied(self.doors.applied(credential))
        if endpoint.needs_profile(sent, config):
            return None
        form = self.form(sent, config)
        is_shaped = endpoint.is_shaped(sent, config)
        arn = _arn_of(sent)
        return Ready(credential, sent, config, form.lines, form.key, arn, is_shaped, until_ms)

    def form(self, credential: Credential, config: Config) -> Form:
        """Return the head of a credential's first attempts; made anew when its token is."""
        kept = self._forms.get(credential.id)
        if kept is not None and kept[0] is credential and kept[1] is config:
            return kept[2]
        target = endpoint.generate(credential, config, invocation_id=_GAP)
        form = Form(
            target.method, target.url, target.headers, _GAP.encode("ascii"), credential.proxy
        )
        self._forms[credential.id] = credential, config, form
        return form


class Exchange:
    """One client request's tries, failover and budget.

    Order: `async with`; open() → read the response → succeeded() or failed(); open() again only
    if failed() said so.
    """

    def __init__(self, dispatcher: Dispatcher, plan: Plan, config: Config) -> None:
        self._shared = dispatcher
        self._config = config
        self._times = config.times_for(plan.model.id)
        self._plan = plan
        self.credential: Credential | None = None  # of the latest try
        self._lease: Lease | None = None
        self.attempts: list[Attempt] = []
        self._try: Attempt | None = None
        self._call: Call | None = None  # launched, its answer's head not taken yet
        self._response: Response | None = None
        self._tries = 0
        self._tries_of: defaultdict[int, int] = defaultdict(int)
        self._invocation_ids: dict[int, str] = {}
        self._spent: set[int] = set()
        self._passed: set[int] = set()
        self._door_of: dict[int, str] = {}  # tried instead of a credential's own
        self._cured: set[tuple[int, type[UpstreamError]]] = set()
        self._seen: list[GatewayError] = []
        self._cure: Callable[[], Awaitable[None]] | None = None
        self._wait_s = 0.0
        self._nonsense = 0  # tries whose answer was no stream that makes sense

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(fault, UpstreamError) and self._response is not None:
            self._report(fault)  # it broke after content: no try follows, but it counts
        self.close()

    # -- what the caller sees ----------------------------------------------------------------

    async def open(self) -> Response:
        """Return the next answer that is an event stream, its head read, its body not.

        Raises: GatewayError — what the client should see, when tries are used up.
        """
        if self._response is not None:
            return self._response  # launched and landed already
        while True:
            try:
                await self._mend()
                self._response = await self._send()
                return self._response
            except UpstreamError as error:
                if not self._goes_on(error):
                    raise self.verdict(error) from error

    def adopt(self, launch: Launch) -> None:
        """Go on from a first try that was made without us, from wherever it came to.

        Order: before open(), and after `attempts` is set.
        """
        slot, line = launch.slot, launch.line
        self._lease = Lease(slot, launch.is_probe)
        if launch.ready is not None:
            credential = launch.ready.sent
            attempt = self._count_try(credential, launch.started_ms)
            self._invocation_ids[credential.id] = launch.invocation_id
            if launch.is_landed and line is not None:
                self._response = self._shared.connections.landed(line)
                attempt.status = line.status
            else:
                key = cast("Key", launch.ready.key)
                sent = launch.head, launch.body, launch.times
                self._call = Call(key, *sent, line, launch.connecting)
                self._call.is_fresh = launch.is_fresh
        launch.handed_on()

    def failed(self, error: UpstreamError) -> bool:
        """Note that the opened answer failed before any content; True = open() again."""
        return self._goes_on(error)

    def verdict(self, error: UpstreamError) -> GatewayError:
        """Return what the client should see of a failure that no try follows."""
        if isinstance(error, PromptTooLong):
            return faults.with_numbers(error, self._plan.input_tokens, self._plan.context_window)
        if isinstance(error, OutputTooLong):
            plan = self._plan
            return faults.with_room(error, plan.input_tokens, plan.max_tokens, plan.context_window)
        if isinstance(error, Refused) and not isinstance(error, ModelRefused):
            return error
        return verdict.best([*self._seen, error])

    @property
    def tries(self) -> int:
        """How often Kiro was asked so far."""
        return self._tries

    def succeeded(self) -> None:
        """Note that the answer was read to its end."""
        self._report(None)
        self._shared.budget.succeeded()
        self._let_go()

    def close(self) -> None:
        """Return the lease and abort what is still open; in every phase, more than once."""
        self._log("abandoned", None)
        self._let_go()

    # -- one try -----------------------------------------------------------------------------

    async def _mend(self) -> None:
        """Wait, then do what the last failure asked for."""
        wait_s, self._wait_s = self._wait_s, 0.0
        if wait_s:
            await self._shared.sleep(wait_s)
        cure, self._cure = self._cure, None
        if cure is not None:
            await cure()

    async def _send(self) -> Response:
        shared = self._shared
        if self._call is None:
            self._lease = self._lease or self._acquire()
            credential = self._lease.credential
            self._count_try(credential, shared.clock())
            door = self._door_of.get(credential.id, "")
            fresh = await shared.ready(credential, door=door)
            self._call = self._call_for(credential, fresh)
            shared.connections.launch(self._call)
        call, self._call = self._call, None
        response = await shared.connections.answer(call)
        assert self._try is not None, "counted"
        self._try.status = response.status
        if _is_stream(response):
            if self._lease and self.credential and self.credential.id in self._door_of:
                shared.doors.keep(self._lease.credential.endpoint, self.credential)
            return response
        raise await _fault_of(response)

    def _count_try(self, credential: Credential, now_ms: int) -> Attempt:
        self._tries += 1
        self._tries_of[credential.id] += 1
        attempt = Attempt(credential.id, credential.endpoint, self._tries, now_ms)
        self._try = attempt
        self.attempts.append(attempt)
        self.credential = credential
        return attempt

    def _call_for(self, credential: Credential, fresh: Credential) -> Call:
        """Put the request together as one attempt of a credential."""
        shared = self._shared
        self.credential = fresh
        if self._try is not None:
            self._try.endpoint = fresh.endpoint
        # One id for a call's attempts, another for another account: it must not tie them.
        invocation_id = self._invocation_ids.get(credential.id)
        if invocation_id is None:
            invocation_id = self._invocation_ids[credential.id] = shared.ids()
        body = self._plan.body(_arn_of(fresh))
        body = endpoint.shaped(fresh, self._config, body, self._plan.conversation_id)
        attempt = self._tries_of[credential.id]
        if attempt == 1:
            form = shared.form(fresh, self._config)
            head = form.head(invocation_id.encode("ascii"), len(body))
            return Call(form.key, head, body, self._times)
        target = endpoint.generate(
            fresh, self._config, invocation_id=invocation_id, attempt=attempt
        )
        return Call.of(target.method, target.url, target.headers, body, fresh.proxy, self._times)

    def _acquire(self) -> Lease:
        """Take a credential that this request has not passed by, else one it may ask again."""
        if not (self._spent or self._passed):
            return self._choose(self._spent)
        try:
            return self._choose(self._spent | self._passed)
        except GatewayError:
            self._passed.clear()
        return self._choose(self._spent)

    def _choose(self, exclude: set[int]) -> Lease:
        return self._shared.pool.acquire(
            model_id=self._plan.model.id,
            conversation=self._plan.conversation_id,
            exclude=exclude,
            now_ms=self._shared.clock(),
        )

    # -- what a failure leads to -------------------------------------------------------------

    def _goes_on(self, error: UpstreamError) -> bool:
        """Note a failure and prepare the next try; False = there must be none."""
        forget_frames(error)
        if self._lease is None:
            return False  # nobody could be asked in the first place
        self._seen.append(error)
        if self._tries < _TRIES_A_REQUEST and self._is_curable(error):
            self._log("cured", error)
            self._drop_response()
            return True
        credential_id = self._lease.credential.id
        if isinstance(error, ModelRefused):
            error.model_id = self._plan.model.id
            error.message = f"model: {error.model_id}: {error.message}"
        self._report(error)
        self._let_go()
        if self._is_final(error):
            return False
        self._passed.add(credential_id)
        if verdict.condemns(error) or self._tries_of[credential_id] >= _TRIES_A_CREDENTIAL:
            self._spent.add(credential_id)
        if self._tries >= _TRIES_A_REQUEST or self._is_hopeless(error):
            return False
        # A condemned credential's wait concerns it alone; nobody else's is longer than ours.
        is_patient = verdict.condemns(error) or (error.retry_after_s or 0) <= _LONGEST_WAIT_S
        if not verdict.condemns(error):
            if not self._shared.budget.withdraw():
                return False
            self._wait_s = self._backoff(error, is_patient)
        try:  # now: nobody should wait in order to learn of nobody
            self._lease = (
                self._acquire() if is_patient else self._choose(self._spent | self._passed)
            )
        except GatewayError as nobody:
            forget_frames(nobody)
            self._seen.append(nobody)
            return False
        return True

    def _is_curable(self, error: UpstreamError) -> bool:
        """Arrange for what may make the same credential answer; once for each kind of error."""
        assert self._lease is not None
        credential = self.credential or self._lease.credential
        mark = (credential.id, type(error))
        if self._tries_of[credential.id] >= _TRIES_A_CREDENTIAL:
            return False
        if mark in self._cured:
            return self._has_another_door(credential, error)
        if isinstance(error, SignatureRefused):
            plan = self._plan.without_reasoning()
            if plan is None:
                return False
            self._plan = plan
        elif isinstance(error, TokenRejected) and credential.auth_method != "api_key":
            self._cure = lambda: self._renew(credential.access_token)
        elif isinstance(error, WrongProfile) and credential.auth_method != "api_key":
            self._cure = lambda: self._find_profile(credential, error)
        else:
            return self._has_another_door(credential, error)
        self._cured.add(mark)
        return True

    def _has_another_door(self, credential: Credential, error: UpstreamError) -> bool:
        """Choose another generation where a refusal may mean that this is the wrong one; once."""
        if credential.id in self._door_of or not isinstance(
            error, (TokenRejected, WrongDoor, WrongProfile)
        ):
            return False
        door = self._shared.doors.guess(
            credential, self._config, without_arn=isinstance(error, WrongProfile)
        )
        if door:
            self._door_of[credential.id] = door
        return bool(door)

    async def _renew(self, rejected_token: str) -> None:
        assert self._lease is not None
        # The lease's values: another request may have renewed the token in the meantime.
        await self._shared.refresher.fresh(
            self._lease.credential, force=True, rejected_token=rejected_token
        )

    async def _find_profile(self, credential: Credential, error: WrongProfile) -> None:
        if not await self._shared.profiles.resolve(credential):
            raise error

    def _is_final(self, error: UpstreamError) -> bool:
        """Whether the request itself is to blame; the plan of the account is not the request."""
        if not isinstance(error, Refused) or isinstance(error, ModelRefused):
            return False
        return not self._is_doubtful(error)

    def _is_doubtful(self, error: Refused) -> bool:
        """Whether a 400 is one of those that get a second chance, and has not had it."""
        mark = (0, Refused)
        if error.retry is not Retry.SAME or isinstance(error, SignatureRefused):
            return False
        is_first = mark not in self._cured
        self._cured.add(mark)
        return is_first

    def _is_hopeless(self, error: UpstreamError) -> bool:
        """Whether a stream that made no sense has made none often enough: it may be the request."""
        self._nonsense += isinstance(error, (BadFrame, ProtocolViolation, EmptyAnswer))
        return self._nonsense >= _TRIES_A_CREDENTIAL

    def _backoff(self, error: UpstreamError, is_patient: bool) -> float:
        """Return how long to wait; who cannot wait as long as told asks somebody else soon."""
        grown_s = min(_BACKOFF_FIRST_S * 2.0 ** (self._tries - 1), _BACKOFF_CAP_S)
        jittered_s = grown_s * (1 + _JITTER * (2 * self._shared.rng() - 1))
        return max(jittered_s, (error.retry_after_s or 0.0) if is_patient else 0.0)

    # -- bookkeeping -------------------------------------------------------------------------

    def _report(self, error: UpstreamError | None) -> None:
        self._log("answered" if error is None else "failed", error)
        if self._lease is not None:
            self._shared.pool.report(self._lease, error, self._shared.clock())

    def _let_go(self) -> None:
        self._drop_response()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    def _drop_response(self) -> None:
        response, self._response = self._response, None
        call, self._call = self._call, None
        if response is not None:
            response.close()
        elif call is not None:
            call.abort()

    def _log(self, outcome: str, error: UpstreamError | None) -> None:
        attempt, self._try = self._try, None
        if attempt is None:
            return
        attempt.ended_ms, attempt.error = self._shared.clock(), error
        level = logging.WARNING
        if error is None:  # a first try that went well has nothing to add to the request's own line
            level = logging.INFO if attempt.number > 1 else logging.DEBUG
        if not log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "credential": attempt.credential_id,
            "try": attempt.number,
            "status": attempt.status,
            "outcome": outcome,
            "ms": attempt.ended_ms - attempt.started_ms,
        }
        if error is not None:
            fields["error"] = type(error).__name__
            fields["detail"] = error.detail
        log.log(level, "upstream try", extra={"fields": fields})


def _arn_of(credential: Credential) -> str | None:
    """Return the profile that a conversation names; keys name none, ever."""
    return (credential.profile_arn or None) if credential.auth_method != "api_key" else None


def _is_stream(response: Response) -> bool:
    kind = response.headers.get(b"content-type", b"")
    if kind == _STREAM_TYPE:
        return response.status == 200
    kind = kind.lower()
    return response.status == 200 and not any(word in kind for word in (b"json", b"html", b"xml"))


async def _fault_of(response: Response) -> UpstreamError:
    """Read an answer that is no stream and say what it means."""
    try:
        body = await response.read(_ERROR_BODY_BYTES)
    except ProtocolViolation:
        body = b""
    finally:
        response.close()
    return faults.classify(response.status, response.headers, body)
