"""The control plane against real sockets: what it sends, what it makes of the answers."""

import asyncio
import json
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kiroproxy import errors
from kiroproxy.accounts.credential import Credential, Proxy
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.upstream import control as control_module
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.endpoint import Target

CREDENTIAL = Credential(1, access_token="token-1", machine_id="ab" * 32)


def answers(*found: tuple[int, Any, str]) -> Callable[..., Awaitable[None]]:
    """Return a script that gives these answers, the last one for ever."""
    rest = list(found)

    async def script(peer: Any, reader: Any, writer: Any) -> None:
        while True:
            await peer.request(reader)
            status, value, headers = rest.pop(0) if len(rest) > 1 else rest[0]
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    return script


def ok(value: Any) -> tuple[int, Any, str]:
    return 200, value, ""


def config_for(peer: Any, **options: Any) -> Config:
    return Config(upstream=UpstreamUrls(api_url=peer.url, management_url=peer.url), **options)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not is_true():
            await asyncio.sleep(0)


def line_of(request: tuple[bytes, bytes]) -> str:
    return request[0].split(b"\r\n")[0].decode()


def headers_of(request: tuple[bytes, bytes]) -> dict[str, str]:
    lines = request[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (x.partition(": ") for x in lines if x)}


async def test_usage_is_asked_with_the_credentials_identity_and_no_other(serve: Any) -> None:
    peer = await serve(answers(ok({"daysUntilReset": 3})))
    async with ControlPlane(config_for(peer), ids=lambda: "call-1") as control:
        assert await control.usage_limits(CREDENTIAL) == {"daysUntilReset": 3}
    headers = headers_of(peer.requests[0])
    assert line_of(peer.requests[0]).startswith("GET /getUsageLimits?")
    assert headers["authorization"] == "Bearer token-1"
    assert headers["amz-sdk-invocation-id"] == "call-1"
    assert "ab" * 32 in headers["user-agent"]
    assert "httpx" not in str(headers)
    assert "accept-encoding" not in headers


async def test_every_page_of_the_models_is_read(serve: Any) -> None:
    first = {"models": [{"modelId": "a"}, "junk"], "nextToken": "t/1"}
    peer = await serve(answers(ok(first), ok({"models": [{"modelId": "b"}]})))
    async with ControlPlane(config_for(peer)) as control:
        models = await control.list_models(CREDENTIAL)
    assert models == [{"modelId": "a"}, {"modelId": "b"}]
    assert "nextToken=" + urllib.parse.quote("t/1", safe="") in line_of(peer.requests[1])


async def test_pages_that_never_end_are_left(serve: Any) -> None:
    peer = await serve(answers(ok({"models": [{"modelId": "a"}], "nextToken": "same"})))
    async with ControlPlane(config_for(peer)) as control:
        assert len(await control.list_models(CREDENTIAL)) == 2


async def test_profiles_are_posted_for_page_by_page(serve: Any) -> None:
    peer = await serve(answers(ok({"profiles": [{"arn": "1"}], "nextToken": "n"}), ok({})))
    async with ControlPlane(config_for(peer)) as control:
        assert await control.list_profiles(CREDENTIAL) == [{"arn": "1"}]
    assert [json.loads(body) for _, body in peer.requests] == [{}, {"nextToken": "n"}]


async def test_a_tool_call_carries_its_json(serve: Any) -> None:
    peer = await serve(answers(ok({"result": {}})))
    async with ControlPlane(config_for(peer)) as control:
        assert await control.mcp(CREDENTIAL, {"method": "tools/call"}) == {"result": {}}
    assert line_of(peer.requests[0]) == "POST /mcp HTTP/1.1"
    assert json.loads(peer.requests[0][1]) == {"method": "tools/call"}


async def test_one_connection_serves_many_calls_and_none_is_left_open(serve: Any) -> None:
    peer = await serve(answers(ok({})))
    async with ControlPlane(config_for(peer)) as control:
        for _ in range(5):
            await control.usage_limits(CREDENTIAL)
        assert peer.accepted == 1
        assert peer.open == 1
    await until(lambda: peer.open == 0)


