"""Tries, failover and cures, counted at a real socket; leases and connections after each."""

import asyncio
import json
import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.pool import Pool
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import (
    AccessDenied,
    ConnectFailed,
    ConnectionLost,
    CredentialDead,
    EmptyAnswer,
    ModelRefused,
    NoCredential,
    NotFound,
    Overloaded,
    PromptTooLong,
    ProtocolViolation,
    QuotaExhausted,
    RefreshFailed,
    Refused,
    ServerFault,
    SignatureRefused,
    Suspended,
    Throttled,
    TokenRejected,
    UpstreamTimeout,
    WrongDoor,
    WrongProfile,
)
from kiroproxy.upstream.connection import ConnectionPool
from kiroproxy.upstream.dispatch import Dispatcher
from kiroproxy.upstream.endpoint import BUILDER_ID_PROFILE_ARN

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
    b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
)
OK = STREAM + b"0\r\n\r\n"
ARN = "arn:aws:codewhisperer:eu-central-1:1234:profile/REAL"
BEARER = "The bearer token included in the request is invalid"
CUT, RESET, SILENT = b"", None, "silence"


def refusal(status: int, message: str = "", reason: str = "", headers: str = "", **more) -> bytes:
    body = json.dumps({"message": message, "reason": reason or None, **more}).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def too_many(seconds: int) -> bytes:
    return refusal(429, "Too many requests", headers=f"retry-after: {seconds}\r\n")


@dataclass(frozen=True)
class FakePlan:
    model = SimpleNamespace(id="m")
    input_tokens: int = 150
    context_window: int = 200
    max_tokens: int = 50
    has_reasoning: bool = True
    conversation_id: str = ""

    def body(self, profile_arn):
        said = {"conversationState": {"currentMessage": {}}}
        told = {"arn": profile_arn, "reasoning": self.has_reasoning}
        return json.dumps(said | told, separators=(",", ":")).encode()

    def without_reasoning(self):
        return replace(self, has_reasoning=False) if self.has_reasoning else None


class FakeRefresher:
    """Renews "t1" to "t1+", on demand only; `fault` is raised instead."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.calls, self.fault = pool, [], None

    async def fresh(self, credential, *, force=False, rejected_token=""):
        if not force:
            if self.fault is not None and not self.calls:
                raise self.fault
            return credential
        self.calls.append((credential.id, rejected_token))
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        renewed = replace(credential, access_token=rejected_token + "+")
        self.pool.replace(renewed)
        return renewed


class FakeControl:
    def __init__(self) -> None:
        self.profiles, self.calls = [], 0

    async def list_profiles(self, credential):
        self.calls += 1
        if isinstance(self.profiles, Exception):
            raise self.profiles
        return self.profiles


class Kiro:
    """A gateway's upstream half in front of a peer that answers by access token."""

    def __init__(self, peer, dispatcher, pool, connections, refresher, control, waits) -> None:
        self.peer, self.dispatcher, self.pool, self.connections = (
            peer,
            dispatcher,
            pool,
            connections,
        )
        self.refresher, self.control, self.waits = refresher, control, waits

    @property
    def asked(self) -> list[str]:
        """Access tokens in the order of the requests."""
        return [re.search(rb"Bearer (\S+)", head)[1].decode() for head, _ in self.peer.requests]

    @property
    def leases(self) -> int:
        return sum(view.in_flight for view in self.pool.snapshot(NOW_MS))

    def view(self, id: int = 1):
        return {view.credential.id: view for view in self.pool.snapshot(NOW_MS)}[id]

    async def ask(self, plan=None) -> bytes:
        """Run one exchange as the server does, without looking into the stream."""
        async with self.dispatcher.exchange(plan or FakePlan()) as exchange:
            while True:
                response = await exchange.open()
                try:
                    body = b""
                    while data := await response.chunk():
                        body += data
                except (ConnectionLost, UpstreamTimeout) as fault:
                    if body or not exchange.failed(fault):
                        raise
                    continue
                exchange.succeeded()
                return body

    async def fails(self, kind, plan=None):
        with pytest.raises(kind) as caught:
            await self.ask(plan)
        assert type(caught.value) is kind
        await self.settled()
        return caught.value

    async def settled(self) -> None:
        """Expect every lease back and no connection open but idle ones."""
        assert self.leases == 0
        while self.connections.open_count != self.connections.idle_count:
            await asyncio.sleep(0.001)


