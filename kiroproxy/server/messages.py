"""POST /v1/messages: from the client's JSON to Kiro's stream and back, streamed or whole.

Rules of this file: an error has its real status until the response started, and is an
`error` event afterwards; a fault of our own cuts the connection after saying so.

Theory of operation: a streamed answer runs into a `Sink`, a whole one into a `Folding`, and
`Relay` does not know which. `Watch` cancels the task when the client leaves; leaving the
relay's exchange returns the lease and aborts Kiro's connection in whatever phase it was.

Source: ARCHITECTURE.md, the way of a request; BEHAVIOUR.md, streams.
"""

import asyncio
import functools
import logging
import os
import uuid
from dataclasses import replace

from kiroproxy.config import Config
from kiroproxy.errors import GatewayError, InternalError, NotFound
from kiroproxy.protocol.request import Plan, convert
from kiroproxy.protocol.stream import Answer
from kiroproxy.server.attachments import Attachments
from kiroproxy.server.gateway import Gateway
from kiroproxy.server.relay import Folding, Relay, Target
from kiroproxy.server.reply import send_json
from kiroproxy.server.request import ClientGone, Request, Send
from kiroproxy.server.search import SearchRelay
from kiroproxy.server.sink import Sink, Watch

_log = logging.getLogger(__name__)

LOGGED_BODY_BYTES = 16 * 1024  # of a request body, at debug level only


class Draining(GatewayError):
    """The drain time is over; another process, or this one later, will answer."""

    status = 529
    kind = "overloaded_error"


class Messages:
    """The conversation endpoint of one worker."""

    def __init__(self, config: Config, gateway: Gateway) -> None:
        self._config, self._gateway = config, gateway
        self._attachments = Attachments(config)

    def close(self) -> None:
        """Let go of the threads. Order: after the last request."""
        self._attachments.close()

    async def create(self, request: Request, send: Send) -> None:
        """Answer one request."""
        plan = await self._plan(request)
        async with Watch(request) as watch:
            if plan.stream:
                await self._stream(request, plan, send, watch)
            else:
                await self._whole(request, plan, send, watch)

    async def _plan(self, request: Request) -> Plan:
        raw = await request.body(self._config.max_body_bytes, self._config.receive_timeout_s)
        if _log.isEnabledFor(logging.DEBUG):
            shown = raw[:LOGGED_BODY_BYTES].decode("utf-8", "replace")
            _log.debug("request body", extra={"fields": {"bytes": len(raw), "body": shown}})
        try:
            plan = await self._translated(raw, request)
        except NotFound:
            # Right after the start a model may be unknown only because nobody has asked yet.
            if not await self._gateway.first_listing():
                raise
            plan = await self._translated(raw, request)
        if not plan.stream and not self._config.extract_thinking:
            plan = replace(plan, split_tags=False)
        request.record.model = plan.requested_model
        request.record.stream = plan.stream
        request.record.input_tokens = plan.input_tokens
        return plan

    async def _translated(self, raw: bytes, request: Request) -> Plan:
        return await self._attachments.plan(
            raw,
            functools.partial(
                convert,
                catalogue=self._gateway.catalogue,
                ids=lambda: str(uuid.uuid4()),
                session_id=request.text(b"x-claude-code-session-id"),
            ),
        )

    async def _stream(self, request: Request, plan: Plan, send: Send, watch: Watch) -> None:
        answer = Answer(plan, new_message_id())
        sink = Sink(
            send,
            request.id,
            opening=lambda: answer.start(plan.input_tokens),
            ping=answer.ping,
            early_start_s=self._config.early_start_s,
            ping_interval_s=self._config.ping_interval_s,
            outlet=request.outlet,
        )
        relay = self._relay(request, plan, answer, sink)
        sink.arm()
        try:
            last = await self._last_events(relay, sink, watch)
            watch.over = True
            await sink.finish(last)
        finally:
            await sink.close()

    async def _last_events(self, relay: Relay, sink: Sink, watch: Watch) -> bytes:
        """Run the relay; a failure after the start becomes the answer's last event."""
        error: GatewayError
        try:
            return await relay.run()
        except asyncio.CancelledError:
            if watch.gone:
                raise
            error = draining()
        except GatewayError as fault:
            error = fault
        except ClientGone:
            raise
        except Exception:
            await sink.settle()
            if sink.started:  # say so, then cut: the exception makes the server close
                await sink.write(relay.aborted(InternalError("Internal server error")))
            raise
        await sink.settle()
        if not sink.started:
            raise error
        return relay.aborted(error)

    async def _whole(self, request: Request, plan: Plan, send: Send, watch: Watch) -> None:
        answer = Answer(plan, new_message_id())
        folding = Folding(answer.start(plan.input_tokens))
        try:
            last = await self._relay(request, plan, answer, folding).run()
        except asyncio.CancelledError:
            if watch.gone:
                raise
            raise draining() from None
        await folding.write(last)
        watch.over = True
        await send_json(send, request, folding.message())

    def _relay(self, request: Request, plan: Plan, answer: Answer, target: Target) -> Relay:
        kind = Relay if plan.wants_web_search is None else SearchRelay
        return kind(self._config, self._gateway, plan, request.record, request.id, answer, target)


def new_message_id() -> str:
    """Return an id of the shape Anthropic's have."""
    return f"msg_{os.urandom(12).hex()}"


def draining() -> Draining:
    """The server cancelled us: take the cancellation back, there is a farewell to send."""
    task = asyncio.current_task()
    assert task is not None, "runs in the task that was cancelled"
    task.uncancel()
    return Draining("The gateway is shutting down; try again")
