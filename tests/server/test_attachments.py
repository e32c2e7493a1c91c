"""Attachments on their way in: fetched, checked, scaled, and nothing else touched."""

import asyncio
import base64
import copy
import io
import threading
from typing import Any

import orjson
import pytest
from PIL import Image

from kiroproxy.config import Config
from kiroproxy.errors import RequestError
from kiroproxy.protocol import pictures
from kiroproxy.server import attachments
from kiroproxy.server.attachments import Attachments
from kiroproxy.upstream.fetch import Fetched, Unfetchable

ALLOWED = Config(allow_url_fetch=True)


def png(width: int = 30, height: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def image(raw: bytes | None = None) -> dict[str, Any]:
    data = base64.b64encode(raw or png()).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def link(url: str, kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "source": {"type": "url", "url": url}}


def body(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}], **fields}


class Files:
    """Stands where the network is. Shape: files by URL; a missing one cannot be fetched."""

    def __init__(self, **files: Fetched) -> None:
        self.files = files
        self.asked: list[tuple[str, int]] = []

    async def get(self, url: str, limit_bytes: int) -> Fetched:
        self.asked.append((url, limit_bytes))
        if url not in self.files:
            raise Unfetchable("Unable to download the file.", "resolves to ['10.0.0.1']")
        return self.files[url]


async def prepared(
    given: dict[str, Any], config: Config = ALLOWED, files: Files | None = None
) -> dict[str, Any]:
    """Return the body that the translation is given."""
    seen: list[dict[str, Any]] = []
    made = Attachments(config, files or Files())  # type: ignore[arg-type]
    raw = orjson.dumps(given)
    await made.plan(orjson.loads(raw), len(raw), seen.append)  # type: ignore[arg-type]
    made.close()
    return seen[0]


async def refusal(given: dict[str, Any], **options: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        await prepared(given, **options)
    return refused.value


def sources(given: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["source"] for block in given["messages"][0]["content"]]


# -- pictures ----------------------------------------------------------------------------------


async def test_a_body_whose_pictures_fit_is_not_touched() -> None:
    given = body(image(), {"type": "text", "text": "x"}, image(), system="s")
    assert await prepared(copy.deepcopy(given)) == given


async def test_a_picture_too_large_is_replaced_by_a_smaller_one() -> None:
    (source,) = sources(await prepared(body(image(png(9000, 300)))))
    assert source["type"] == "base64"
    assert Image.open(io.BytesIO(base64.b64decode(source["data"]))).size == (2576, 86)


async def test_pictures_in_tool_results_are_scaled_too() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image(png(9000, 300))]}
    found = await prepared(body(result))
    source = found["messages"][0]["content"][0]["content"][0]["source"]
    assert len(source["data"]) < len(image(png(9000, 300))["source"]["data"])


async def test_more_than_twenty_pictures_must_each_be_smaller() -> None:
    twenty = [image() for _ in range(20)]
    for blocks, width in ((twenty[:19], 2400), (twenty, 2000)):
        found = sources(await prepared(body(image(png(2400, 1200)), *blocks)))
        assert Image.open(io.BytesIO(base64.b64decode(found[0]["data"]))).width == width


async def test_a_broken_picture_is_refused_with_its_path() -> None:
    fault = await refusal(body(image(), image(png()[:40])))
    assert fault.message == (
        "messages.0.content.1.image.source.base64.data: Could not process image"
    )


async def test_a_picture_by_data_url_is_checked_like_any_other() -> None:
    url = "data:image/png;base64," + base64.b64encode(png(9000, 300)).decode()
    (source,) = sources(await prepared(body(link(url))))
    assert source["type"] == "base64"


