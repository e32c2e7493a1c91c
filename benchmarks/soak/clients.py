"""Clients that ask and leave: at the end, or anywhere before, politely or not.

Rules of this file: a client never stays longer than MOST_S; whatever happens to it is a word in
the count, never an exception. Loopback only.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.soak.asks import Ask, ask

MOST_S = 25.0  # above every time limit of the gateway's in a soak
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST

# How a client leaves → how many of a hundred do.
MANNERS = {
    "stays": 30,
    "asks again": 10,  # on the same connection, then leaves
    "in the upload": 6,
    "before the head": 16,
    "mid-stream": 22,
    "reads slowly": 6,
    "never reads": 4,
    "half-closes": 6,
}


@dataclass(slots=True)
class Crowd:
    """All clients of a soak, and what became of them."""

    port: int
    keys: tuple[str, ...]
    seed: int = 1
    came: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    present: set[asyncio.Task[None]] = field(default_factory=set)

    async def gather(self, seconds: float, rate: float, most: int) -> None:
        """Let clients come, `rate` a second and never more than `most` at once."""
        loop, chance = asyncio.get_running_loop(), random.Random(self.seed)
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, chance.expovariate(rate)))
            if len(self.present) < most:
                self.admit(ask(chance), _manner(chance), random.Random(chance.random()))

    def admit(self, asked: Ask, manner: str, chance: random.Random) -> None:
        """Let one in."""
        task = asyncio.ensure_future(self._visit(asked, manner, chance))
        self.present.add(task)
        task.add_done_callback(self.present.discard)

    async def gone(self) -> None:
        """Wait until the last has left; MOST_S bounds it."""
        while self.present:
            await asyncio.wait(self.present)

    async def _visit(self, asked: Ask, manner: str, chance: random.Random) -> None:
        self.came[manner] += 1
        self.kinds[asked.kind] += 1
        small = manner in ("reads slowly", "never reads")
        visit = _Visit(self, asked, chance, _socket(small))
        try:
            async with asyncio.timeout(MOST_S):
                await visit.run(manner)
        except TimeoutError:
            self.answers["left for the time"] += 1
        except (OSError, EOFError, asyncio.LimitOverrunError) as fault:
            self.answers[type(fault).__name__] += 1
        finally:
            visit.leave(chance.random() < 0.5)

    def judge(self, asked: Ask, status: int, body: bytes) -> None:
        """Count a whole answer; note one that has no end."""
        self.answers[str(status)] += 1
        if status == 200 and b'"stream": true' in asked.body and asked.path.endswith("/messages"):
            tail = body[-2000:]
            if b"event: message_stop" not in tail and b"event: error" not in tail:
                self.wrong.append(f"{asked.kind}: a stream without an end: {tail[-200:]!r}")
        if status == 500:
            self.wrong.append(f"{asked.kind}: 500: {body[:200]!r}")


class _Visit:
    """One client on its one connection."""

    def __init__(
        self, crowd: Crowd, asked: Ask, chance: random.Random, sock: socket.socket
    ) -> None:
        self._crowd, self._asked, self._chance, self._socket = crowd, asked, chance, sock
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, manner: str) -> None:
        loop, chance = asyncio.get_running_loop(), self._chance
        await loop.sock_connect(self._socket, ("127.0.0.1", self._crowd.port))
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=4096)
        request = self._request()
        if manner == "in the upload":
            self._writer.write(request[: chance.randrange(len(request))])
            await asyncio.sleep(chance.random())
            return
        self._writer.write(request)
        match manner:
            case "stays":
                await self._whole(reader)
            case "asks again":
                for _ in range(chance.randrange(2, 4)):
                    await self._whole(reader)
                    self._asked = ask(chance)
                    self._writer.write(self._request())
            case "half-closes":
                self._writer.write_eof()
                await self._whole(reader)
            case "before the head":
                await asyncio.sleep(chance.random() * 0.3)
            case "never reads":
                await asyncio.sleep(chance.random() * 10)
            case "mid-stream":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.random() * 3):
                        await reader.readexactly(chance.randrange(1, 20_000))
            case "reads slowly":
                for _ in range(chance.randrange(10, 60)):
                    if not await reader.read(2048):
                        break
                    await asyncio.sleep(0.2)

    def _request(self) -> bytes:
        asked = self._asked
        head = (
            f"{asked.method} {asked.path} HTTP/1.1\r\nhost: soak\r\n"
            f"x-api-key: {self._chance.choice(self._crowd.keys)}\r\n"
            "content-type: application/json\r\nanthropic-version: 2023-06-01\r\n"
            f"content-length: {len(asked.body)}\r\n\r\n"
        )
        return head.encode() + asked.body

    async def _whole(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, headers = int(head[9:12]), head.lower()
        if b"transfer-encoding: chunked" in headers:
            body = await _chunked(reader)
        else:
            length = headers.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
        self._crowd.judge(self._asked, status, body)

    def leave(self, rudely: bool) -> None:
        if rudely:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if self._writer is None:
            self._socket.close()
        else:  # what was not sent yet never will be
            self._writer.transport.abort()


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body; keep its end only, which is what is judged."""
    kept = b""
    while size := int(await reader.readline() or b"0", 16):
        kept = (kept + await reader.readexactly(size))[-4000:]
        await reader.readexactly(2)
    await reader.readexactly(2)
    return kept


def _socket(small: bool) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    if small:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


def _manner(chance: random.Random) -> str:
    return chance.choices(list(MANNERS), list(MANNERS.values()))[0]
