"""A request's images and documents made ready for the translation: fetched, checked, scaled.

Rules of this file: the translation is pure and quick, so whatever needs the network or real work
on a picture happens here, before it, and never on the event loop. Only what does not fit is
touched; a body without attachments passes straight through.

Theory of operation. Clients send the whole conversation with every turn, the same pictures with
it: what was scaled or fetched is remembered for a while, up to a size. Pictures are scaled by one
thread, one at a time, since the largest takes 320 MB while it is worked on. A large body is read
and translated in a thread too: 20 MB of it would stop every stream of this process. Whatever walks
over the whole of it there lets go of the interpreter (`_json`, `_base64`, Pillow).

Source: ARCHITECTURE.md, the way of a request; Anthropic's limits for images and documents.
"""

import asyncio
import hashlib
import time
from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kiroproxy.config import Source
from kiroproxy.errors import RequestError
from kiroproxy.protocol import pictures
from kiroproxy.protocol.attachments import MAX_DOCUMENT_BYTES
from kiroproxy.protocol.request import Plan, parse_body
from kiroproxy.protocol.sources import (
    DOCUMENT_TYPES,
    IMAGE_TYPES,
    Medium,
    document_format,
    image_format,
    inline,
    media,
    sniffed_image,
)
from kiroproxy.upstream.fetch import Fetched, Fetcher, Unfetchable

# Below it, handing the work to a thread costs more than the work.
LARGE_BODY_BYTES = 1024 * 1024
MAX_DOWNLOADS = 20  # of one request
PARALLEL_DOWNLOADS = 4
MAX_IMAGE_BYTES = 20 * 1024 * 1024
REMEMBERED_CHARS = 32 * 1024 * 1024  # of each kind; about ten scaled pictures
REMEMBERED_S = 300.0  # a downloaded file may change where it lies

_MEDIA_TYPES = {kind: name for name, kind in (DOCUMENT_TYPES | IMAGE_TYPES).items()}
_UNKNOWN_TYPES = ("", "application/octet-stream", "binary/octet-stream")
T = TypeVar("T")


class _Memory:
    """(media type, base64) by key, the least recently used forgotten first."""

    def __init__(self, limit_chars: int, keep_s: float) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, tuple[str, str]]] = OrderedDict()
        self._limit, self._left, self._keep_s = limit_chars, limit_chars, keep_s

    def get(self, key: Hashable) -> tuple[str, str] | None:
        found = self._kept.get(key)
        if found is None or time.monotonic() - found[0] > self._keep_s:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: Hashable, value: tuple[str, str]) -> None:
        self._forget(key)
        if len(value[1]) > self._limit:
            return
        self._kept[key] = time.monotonic(), value
        self._left -= len(value[1])
        while self._left < 0:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        if key in self._kept:
            self._left += len(self._kept.pop(key)[1][1])


