"""Routes, connections, choice of scripts and the admin path, over real sockets."""

import asyncio
import ssl

import httpx
import pytest
import trustme

from kiroproxy.simulator import Simulator, answer, frames, refuse
from kiroproxy.simulator import script as s
from kiroproxy.simulator.tokens import SOCIAL_ARN


def texts(response: httpx.Response) -> str:
    decoded = [frame.json() for frame in frames.decode(response.content)]
    return "".join(told.get("content", "") for told in decoded)


async def test_scripts_come_from_the_queue_then_the_callable_then_the_demo(caller):
    def choose(request):
        return answer(f"about {request.prompt}") if request.number == 2 else None

    async with Simulator(choose) as sim:
        sim.enqueue(answer("queued"))
        replies = [texts(await caller.ask(sim)) for _ in range(3)]
    assert replies[:2] == ["queued", "about hi"]
    assert "simulator" in replies[2]


async def test_several_scripts_are_used_in_turn_and_one_for_every_request(caller):
    async with Simulator([answer("one"), answer("two")]) as sim:
        assert [texts(await caller.ask(sim)) for _ in range(2)] == ["one", "two"]
    async with Simulator(answer("same")) as sim:
        assert [texts(await caller.ask(sim)) for _ in range(3)] == ["same"] * 3


async def test_a_refused_request_spends_no_script(caller, make_body):
    async with Simulator([answer("kept")]) as sim:
        response = await caller.ask(sim, make_body(""))
        assert response.status_code == 400
        assert response.json()["message"] == "Improperly formed request."
        assert response.headers["x-simulator-rule"].startswith("R1 ")
        assert sim.requests[0].refusal.rule.startswith("R1 ")
        assert texts(await caller.ask(sim)) == "kept"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a": "\\ud800"}', b'{"a": "\xff"}'])
async def test_a_body_that_is_no_json_object_is_refused(caller, make_headers, raw):
    async with Simulator() as sim:
        response = await caller.client.post(
            f"{sim.url}/generateAssistantResponse",
            content=raw,
            headers=make_headers(sim.tokens.accounts[0].access_token),
        )
    assert response.status_code == 400
    assert response.json()["reason"] == "REQUEST_BODY_INVALID_JSON"


async def test_one_connection_serves_many_requests_until_told_to_close(caller):
    async with Simulator(answer("x")) as sim:
        for _ in range(3):
            await caller.ask(sim)
        assert {request.connection for request in sim.requests} == {1}
        await caller.ask(sim, connection="close")
        await caller.ask(sim)
        assert sim.requests[-1].connection == 2


async def test_it_speaks_tls(make_body, make_headers):
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with (
        Simulator(answer("safe"), tls=server) as sim,
        httpx.AsyncClient(verify=client, trust_env=False) as http,
    ):
        assert sim.url.startswith("https://")
        headers = make_headers(sim.tokens.accounts[0].access_token)
        url = f"{sim.url}/generateAssistantResponse"
        assert texts(await http.post(url, json=make_body("hi"), headers=headers)) == "safe"
        sim.enqueue(s.Script((s.Text("cut"), s.Drop())))
        with pytest.raises(httpx.ReadError):
            await http.post(url, json=make_body("hi"), headers=headers)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/nothing"), ("GET", "/generateAssistantResponse"), ("GET", "/")]
)
async def test_an_unknown_operation_is_a_404_in_kiros_form(caller, method, path):
    async with Simulator() as sim:
        response = await caller.client.request(method, sim.url + path)
    assert response.status_code == 404
    assert response.headers["x-amzn-errortype"] == "UnknownOperationException"


async def test_the_region_in_the_path_must_be_the_profiles(caller, make_body, make_headers):
    async with Simulator(answer("x")) as sim:
        token = sim.tokens.accounts[0].access_token
        base = sim.upstream(regional=True)["apiUrl"]
        body = {**make_body("hi"), "profileArn": SOCIAL_ARN}
        statuses = []
        for region in ("us-east-1", "eu-central-1"):
            url = base.format(region=region) + "/generateAssistantResponse"
            response = await caller.client.post(url, json=body, headers=make_headers(token))
            statuses.append(response.status_code)
        assert statuses == [200, 400]
        assert [request.region for request in sim.requests] == ["us-east-1", "eu-central-1"]


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("AmazonCodeWhispererStreamingService", "com.amazon.aws.codewhisperer#"),
        ("KiroRuntimeService", "com.amazon.kiro.runtimeservice#"),
    ],
)
async def test_the_rpc_form_is_served_with_its_own_opening_and_namespace(
    caller, make_body, make_rpc_headers, target, namespace
):
    async with Simulator(answer("x")) as sim:
        account = sim.tokens.accounts[0]
        headers = make_rpc_headers(account.access_token, target)

        def body(prompt):
            told = make_body(prompt, origin="KIRO_CLI") | {"profileArn": account.profile_arn}
            told["conversationState"]["rootConversationId"] = "c1"
            return told | {"agentMode": "vibe"} if "Runtime" in target else without_root(told)

        good = await caller.client.post(f"{sim.url}/", json=body("hi"), headers=headers)
        bad = await caller.client.post(f"{sim.url}/", json=body(""), headers=headers)
    assert frames.decode(good.content)[0].headers[":event-type"] == "initial-response"
    assert bad.json()["__type"].startswith(namespace)