@pytest.fixture
async def kiro(serve):
    """Start: `await kiro({token: [answer, …]}, n)`; the last answer of a token repeats."""
    pools: list[ConnectionPool] = []

    async def start(answers, count: int = 1, **changes) -> Kiro:
        turns: Counter[str] = Counter()

        async def script(peer, reader, writer) -> None:
            while True:
                head, _ = await peer.request(reader)
                token = re.search(rb"Bearer (\S+)", head)[1].decode()
                own = answers[token] if isinstance(answers, dict) else answers
                answer = own[min(turns[token], len(own) - 1)]
                turns[token] += 1
                if answer is SILENT:
                    await reader.read()
                if not answer:
                    return writer.transport.abort() if answer is RESET else None
                writer.write(answer)
                if answer is STREAM:
                    await reader.read() if changes.get("hang") else None
                    return None
                if b"\r\n\r\n" not in answer:
                    return None

        peer = await serve(script)
        config = Config(
            first_byte_timeout_s=changes.get("first_byte_s", 3600.0),
            upstream=UpstreamUrls(api_url=peer.url),
            system_version="os#1",
        )
        fields = changes.get("fields", {})
        pool = Pool(
            Credential(id=n, access_token=f"t{n}", expires_at_ms=NOW_MS + HOUR_MS, **fields)
            for n in range(1, count + 1)
        )
        connections = ConnectionPool(config)
        pools.append(connections)
        refresher, control, waits = FakeRefresher(pool), FakeControl(), []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        dispatcher = Dispatcher(
            config, pool, refresher, connections, control,
            clock=lambda: NOW_MS, rng=lambda: 0.5, sleep=sleep,
        )  # fmt: skip
        return Kiro(peer, dispatcher, pool, connections, refresher, control, waits)

    yield start
    for each in pools:
        await each.aclose()


# -- the plain way ---------------------------------------------------------------------------


async def test_answer_is_streamed_over_one_kept_connection(kiro):
    k = await kiro([OK])
    for _ in range(5):
        assert await k.ask() == b"hello"
    await k.settled()
    assert (k.peer.accepted, k.connections.idle_count) == (1, 1)
    assert (k.view().successes, k.view().failures) == (5, 0)


async def test_attempts_of_a_call_share_an_id_that_another_account_never_sees(kiro):
    k = await kiro({"t1": [CUT, CUT, OK], "t2": [CUT, CUT, OK]}, 2)
    await k.ask()
    seen = {}
    for (head, _), token in zip(k.peer.requests, k.asked, strict=True):
        invocation = re.search(rb"amz-sdk-invocation-id: (\S+)", head)[1]
        attempt = re.search(rb"amz-sdk-request: (.+)\r", head)[1]
        seen.setdefault(token, []).append((invocation, attempt))
    assert [a for _, a in seen["t1"]] == [
        b"attempt=1; max=3",
        b"attempt=2; max=3",
        b"attempt=3; max=3",
    ]
    assert len({i for i, _ in seen["t1"]}) == len({i for i, _ in seen["t2"]}) == 1
    assert seen["t1"][0][0] != seen["t2"][0][0]


# -- transient faults ------------------------------------------------------------------------

TRANSIENT = {
    "cut": (CUT, ConnectionLost),
    "reset": (RESET, ConnectionLost),
    "half a head": (b"HTTP/1.1 200 OK\r\n", ConnectionLost),
    "garbage": (b"garbage\r\n\r\n", ConnectionLost),
    "500": (refusal(500, "Internal error"), ServerFault),
    "502 page": (b"HTTP/1.1 502 X\r\ncontent-length: 6\r\n\r\n<html>", ServerFault),
    "capacity": (refusal(429, "high", "INSUFFICIENT_MODEL_CAPACITY"), Overloaded),
    "json": (refusal(200, "", __type="x#InternalServerException"), ServerFault),
    "no exception": (refusal(200, ""), ProtocolViolation),
}


