"""POST /v1/messages: from the client's JSON to Kiro's stream and back, streamed or whole.

Rules of this file: an error has its real status until the response started, and is an
`error` event afterwards; a fault of our own cuts the connection after saying so.

Theory of operation: a streamed answer runs into a `Sink`, a whole one into a `Folding`, and
`Relay` does not know which. `Watch` cancels the task when the client leaves; leaving the
relay's exchange returns the lease and aborts Kiro's connection in whatever phase it was. Both
watch and sink begin when the body is there: fetching an attachment may take as long as Kiro.
A request that `express` began comes here with its `Work` as far as it got.

Source: ARCHITECTURE.md, the way of a request; BEHAVIOUR.md, streams.
"""

import asyncio
import functools
import logging
import reprlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from kiroproxy._answer import Answer
from kiroproxy._plain import fresh_id
from kiroproxy.config import Config
from kiroproxy.errors import GatewayError, InternalError, NotFound, forget_frames
from kiroproxy.protocol import ordinary, simple
from kiroproxy.protocol.request import Plan, convert
from kiroproxy.protocol.searching import continued
from kiroproxy.protocol.sources import media
from kiroproxy.protocol.stream import PING, farewell, opening
from kiroproxy.server.attachments import LARGE_BODY_BYTES, Attachments, aside, read
from kiroproxy.server.checked import CheckedRelay
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.relay import Folding, Relay, Target
from kiroproxy.server.reply import send_json
from kiroproxy.server.request import ClientGone, Request, Send
from kiroproxy.server.search import CheckedSearchingRelay, SearchingRelay, SearchRelay
from kiroproxy.server.sink import Sink, Watch
from kiroproxy.upstream.dispatch import Exchange

_log = logging.getLogger(__name__)

BYTES_A_TOKEN = 4  # for the answer that must start before its request was counted
LOGGED_NAME_CHARS = 200
LOGGED_BODY_BYTES = 16 * 1024  # of a request body, at debug level only


class Draining(GatewayError):
    """The drain time is over; another process, or this one later, will answer."""

    status = 529
    kind = "overloaded_error"


class Planned(Protocol):
    """What planning reads of a request; `Work` and `_express.Express` are such."""

    @property
    def request(self) -> Request: ...
    @property
    def body(self) -> dict[str, Any]: ...
    @property
    def config(self) -> Config: ...
    @property
    def draft(self) -> Plan | None: ...