async def test_a_cookie_of_one_account_is_not_shown_by_another(serve: Any) -> None:
    peer = await serve(answers((200, {}, "set-cookie: who=first; Path=/\r\n")))
    async with ControlPlane(config_for(peer)) as control:
        await control.usage_limits(CREDENTIAL)
        await control.usage_limits(Credential(2, access_token="token-2"))
    assert "cookie" not in headers_of(peer.requests[1])


async def test_a_proxy_of_the_environment_is_not_used(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    peer = await serve(answers(ok({})))
    async with ControlPlane(config_for(peer)) as control:
        assert await control.usage_limits(CREDENTIAL) == {}


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (429, "retry-after: 7\r\n", errors.Throttled),
        (402, "", errors.QuotaExhausted),
        (500, "", errors.ServerFault),
        (302, "location: http://127.0.0.1:1/\r\n", errors.UpstreamError),
    ],
)
async def test_what_is_not_200_is_classified(
    serve: Any, status: int, headers: str, kind: type[errors.UpstreamError]
) -> None:
    body = {"message": "no", "reason": "MONTHLY_REQUEST_COUNT" if status == 402 else None}
    peer = await serve(answers((status, body, headers)))
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(kind) as caught:
            await control.usage_limits(CREDENTIAL)
    assert caught.value.retry_after_s == (7 if status == 429 else None)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"5", b""])
async def test_an_answer_that_is_no_json_object_is_a_violation(serve: Any, body: bytes) -> None:
    peer = await serve(answers((200, body, "")))
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(errors.ProtocolViolation):
            await control.usage_limits(CREDENTIAL)


async def test_an_endless_answer_is_cut_off(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "_MAX_ANSWER_BYTES", 1000)

    async def endless(peer: Any, reader: Any, writer: Any) -> None:
        await peer.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b" " * 2000)
        await reader.read()

    peer = await serve(endless)
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(errors.ProtocolViolation, match="too large"):
            await control.usage_limits(CREDENTIAL)
        await until(lambda: peer.open == 0)


async def test_nobody_listening_is_a_failed_connection() -> None:
    target = Target("GET", "http://127.0.0.1:1/", [])
    async with ControlPlane(Config()) as control:
        with pytest.raises(errors.ConnectFailed):
            await control.exchange(target, b"", None)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", b"junk\r\n"]
)
async def test_a_broken_answer_is_a_lost_connection(serve: Any, sent: bytes) -> None:
    async def script(peer: Any, reader: Any, writer: Any) -> None:
        await peer.request(reader)
        writer.write(sent)
        await writer.drain()

    peer = await serve(script)
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(errors.ConnectionLost):
            await control.usage_limits(CREDENTIAL)


async def test_silence_is_a_timeout(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Any, reader: Any, writer: Any) -> None:
        await peer.request(reader)
        await reader.read()

    monkeypatch.setattr(control_module, "_TOTAL_S", 0.05)
    peer = await serve(script)
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(errors.UpstreamTimeout):
            await control.usage_limits(CREDENTIAL)


async def test_an_unknown_authority_is_a_failed_connection(serve: Any, server_tls: Any) -> None:
    peer = await serve(answers(ok({})), tls=server_tls)
    async with ControlPlane(config_for(peer)) as control:
        with pytest.raises(errors.ConnectFailed, match="cannot be reached"):
            await control.usage_limits(CREDENTIAL)
    assert peer.requests == []


async def test_a_trusted_authority_is_believed(
    serve: Any, server_tls: Any, client_tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "client_context", lambda backend: client_tls)
    peer = await serve(answers(ok({"a": 1})), tls=server_tls)
    async with ControlPlane(config_for(peer)) as control:
        assert await control.usage_limits(CREDENTIAL) == {"a": 1}


# -- proxies -------------------------------------------------------------------------------