@pytest.mark.parametrize(
    "source",
    [
        {"type": "file", "file_id": "f"},
        {"type": "url", "url": "https://a.net/x"},
        {"type": "base64", "media_type": "image/bmp", "data": "Qk0="},
        {"type": "base64"},
    ],
)
async def test_what_the_translation_refuses_is_left_to_it_or_refused_alike(
    source: dict[str, Any],
) -> None:
    given = body({"type": "image", "source": source})
    if source == {"type": "base64"}:
        fault = await refusal(given, config=Config())
        assert fault.message == "messages.0.content.0.image.source.base64.data: Field required"
    else:
        assert await prepared(copy.deepcopy(given), Config()) == given


async def test_a_picture_is_worked_on_in_a_thread_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    real = pictures.fitted

    def spied(data: str, edge: int, path: str) -> tuple[str, str]:
        threads.append(threading.current_thread().name)
        return real(data, edge, path)

    monkeypatch.setattr(pictures, "fitted", spied)
    made = Attachments(Config())
    raw = orjson.dumps(body(image(png(9000, 300))))
    results: list[Any] = []
    for _ in range(3):  # a client sends the whole conversation with every turn
        await made.plan(orjson.loads(raw), len(raw), results.append)  # type: ignore[arg-type]
    made.close()
    assert len(threads) == 1 and threads[0].startswith("pictures")
    assert results[0] == results[1] == results[2]


async def test_the_loop_turns_while_a_picture_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def waits(data: str, edge: int, path: str) -> tuple[str, str]:
        assert go_on.wait(10), "the event loop did not turn"
        return "image/png", data

    monkeypatch.setattr(pictures, "fitted", waits)
    made = Attachments(Config())
    raw = orjson.dumps(body(image(png(9000, 300))))
    planning = asyncio.create_task(made.plan(orjson.loads(raw), len(raw), lambda found: found))  # type: ignore[arg-type, return-value]
    asyncio.get_running_loop().call_later(0.01, go_on.set)
    await planning
    made.close()


async def test_a_large_body_or_one_with_attachments_is_read_and_translated_beside_the_loop() -> (
    None
):
    where: list[bool] = []
    made = Attachments(Config())
    small, large = ({"type": "text", "text": "x" * n} for n in (9, attachments.LARGE_BODY_BYTES))
    for block in (small, large, image()):
        raw = orjson.dumps(body(block))
        await made.plan(
            orjson.loads(raw),
            len(raw),
            lambda _: where.append(threading.current_thread() is threading.main_thread()),  # type: ignore[arg-type]
        )
    made.close()
    assert where == [True, False, False]


def test_what_is_remembered_stays_within_its_size_and_its_time() -> None:
    memory = attachments._Memory(10, keep_s=60.0)
    for key in "abc":
        memory.put(key, ("t", "1234"))
    assert [key for key in "abc" if memory.get(key)] == ["b", "c"]
    memory.get("b")
    memory.put("d", ("t", "123"))
    assert [key for key in "bcd" if memory.get(key)] == ["b", "d"]
    memory.put("huge", ("t", "x" * 11))
    assert memory.get("huge") is None and memory.get("d") is not None
    stale = attachments._Memory(10, keep_s=-1.0)
    stale.put("a", ("t", "1"))
    assert stale.get("a") is None


# -- by URL ------------------------------------------------------------------------------------

A, B = "https://a.net/a", "https://a.net/b"


async def test_nothing_is_fetched_unless_the_operator_says_so() -> None:
    files = Files(**{A: Fetched("image/png", png())})
    given = body(link(A))
    assert await prepared(copy.deepcopy(given), Config(), files) == given
    assert files.asked == []


async def test_a_fetched_image_stands_where_its_url_stood() -> None:
    files = Files(**{A: Fetched("image/jpeg", png())})
    (source,) = sources(await prepared(body(link(A)), files=files))
    assert source == image()["source"], "its type is what its bytes say"


async def test_a_fetched_image_is_scaled_like_any_other() -> None:
    files = Files(**{A: Fetched("image/png", png(9000, 300))})
    (source,) = sources(await prepared(body(link(A)), files=files))
    assert Image.open(io.BytesIO(base64.b64decode(source["data"]))).width == 2576