@pytest.mark.parametrize(("answer", "kind"), TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_transient_fault_gets_three_tries_on_a_lone_credential(kiro, answer, kind):
    k = await kiro([answer])
    await k.fails(kind)
    assert k.asked == ["t1"] * 3
    assert k.waits == [0.2, 0.4]


@pytest.mark.parametrize(("answer", "kind"), TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_transient_fault_that_passes_is_not_seen_by_the_client(kiro, answer, kind):
    k = await kiro([answer, answer, OK])
    assert await k.ask() == b"hello"
    await k.settled()
    assert len(k.asked) == 3
    assert k.view().disabled_reason == ""


async def test_request_gets_nine_tries_in_all_spread_over_the_credentials(kiro):
    k = await kiro([CUT], 5)
    await k.fails(ConnectionLost)
    assert len(k.asked) == 9
    assert max(Counter(k.asked).values()) == 2
    assert set(k.asked[:5]) == {"t1", "t2", "t3", "t4", "t5"}
    assert k.waits[-1] == 2.0


async def test_cure_is_not_a_tenth_try(kiro):
    k = await kiro({f"t{n}": [CUT] for n in range(1, 9)} | {"t9": [refusal(403, BEARER)]}, 9)
    await k.fails(ConnectionLost)
    assert len(k.asked) == 9
    assert k.refresher.calls == []


async def test_lack_of_capacity_goes_round_even_between_priorities(kiro):
    k = await kiro([TRANSIENT["capacity"][0]], 2)
    k.pool.replace(replace(k.pool.get(2), priority=5))
    await k.fails(Overloaded)
    assert k.asked == ["t1", "t2"] * 3


async def test_refused_connection_is_tried_three_times(kiro):
    k = await kiro([OK])
    with_nobody = replace(k.dispatcher.source, upstream=UpstreamUrls(api_url="http://127.0.0.1:1"))
    k.dispatcher.source = with_nobody
    await k.fails(ConnectFailed)
    assert len(k.waits) == 2


async def test_silence_moves_on_to_the_next_credential(kiro):
    k = await kiro({"t1": [SILENT], "t2": [OK]}, 2, first_byte_s=0.05)
    assert await k.ask() == b"hello"
    assert k.asked == ["t1", "t2"]
    await k.settled()


async def test_answer_that_fails_before_content_is_tried_again(kiro):
    empty = STREAM.partition(b"5\r\n")[0]
    k = await kiro([empty + b"zz\r\n", OK])
    assert await k.ask() == b"hello"
    assert len(k.asked) == 2
    await k.settled()


async def test_answer_that_breaks_after_content_is_not_tried_again_but_counts(kiro):
    k = await kiro([STREAM])
    await k.fails(ConnectionLost)
    assert len(k.asked) == 1
    assert k.pool._slots[1].state.faults == 1


async def test_empty_answers_are_tried_three_times(kiro):
    k = await kiro([OK])
    async with k.dispatcher.exchange(FakePlan()) as exchange:
        for more in (True, True, False):
            await (await exchange.open()).read()
            assert exchange.failed(EmptyAnswer("empty")) is more
        assert k.leases == 0
    assert len(k.asked) == 3


async def test_outage_is_not_answered_with_nine_times_the_traffic(kiro):
    k = await kiro([refusal(500, "x")])
    k.dispatcher.pool.report = lambda *args: None  # so that no cooldown hides the effect
    for _ in range(100):
        await k.fails(ServerFault)
    assert len(k.asked) <= 100 + 10 + 100 * 0.1  # requests + reserve + their share


# -- credentials that are out ----------------------------------------------------------------

MOVING_ON = {
    "throttled": (too_many(30), Throttled, 429),
    "quota": (
        refusal(402, "You have reached the limit.", "MONTHLY_REQUEST_COUNT"),
        QuotaExhausted,
        402,
    ),
    "suspended": (refusal(403, "x", "TEMPORARILY_SUSPENDED"), Suspended, 502),
    "denied": (refusal(403, "no"), AccessDenied, 502),
}


@pytest.mark.parametrize(("answer", "kind", "status"), MOVING_ON.values(), ids=MOVING_ON.keys())
async def test_credential_that_is_out_is_asked_once_and_the_next_at_once(
    kiro, answer, kind, status
):
    k = await kiro({"t1": [answer], "t2": [OK]}, 2)
    assert await k.ask() == b"hello"
    assert (k.asked, k.waits) == (["t1", "t2"], [])
    await k.settled()
    assert k.view(1).failures + bool(k.view(1).disabled_reason) + bool(k.view(1).cooling_until_ms)


@pytest.mark.parametrize(("answer", "kind", "status"), MOVING_ON.values(), ids=MOVING_ON.keys())
async def test_lone_credential_that_is_out_gives_its_own_error(kiro, answer, kind, status):
    k = await kiro([answer])
    fault = await k.fails(kind)
    assert fault.status == status
    assert len(k.asked) == 1


async def test_client_is_told_the_shortest_wait(kiro):
    k = await kiro({"t1": [too_many(60)], "t2": [too_many(20)], "t3": [too_many(40)]}, 3)
    assert (await k.fails(Throttled)).retry_after_s == 20
    assert len(k.asked) == 3
    assert (await k.fails(Throttled)).retry_after_s == 20  # now the pool says so
    assert len(k.asked) == 3


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"t1": [too_many(60)], "t2": [refusal(500, "x")]}, Throttled),
        ({"t1": [refusal(402, "limit")], "t2": [refusal(500, "x")]}, ServerFault),
        ({"t1": [refusal(402, "limit")], "t2": [refusal(403, "no")]}, QuotaExhausted),
        ({"t1": [refusal(403, "no")], "t2": [refusal(500, "x")]}, ServerFault),
    ],
)
async def test_most_useful_of_several_errors_is_told(kiro, answers, kind):
    await (await kiro(answers, 2)).fails(kind)