async def test_a_plain_call_goes_through_the_credentials_proxy_with_its_password(
    serve: Any,
) -> None:
    proxy = await serve(answers(ok({"via": "proxy"})))
    target = Target("GET", "http://kiro.invalid/x", [])
    through = Proxy("http", "127.0.0.1", proxy.port, "us:er", "p@ss")
    async with ControlPlane(Config()) as control:
        answer = await control.exchange(target, b"", through)
    assert json.loads(answer.body) == {"via": "proxy"}
    assert line_of(proxy.requests[0]) == "GET http://kiro.invalid/x HTTP/1.1"
    assert headers_of(proxy.requests[0])["proxy-authorization"].startswith("Basic ")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_call_goes_through_a_socks_proxy_with_its_password(serve: Any, scheme: str) -> None:
    greetings: list[bytes] = []

    async def script(peer: Any, reader: Any, writer: Any) -> None:
        greetings.append(await reader.readexactly(2))
        greetings.append(await reader.readexactly(greetings[0][1]))
        writer.write(b"\x05\x02")
        login = await reader.readexactly(2)
        user = await reader.readexactly(login[1])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        greetings.extend([user, password])
        writer.write(b"\x01\x00")
        head = await reader.readexactly(5)
        greetings.append(await reader.readexactly(head[4] + 2))
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await answers(ok({"via": "socks"}))(peer, reader, writer)

    peer = await serve(script)
    through = Proxy(scheme, "127.0.0.1", peer.port, "user", "pass")
    async with ControlPlane(Config()) as control:
        answer = await control.exchange(Target("GET", "http://kiro.invalid/x", []), b"", through)
    assert json.loads(answer.body) == {"via": "socks"}
    assert greetings[2:] == [b"user", b"pass", b"kiro.invalid\x00\x50"]


async def test_a_proxy_that_refuses_the_tunnel_is_named_as_such(serve: Any) -> None:
    proxy = await serve(answers((407, {}, "")))
    through = Proxy("http", "127.0.0.1", proxy.port, "user", "hunter2")
    async with ControlPlane(Config()) as control:
        with pytest.raises(errors.ProxyFailed) as caught:
            await control.exchange(Target("GET", "https://kiro.invalid/", []), b"", through)
    assert "hunter2" not in str(caught.value) + caught.value.detail


async def test_no_connection_outlives_the_idle_time(serve: Any) -> None:
    peer = await serve(answers(ok({})))
    async with ControlPlane(config_for(peer, pool_idle_s=0.01)) as control:
        for _ in range(2):
            assert await control.usage_limits(CREDENTIAL) == {}
            assert peer.open == 1
            await until(lambda: peer.open == 0)


async def test_a_call_keeps_its_connection_past_the_idle_time(serve: Any) -> None:
    go_on = asyncio.Event()

    async def slow(peer: Any, reader: Any, writer: Any) -> None:
        await peer.request(reader)
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    held, quick = await serve(slow), await serve(answers(ok({})))
    proxied = Target("GET", "http://kiro.invalid/x", [])
    async with ControlPlane(Config(pool_idle_s=0)) as control:
        call = asyncio.create_task(
            control.exchange(proxied, b"", Proxy("http", "127.0.0.1", held.port))
        )
        await control.exchange(proxied, b"", Proxy("http", "127.0.0.1", quick.port))
        await until(lambda: quick.open == 0 and held.open == 1)
        go_on.set()
        assert (await call).status == 200


async def test_spare_clients_are_closed_but_never_under_a_call(serve: Any) -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def slow(peer: Any, reader: Any, writer: Any) -> None:
        await peer.request(reader)
        waiting.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()

    held = await serve(slow)
    others = [await serve(answers(ok({}))) for _ in range(4)]
    target = Target("GET", "http://kiro.invalid/x", [])
    async with ControlPlane(Config(), max_clients=2) as control:
        call = asyncio.create_task(
            control.exchange(target, b"", Proxy("http", "127.0.0.1", held.port))
        )
        await waiting.wait()
        for peer in others:
            await control.exchange(target, b"", Proxy("http", "127.0.0.1", peer.port))
        await until(lambda: sum(peer.open for peer in others) == 1)
        go_on.set()
        assert (await call).status == 200