@pytest.mark.parametrize(
    ("label", "raw", "media_type"),
    [
        ("application/pdf", b"%PDF-1.7\n", "application/pdf"),
        ("application/octet-stream", b"%PDF-1.7\n", "application/pdf"),
        ("text/plain", b"words", "text/plain"),
        ("text/markdown", b"words", "text/markdown"),
    ],
)
async def test_a_fetched_document_is_what_it_says_and_is(
    label: str, raw: bytes, media_type: str
) -> None:
    files = Files(**{A: Fetched(label, raw)})
    (source,) = sources(await prepared(body(link(A, "document")), files=files))
    assert (source["media_type"], base64.b64decode(source["data"])) == (media_type, raw)


@pytest.mark.parametrize(
    ("kind", "label", "raw"),
    [
        ("image", "text/html", b"<html>Not found</html>"),
        ("image", "image/png", b"<html>Not found</html>"),
        ("image", "text/html", png()),
        ("image", "image/svg+xml", b"<svg/>"),
        ("image", "", b""),
        ("document", "text/html", b"<html>Log in</html>"),
        ("document", "application/pdf", b"<html>Log in</html>"),
        ("document", "application/octet-stream", b"\x7fELF"),
        ("document", "application/pdf", b""),
        ("document", "image/png", png()),
    ],
)
async def test_a_file_of_another_kind_is_refused(kind: str, label: str, raw: bytes) -> None:
    fault = await refusal(body(link(A, kind)), files=Files(**{A: Fetched(label, raw)}))
    assert fault.message == (
        f"messages.0.content.0.{kind}.source.url: The file at the URL is not a supported {kind}"
    )


async def test_what_cannot_be_fetched_is_refused_and_only_the_log_knows_why() -> None:
    fault = await refusal(body(image(), link(A)))
    assert fault.message == "messages.0.content.1.image.source.url: Unable to download the file."
    assert fault.detail == "resolves to ['10.0.0.1']"


async def test_a_file_is_fetched_once_while_it_is_remembered() -> None:
    files = Files(**{A: Fetched("image/png", png()), B: Fetched("image/png", png())})
    made = Attachments(ALLOWED, files)  # type: ignore[arg-type]
    for _ in range(3):
        raw = orjson.dumps(body(link(A), link(B)))
        await made.plan(orjson.loads(raw), len(raw), lambda _: None)  # type: ignore[arg-type, return-value]
    made.close()
    assert sorted(url for url, _ in files.asked) == [A, B]


async def test_a_request_fetches_only_so_many_files() -> None:
    urls = [f"https://a.net/{number}" for number in range(21)]
    files = Files(**{url: Fetched("image/png", png()) for url in urls})
    assert len(sources(await prepared(body(*map(link, urls[:20])), files=files))) == 20
    fault = await refusal(body(*map(link, urls)), files=files)
    assert fault.message.startswith("messages.0.content.20.image.source.url: at most 20 URLs")


async def test_few_files_are_fetched_at_a_time_and_all_are_waited_for() -> None:
    running, most, over = 0, 0, 0

    class Slow(Files):
        async def get(self, url: str, limit_bytes: int) -> Fetched:
            nonlocal running, most, over
            running += 1
            most = max(most, running)
            for _ in range(5):
                await asyncio.sleep(0)
            running -= 1
            over += 1
            return await super().get(url, limit_bytes)

    await refusal(body(*(link(f"https://a.net/{number}") for number in range(9))), files=Slow())
    assert (most, over, running) == (attachments.PARALLEL_DOWNLOADS, 9, 0)


async def test_files_together_are_no_larger_than_a_body_may_be() -> None:
    config = Config(allow_url_fetch=True, max_body_bytes=2000)
    files = Files(**{f"https://a.net/{n}": Fetched("text/plain", bytes(900)) for n in range(9)})
    fault = await refusal(
        body(*(link(url, "document") for url in files.files)), config=config, files=files
    )
    assert "exceed the maximum of 2000 bytes together" in fault.message
    assert len(files.asked) <= 2 + attachments.PARALLEL_DOWNLOADS