class Messages:
    """The conversation endpoint of one worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._attachments = Attachments(gateway.settings)

    def close(self) -> None:
        """Let go of the threads. Order: after the last request."""
        self._attachments.close()

    async def create(self, request: Request, send: Send) -> None:
        """Answer one request, under the settings of its beginning."""
        config = self._gateway.config
        raw: bytes | bytearray = b""
        if request.work is None:
            raw = await request.body(config.max_body_bytes, config.receive_timeout_s)
        if _log.isEnabledFor(logging.DEBUG):
            shown = raw[:LOGGED_BODY_BYTES].decode("utf-8", "replace")
            _log.debug("request body", extra={"fields": {"bytes": len(raw), "body": shown}})
        async with Watch(request) as watch:
            work = request.work
            if work is None:
                work = await self._begun(request, config, raw)
                request.record.model = _model_in(work.body)
                request.record.stream = work.body.get("stream") is True
            work.watch = watch
            del raw  # it may be 32 MB, and nobody reads it again
            try:
                if request.record.stream:
                    await self._stream(work, send)
                else:
                    await self._whole(work, send)
            finally:
                work.close()

    async def _begun(self, request: Request, config: Config, raw: bytes | bytearray) -> "Work":
        """Read a body; one that is an ordinary conversation is planned on the way."""
        quickly = functools.partial(self.drafted, request, config, raw)
        known = await aside(len(raw) > LARGE_BODY_BYTES, quickly)
        if known is None:
            return Work(request, config, await read(raw), len(raw))
        draft, body = known
        work = Work(request, config, body, len(raw))
        work.draft = draft
        return work

    def drafted(
        self, request: Request, config: Config, raw: bytes | bytearray
    ) -> tuple[Plan, dict[str, Any]] | None:
        """Plan an ordinary conversation, None if it is another.

        Shape: the plan, not accepted yet, and the body's members but messages and tools.
        """
        known = ordinary.plan(raw, **self._terms(request))
        return None if known is None else (_shown_as_asked(known[0], config), known[1])

    def plan_now(self, work: "Planned") -> Plan | None:
        """Plan a small request that needs no waiting, None otherwise. Raises: GatewayError."""
        if work.draft is not None:
            return self._accepted(work, work.draft)
        session_id = work.request.text(b"x-claude-code-session-id")
        plan = simple.plan(
            work.body,
            self._gateway.catalogue,
            new_id,
            session_id,
            self._gateway.corrections.correct,
        )
        if plan is None:
            if next(media(work.body), None) is not None:
                return None  # they may have to be fetched or scaled
            plan = self._converter(work)(work.body)
            if not plan.stream and not work.config.extract_thinking:
                plan = replace(plan, split_tags=False)
        return self._accepted(work, plan)

    async def _plan(self, work: "Work") -> Plan:
        if work.plan is not None:
            return work.plan
        if work.draft is not None:
            return self._accepted(work, work.draft)
        try:
            plan = await self._translated(work, work.body)
        except NotFound:
            # Right after the start a model may be unknown only because nobody has asked yet.
            if not await self._gateway.first_listing():
                raise
            plan = await self._translated(work, work.body)
        return self._accepted(work, plan)

    def _accepted(self, work: "Planned", plan: Plan) -> Plan:
        """Note what was planned. Raises: Forbidden — the key may not use the model."""
        request = work.request
        if request.grant is not None:
            request.grant.check_model(plan.requested_model, plan.model.id)
        request.record.kiro_model = plan.model.id
        request.record.input_tokens = plan.input_tokens
        return plan

    async def _more(self, work: "Work", blocks: list[dict[str, Any]], max_tokens: int) -> Plan:
        """Plan the call that goes on behind what was said and found so far."""
        return await self._translated(work, continued(work.body, blocks, max_tokens))

    def _converter(self, work: "Planned") -> Callable[[dict[str, Any]], Plan]:
        return functools.partial(convert, **self._terms(work.request))

    def _terms(self, request: Request) -> dict[str, Any]:
        """Return what a translation is made with."""
        return {
            "catalogue": self._gateway.catalogue,
            "ids": new_id,
            "session_id": request.text(b"x-claude-code-session-id"),
            "correct": self._gateway.corrections.correct,
            "cut_calls": self._gateway.cuts.of,
        }

    async def _translated(self, work: "Work", body: dict[str, Any]) -> Plan:
        plan = await self._attachments.plan(body, work.size, self._converter(work))
        return _shown_as_asked(plan, work.config)

    async def _stream(self, work: "Work", send: Send) -> None:
        sink = Sink(
            send,
            work.request.id,
            opening=work.opening,
            ping=lambda: PING,
            early_start_s=work.config.early_start_s,
            ping_interval_s=work.config.ping_interval_s,
            outlet=work.request.outlet,
        )
        sink.arm(work.began_at, started=work.started)
        try:
            last = await self._last_events(work, sink)
            work.watch.over = True
            await sink.finish(last)
        finally:
            await sink.close()

    async def _last_events(self, work: "Work", sink: Sink) -> bytes:
        """Do the work; a failure after the start becomes the answer's last event."""
        error: GatewayError
        try:
            if work.bug is not None:
                raise work.bug
            return await self._begin(work, await self._plan(work), sink).run()
        except asyncio.CancelledError:
            if work.watch.gone:
                raise
            error = draining()
        except GatewayError as fault:
            error = fault
        except ClientGone:
            raise
        except Exception:
            await sink.settle()
            if sink.started:  # say so, then cut: the exception makes the server close
                await sink.write(work.aborted(InternalError("Internal server error")))
            raise
        forget_frames(error)
        await sink.settle()
        if not sink.started:
            raise error
        return work.aborted(error)

    async def _whole(self, work: "Work", send: Send) -> None:
        if work.bug is not None:
            raise work.bug
        try:
            plan = await self._plan(work)
            folding = Folding(work.opening())
            last = await self._begin(work, plan, folding).run()
        except asyncio.CancelledError:
            if work.watch.gone:
                raise
            raise draining() from None
        await folding.write(last)
        work.watch.over = True
        await send_json(send, work.request, folding.message())

    def _begin(self, work: "Work", plan: Plan, target: Target) -> Relay:
        """Return what will answer the planned request."""
        request, answer = work.request, work.answer or Answer(plan, work.message_id)
        parts = work.config, self._gateway, plan, request.record, request.id, answer, target
        if plan.wants_web_search is not None:
            work.relay = SearchRelay(*parts)
        elif plan.search is not None:
            searching = SearchingRelay if plan.demand is None else CheckedSearchingRelay
            work.relay = searching(*parts, more=functools.partial(self._more, work))
        else:
            work.relay = (Relay if plan.demand is None else CheckedRelay)(*parts)
            work.body = {}  # it has become the plan's, and may be large
        if work.exchange is not None:
            work.relay.exchange, work.relay.began_at = work.exchange, work.began_at
        return work.relay


