"""Images and documents through a real gateway to a simulator that refuses what Kiro would."""

import asyncio
import base64
import io
import ssl
import struct
import zlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest
import trustme
from PIL import Image
from support.gateway import Gateway
from support.peers import Peer, Serve, peers
from support.sse import read

from kiroproxy.simulator.script import Script, answer
from kiroproxy.simulator.server import Simulator

MODEL = "claude-sonnet-4-6"


def encoded(picture: Image.Image, kind: str = "PNG") -> str:
    out = io.BytesIO()
    picture.save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def noise(width: int, height: int, seed: int = 7) -> Image.Image:
    return Image.frombytes("RGB", (width, height), Random(seed).randbytes(width * height * 3))


def image(data: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def link(url: str, kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "source": {"type": "url", "url": url}}


def result(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}
    answered = {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(blocks)}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [answered]},
    ]


async def ask(client: httpx.AsyncClient, *blocks: dict[str, Any], **fields: Any) -> httpx.Response:
    messages = [{"role": "user", "content": [*blocks, {"type": "text", "text": "What is it?"}]}]
    body = {"model": MODEL, "max_tokens": 100, "messages": messages} | fields
    return await client.post("/v1/messages", json=body)


def current(sim: Simulator) -> dict[str, Any]:
    """What Kiro was asked last."""
    state = sim.of("generate")[-1].json["conversationState"]
    message: dict[str, Any] = state["currentMessage"]["userInputMessage"]
    return message


def shown(sim: Simulator) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(entry["source"]["bytes"])))
        for entry in current(sim)["images"]
    ]


def message_of(answered: httpx.Response) -> str:
    assert answered.status_code == 400, answered.text
    return str(answered.json()["error"]["message"])


