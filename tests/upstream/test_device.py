"""Logging in with a code, against a login service that refuses whatever the real ones refuse."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from kiroproxy.accounts.credential import parse
from kiroproxy.accounts.expiry import parse_time
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import RequestError, UpstreamError
from kiroproxy.simulator.script import Refuse, Script
from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState
from kiroproxy.upstream import device
from kiroproxy.upstream.control import ControlPlane


class World:
    """The simulator and a clock that only waiting turns."""

    def __init__(self) -> None:
        self.now_s = 1_900_000_000.0
        self.tokens = TokenState(clock=lambda: self.now_s)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    async def start(self, method: str, **options: Any) -> device.Pending:
        return await device.start(
            method, self.control, self.config, now_ms=self.now_ms(), **options
        )

    async def complete(self, pending: device.Pending) -> dict[str, Any]:
        return await device.complete(
            pending, self.control, self.config, sleep=self.sleep, clock_ms=self.now_ms
        )

    async def poll(self, pending: device.Pending) -> object:
        return await device.poll(pending, self.control, self.config, now_ms=self.now_ms())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    async with Simulator(tokens=found.tokens) as simulator:
        urls = UpstreamUrls(simulator.url, simulator.url, simulator.url, simulator.url)
        found.config = Config(upstream=urls)
        found.simulator = simulator
        async with ControlPlane(found.config) as control:
            found.control = control
            yield found


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("builder-id", {}),
        ("idc", {"start_url": "https://corp.awsapps.com/start", "region": "eu-central-1"}),
        ("social", {"provider": "google"}),
        ("social", {"provider": "github"}),
    ],
)
async def test_a_confirmed_code_becomes_a_credential(
    world: World, method: str, options: dict[str, str]
) -> None:
    pending = await world.start(method, **options)
    waiting = await world.poll(pending)
    assert isinstance(waiting, device.Pending)
    assert world.tokens.devices.decide(pending.user_code)
    fields = await world.complete(waiting)

    parsed = parse(fields, world.config, id=1)
    assert not parsed.faults
    assert parsed.credential.auth_method == ("social" if method == "social" else "idc")
    assert parsed.credential.machine_id == pending.machine_id
    assert parse_time(fields["expiresAt"]) == world.now_ms() + 3_600_000
    assert world.tokens.caller(fields["accessToken"]) is not None
    if method == "idc":
        assert fields["authRegion"] == "eu-central-1"
        assert fields["startUrl"] == "https://corp.awsapps.com/start"
    if method == "social":
        assert fields["provider"].lower() == options["provider"] and fields["profileArn"]


async def test_the_service_is_asked_no_faster_than_it_says(world: World) -> None:
    pending = await world.start("builder-id")
    assert await world.poll(pending) == pending
    slower = await world.poll(pending)  # at once: too soon
    assert isinstance(slower, device.Pending)
    assert slower.interval_ms == pending.interval_ms + 5_000
    world.tokens.devices.decide(pending.user_code)
    await world.complete(slower)
    assert world.slept == [slower.interval_ms / 1000]


@pytest.mark.parametrize("method", ["builder-id", "social"])
async def test_a_refusal_in_the_browser_ends_the_login(world: World, method: str) -> None:
    pending = await world.start(method)
    world.tokens.devices.decide(pending.user_code, confirm=False)
    with pytest.raises(device.LoginEnded) as ended:
        await world.complete(pending)
    assert ended.value.state == "failed"


@pytest.mark.parametrize("method", ["builder-id", "social"])
async def test_a_code_that_nobody_confirms_expires(world: World, method: str) -> None:
    pending = replace(await world.start(method), interval_ms=100_000)
    with pytest.raises(device.LoginEnded) as ended:
        await world.complete(pending)
    assert ended.value.state == "expired"
    # The service's own word counts as well as our clock.
    pending = await world.start(method)
    world.now_s += 601
    late = replace(pending, expires_at_ms=world.now_ms() + 1000)
    with pytest.raises(device.LoginEnded) as ended:
        await world.poll(late)
    assert ended.value.state == "expired"


async def test_a_bad_moment_of_the_service_is_waited_out(world: World) -> None:
    pending = await world.start("builder-id")
    world.tokens.devices.decide(pending.user_code)
    world.simulator.enqueue(Script((Refuse(503),)), route="token")
    with pytest.raises(UpstreamError):
        await world.poll(pending)
    fields = await world.complete(pending)
    assert fields["accessToken"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("password", {}),
        ("idc", {}),
        ("idc", {"start_url": "http://corp.example/start"}),
        ("idc", {"start_url": "https://x/start", "region": "evil.example/"}),
        ("social", {"provider": "myspace"}),
        ("social", {"region": "evil.example/#"}),
    ],
)
async def test_arguments_that_cannot_work_are_refused_before_anything_is_sent(
    world: World, method: str, options: dict[str, str]
) -> None:
    with pytest.raises(RequestError):
        await world.start(method, **options)
    assert not world.simulator.requests


async def test_what_a_person_sees_holds_no_secret(world: World) -> None:
    pending = await world.start("builder-id")
    shown = repr(pending) + repr(pending.public())
    for secret in (pending.client_secret, pending.device_code):
        assert secret and secret not in shown


async def test_an_address_that_is_not_https_is_not_shown(world: World) -> None:
    world.tokens.devices.url = "javascript://x"
    with pytest.raises(device.LoginEnded):
        await world.start("builder-id")
