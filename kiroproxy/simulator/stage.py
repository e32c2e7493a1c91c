"""The player: one script's steps, laid out on one connection.

Rules of this file: it decides nothing; it sends what `render` yields, in the writes the script
asks for, and breaks off where the script says.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle
from uuid import uuid4

from kiroproxy.simulator import script as s
from kiroproxy.simulator.connection import Connection
from kiroproxy.simulator.refusals import Refusal
from kiroproxy.simulator.render import Scene, render
from kiroproxy.simulator.request import Request
from kiroproxy.simulator.validation import generation_of

EVENT_STREAM = "application/vnd.amazon.eventstream"


class Performance:
    """Play one script for one request.

    Order: `play()` once. `hold(name)` gives the event that a Hold step waits for.
    """

    def __init__(
        self,
        script: s.Script,
        request: Request,
        connection: Connection,
        hold: Callable[[str], asyncio.Event],
    ) -> None:
        self._script, self._request = script, request
        self._connection, self._hold = connection, hold
        self._sizes = cycle(script.chunk_sizes) if script.chunk_sizes else None
        self._size = next(self._sizes) if self._sizes else 0
        self._pending = bytearray()
        self._left = script.cut_after
        self._scene = Scene(
            model_id=request.model_id,
            conversation_id=str(request.state.get("conversationId", uuid4())),
            turn=len(request.state.get("history", [])),
            rpc=request.is_rpc,
        )

    async def play(self) -> None:
        """Send everything; returns when the answer has its proper end."""
        is_first_frame = True
        for action in render(self._script.steps, self._scene):
            if isinstance(action, bytes):
                if self._script.pace_s and not is_first_frame:
                    await self._flush()
                    await asyncio.sleep(self._script.pace_s)
                is_first_frame = False
                await self._frame(action)
                if self._left == 0 and await self._cut():
                    return
            elif isinstance(action, s.Refuse | s.Plain):
                await self._whole(action)
                return
            else:
                await self._pause(action)
        await self._flush()
        await self._head()
        if self._left == 0 and await self._cut():
            return
        await self._connection.finish()

    async def _head(self) -> None:
        if self._connection.head_sent:
            return
        self._request.status = 200
        kind = "application/x-amz-json-1.0" if self._request.is_rpc else "application/json"
        headers = [
            ("content-type", EVENT_STREAM if self._request.route == "generate" else kind),
            ("x-amzn-requestid", str(uuid4())),
            ("x-amzn-codewhisperer-conversation-id", self._scene.conversation_id),
        ]
        await self._connection.send_head(200, headers)

    async def _frame(self, frame: bytes) -> None:
        await self._head()
        if self._left is not None:
            frame = frame[: self._left]
            self._left -= len(frame)
        if not self._sizes:
            await self._connection.send_body(frame)
            return
        self._pending += frame
        while len(self._pending) >= self._size:
            await self._connection.send_body(bytes(self._pending[: self._size]))
            del self._pending[: self._size]
            self._size = next(self._sizes)

    async def _flush(self) -> None:
        if self._pending:
            await self._connection.send_body(bytes(self._pending))
            self._pending.clear()

    async def _cut(self) -> bool:
        """Break off after `cut_after` bytes; True when the body was ended cleanly instead."""
        await self._flush()
        if self._script.cut == "end":
            await self._connection.finish()
            return True
        await self._drop(self._script.cut)
        return False

    async def _pause(self, action: s.Head | s.Wait | s.Hold | s.Silence | s.Drop) -> None:
        await self._flush()
        match action:
            case s.Head():
                await self._head()
            case s.Wait():
                await asyncio.sleep(action.seconds)
            case s.Hold():
                await self._hold(action.name).wait()
            case s.Silence():
                await asyncio.Event().wait()
            case s.Drop():
                await self._drop(action.how)

    async def _drop(self, how: str) -> None:
        self._request.outcome = "dropped"
        await (self._connection.reset() if how == "reset" else self._connection.close())

    async def _whole(self, action: s.Refuse | s.Plain) -> None:
        if isinstance(action, s.Plain):
            headers = [("content-type", action.content_type), *action.headers.items()]
            await send(
                self._connection, self._request, action.status, headers, action.body.encode()
            )
            return
        refusal = Refusal(
            action.status,
            action.kind,
            action.message,
            action.reason,
            retry_after_s=action.retry_after_s,
            extra=action.extra,
        )
        await send_refusal(self._connection, self._request, refusal)


async def send_refusal(connection: Connection, request: Request, refusal: Refusal) -> None:
    """Answer with an error in Kiro's form."""
    body = refusal.body(generation_of(request.headers))
    await send(connection, request, refusal.status, refusal.headers(), body)


async def send(
    connection: Connection,
    request: Request,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    """Answer with a body of known length."""
    request.status = status
    await connection.send_head(status, headers, len(body))
    await connection.send_body(body)