async def test_a_png_over_five_mebibytes_is_scaled_and_accepted(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    data = encoded(noise(1800, 1300))
    assert len(data) * 3 // 4 > 5 * 1024 * 1024
    answered = await ask(client, image(data))
    assert answered.status_code == 200, answered.text
    assert [(p.format, p.size) for p in shown(sim)] == [("JPEG", (1800, 1300))]


async def test_an_image_wider_than_8000_pixels_is_scaled_and_accepted_in_its_kind(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    wide = encoded(Image.new("RGB", (9000, 900), "red"))
    answered = await ask(client, messages=result(image(wide)))
    assert answered.status_code == 200, answered.text
    assert [(p.format, p.size) for p in shown(sim)] == [("PNG", (2576, 258))]


async def test_a_cut_image_is_refused_before_kiro_is_asked(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    whole = base64.b64decode(encoded(noise(60, 60), "JPEG"))
    answered = await ask(client, image(base64.b64encode(whole[:-500]).decode(), "image/jpeg"))
    assert message_of(answered) == (
        "messages.0.content.0.image.source.base64.data: Could not process image"
    )
    assert sim.of("generate") == []


async def test_the_largest_image_that_fits_goes_byte_for_byte(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    raw = base64.b64decode(encoded(Image.new("RGB", (8000, 10), "red")))
    filler = b"x" * (5 * 1024 * 1024 - len(raw) - 12)
    chunk = struct.pack(">I", len(filler)) + b"prVt" + filler
    chunk += struct.pack(">I", zlib.crc32(b"prVt" + filler))
    data = base64.b64encode(raw[:-12] + chunk + raw[-12:]).decode()
    answered = await ask(client, image(data))
    assert answered.status_code == 200, answered.text
    assert current(sim)["images"][0]["source"]["bytes"] == data


async def test_twelve_images_of_a_tool_are_answered_and_of_the_user_refused(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    twelve = [image(encoded(Image.new("RGB", (9, 9), (n, 0, 0)))) for n in range(12)]
    answered = await ask(client, messages=result(*twelve))
    assert answered.status_code == 200, answered.text
    assert len(shown(sim)) == 10
    assert message_of(await ask(client, *twelve)).startswith(
        "messages.0.content.10.image: Too much media"
    )


async def test_documents_of_every_kind_reach_kiro_under_legal_names(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    def document(media_type: str, raw: bytes, title: str) -> dict[str, Any]:
        data = base64.b64encode(raw).decode()
        source = {"type": "base64", "media_type": media_type, "data": data}
        return {"type": "document", "source": source, "title": title}

    answered = await ask(
        client,
        document("application/pdf", b"%PDF-1.7\n", "Über/Paper.pdf"),
        document("text/csv", b"a,b\n", "Über/Paper.pdf"),
        document("application/msword", b"\xd0\xcf\x11\xe0", "old.doc"),
    )
    assert answered.status_code == 200, answered.text
    names = [(entry["name"], entry["format"]) for entry in current(sim)["documents"]]
    assert names == [("ber Paper", "pdf"), ("ber Paper 2", "csv"), ("old", "doc")]


async def test_a_text_model_is_given_the_words_of_a_document(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    data = base64.b64encode(b"the words").decode()
    source = {"type": "base64", "media_type": "text/markdown", "data": data}
    answered = await ask(client, {"type": "document", "source": source}, model="glm-5")
    assert answered.status_code == 200, answered.text
    assert "the words" in current(sim)["content"]


# -- by URL ------------------------------------------------------------------------------------


@pytest.fixture
async def serve_peer() -> AsyncIterator[Serve]:
    async with peers() as start:
        yield start


async def test_urls_are_refused_by_default_and_the_refusal_names_the_setting(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    for kind in ("image", "document"):
        message = message_of(await ask(client, link("https://example.com/a", kind)))
        assert message.startswith(f"messages.0.content.0.{kind}.source.url: ")
        assert "allowUrlFetch" in message and "base64" in message
    assert sim.of("generate") == []


async def test_a_url_of_this_machine_is_refused_even_where_fetching_is_allowed(
    sim: Simulator, serve: Any, serve_peer: Serve, tmp_path: Any
) -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        await reader.read(1)

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    secure, canary = await serve_peer(script, tls=context), await serve_peer(script)
    gateway: Gateway = await serve(
        sim, {"allowUrlFetch": True}, environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    )
    async with gateway.client() as client:
        for port in (secure.port, canary.port):
            for host in ("localhost", "127.0.0.1", "[::1]", "2130706433", "127.0.0.1.nip.io"):
                answered = await ask(client, link(f"https://{host}:{port}/a.png"))
                assert "Unable to download the file" in message_of(answered)
                assert "127.0.0.1" not in message_of(answered)
    assert (secure.accepted, canary.accepted) == (0, 0)
    assert "is not a public host name" in gateway.log, "the operator is told why"
    assert sim.of("generate") == []


# -- beside other streams ----------------------------------------------------------------------


async def test_a_stream_goes_on_while_large_images_are_worked_on(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    """The running stream is answered word by word; all of it must not wait for the pictures."""
    words = [f"w{number} " for number in range(60)]
    sim.enqueue(Script(answer(*words).steps, pace_s=0.02))
    large = [image(encoded(noise(1500, 1300, seed))) for seed in range(3)]
    during = 0
    body = {"model": MODEL, "max_tokens": 100, "stream": True}
    body |= {"messages": [{"role": "user", "content": "go"}]}
    async with client.stream("POST", "/v1/messages", json=body) as stream:
        asking: asyncio.Task[httpx.Response] | None = None
        text = ""
        async for part in stream.aiter_text():
            text += part
            if asking is None and "w1 " in text:
                asking = asyncio.create_task(ask(client, *large))
            elif asking is not None and not asking.done():
                during += "text_delta" in part
    assert read(text).complete
    assert asking is not None
    assert (await asking).status_code == 200
    assert during >= 10, "the words came before or after, not meanwhile"


async def test_streams_run_on_beside_bodies_of_twenty_megabytes_that_arrive_whole(
    sim: Simulator, client: httpx.AsyncClient
) -> None:
    words = [f"w{number} " for number in range(150)]
    sim.enqueue(Script(answer(*words).steps, pace_s=0.02))
    fits = encoded(noise(1100, 1100))
    body = {"model": MODEL, "max_tokens": 100, "stream": True}
    body |= {"messages": [{"role": "user", "content": "go"}]}
    async with client.stream("POST", "/v1/messages", json=body) as stream:
        asking: list[asyncio.Task[httpx.Response]] = []
        text, during = "", 0
        async for part in stream.aiter_text():
            text += part
            if not asking and "w1 " in text:
                asking = [asyncio.create_task(ask(client, *[image(fits)] * 4)) for _ in range(2)]
            elif any(not task.done() for task in asking):
                during += "text_delta" in part
    assert read(text).complete
    assert [(await task).status_code for task in asking] == [200, 200]
    assert during, "every word came before or after them"
    for request in sim.of("generate")[1:]:
        message = request.json["conversationState"]["currentMessage"]["userInputMessage"]
        assert [each["source"]["bytes"] for each in message["images"]] == [fits] * 4
