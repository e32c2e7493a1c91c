"""Model list, token counts, health."""

import json
from typing import Any

import anthropic
import pytest

from kiroproxy.errors import RequestError
from kiroproxy.server.info import page
from kiroproxy.simulator.script import Tail, answer

ENTRIES = [{"id": name} for name in "abcdefg"]


def ids(found: dict[str, Any]) -> str:
    return "".join(entry["id"] for entry in found["data"])


def test_the_first_page_tells_that_there_is_more() -> None:
    found = page(ENTRIES, b"limit=3")
    assert ids(found) == "abc"
    assert (found["has_more"], found["first_id"], found["last_id"]) == (True, "a", "c")


def test_following_last_id_visits_every_model_once() -> None:
    seen, query = "", b"limit=3"
    while True:
        found = page(ENTRIES, query)
        seen += ids(found)
        if not found["has_more"]:
            break
        query = b"limit=3&after_id=" + found["last_id"].encode()
    assert seen == "abcdefg"


def test_following_first_id_goes_backwards() -> None:
    found = page(ENTRIES, b"limit=3&before_id=f")
    assert (ids(found), found["has_more"]) == ("cde", True)
    found = page(ENTRIES, b"limit=3&before_id=c")
    assert (ids(found), found["has_more"]) == ("ab", False)


def test_an_unknown_cursor_ends_the_list() -> None:
    found = page(ENTRIES, b"after_id=gone")
    assert (found["data"], found["has_more"], found["last_id"]) == ([], False, None)


def test_without_a_limit_a_page_has_twenty() -> None:
    assert len(page([{"id": str(n)} for n in range(50)], b"beta=true")["data"]) == 20


@pytest.mark.parametrize("limit", [b"0", b"1001", b"x", b"-1", b"%C2%B2", b"9" * 5000])
def test_a_limit_out_of_range_is_refused(limit: bytes) -> None:
    with pytest.raises(RequestError):
        page(ENTRIES, b"limit=" + limit)


async def test_the_sdk_lists_and_retrieves_models(run_gateway: Any) -> None:
    gateway = await run_gateway()
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="sk-test-0123456789") as sdk:
        listed = [model.id async for model in sdk.models.list(limit=2)]
        one = await sdk.models.retrieve(listed[0])
        with pytest.raises(anthropic.NotFoundError) as caught:
            await sdk.models.retrieve("no-such-model")
    assert len(listed) == len(set(listed)) > 5
    assert any(model.startswith("claude-sonnet") for model in listed)
    assert one.id == listed[0] and one.type == "model"
    assert "model: no-such-model" in str(caught.value)


async def test_the_live_catalogue_replaces_the_built_in_one(run_gateway: Any) -> None:
    gateway = await run_gateway(models=[{"modelId": "claude-sonnet-9.1", "modelName": "New"}])
    listed: list[str] = []
    while len(listed) != 1:  # the built-in ones until the background fetch is done
        answer = await gateway.client.get("/v1/models?limit=1000")
        listed = [entry["id"] for entry in answer.json()["data"]]
        assert listed
    assert listed == ["claude-sonnet-9-1"]
    assert (await gateway.client.get("/v1/models/claude-opus-4-8")).status_code == 404


async def test_the_operators_names_are_understood(run_gateway: Any) -> None:
    gateway = await run_gateway(model_aliases={"my-model": "claude-sonnet-4.5"})
    assert (await gateway.ask(model="my-model")).json()["model"] == "my-model"


async def test_a_dead_credential_leaves_the_built_in_catalogue(run_gateway: Any) -> None:
    gateway = await run_gateway()
    gateway.app._gateway.pool.sync([])
    answer = await gateway.client.get("/v1/models")
    assert answer.status_code == 200 and answer.json()["data"]


async def test_the_list_is_what_all_credentials_can_do_together(run_gateway: Any) -> None:
    gateway = await run_gateway(accounts=2)
    await gateway.app._gateway.listings.were_asked.wait()
    first, second = gateway.sim.token_state.accounts
    first.models, second.models = ("claude-sonnet-4.5",), ("claude-opus-4.8", "glm-5")
    for credential in gateway.app._gateway.pool.serving():
        await gateway.app._gateway.listings.of(credential, anew=True)
    answer = await gateway.client.get("/v1/models")
    ids = [entry["id"] for entry in answer.json()["data"]]
    assert ids == ["claude-opus-4-8", "claude-sonnet-4-5", "glm-5"]
    asked = await gateway.ask(model="claude-opus-4-8")
    assert asked.status_code == 200
    (request,) = gateway.sim.of("generate")
    token = request.headers["authorization"].removeprefix("Bearer ")
    assert token == second.access_token  # the other one is not asked for what it lacks


COUNTED = {
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "How many tokens are these?"}],
}


