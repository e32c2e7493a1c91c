"""What Kiro lists for each credential, asked of the simulator."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.pool import Pool
from kiroproxy.accounts.slot import SUSPENDED
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import GatewayError
from kiroproxy.simulator.script import Hold, Plain, Script, refuse
from kiroproxy.simulator.server import Simulator
from kiroproxy.upstream.connection import ConnectionPool
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.dispatch import Dispatcher
from kiroproxy.upstream.listings import FAILED_MS, FRESH_MS, PARALLEL, Listings
from kiroproxy.upstream.mending import mended
from kiroproxy.upstream.refresh import Refresher

SONNET, OPUS = "claude-sonnet-4.5", "claude-opus-4.8"
DOWN = refuse(500, "InternalServerException", "on fire")


class World:
    """Two accounts at a simulator and what one worker knows of them."""

    def __init__(self, sim: Simulator, path: Path) -> None:
        self.sim, self.now_ms, self.pauses = sim, 1_767_225_600_000, 0
        path.write_text(json.dumps(sim.credentials()))
        path.chmod(0o600)
        config = Config(upstream=UpstreamUrls(sim.url, sim.url, sim.url, sim.url))
        store = Store(path, config)
        self.control = ControlPlane(config)
        self.pool = Pool(store.load())
        self.refresher = Refresher(store, self.control, config, on_renewed=self.pool.replace)
        self.connections = ConnectionPool(config)
        shared = Dispatcher(config, self.pool, self.refresher, self.connections, self.control)
        self.listings = Listings(
            self.pool,
            lambda credential: mended(shared, credential, self.control.list_models),
            lambda: self.now_ms,
            sleep=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses += 1

    async def aclose(self) -> None:
        await self.listings.aclose()
        await self.refresher.aclose()
        await self.connections.aclose()
        await self.control.aclose()

    @property
    def asked(self) -> int:
        return len(self.sim.of("models"))

    def ids(self) -> list[str]:
        return [row["modelId"] for row in self.listings.rows()]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Simulator(pace_s=0.0) as sim:
        sim.token_state.add_social()
        first, second = sim.token_state.accounts
        first.models, second.models = (SONNET,), (SONNET, OPUS)
        made = World(sim, tmp_path / "credentials.json")
        yield made
        await made.aclose()


def listed(*rows: dict[str, Any]) -> Script:
    return Script((Plain(200, json.dumps({"models": rows})),))


async def test_every_credential_is_known_by_its_own_listing(world: World) -> None:
    assert await world.listings.look()
    capable = world.pool.entitlements.capable
    assert (capable(1, SONNET), capable(1, OPUS), capable(2, OPUS)) == (True, False, True)
    assert set(world.ids()) == {SONNET, OPUS}
    assert world.listings.were_asked.is_set()


async def test_what_is_fresh_is_not_asked_again(world: World) -> None:
    await world.listings.look()
    await world.listings.look()
    assert world.asked == 2
    world.now_ms += FRESH_MS
    await world.listings.look()
    assert world.asked == 4


async def test_many_who_want_to_know_are_one_question(world: World) -> None:
    credential = world.pool.serving()[0]
    found = await asyncio.gather(*(world.listings.of(credential) for _ in range(20)))
    assert world.asked == 1
    assert {row["modelId"] for rows in found for row in rows} == {SONNET}


async def test_an_old_listing_answers_while_a_new_one_is_asked_for(world: World) -> None:
    credential = world.pool.serving()[0]
    before = await world.listings.of(credential)
    world.now_ms += FRESH_MS
    new = Script((Hold(), *listed({"modelId": "auto"}).steps))
    world.sim.enqueue(new, route="models")
    assert await world.listings.of(credential) is before
    world.sim.release()
    assert [row["modelId"] for row in await world.listings.of(credential, anew=True)] == ["auto"]
    assert world.asked == 2


async def test_a_failed_question_leaves_what_was_known(world: World) -> None:
    await world.listings.look()
    world.now_ms += FRESH_MS
    world.sim.enqueue(DOWN, DOWN, route="models")
    assert not await world.listings.look()
    assert set(world.ids()) == {SONNET, OPUS}
    asked = world.asked
    assert await world.listings.look()  # not at once again
    assert world.asked == asked
    world.now_ms += FAILED_MS
    await world.listings.look()
    assert world.asked == asked + 2


async def test_of_whom_nothing_is_known_nothing_is_invented(world: World) -> None:
    world.sim.enqueue(DOWN, route="models")
    with pytest.raises(GatewayError):
        await world.listings.of(world.pool.serving()[0])
    assert world.listings.rows() == []
    assert world.pool.entitlements.capable(1, OPUS) is None


async def test_a_disabled_credential_offers_nothing(world: World) -> None:
    await world.listings.look()
    world.pool._slots[2].disable(SUSPENDED, world.now_ms)
    assert world.ids() == [SONNET]


async def test_a_model_listed_differently_has_its_largest_window(world: World) -> None:
    rows = [{"modelId": OPUS, "tokenLimits": {"maxInputTokens": n}} for n in (200, 1000)]
    world.sim.enqueue(listed(rows[0]), listed(rows[1]), route="models")
    await world.listings.look()
    assert [row["tokenLimits"]["maxInputTokens"] for row in world.listings.rows()] == [1000]


async def test_joined_listings_stay_the_same_list_until_something_changes(world: World) -> None:
    await world.listings.look()
    before = world.listings.rows()
    world.now_ms += FRESH_MS
    await world.listings.look()
    assert world.listings.rows() is before


async def test_a_rejected_token_is_renewed_once(world: World) -> None:
    stale = refuse(
        403, "AccessDeniedException", "The bearer token included in the request is invalid"
    )
    world.sim.enqueue(stale, route="models")
    assert await world.listings.of(world.pool.serving()[0])
    assert (world.asked, len(world.sim.of("refresh"))) == (2, 1)


async def test_another_account_under_an_old_id_is_asked_anew(world: World) -> None:
    await world.listings.look()
    other = world.pool.serving()[1]
    object.__setattr__(other, "machine_id", "0" * 64)
    assert world.ids() == [SONNET]
    await world.listings.look()
    assert world.asked == 3 and set(world.ids()) == {SONNET, OPUS}


async def test_many_credentials_are_asked_a_few_at_a_time(tmp_path: Path) -> None:
    async with Simulator(pace_s=0.0) as sim:
        for _ in range(2 * PARALLEL):
            sim.token_state.add_social()
        world = World(sim, tmp_path / "credentials.json")
        await world.listings.look()
        assert (world.asked, world.pauses) == (2 * PARALLEL + 1, 2)
        shapes = {id(await world.listings.of(each)) for each in world.pool.serving()}
        assert len(shapes) == 1  # accounts of one plan cost the memory of one
        await world.aclose()