class Work:
    """A request from the moment it was accepted, planned or not.

    Units: `size` is that of the body as it was sent, in bytes; began_at in the loop's seconds.
    """

    __slots__ = (
        *("answer", "began_at", "body", "bug", "config", "draft", "exchange", "message_id"),
        *("plan", "relay", "request", "size", "started", "watch"),
    )

    def __init__(self, request: Request, config: Config, body: dict[str, Any], size: int) -> None:
        self.config = config
        self.request, self.body, self.size = request, body, size
        self.watch: Watch  # while a task serves it
        self.message_id = new_message_id()
        self.draft: Plan | None = None  # of a body that was read and translated in one
        self.relay: Relay | None = None  # once it is planned
        self.began_at = asyncio.get_running_loop().time()
        # How far it came without a task.
        self.plan: Plan | None = None
        self.exchange: Exchange | None = None
        self.answer: Answer | None = None
        self.started = False  # the client has the response's beginning
        self.bug: Exception | None = None  # of ours, to be told and logged

    def close(self) -> None:
        """Let go of what began without a task, should no task have taken it over.

        Cost: what refers back is let go of too, so that none of it has to wait for the collector.
        """
        if self.exchange is not None:
            self.exchange.close()
        self.relay = self.request.work = None

    def opening(self) -> bytes:
        """Return the events every answer begins with: with the best count there is by now."""
        record = self.request.record
        return opening(
            self.message_id, record.model, record.input_tokens or self.size // BYTES_A_TOKEN
        )

    def aborted(self, error: GatewayError) -> bytes:
        """Note the error and return the events that tell it."""
        if self.relay is not None:
            return self.relay.aborted(error)
        self.request.record.note(error)
        return farewell(error.kind, error.message, self.request.id)


def _model_in(body: dict[str, Any]) -> str:
    """Return the model a body asks for as the log shows it, whatever it is, and however deep."""
    name = body.get("model", "")
    return (name if isinstance(name, str) else reprlib.repr(name))[:LOGGED_NAME_CHARS]


def _shown_as_asked(plan: Plan, config: Config) -> Plan:
    """Leave thinking tags where they stand in a whole answer, unless they shall be taken out."""
    if plan.split_tags and not plan.stream and not config.extract_thinking:
        return replace(plan, split_tags=False)
    return plan


def is_plain(plan: Plan) -> bool:
    """Whether one call to Kiro, passed on as it comes, is the answer: no search, no check."""
    return plan.wants_web_search is None and plan.search is None and plan.demand is None


def new_id() -> str:
    """Return a UUID for a conversation that has no name."""
    return str(uuid.uuid4())


def new_message_id() -> str:
    """Return an id of the shape Anthropic's have."""
    return fresh_id("msg_")


def draining() -> Draining:
    """The server cancelled us: take the cancellation back, there is a farewell to send."""
    task = asyncio.current_task()
    assert task is not None, "runs in the task that was cancelled"
    task.uncancel()
    return Draining("The gateway is shutting down; try again")
