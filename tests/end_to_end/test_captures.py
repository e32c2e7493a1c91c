"""Recorded requests of real clients, replayed as they were sent.

The simulator refuses whatever Kiro would refuse, so a 200 means that the conversion holds; the
answer is read by the strict reader.
"""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.gateway import Gateway
from support.sse import parse, stop_of

from kiroproxy.simulator.script import Reasoning, Tool, answer
from kiroproxy.simulator.server import Simulator

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
# What it asks for does not exist at Kiro; the truth is a 404 that names it.
UNKNOWN_MODELS = {"my-custom-model"}
NOT_SENT = {"host", "content-length", "authorization", "x-api-key", "connection", "accept-encoding"}


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def named(path: str, *, thread: bool = False, search: bool = False) -> list[Any]:
    """Return the captures of one path as parameters, named by their files."""
    found = []
    for file in sorted(CAPTURES.glob("*.json")):
        capture = load(file)
        # One file is a list: the clients' reactions to errors, not a request.
        if isinstance(capture, list) or capture.get("path", "").split("?")[0] != path:
            continue
        body = capture["body"] or {}
        kinds = [str(tool.get("type")) for tool in body.get("tools", [])]
        is_search = len(kinds) == 1 and kinds[0].startswith("web_search_")
        if ("thread" in body, is_search) == (thread, search):
            found.append(pytest.param(capture, id=file.stem))
    assert found, f"no capture of {path}"
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Simulator, httpx.AsyncClient]]:
    """One simulator and one gateway for every capture: they change nothing that lasts."""
    async with Simulator(pace_s=0.0) as simulator:
        gateway = Gateway(
            tmp_path_factory.mktemp("captures"),
            {"upstream": simulator.upstream()},
            simulator.credentials(),
        )
        await gateway.start()
        try:
            async with gateway.client() as client:
                yield simulator, client
        finally:
            await gateway.stop()


pytestmark = pytest.mark.asyncio(loop_scope="module")
Shared = tuple[Simulator, httpx.AsyncClient]


async def send(shared: Shared, capture: dict[str, Any]) -> httpx.Response:
    _, client = shared
    headers = {k: v for k, v in capture["headers"].items() if k.lower() not in NOT_SENT}
    return await client.request(
        capture["method"], capture["path"], headers=headers, json=capture["body"]
    )


def words(capture: dict[str, Any]) -> str:
    """What the model says: words, or an object where the client has asked for one."""
    wanted = (capture["body"].get("output_config") or {}).get("format")
    if not wanted:
        return "Here you are: 你好 🙂"
    samples = {"string": "你好", "number": 1}
    members = wanted["schema"]["properties"]
    return json.dumps({name: samples[kind["type"]] for name, kind in members.items()})


def reply(capture: dict[str, Any]) -> Any:
    """A thoughtful answer that calls the first tool the client declares, if it declares any."""
    tools = [tool["name"] for tool in capture["body"].get("tools", []) if "input_schema" in tool]
    call = [Tool(tools[0], '{"command": "true"}', size=5)] if tools else []
    return answer(Reasoning("Let me see."), words(capture), *call)


@pytest.mark.parametrize("capture", named("/v1/messages"))
async def test_a_recorded_request_is_answered(
    shared: Shared, capture: dict[str, Any], read_stream: Callable[[bytes], Any]
) -> None:
    simulator, _ = shared
    simulator.enqueue(reply(capture))
    before = len(simulator.of("generate"))
    answered = await send(shared, capture)
    if capture["body"]["model"] in UNKNOWN_MODELS:
        simulator.queues["generate"].clear()
        assert answered.status_code == 404
        assert answered.json()["error"]["message"] == f"model: {capture['body']['model']}"
        return
    assert answered.status_code == 200, answered.text
    # Reasoning that another server signed is refused once and sent again without it.
    tries = 2 if "redacted_thinking" in json.dumps(capture["body"]["messages"]) else 1
    assert len(simulator.of("generate")) == before + tries
    if capture["body"].get("stream"):
        message = read_stream(answered.content).message
    else:
        message = answered.json()
    assert message["model"] == capture["body"]["model"]
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    assert texts == [words(capture)]
    has_tool = any("input_schema" in tool for tool in capture["body"].get("tools", []))
    assert message["stop_reason"] == ("tool_use" if has_tool else "end_turn")


@pytest.mark.parametrize("capture", named("/v1/messages", search=True))
async def test_a_recorded_search_is_performed(shared: Shared, capture: dict[str, Any]) -> None:
    answered = await send(shared, capture)
    assert answered.status_code == 200, answered.text
    events = parse(answered.text)
    blocks = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    kinds = [block["type"] for block in blocks]
    assert {"server_tool_use", "web_search_tool_result", "text"} <= set(kinds)
    result = blocks[kinds.index("web_search_tool_result")]
    assert result["content"] and all(entry["url"] for entry in result["content"])
    assert stop_of(events) == "end_turn"


@pytest.mark.parametrize("capture", named("/v1/messages", thread=True))
async def test_a_recorded_thread_is_refused_in_the_words_the_sdks_know(
    shared: Shared, capture: dict[str, Any]
) -> None:
    answered = await send(shared, capture)
    assert answered.status_code == 400
    assert answered.json()["error"]["details"]["error_code"] == "thread_unsupported_request"


@pytest.mark.parametrize("capture", named("/v1/messages/count_tokens"))
async def test_a_recorded_count_is_counted(shared: Shared, capture: dict[str, Any]) -> None:
    answered = await send(shared, capture)
    assert answered.status_code == 200, answered.text
    assert answered.json()["input_tokens"] > 0


@pytest.mark.parametrize("capture", [*named("/api/hello"), *named("/v1/models")])
async def test_a_recorded_probe_is_answered(shared: Shared, capture: dict[str, Any]) -> None:
    answered = await send(shared, capture)
    assert answered.status_code in (200, 204)


@pytest.mark.parametrize("capture", named("/v1/responses"))
async def test_another_protocol_is_a_truthful_404(shared: Shared, capture: dict[str, Any]) -> None:
    answered = await send(shared, capture)
    assert (answered.status_code, answered.json()["error"]["type"]) == (404, "not_found_error")
