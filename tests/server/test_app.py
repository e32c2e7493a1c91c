"""Routes, keys, refusals, log lines: what every request has in common."""

import asyncio
import gzip
import json
import logging
from typing import Any

import pytest

from kiroproxy.server.app import normal_path

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
}


def assert_refused(answer: Any, status: int, *words: str) -> None:
    """The shape every refusal has, whoever noticed the fault."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == ERROR_TYPES[status]
    assert body["request_id"] == answer.headers["request-id"]
    assert answer.headers["content-type"] == "application/json"
    for word in words:
        assert word in body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/v1/messages", "messages"),
        ("/v1/v1/messages", "messages"),
        ("/messages", "messages"),
        ("/v1/messages/", "messages"),
        ("//v1//messages", "messages"),
        ("/cc/v1/messages", "messages"),
        ("/cc/v1/messages/count_tokens", "messages/count_tokens"),
        ("/", ""),
        ("/v1", ""),
        ("/v2/messages", "v2/messages"),
    ],
)
def test_every_spelling_of_a_path_means_the_same(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "sk-test-0123456789"},
        {"authorization": "Bearer sk-test-0123456789"},
        {"authorization": "bearer  sk-test-0123456789"},
        {"x-api-key": "wrong", "authorization": "Bearer sk-test-0123456789"},
        {"x-api-key": "sk-test-0123456789", "authorization": "Bearer wrong"},
    ],
)
async def test_one_right_key_is_enough(run_gateway: Any, headers: dict[str, str]) -> None:
    gateway = await run_gateway()
    del gateway.client.headers["x-api-key"]
    answer = await gateway.client.get("/v1/models", headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "sk-test-012345678"},
        {"x-api-key": "sk-test-01234567890"},
        {"x-api-key": "schlüssel".encode()},
        {"authorization": "Basic sk-test-0123456789"},
        {"authorization": "sk-test-0123456789"},
    ],
)
async def test_anything_else_is_a_401(run_gateway: Any, headers: dict[str, Any]) -> None:
    gateway = await run_gateway()
    del gateway.client.headers["x-api-key"]
    answer = await gateway.client.post("/v1/messages", json={}, headers=headers)
    assert_refused(answer, 401, "invalid x-api-key")


async def test_probes_and_health_need_no_key(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway()
    del gateway.client.headers["x-api-key"]
    caplog.set_level(logging.INFO, "kiroproxy.server")
    assert (await gateway.client.head("/")).status_code == 204
    assert (await gateway.client.head("/api/hello")).status_code == 204
    answer = await gateway.client.post("/api/event_logging/batch", json={"events": []})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await gateway.client.get("/health")).json()["status"] == "ok"
    assert (await gateway.client.options("/v1/messages")).status_code == 204
    assert [r for r in caplog.records if r.getMessage() == "request"] == []


async def test_no_page_in_a_browser_is_let_in(run_gateway: Any) -> None:
    gateway = await run_gateway()
    origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (
        await gateway.client.options("/v1/messages", headers=origin),
        await gateway.client.get("/v1/models", headers=origin),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_unknown_paths_are_404_in_anthropics_shape(run_gateway: Any) -> None:
    gateway = await run_gateway()
    for path in ("/v1/files", "/v1/messages/batches", "/nothing", "/v1/complete"):
        assert_refused(await gateway.client.post(path, json={}), 404)


async def test_a_wrong_method_names_the_right_one(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.get("/v1/messages")
    assert_refused(answer, 405)
    assert answer.headers["allow"] == "POST, OPTIONS"
    answer = await gateway.client.delete("/v1/models")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_bad_json_is_a_400_that_says_where(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.post(
        "/v1/messages", content=b'{"a": 1,\n x}', headers={"content-type": "application/json"}
    )
    assert_refused(answer, 400, "line 2", "column")


async def test_a_missing_field_is_a_400_in_anthropics_words(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.post("/v1/messages", json={"model": "claude-sonnet-4-5"})
    assert_refused(answer, 400, "Field required")


async def test_a_thread_is_refused_with_the_code_sdks_know(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.ask(thread={"type": "create"})
    assert_refused(answer, 400)
    assert answer.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


async def test_an_unknown_model_is_a_404(run_gateway: Any) -> None:
    gateway = await run_gateway()
    assert_refused(await gateway.ask(model="llama-9"), 404, "model: llama-9")


async def test_another_content_type_is_a_415(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.post(
        "/v1/messages", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert_refused(answer, 415, "content-type")


async def test_a_compressed_request_is_understood(run_gateway: Any) -> None:
    gateway = await run_gateway()
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]}
    answer = await gateway.client.post(
        "/v1/messages/count_tokens",
        content=gzip.compress(json.dumps(body).encode()),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert answer.json()["input_tokens"] > 0


async def test_a_client_that_is_still_uploading_reads_its_413(run_gateway: Any) -> None:
    gateway = await run_gateway(max_body_bytes=100_000)
    big = b'{"a": "' + b"a" * 3_000_000 + b'"}'
    answer = await gateway.client.post(
        "/v1/messages", content=big, headers={"content-type": "application/json"}
    )
    assert_refused(answer, 413, "100000 bytes")
    assert answer.headers["connection"] == "close"


async def test_a_chunked_upload_over_the_limit_is_a_413(run_gateway: Any) -> None:
    gateway = await run_gateway(max_body_bytes=100_000)

    async def parts() -> Any:
        for _ in range(30):
            yield b"a" * 10_000

    answer = await gateway.client.post(
        "/v1/messages", content=parts(), headers={"content-type": "application/json"}
    )
    assert_refused(answer, 413)


async def test_a_413_does_not_wait_for_the_body(run_gateway: Any) -> None:
    gateway = await run_gateway(max_body_bytes=100_000)
    reader, writer = await gateway.connect()
    head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
    writer.write(f"{head}content-length: 200000\r\n\r\n".encode())  # and not a byte of body
    assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_body_that_stops_arriving_is_a_408(run_gateway: Any) -> None:
    gateway = await run_gateway(receive_timeout_s=0.1)
    head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
    wire = await gateway.raw(f"{head}content-length: 100\r\n\r\n{{".encode())
    assert wire.status == 408
    assert wire.json["error"]["type"] == "timeout_error"
    assert wire.headers["connection"] == "close"


async def test_a_refused_expectation_closes_the_connection(run_gateway: Any) -> None:
    gateway = await run_gateway()
    head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    wire = await gateway.raw(f"{head}content-length: 100\r\n\r\n".encode())
    assert (wire.status, wire.headers["connection"]) == (401, "close")


async def test_a_connection_serves_again_after_a_refusal(run_gateway: Any) -> None:
    gateway = await run_gateway()
    reader, writer = await gateway.connect()
    body = b"x" * 70_000  # never read by the application, more than the server buffers
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n"
    writer.write(head + body + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b" 401 " in await reader.readline()
    await reader.readuntil(b"HTTP/1.1 200")
    writer.close()


async def test_a_request_has_one_log_line_without_secrets(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway()
    caplog.set_level(logging.INFO, "kiroproxy.server")
    answer = await gateway.ask(messages=[{"role": "user", "content": "the secret of the sphinx"}])
    assert answer.status_code == 200
    (record,) = [r for r in caplog.records if r.getMessage() == "request"]
    told = record.fields
    expected = {"method": "POST", "path": "/v1/messages", "status": 200, "tries": 1}
    assert expected.items() <= told.items()
    assert told["model"] == "claude-sonnet-4-5"
    assert told["credential_id"] == 1
    assert told["stop_reason"] == "end_turn"
    assert told["input_tokens"] > 0 and told["output_tokens"] > 0 and told["ms"] > 0
    assert told["credits"] == 0.02
    assert "sphinx" not in str(told) and "sk-test" not in str(told)


async def test_a_bug_is_a_500_that_tells_nothing(
    run_gateway: Any, monkeypatch: Any, caplog: Any
) -> None:
    gateway = await run_gateway()
    monkeypatch.setattr("kiroproxy.server.info.page", lambda *_: 1 / 0)
    answer = await gateway.client.get("/v1/models")
    assert answer.status_code == 500
    assert answer.json()["error"] == {"type": "api_error", "message": "Internal server error"}
    assert "ZeroDivisionError" in caplog.text


async def test_a_client_that_leaves_while_uploading_is_only_noted(
    run_gateway: Any, caplog: Any
) -> None:
    gateway = await run_gateway()
    caplog.set_level(logging.INFO, "kiroproxy.server")
    _, writer = await gateway.connect()
    head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: sk-test-0123456789\r\n"
    writer.write(f"{head}content-length: 100\r\n\r\n{{".encode())
    while not gateway.server.server_state.tasks:
        await asyncio.sleep(0)
    writer.close()
    while gateway.server.server_state.tasks:
        await asyncio.sleep(0)
    (record,) = [r for r in caplog.records if r.getMessage() == "request"]
    assert record.fields["error"] == "client_closed"
    assert record.levelno == logging.INFO