async def test_long_wait_for_capacity_is_left_to_the_client(kiro):
    k = await kiro([refusal(500, "x", "MODEL_TEMPORARILY_UNAVAILABLE", "retry-after: 60\r\n")])
    assert (await k.fails(Overloaded)).retry_after_s == 60
    assert (len(k.asked), k.waits) == (1, [])


async def test_a_long_wait_for_capacity_is_no_reason_not_to_ask_somebody_else(kiro):
    full = refusal(500, "x", "MODEL_TEMPORARILY_UNAVAILABLE", "retry-after: 60\r\n")
    k = await kiro({"t1": [full], "t2": [OK]}, 2)
    assert await k.ask() == b"hello"
    assert (k.asked, k.waits) == (["t1", "t2"], [0.2])
    both = await kiro({"t1": [full], "t2": [full]}, 2)
    assert (await both.fails(Overloaded)).retry_after_s == 60
    assert both.asked == ["t1", "t2"]


@pytest.mark.parametrize("count", [1, 5])
async def test_an_answer_that_makes_no_sense_is_asked_for_three_times_in_all(kiro, count):
    k = await kiro([refusal(200, "")], count)
    await k.fails(ProtocolViolation)
    assert len(k.asked) == 3


async def test_short_wait_is_kept(kiro):
    k = await kiro([refusal(500, "x", "", "retry-after: 3\r\n"), OK])
    await k.ask()
    assert k.waits == [3]


async def test_no_credential_at_all_is_said_without_a_call(kiro):
    await (await kiro([OK], 0)).fails(NoCredential)


# -- requests that are wrong -----------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
async def test_bad_request_is_asked_once_and_blames_nobody(kiro, count):
    k = await kiro([refusal(400, "Improperly formed request.")], count)
    await k.fails(Refused)
    assert len(k.asked) == 1
    assert k.view().failures == 0


async def test_too_long_prompt_gets_the_numbers_of_the_plan(kiro):
    k = await kiro([refusal(400, "Input is too long.")])
    fault = await k.fails(PromptTooLong, FakePlan(input_tokens=250, context_window=200))
    assert fault.message == "prompt is too long: 250 tokens > 200 maximum"
    assert len(k.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [refusal(400, "Invalid tool use format."), refusal(500, "x", __type="a#ValidationException")],
)
async def test_doubtful_refusal_is_tried_once_more(kiro, answer):
    k = await kiro([answer])
    await k.fails(Refused)
    assert len(k.asked) == 2
    k = await kiro([answer, OK])
    assert await k.ask() == b"hello"


async def test_refused_signature_is_sent_once_without_reasoning(kiro):
    no = refusal(400, "bad", "THINKING_SIGNATURE_INVALID")
    k = await kiro([no, OK])
    assert await k.ask() == b"hello"
    assert [json.loads(body)["reasoning"] for _, body in k.peer.requests] == [True, False]
    assert k.waits == []
    k = await kiro([no])
    await k.fails(SignatureRefused)
    assert len(k.asked) == 2
    k = await kiro([no])
    await k.fails(SignatureRefused, FakePlan(has_reasoning=False))
    assert len(k.asked) == 1


# -- tokens and profiles ---------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_rejected_token_is_renewed_once_and_costs_the_credential_nothing(kiro, status):
    k = await kiro({"t1": [refusal(status, BEARER)], "t1+": [OK]})
    assert await k.ask() == b"hello"
    assert k.asked == ["t1", "t1+"]
    assert k.refresher.calls == [(1, "t1")]
    assert (k.view().failures, k.waits) == (0, [])
    await k.settled()