async def test_tokens_are_counted_here(run_gateway: Any) -> None:
    gateway = await run_gateway()
    answer = await gateway.client.post("/v1/messages/count_tokens", json=COUNTED)
    assert list(answer.json()) == ["input_tokens"]
    assert 5 <= answer.json()["input_tokens"] <= 40


@pytest.mark.parametrize("field", ["model", "messages"])
async def test_what_cannot_be_counted_is_refused(run_gateway: Any, field: str) -> None:
    gateway = await run_gateway()
    body = {key: value for key, value in COUNTED.items() if key != field}
    answer = await gateway.client.post("/v1/messages/count_tokens", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"{field}: Field required"


class Counter:
    """An operator's token counter."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.seen: list[tuple[dict[bytes, bytes], Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        self.seen.append((dict(scope["headers"]), json.loads(message["body"])))
        length = b"%d" % len(self.body)
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(b"content-length", length)],
            }
        )
        await send({"type": "http.response.body", "body": self.body})


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [("x-api-key", b"x-api-key", b"k"), ("bearer", b"authorization", b"Bearer k")],
)
async def test_the_operators_counter_is_asked(
    run_app: Any, run_gateway: Any, kind: str, header: bytes, value: bytes
) -> None:
    counter = Counter(200, b'{"input_tokens": 4711}')
    elsewhere = await run_app(counter)
    gateway = await run_gateway(
        count_tokens_api_url=f"{elsewhere.url}/count",
        count_tokens_api_key="k",
        count_tokens_auth_type=kind,
    )
    answer = await gateway.client.post("/v1/messages/count_tokens", json=COUNTED)
    assert answer.json() == {"input_tokens": 4711}
    headers, body = counter.seen[0]
    assert headers[header] == value and body == COUNTED


async def test_the_counter_is_asked_with_the_certificates_that_are_read_already(
    run_app: Any, run_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(200, b'{"input_tokens": 4711}')
    elsewhere = await run_app(counter)
    gateway = await run_gateway(count_tokens_api_url=elsewhere.url)
    # To read them takes 40 ms, in which nobody else is served.
    monkeypatch.setattr("ssl.create_default_context", None)
    answer = await gateway.client.post("/v1/messages/count_tokens", json=COUNTED)
    assert answer.json() == {"input_tokens": 4711}


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"{}"), (200, b"<html>"), (200, b"{}"), (200, b'{"input_tokens": "many"}'), (200, b"3")],
)
async def test_a_counter_that_fails_is_replaced_by_the_local_count(
    run_app: Any, run_gateway: Any, status: int, body: bytes
) -> None:
    counter = Counter(status, body)
    elsewhere = await run_app(counter)
    gateway = await run_gateway(count_tokens_api_url=elsewhere.url)
    answer = await gateway.client.post("/v1/messages/count_tokens", json=COUNTED)
    assert answer.status_code == 200
    assert 5 <= answer.json()["input_tokens"] <= 40
    assert len(counter.seen) == 1


async def test_health_counts_credentials_and_names_none(run_gateway: Any) -> None:
    gateway = await run_gateway(accounts=3)
    answer = await gateway.client.get("/health")
    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "ok" and told["version"]
    assert told["credentials"] == {"total": 3, "available": 3}
    assert gateway.sim.credentials()[0]["refreshToken"][:20] not in answer.text


LONG = {"role": "user", "content": "The bridge was repaired before winter. " * 800}


@pytest.mark.parametrize("source", ["percentage", "metadata"])
async def test_estimates_follow_what_kiro_counts(run_gateway: Any, source: str) -> None:
    gateway = await run_gateway()
    body = {"model": "claude-sonnet-4-5", "messages": [LONG]}

    async def count() -> int:
        answer = await gateway.client.post("/v1/messages/count_tokens", json=body)
        return int(answer.json()["input_tokens"])

    before = await count()
    usage = {"uncachedInputTokens": round(before * 1.2), "outputTokens": 1, "totalTokens": 9}
    tail = Tail(
        token_usage=usage if source == "metadata" else None,
        context_percentage=100 * (before * 1.2 + 1) / 200_000,
    )
    gateway.sim.enqueue(*[answer("ok", tail)] * 6)
    for _ in range(5):
        assert (await gateway.ask(messages=[LONG])).status_code == 200
    assert await count() == pytest.approx(before * 1.2, rel=0.01)
    health = (await gateway.client.get("/health")).json()
    assert health["token_factors"] == {"claude-sonnet-4.5": pytest.approx(1.2, rel=0.01)}
    start = (await gateway.events(messages=[LONG]))[0][1]
    assert start["message"]["usage"]["input_tokens"] == pytest.approx(before * 1.2, rel=0.01)


async def test_an_estimate_is_no_proof_of_itself(run_gateway: Any) -> None:
    gateway = await run_gateway(*[answer("ok", Tail(context_percentage=None))] * 6)
    for _ in range(6):
        await gateway.ask(messages=[LONG])
    assert (await gateway.client.get("/health")).json()["token_factors"] == {}
