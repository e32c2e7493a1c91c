"""A credential is kept when it is proven, and no token is lost on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.store import Store
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import ConfigError, CredentialDead, GatewayError
from kiroproxy.simulator.script import Hold, Plain, Refuse, Script
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.enrolment import Enrolment
from kiroproxy.upstream.refresh import Refresher


class World:
    simulator: Simulator
    enrolment: Enrolment
    refresher: Refresher

    def __init__(self, folder: Path) -> None:
        self.tokens = TokenState()
        self.account = self.tokens.add_social()
        self.path = folder / "credentials.json"

    @property
    def fields(self) -> dict[str, Any]:
        return self.tokens.credential(self.account)

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads(self.path.read_text())
        return entries


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    found = World(tmp_path)
    async with Simulator(tokens=found.tokens) as simulator:
        found.simulator = simulator
        urls = UpstreamUrls(simulator.url, simulator.url, simulator.url, simulator.url)
        config = Config(upstream=urls, credentials_path=found.path)
        store = Store(found.path, config)
        store.load()
        async with ControlPlane(config) as control:
            found.refresher = refresher = Refresher(store, control, config)
            found.enrolment = Enrolment(store, refresher, control)
            yield found
            await refresher.aclose()


async def test_one_refresh_and_one_usage_query_prove_it(world: World) -> None:
    kept = await world.enrolment.keep(world.fields)
    assert [request.route for request in world.simulator.requests] == ["refresh", "usage"]
    (entry,) = world.entries
    assert entry["refreshToken"] == world.account.refresh_token, "the new token is on disk"
    assert "disabled" not in entry and entry["email"] == "simulated@example.com"
    assert (kept.email, kept.subscription) == ("simulated@example.com", "KIRO FREE")
    assert not kept.problem and not kept.credential.disabled


async def test_an_api_key_needs_the_query_only(world: World) -> None:
    fields = world.tokens.credential(world.tokens.add_api_key())
    await world.enrolment.keep(fields)
    assert [request.route for request in world.simulator.requests] == ["usage"]


async def test_a_dead_token_is_not_kept(world: World) -> None:
    fields = {**world.fields, "refreshToken": "aor" + "d" * 150}
    with pytest.raises(CredentialDead):
        await world.enrolment.keep(fields)
    assert world.entries == []


async def test_a_refused_api_key_is_not_kept(world: World) -> None:
    with pytest.raises(GatewayError):
        await world.enrolment.keep({"authMethod": "api_key", "kiroApiKey": "ksk_unknown_key_1"})
    assert world.entries == []


async def test_a_suspended_account_whose_token_was_traded_stays_disabled(world: World) -> None:
    words = "Your account is temporarily suspended."
    refusal = Refuse(403, "AccessDeniedException", words, "TEMPORARILY_SUSPENDED")
    world.simulator.enqueue(Script((refusal,)), route="usage")
    kept = await world.enrolment.keep(world.fields)
    (entry,) = world.entries
    assert kept.problem and entry["disabled"] is True
    assert entry["refreshToken"] == world.account.refresh_token


async def test_a_bad_moment_after_the_refresh_does_not_lose_the_login(world: World) -> None:
    world.simulator.enqueue(Script((Refuse(503),)), route="usage")
    kept = await world.enrolment.keep(world.fields)
    (entry,) = world.entries
    assert entry["refreshToken"] == world.account.refresh_token
    assert not entry.get("disabled") and not kept.problem


async def test_it_serves_nobody_before_it_is_proven(world: World) -> None:
    world.simulator.enqueue(Script((Hold("usage"), Refuse(503))), route="usage")
    task = asyncio.create_task(world.enrolment.keep(world.fields))
    await world.simulator.wait_for(1, "usage")
    assert world.entries[0]["disabled"] is True
    world.simulator.release("usage")
    await task


async def test_the_same_login_is_not_taken_in_twice(world: World) -> None:
    await world.enrolment.keep(world.fields)
    before = world.path.read_bytes()
    with pytest.raises(ConfigError, match="already here"):
        await world.enrolment.keep(world.fields)
    assert world.path.read_bytes() == before


async def test_unless_told_otherwise(world: World) -> None:
    await world.enrolment.keep({**world.fields, "disabled": True}, verify=False)
    assert not world.simulator.requests
    assert world.entries[0]["disabled"] is True


async def test_a_login_s_own_switch_survives_the_proof(world: World) -> None:
    await world.enrolment.keep({**world.fields, "disabled": True})
    assert world.entries[0]["disabled"] is True


async def test_a_switch_survives_a_proof_that_could_not_be_had(world: World) -> None:
    world.simulator.enqueue(Script((Refuse(503),)), route="usage")
    await world.enrolment.keep({**world.fields, "disabled": True})
    assert world.entries[0]["disabled"] is True


async def test_giving_up_during_the_renewal_does_not_lose_the_login(world: World) -> None:
    tokens = {"accessToken": "a", "refreshToken": "aor" + "n" * 150, "expiresIn": 3600}
    answer = Script((Hold("refresh"), Plain(200, json.dumps(tokens))))
    world.simulator.enqueue(answer, route="refresh")
    task = asyncio.create_task(world.enrolment.keep(world.fields))
    await world.simulator.wait_for(1, "refresh")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.simulator.release("refresh")
    await world.refresher.aclose()
    (entry,) = world.entries
    assert entry["refreshToken"] == tokens["refreshToken"], "it was traded: only we have it"
    assert entry["disabled"] is True


async def test_giving_up_before_the_login_leaves_nothing(world: World) -> None:
    fields = world.tokens.credential(world.tokens.add_api_key())
    world.simulator.enqueue(Script((Hold("usage"), Refuse(503))), route="usage")
    task = asyncio.create_task(world.enrolment.keep(fields))
    await world.simulator.wait_for(1, "usage")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.entries == []


async def test_a_door_that_wants_a_profile_is_asked_with_one(world: World) -> None:
    fields = world.tokens.credential(world.tokens.add_idc())
    fields.pop("profileArn", None)
    kept = await world.enrolment.keep({**fields, "endpoint": "kas"})
    assert kept.email == "simulated@example.com" and not kept.problem
    assert [request.route for request in world.simulator.requests] == [
        "token",
        "profiles",
        "usage",
    ]