async def test_token_rejected_again_after_renewal_moves_on_and_counts(kiro):
    no = [refusal(403, BEARER)]
    k = await kiro({"t1": no, "t1+": no, "t2": [OK]}, 2)
    assert await k.ask() == b"hello"
    assert k.asked == ["t1", "t1+", "t1+", "t2"]  # the third through another door
    assert k.view(1).failures == 1


async def test_api_key_is_not_renewed(kiro):
    k = await kiro(
        {"ksk_1": [refusal(401, BEARER)]},
        fields={"auth_method": "api_key", "kiro_api_key": "ksk_1"},
    )
    await k.fails(TokenRejected)
    assert (len(k.asked), k.refresher.calls) == (2, [])  # the second through another door
    assert b"tokentype: API_KEY" in k.peer.requests[0][0]


@pytest.mark.parametrize(
    ("kind", "told"),
    [(RefreshFailed, RefreshFailed), (CredentialDead, CredentialDead)],
)
@pytest.mark.parametrize("forced", [False, True])
async def test_failed_renewal_moves_on(kiro, kind, told, forced):
    k = await kiro({"t1": [refusal(403, BEARER)]})
    k.refresher.fault = kind("no", detail="why")
    if forced:
        k.refresher.calls.append("so that only the forced renewal fails")
    fault = await k.fails(told)
    assert fault.retry_after_s == (5 if told is RefreshFailed else None)  # passes, and when
    assert len(k.asked) == forced
    assert k.view().refresh_failures == 1


ARN_NEEDED = refusal(400, "profileArn is required for this request.")


async def test_missing_profile_is_found_once_and_remembered(kiro):
    k = await kiro([ARN_NEEDED, OK], fields={"auth_method": "idc"})
    k.control.profiles = [{"arn": "arn:aws:codewhisperer:us-west-1:1:profile/X"}, {"arn": ARN}, {}]
    k.pool.replace(replace(k.pool.get(1), api_region="eu-central-1"))
    for _ in range(2):
        assert await k.ask() == b"hello"
    assert [json.loads(body)["arn"] for _, body in k.peer.requests] == [None, ARN, ARN]
    assert (k.control.calls, k.view().failures) == (1, 0)
    assert k.pool.get(1).profile_arn == ""


@pytest.mark.parametrize("profiles", [[], Refused("no"), AccessDenied("no")])
async def test_builder_id_is_sent_with_the_stand_in(kiro, profiles):
    k = await kiro([ARN_NEEDED, OK], fields={"auth_method": "idc"})
    k.control.profiles = profiles
    assert await k.ask() == b"hello"
    assert json.loads(k.peer.requests[1][1])["arn"] == BUILDER_ID_PROFILE_ARN


@pytest.mark.parametrize(
    ("fields", "profiles"),
    [
        ({"auth_method": "social", "profile_arn": ARN}, [{"arn": ARN}]),
        ({"auth_method": "social"}, []),
        ({"auth_method": "idc"}, ConnectionLost("no")),
    ],
    ids=["the one that was refused", "none", "nobody answers"],
)
async def test_profile_that_cannot_be_mended_moves_on(kiro, fields, profiles):
    k = await kiro([ARN_NEEDED], fields=fields)
    k.control.profiles = profiles
    await k.fails(WrongProfile)
    assert len(k.asked) == 1
    assert k.view().failures == 1


async def test_profile_refused_again_is_not_looked_for_again(kiro):
    k = await kiro(
        [refusal(403, "User is not authorized to make this call.")], fields={"auth_method": "idc"}
    )
    k.control.profiles = [{"arn": ARN}]
    await k.fails(WrongProfile)
    assert (len(k.asked), k.control.calls) == (2, 1)


HALF_A_REFUSAL = b"HTTP/1.1 500 X\r\ncontent-length: 10\r\n\r\n{"


# -- leaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [[SILENT], [refusal(500, "x"), SILENT], [STREAM], [HALF_A_REFUSAL]],
    ids=["head", "retry", "body", "refusal"],
)
async def test_cancellation_returns_lease_and_connection_in_every_phase(kiro, answers):
    k = await kiro(answers, hang=True)
    task = asyncio.create_task(k.ask())
    while len(k.peer.requests) < len(answers):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await k.settled()
    assert k.connections.idle_count == 0
    assert k.view().failures == 0