class Attachments:
    """What prepares the requests of one worker. Order: `close()` at the end."""

    def __init__(self, config: Source, fetcher: Fetcher | None = None) -> None:
        self._source = config
        self._fetcher = fetcher or Fetcher(config)
        self._downloaded = _Memory(REMEMBERED_CHARS, REMEMBERED_S)
        self._scaled = _Memory(REMEMBERED_CHARS, float("inf"))  # touched by the one thread only
        self._painter = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def close(self) -> None:
        """Let the thread end; what it works on is finished first."""
        self._painter.shutdown(wait=False, cancel_futures=True)

    async def plan(
        self, body: dict[str, Any], size: int, convert: Callable[[dict[str, Any]], Plan]
    ) -> Plan:
        """Make a body's attachments ready, in place, and translate it.

        Units: `size` is that of the body as it was sent, in bytes.
        Raises: RequestError — with the path of the block that cannot be shown to a model.
        """
        found = list(media(body))
        if found:
            await self._download([medium for medium in found if medium.url])
            images = [medium for medium in found if medium.kind == "image"]
            unfit = await aside(size > LARGE_BODY_BYTES, lambda: _unfit(images))
            for medium, data, edge in unfit:
                medium.put(*await self._scaled_down(medium, data, edge))
        return await aside(size > LARGE_BODY_BYTES or bool(found), lambda: convert(body))

    # -- by URL --------------------------------------------------------------------------

    async def _download(self, wanted: list[Medium]) -> None:
        config = self._source.current
        if not wanted or not config.allow_url_fetch:
            return  # the translation refuses what was not fetched
        if len(wanted) > MAX_DOWNLOADS:
            raise RequestError(
                f"{wanted[MAX_DOWNLOADS].path}.url: at most {MAX_DOWNLOADS} URLs can be fetched "
                "for one request"
            )
        gate = asyncio.Semaphore(PARALLEL_DOWNLOADS)
        left = config.max_body_bytes  # a body by URL is still a body

        async def one(medium: Medium, fetcher: Fetcher) -> None:
            nonlocal left
            async with gate:
                if left < 0:
                    raise RequestError(
                        f"{medium.path}.url: The files of the request exceed the maximum of "
                        f"{config.max_body_bytes} bytes together"
                    )
                media_type, data = await self._fetched(medium, fetcher)
                left -= len(data)
                medium.put(media_type, data)

        tasks = (one(medium, self._fetcher) for medium in wanted)
        faults = await asyncio.gather(*tasks, return_exceptions=True)
        for fault in faults:
            if fault is not None:
                raise fault

    async def _fetched(self, medium: Medium, fetcher: Fetcher) -> tuple[str, str]:
        key = medium.kind, medium.url
        if (known := self._downloaded.get(key)) is not None:
            return known
        limit = MAX_IMAGE_BYTES if medium.kind == "image" else MAX_DOCUMENT_BYTES
        try:
            file = await fetcher.get(medium.url, limit)
            found = _checked(medium.kind, file)
        except Unfetchable as fault:
            raise RequestError(f"{medium.path}.url: {fault.message}", detail=fault.detail) from None
        self._downloaded.put(key, found)
        return found

    # -- pictures ------------------------------------------------------------------------

    async def _scaled_down(self, medium: Medium, data: str, edge: int) -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._painter, self._fitted, data, edge, medium.path)

    def _fitted(self, data: str, edge: int, path: str) -> tuple[str, str]:
        """Scale one picture, unless the same was scaled lately. Runs in the thread."""
        key = hashlib.sha256(data.encode()).digest(), edge
        known = self._scaled.get(key)
        if known is None:
            known = pictures.fitted(data, edge, path)
            self._scaled.put(key, known)
        return known


def _unfit(images: list[Medium]) -> list[tuple[Medium, str, int]]:
    """List the images that cannot go as they are, with their base64 and the pixels allowed."""
    edge = pictures.edge_limit(len(images))
    found = []
    for medium in images:
        if medium.source.get("type") == "file" or medium.url:
            continue  # refused by the translation, in its words
        media_type, data = inline(medium.source, medium.path, "image")
        if image_format(media_type, data) is not None and not pictures.is_fit(data, edge):
            found.append((medium, data, edge))
    return found


def _checked(kind: str, file: Fetched) -> tuple[str, str]:
    """Return (media type, base64) of a download that is what it was asked for as.

    Raises: Unfetchable — an error page, a script, anything but an image or a document.
    """
    data = b2a_base64(file.data, newline=False).decode()
    label = "" if file.media_type in _UNKNOWN_TYPES else file.media_type
    if kind == "image":
        found = sniffed_image(file.data[:24])
        is_right = found is not None and (not label or label.startswith("image/"))
    else:
        found = document_format(label, "", data) if data else None
        # A page is what servers send in place of a file that is not there.
        is_right = found is not None and found != "html"
    if found is None or not is_right:
        raise Unfetchable(
            f"The file at the URL is not a supported {kind}", f"content-type {file.media_type!r}"
        )
    return _MEDIA_TYPES[found], data


async def read(raw: bytes | bytearray) -> dict[str, Any]:
    """Read a body. Raises: RequestError — it is no JSON object."""
    return await aside(len(raw) > LARGE_BODY_BYTES, lambda: parse_body(raw))


def is_heavy(raw: bytes | bytearray, body: dict[str, Any]) -> bool:
    """Tell whether reading all of a body takes long: a small document may unpack to much text."""
    return len(raw) > LARGE_BODY_BYTES or next(media(body), None) is not None


async def aside(is_heavy: bool, work: Callable[[], T]) -> T:
    """Do some work, in a thread if it is heavy."""
    return await asyncio.to_thread(work) if is_heavy else work()
