"""The care for idle credentials: who does it, when, and that it never becomes a storm."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.balance_file import BalanceFile
from kiroproxy.accounts.pool import Pool
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.simulator.script import refuse
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.keeper import Keeper
from kiroproxy.upstream.refresh import Refresher
from kiroproxy.upstream.usage import Usage

MINUTE, HOUR = 60_000, 3_600_000
START = 1_767_225_600_000


class Worker:
    """What one worker has for the care, on a file and a clock that others share."""

    def __init__(self, world: "World", **settings: Any) -> None:
        url = world.sim.url
        config = Config(upstream=UpstreamUrls(url, url, url, url), **settings)
        self.store = Store(world.path, config)
        self.control = ControlPlane(config)
        self.pool = Pool(self.store.load())
        self.refresher = Refresher(
            self.store, self.control, config, on_renewed=self.pool.replace, now_ms=world.now,
            jitter=lambda: 1.0,
        )  # fmt: skip
        self.usage = Usage(
            self.pool, self.refresher.fresh, self.control, BalanceFile(world.path), world.now
        )  # fmt: skip
        self.pauses: list[float] = []
        self.keeper = Keeper(
            self.pool, self.refresher, self.usage, self.store.duty_lock(), config, world.now,
            sleep=self._pause, rng=lambda: 0.5,
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def aclose(self) -> None:
        await self.usage.aclose()
        await self.refresher.aclose()
        await self.control.aclose()


class World:
    """Accounts at a simulator, their file, and one clock for everybody."""

    def __init__(self, path: Path, accounts: int) -> None:
        self.path, self.now_ms = path, START
        tokens = TokenState(clock=lambda: self.now_ms / 1000)
        for _ in range(accounts):
            tokens.add_social()
        self.sim = Simulator(tokens=tokens)
        self.workers: list[Worker] = []

    def now(self) -> int:
        return self.now_ms

    def worker(self, **settings: Any) -> Worker:
        if not self.path.exists():
            self.path.write_text(json.dumps(self.sim.credentials()))
            self.path.chmod(0o600)
        self.workers.append(Worker(self, **settings))
        return self.workers[-1]

    @property
    def rotations(self) -> list[int]:
        return [account.rotations for account in self.sim.tokens.accounts]


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Any]:
    made: list[World] = []

    async def make(accounts: int = 1) -> World:
        made.append(World(tmp_path / "credentials.json", accounts))
        await made[-1].sim.start()
        return made[-1]

    yield make
    for world in made:
        for worker in world.workers:
            await worker.aclose()
        await world.sim.stop()


# -- tokens --------------------------------------------------------------------------------


async def test_an_idle_token_is_renewed_inside_its_window_and_not_before(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker()
    for passed_ms, rotations in ((0, 0), (49 * MINUTE, 0), (51 * MINUTE, 1), (52 * MINUTE, 1)):
        world.now_ms = START + passed_ms
        await worker.keeper.round(with_balances=False)
        assert world.rotations == [rotations]


async def test_after_a_long_suspend_everything_is_due_and_done_one_by_one(make_world: Any) -> None:
    world = await make_world(accounts=12)
    worker = world.worker()
    world.now_ms += 8 * HOUR
    await worker.keeper.round(with_balances=False)
    assert world.rotations == [1] * 12
    assert len(worker.pauses) == 12 and min(worker.pauses) > 0
    await worker.keeper.round(with_balances=False)
    assert world.rotations == [1] * 12


@pytest.mark.parametrize("jump_ms", [-HOUR, -24 * HOUR])
async def test_a_clock_set_back_renews_nothing(make_world: Any, jump_ms: int) -> None:
    world = await make_world(accounts=3)
    worker = world.worker()
    world.now_ms += jump_ms
    await worker.keeper.round(with_balances=False)
    assert world.rotations == [0, 0, 0]


async def test_two_workers_at_once_renew_each_token_once(make_world: Any) -> None:
    world = await make_world(accounts=4)
    workers = [world.worker() for _ in range(2)]
    world.now_ms += HOUR
    for worker in workers:  # as if both had the duty: the flights' own lock must do
        await worker.keeper.round(with_balances=False)
    assert world.rotations == [1] * 4


async def test_only_one_of_the_workers_has_the_duty_until_it_ends(make_world: Any) -> None:
    world = await make_world()
    one, other = world.worker(), world.worker()
    assert await one.keeper._has_duty() and not await other.keeper._has_duty()
    one.keeper._lock.release()
    assert await other.keeper._has_duty()
    other.keeper._lock.release()


async def test_a_folder_that_takes_no_lock_leaves_the_care_to_every_worker(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker()
    worker.keeper._lock.path.mkdir()
    assert await worker.keeper._has_duty()


async def test_a_login_that_has_ended_is_disabled_before_a_request_meets_it(
    make_world: Any,
) -> None:
    world = await make_world(accounts=2)
    worker = world.worker()
    world.sim.tokens.accounts[0].refresh_token = "gone"
    world.now_ms += HOUR
    await worker.keeper.round(with_balances=False)
    states = {view.credential.id: view.disabled_reason for view in worker.pool.snapshot()}
    assert states == {1: "InvalidRefreshToken", 2: ""}
    before = world.sim.tokens.calls["refresh_social"]
    await worker.keeper.round(with_balances=False)
    assert world.sim.tokens.calls["refresh_social"] == before  # nobody asks for it again


async def test_who_wants_no_refresh_ahead_gets_none(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker(refresh_ahead=False)
    world.now_ms += HOUR
    await worker.keeper.round(with_balances=False)
    assert world.rotations == [0]


# -- balances ------------------------------------------------------------------------------


def asked(world: World) -> int:
    return len(world.sim.of("usage"))


async def test_balances_are_asked_for_once_an_interval_whichever_worker_does_it(
    make_world: Any,
) -> None:
    world = await make_world(accounts=2)
    one, other = world.worker(), world.worker()
    await one.keeper.round()
    await other.keeper.round()
    assert asked(world) == 2
    world.now_ms += HOUR + 7 * MINUTE
    await other.keeper.round()
    assert asked(world) == 4


async def test_an_interval_of_nothing_asks_nobody_but_who_is_out(make_world: Any) -> None:
    world = await make_world(accounts=2)
    worker = world.worker(balance_interval_s=0)
    await worker.keeper.round()
    assert asked(world) == 0
    world.sim.tokens.accounts[0].used = 550
    await worker.usage.balance(worker.pool.get(1), anew=True)
    world.now_ms += HOUR + 7 * MINUTE
    await worker.keeper.round()
    assert asked(world) == 2


async def test_a_question_that_failed_is_not_asked_again_at_once(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker()
    world.sim.enqueue(refuse(500, "InternalServerException", "no"), route="usage")
    await worker.keeper.round()
    await worker.keeper.round()
    assert asked(world) == 1
    world.now_ms += 10 * MINUTE
    await worker.keeper.round()
    assert asked(world) == 2


async def test_a_plan_that_runs_low_rests_and_returns_when_it_is_paid_for(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker(min_remaining_credits=100)
    account = world.sim.tokens.accounts[0]
    account.used = 451
    await worker.keeper.round()
    assert worker.pool.counts(world.now_ms) == (1, 0)
    account.plan = 1000
    world.now_ms += HOUR + 7 * MINUTE
    await worker.keeper.round()
    assert worker.pool.counts(world.now_ms) == (1, 1)


async def test_what_is_known_of_a_plan_survives_a_restart(make_world: Any) -> None:
    world = await make_world()
    world.sim.tokens.accounts[0].used = 550
    first = world.worker()
    await first.usage.balance(first.pool.get(1))
    later = world.worker()
    await later.usage.apply_known()
    assert later.pool.counts(world.now_ms) == (1, 0)
    assert asked(world) == 1


async def test_another_account_under_the_same_id_has_a_balance_of_its_own(make_world: Any) -> None:
    world = await make_world()
    world.sim.tokens.accounts[0].used = 550
    first = world.worker()
    await first.usage.balance(first.pool.get(1))
    world.sim.tokens.accounts.clear()
    world.sim.tokens.add_social()
    world.path.write_text(json.dumps([{"id": 1, **world.sim.credentials()[0]}]))
    later = world.worker()
    await later.usage.apply_known()
    assert later.pool.counts(world.now_ms) == (1, 1)


async def test_an_answer_of_the_last_minutes_will_do(make_world: Any) -> None:
    world = await make_world()
    worker = world.worker()
    credential = worker.pool.get(1)
    found = [await worker.usage.balance(credential) for _ in range(3)]
    assert asked(world) == 1 and found[0].limit == 550
    await worker.usage.balance(credential, anew=True)
    assert asked(world) == 2