def without_root(told):
    del told["conversationState"]["rootConversationId"]
    return told


@pytest.mark.parametrize("missing", ["agentMode", "rootConversationId", "profileArn"])
async def test_the_newest_form_is_refused_without_what_it_states_in_its_body(
    caller, make_body, make_rpc_headers, missing
):
    async with Simulator(answer("x")) as sim:
        account = sim.tokens.accounts[0]
        told = make_body("hi") | {"profileArn": account.profile_arn, "agentMode": "vibe"}
        told["conversationState"]["rootConversationId"] = "c1"
        told.pop(missing, None)
        told["conversationState"].pop(missing, None)
        headers = make_rpc_headers(account.access_token, "KiroRuntimeService")
        answered = await caller.client.post(f"{sim.url}/", json=told, headers=headers)
    assert answered.status_code == 400


async def test_an_expired_token_is_refused_and_an_accepted_one_is_not(caller):
    async with Simulator(answer("x")) as sim:
        sim.tokens.expire(sim.tokens.accounts[0].access_token)
        refused = await caller.ask(sim)
        assert refused.status_code == 403
        assert refused.json()["message"] == "The bearer token included in the request is invalid"
        sim.tokens.accept("given")
        assert (await caller.ask(sim, authorization="Bearer given")).status_code == 200


async def test_any_route_can_be_scripted_to_fail(caller):
    async with Simulator() as sim:
        sim.enqueue(refuse(503, "ServiceUnavailableException", "later"), route="refresh")
        sim.enqueue(s.Script((s.Drop(),)), route="usage")
        token = {"refreshToken": sim.tokens.accounts[0].refresh_token}
        answers = [await caller.client.post(f"{sim.url}/refreshToken", json=token) for _ in "12"]
        assert [answer.status_code for answer in answers] == [503, 200]
        with pytest.raises(httpx.ReadError):
            await caller.client.get(f"{sim.url}/getUsageLimits")


async def test_a_client_that_does_not_read_stops_the_answer_and_then_gets_all_of_it(caller):
    big = s.Script((s.Raw(b"x" * 1_000_000),) * 40)  # more than any socket buffers
    async with Simulator(big) as sim, caller.stream(sim) as response:
        request = await sim.wait_for(1)
        for _ in range(1000):  # turns of the loop, many times what 40 writes need
            await asyncio.sleep(0)
        assert request.outcome == ""
        assert len(await response.aread()) == 40_000_000
        await request.finished.wait()
        assert (request.outcome, request.sent_bytes) == ("done", 40_000_000)


async def test_stop_breaks_what_is_still_open(caller):
    sim = Simulator(s.Script((s.Silence(),)))
    await sim.start()
    task = asyncio.create_task(caller.ask(sim))
    request = await sim.wait_for(1)
    await sim.stop()
    with pytest.raises(httpx.HTTPError):
        await task
    assert request.outcome == "left"


async def test_a_script_that_fails_breaks_the_connection_and_is_reported(caller):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    async with Simulator(lambda _: 1 / 0) as sim:
        with pytest.raises(httpx.HTTPError):
            await caller.ask(sim)
    assert isinstance(reported[0]["exception"], ZeroDivisionError)


async def test_garbage_instead_of_http_is_answered_with_400():
    async with Simulator() as sim:
        reader, writer = await asyncio.open_connection(sim.host, sim.port)
        writer.write(b"\x16\x03\x01 no http\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()


async def test_another_process_can_steer_it_over_the_admin_path(caller):
    async with Simulator() as sim:
        admin = f"{sim.url}/_simulator"
        put = await caller.client.put(
            f"{admin}/script",
            json=[
                {"answer": True, "steps": ["first"]},
                {"steps": ["a", {"do": "hold", "name": "go"}]},
            ],
        )
        assert put.json() == {"queued": 2}
        assert texts(await caller.ask(sim)) == "first"
        await caller.client.post(f"{admin}/release/go")
        assert texts(await caller.ask(sim)) == "a"
        seen = (await caller.client.get(f"{admin}/requests?route=generate")).json()
        assert [entry["status"] for entry in seen] == [200, 200]
        assert "authorization" not in seen[0]["headers"]
        assert seen[0]["body"]["conversationState"]["conversationId"] == "c1"
        assert (await caller.client.get(f"{admin}/credentials")).json() == sim.credentials()
        await caller.client.post(f"{admin}/expire")
        assert (await caller.ask(sim)).status_code == 403
        await caller.client.delete(f"{admin}/requests")
        assert sim.requests == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "script", b"{", 400),
        ("PUT", "script", b'{"steps":[{"do":"sing"}]}', 400),
        ("GET", "nothing", b"", 404),
    ],
)
async def test_the_admin_path_refuses_what_it_does_not_understand(
    caller, method, path, body, status
):
    async with Simulator() as sim:
        url = f"{sim.url}/_simulator/{path}"
        response = await caller.client.request(method, url, content=body)
    assert (response.status_code, "message" in response.json()) == (status, True)