async def test_two_hundred_cancelled_requests_leave_nothing(kiro):
    k = await kiro([STREAM], 3, hang=True)
    tasks = [asyncio.create_task(k.ask()) for _ in range(200)]
    for turn, task in enumerate(tasks):
        if turn % 8 == 0:
            await asyncio.sleep(0.001)
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
    await k.settled()
    assert k.connections.open_count == 0
    while k.peer.open:
        await asyncio.sleep(0.001)


async def test_every_try_is_one_line_without_secrets(kiro, caplog):
    k = await kiro({"t1": [refusal(403, BEARER)], "t1+": [too_many(9)], "t2": [OK]}, 2)
    with caplog.at_level(logging.INFO, "kiroproxy"):
        await k.ask()
    lines = [record.fields for record in caplog.records]
    shown = [(line["credential"], line["try"], line["status"], line["outcome"]) for line in lines]
    assert shown == [(1, 1, 403, "cured"), (1, 2, 429, "failed"), (2, 3, 200, "answered")]
    assert not re.search(r"t1\+|'t\d|Bearer ", repr(lines))


async def test_a_conversation_stays_with_its_credential_and_comes_back_to_it(kiro):
    k = await kiro([OK], 4)
    plans = [FakePlan(conversation_id=f"c{n}") for n in range(12)]
    for plan in plans * 2:
        await k.ask(plan)
    home = k.asked[:12]
    assert k.asked[12:] == home and len(set(home)) >= 3
    id = int(home[0].removeprefix("t"))
    k.pool._slots[id].failed(Throttled("x", retry_after_s=60), NOW_MS)
    await k.ask(plans[0])
    assert k.asked[-1] != home[0]
    k.pool.reset(id)
    await k.ask(plans[0])
    assert k.asked[-1] == home[0]


# -- models that a plan does not include -----------------------------------------------------

NO_MODEL = refusal(400, "Invalid model ID.", "INVALID_MODEL_ID")


async def test_a_model_one_account_lacks_is_had_from_another_and_the_lack_is_remembered(kiro):
    k = await kiro({"t1": [NO_MODEL], "t2": [OK]}, 2)
    for _ in range(3):
        assert await k.ask() == b"hello"
    assert k.asked == ["t1", "t2", "t2", "t2"]
    assert k.waits == []
    assert k.view().is_usable


async def test_a_model_nobody_has_is_refused_and_nobody_is_asked_twice(kiro):
    k = await kiro([NO_MODEL], 3)
    await k.fails(ModelRefused)
    await k.fails(NotFound)
    assert sorted(k.asked) == ["t1", "t2", "t3"]


# -- the generations of the API --------------------------------------------------------------

NOT_HERE = refusal(403, "Your subscription does not support this application")


def paths(k) -> list[str]:
    return [head.split(b" ", 2)[1].decode() for head, _ in k.peer.requests]


async def test_a_door_that_lets_an_account_in_is_kept_for_it(kiro):
    k = await kiro({"t1": [NOT_HERE, OK]}, fields={"profile_arn": ARN})
    for _ in range(3):
        assert await k.ask() == b"hello"
    assert paths(k) == ["/generateAssistantResponse", "/", "/", "/"]
    assert b"KiroRuntimeService.GenerateAssistantResponse" in k.peer.requests[1][0]
    assert (k.view().failures, k.waits) == (0, [])


async def test_a_request_tries_one_other_door_and_the_next_request_another_one(kiro):
    k = await kiro({"t1": [NOT_HERE]}, fields={"profile_arn": ARN})
    for _ in range(2):
        await k.fails(WrongDoor)
    targets = [re.search(rb"x-amz-target: (\w+)", head) for head, _ in k.peer.requests]
    names = [found[1].decode() if found else "ide" for found in targets]
    assert names == ["ide", "KiroRuntimeService", "ide", "AmazonCodeWhispererStreamingService"]
    assert k.view().failures == 2


async def test_a_door_that_wants_a_profile_has_it_looked_up_before_it_is_asked(kiro):
    k = await kiro([OK], fields={"endpoint": "kas", "auth_method": "idc"})
    k.control.profiles = [{"arn": ARN}]
    assert await k.ask() == b"hello"
    assert (len(k.asked), k.control.calls) == (1, 1)
    assert ARN.encode() in k.peer.requests[0][1]


async def test_an_account_without_any_profile_goes_through_the_door_that_wants_none(kiro):
    wanted = refusal(400, "profileArn is required for this request.")
    k = await kiro({"t1": [wanted, OK]}, fields={"endpoint": "kas"})
    assert await k.ask() == b"hello"
    assert paths(k) == ["/", "/generateAssistantResponse"]
