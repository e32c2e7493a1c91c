"""Renewal over real sockets and files: once for everybody, on disk before it is used."""

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.credential import Credential
from kiroproxy.accounts.expiry import rfc3339
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.errors import CredentialDead, RefreshFailed
from kiroproxy.upstream import refresh as refresh_module
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.refresh import Refresher

MINUTE = 60_000
FIRST = "0-".ljust(200, "r")


class AuthService:
    """A login service that rotates: every refresh token works once, the newest one only."""

    def __init__(self) -> None:
        self.url = ""
        self.valid = FIRST
        self.calls: list[dict[str, Any]] = []
        self.refusals: list[tuple[int, Any]] = []  # answered first, in this order
        self.before_answer: Callable[[], None] = lambda: None
        self.extra: dict[str, Any] = {"expiresIn": 3600}
        self.headers: dict[str, str] = {}
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def script(self, peer: Any, reader: Any, writer: Any) -> None:
        while True:
            _, body = await peer.request(reader)
            self.calls.append(json.loads(body))
            self.asked.set()
            await self.gate.wait()
            status, value = self.answer(json.loads(body)["refreshToken"])
            self.before_answer()
            sent = json.dumps(value).encode()
            more = "".join(f"{name}: {text}\r\n" for name, text in self.headers.items()).encode()
            head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n" % (status, len(sent))
            writer.write(head + more + b"\r\n" + sent)
            await writer.drain()

    def answer(self, token: str) -> tuple[int, Any]:
        if self.refusals:
            return self.refusals.pop(0)
        if token != self.valid:
            return 400, {"error": "invalid_grant"}
        number = int(token.split("-")[0]) + 1
        self.valid = f"{number}-".ljust(200, "r")
        return 200, {"accessToken": f"access-{number}", "refreshToken": self.valid, **self.extra}


class World:
    """One credential in a file, an auth service, and a clock that a test turns."""

    def __init__(self, path: Path, auth: AuthService) -> None:
        self.path, self.auth = path, auth
        self.now = 1_767_225_600_000
        self.config = Config(upstream=UpstreamUrls(social_auth_url=auth.url, oidc_url=auth.url))
        self.control = ControlPlane(self.config)
        self.renewed: list[Credential] = []
        self.store, self.refresher = self.another_process()

    def another_process(self) -> tuple[Store, Refresher]:
        """Return what a second worker would have: shared are only the file and its locks."""
        store = Store(self.path, self.config)
        return store, Refresher(
            store,
            self.control,
            self.config,
            on_renewed=self.renewed.append,
            now_ms=lambda: self.now,
            jitter=lambda: 1.0,
        )

    def write(self, left_ms: int = 0, **fields: Any) -> Credential:
        """Make the file hold a credential whose token lives on for `left_ms`."""
        entry = {
            "id": 1,
            "refreshToken": FIRST,
            "accessToken": "access-0",
            "expiresAt": rfc3339(self.now + left_ms),
            **fields,
        }
        self.path.write_text(json.dumps(entry))
        self.path.chmod(0o600)
        return self.store.load()[0]

    def file(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found


@pytest.fixture
async def world(serve: Any, tmp_path: Path) -> AsyncIterator[World]:
    auth = AuthService()
    auth.url = (await serve(auth.script)).url
    world = World(tmp_path / "credentials.json", auth)
    yield world
    auth.gate.set()
    await world.refresher.aclose()
    await world.control.aclose()


# -- when ----------------------------------------------------------------------------------


async def test_a_fresh_token_is_returned_as_it_is(world: World) -> None:
    credential = world.write(11 * MINUTE)
    assert await world.refresher.fresh(credential) is credential
    assert world.auth.calls == []


async def test_an_api_key_passes_through_even_when_forced(world: World) -> None:
    credential = Credential(0, "api_key", kiro_api_key="ksk_1")
    assert await world.refresher.fresh(credential, force=True) is credential


async def test_an_expired_token_is_renewed_and_written_before_it_is_returned(world: World) -> None:
    credential = world.write(-1, provider="Google", priority=3)
    renewed = await world.refresher.fresh(credential)
    assert renewed.access_token == "access-1"
    assert renewed.expires_at_ms == world.now + 3600_000
    assert world.file() == {
        "id": 1,
        "refreshToken": world.auth.valid,
        "accessToken": "access-1",
        "expiresAt": rfc3339(world.now + 3600_000),
        "provider": "Google",
        "priority": 3,
        "machineId": credential.machine_id,
    }
    assert world.renewed == [renewed]
    assert renewed.machine_id == credential.machine_id
    assert world.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left_ms", [MINUTE, 2 * MINUTE, 0])
async def test_shortly_before_expiry_everybody_waits(world: World, left_ms: int) -> None:
    renewed = await world.refresher.fresh(world.write(left_ms))
    assert renewed.access_token == "access-1"


async def test_ahead_of_expiry_nobody_waits(world: World) -> None:
    credential = world.write(9 * MINUTE)
    world.auth.gate.clear()
    assert await world.refresher.fresh(credential) is credential
    assert await world.refresher.fresh(credential) is credential
    await world.auth.asked.wait()
    world.auth.gate.set()
    while not world.renewed:
        await asyncio.sleep(0.001)
    assert world.file()["accessToken"] == "access-1"
    assert len(world.auth.calls) == 1


async def test_a_failure_ahead_of_expiry_is_not_repeated_at_every_request(world: World) -> None:
    credential = world.write(9 * MINUTE)
    world.auth.refusals = [(503, {})]
    await world.refresher.fresh(credential)
    await world.auth.asked.wait()
    await world.refresher.aclose()
    for _ in range(5):
        await world.refresher.fresh(credential)
    await world.refresher.aclose()
    assert len(world.auth.calls) == 1
    world.now += 61_000
    await world.refresher.fresh(credential)
    await world.refresher.aclose()
    assert len(world.auth.calls) == 2


async def test_a_token_that_lives_shortly_is_not_renewed_at_every_request(world: World) -> None:
    world.auth.extra = {"expiresIn": 60}
    renewed = await world.refresher.fresh(world.write())
    for _ in range(5):
        assert await world.refresher.fresh(renewed) is renewed
    assert len(world.auth.calls) == 1


# -- once for everybody --------------------------------------------------------------------


async def test_a_thousand_waiting_requests_make_one_call(world: World) -> None:
    credential = world.write()
    found = await asyncio.gather(*(world.refresher.fresh(credential) for _ in range(1000)))
    assert {each.access_token for each in found} == {"access-1"}
    assert len(world.auth.calls) == 1


async def test_a_thousand_rejected_requests_make_one_call(world: World) -> None:
    credential = world.write(60 * MINUTE)
    found = await asyncio.gather(
        *(
            world.refresher.fresh(credential, force=True, rejected_token="access-0")
            for _ in range(1000)
        )
    )
    assert {each.access_token for each in found} == {"access-1"}
    assert len(world.auth.calls) == 1


async def test_a_second_worker_adopts_what_the_first_renewed(world: World) -> None:
    credential = world.write()
    others = [world.another_process()[1] for _ in range(3)]
    found = await asyncio.gather(
        *(each.fresh(credential) for each in (world.refresher, *others) for _ in range(50))
    )
    assert {each.access_token for each in found} == {"access-1"}
    assert len(world.auth.calls) == 1


WORKER = """
import asyncio, sys
from pathlib import Path
from kiroproxy.accounts.store import Store
from kiroproxy.config import Config, UpstreamUrls
from kiroproxy.upstream.control import ControlPlane
from kiroproxy.upstream.refresh import Refresher

async def main():
    url, path = sys.argv[1:]
    config = Config(upstream=UpstreamUrls(social_auth_url=url))
    store = Store(Path(path), config)
    credential = store.load()[0]
    async with ControlPlane(config) as control:
        refresher = Refresher(store, control, config)
        print("ready", flush=True)
        sys.stdin.readline()
        found = await asyncio.gather(*(refresher.fresh(credential) for _ in range(50)))
        await refresher.aclose()
    assert len({each.access_token for each in found}) == 1
    print(found[0].access_token, flush=True)

asyncio.run(main())
"""


async def start_worker(world: World) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, world.auth.url, str(world.path),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


async def line_of(worker: asyncio.subprocess.Process) -> str:
    assert worker.stdout is not None
    return (await worker.stdout.readline()).decode().strip()


def go(worker: asyncio.subprocess.Process) -> None:
    assert worker.stdin is not None
    worker.stdin.write(b"go\n")


async def test_four_processes_with_fifty_requests_each_make_one_call(world: World) -> None:
    world.write(provider="Google")
    workers = [await start_worker(world) for _ in range(4)]
    assert [await line_of(worker) for worker in workers] == ["ready"] * 4
    for worker in workers:
        go(worker)
    assert [await line_of(worker) for worker in workers] == ["access-1"] * 4
    assert [await worker.wait() for worker in workers] == [0] * 4
    assert len(world.auth.calls) == 1
    assert (world.file()["refreshToken"], world.file()["provider"]) == (world.auth.valid, "Google")


async def test_a_worker_killed_in_its_flight_does_not_hold_up_the_others(world: World) -> None:
    credential = world.write()
    world.auth.gate.clear()
    worker = await start_worker(world)
    await line_of(worker)
    go(worker)
    await world.auth.asked.wait()
    worker.kill()
    await worker.wait()
    world.auth.valid = FIRST  # the service had not come to rotate it
    world.auth.calls.clear()
    world.auth.gate.set()
    # The killed worker's answer is made first, on its dead connection.
    world.auth.refusals = [(500, {})]
    with contextlib.suppress(RefreshFailed):
        await world.refresher.fresh(credential)
    assert (await world.refresher.fresh(credential)).access_token == "access-1"


# -- forced --------------------------------------------------------------------------------


async def test_forced_means_whatever_it_holds_is_refused(world: World) -> None:
    credential = world.write(60 * MINUTE)
    assert (await world.refresher.fresh(credential, force=True)).access_token == "access-1"


async def test_a_token_that_was_replaced_since_is_not_renewed_again(world: World) -> None:
    credential = world.write(60 * MINUTE)
    found = await world.refresher.fresh(credential, force=True, rejected_token="access-older")
    assert found is credential
    assert world.auth.calls == []


async def test_a_token_that_somebody_else_wrote_is_adopted(world: World) -> None:
    credential = world.write(60 * MINUTE)
    world.write(50 * MINUTE, accessToken="from-the-ide", refreshToken="i" * 200)
    found = await world.refresher.fresh(credential, force=True, rejected_token="access-0")
    assert found.access_token == "from-the-ide"
    assert world.auth.calls == []


async def test_a_forced_renewal_does_not_settle_for_a_flight_that_adopts_the_rejected_token(
    world: World,
) -> None:
    old = world.write(5 * MINUTE)
    world.write(60 * MINUTE, accessToken="rejected")
    lazy = world.refresher._flight(old, "")
    found = await world.refresher.fresh(old, force=True, rejected_token="access-0")
    assert (await lazy).access_token == found.access_token == "rejected"
    lazy = world.refresher._flight(old, "")
    found = await world.refresher.fresh(found, force=True, rejected_token="rejected")
    assert (await lazy).access_token == "rejected"
    assert found.access_token == "access-1"


# -- refusals ------------------------------------------------------------------------------


async def test_a_dead_login_is_told_after_one_call(world: World) -> None:
    credential = world.write(refreshToken="x" * 200)
    with pytest.raises(CredentialDead):
        await world.refresher.fresh(credential)
    assert len(world.auth.calls) == 1
    assert world.file()["refreshToken"] == "x" * 200


async def test_a_token_rotated_during_the_call_is_tried_before_giving_up(world: World) -> None:
    credential = world.write(refreshToken="x" * 200)

    def rotate() -> None:
        world.auth.before_answer = lambda: None
        world.path.write_text(json.dumps({**world.file(), "refreshToken": FIRST}))

    world.auth.before_answer = rotate
    assert (await world.refresher.fresh(credential)).access_token == "access-1"
    assert [call["refreshToken"] for call in world.auth.calls] == ["x" * 200, FIRST]


async def test_a_login_renewed_by_the_ide_during_the_call_is_adopted(world: World) -> None:
    credential = world.write(refreshToken="x" * 200)

    def renewed_elsewhere() -> None:
        later = rfc3339(world.now + 30 * MINUTE)
        fields = {"refreshToken": "i" * 200, "accessToken": "from-the-ide", "expiresAt": later}
        world.path.write_text(json.dumps({**world.file(), **fields}))

    world.auth.before_answer = renewed_elsewhere
    assert (await world.refresher.fresh(credential)).access_token == "from-the-ide"
    assert len(world.auth.calls) == 1


async def test_a_new_login_written_during_a_good_call_is_not_overwritten(world: World) -> None:
    credential = world.write()

    def new_login() -> None:
        fields = {"refreshToken": "l" * 200, "accessToken": "", "email": "other@example.com"}
        world.path.write_text(json.dumps({**world.file(), **fields}))

    world.auth.before_answer = new_login
    found = await world.refresher.fresh(credential)
    assert world.file()["refreshToken"] == "l" * 200
    assert (found.access_token, found.refresh_token) == ("access-1", "l" * 200)


@pytest.mark.parametrize("status", [429, 500, 503, 403])
async def test_a_bad_moment_of_the_service_does_not_end_the_login(
    world: World, status: int
) -> None:
    credential = world.write(-1)
    world.auth.refusals = [(status, {})]
    with pytest.raises(RefreshFailed):
        await world.refresher.fresh(credential)
    assert (await world.refresher.fresh(credential)).access_token == "access-1"


async def test_a_token_that_still_lives_is_used_when_it_cannot_be_renewed(world: World) -> None:
    credential = world.write(MINUTE)
    world.auth.refusals = [(503, {})]
    assert (await world.refresher.fresh(credential)).access_token == "access-0"


@pytest.mark.parametrize(("headers", "quiet_ms"), [({}, MINUTE), ({"retry-after": "90"}, 90_000)])
async def test_an_outage_shortly_before_expiry_is_not_asked_about_at_every_request(
    world: World, headers: dict[str, str], quiet_ms: int
) -> None:
    credential = world.write(2 * MINUTE)
    world.auth.headers = headers
    world.auth.refusals = [(503, {})]
    for _ in range(20):
        assert (await world.refresher.fresh(credential)).access_token == "access-0"
    assert len(world.auth.calls) == 1
    world.now += quiet_ms
    assert (await world.refresher.fresh(credential)).access_token == "access-1"


async def test_an_outage_does_not_keep_an_expired_token_in_use(world: World) -> None:
    credential = world.write(MINUTE // 2)
    world.auth.refusals = [(503, {})]
    await world.refresher.fresh(credential)
    world.now += MINUTE // 2
    assert (await world.refresher.fresh(credential)).access_token == "access-1"


async def test_a_rejected_token_is_not_used_because_it_cannot_be_renewed(world: World) -> None:
    credential = world.write(60 * MINUTE)
    world.auth.refusals = [(503, {})]
    with pytest.raises(RefreshFailed):
        await world.refresher.fresh(credential, force=True, rejected_token="access-0")


async def test_an_answer_without_a_refresh_token_keeps_the_old_one(world: World) -> None:
    credential = world.write()
    world.auth.extra = {"refreshToken": None, "profileArn": "arn:aws:x:eu-central-1:1:profile/A"}
    renewed = await world.refresher.fresh(credential)
    assert world.file()["refreshToken"] == FIRST
    assert world.file()["profileArn"] == renewed.profile_arn
    assert renewed.api_region == "eu-central-1"


async def test_a_removed_credential_is_not_renewed(world: World) -> None:
    credential = world.write()
    world.path.write_text("[]")
    with pytest.raises(RefreshFailed, match="removed"):
        await world.refresher.fresh(credential)
    assert world.auth.calls == []


async def test_a_token_is_not_rotated_while_the_file_cannot_be_read(world: World) -> None:
    credential = world.write()
    world.path.write_text("[{")
    with pytest.raises(RefreshFailed, match="cannot be read"):
        await world.refresher.fresh(credential)
    assert world.auth.calls == []


async def test_a_faulty_credential_is_refused_without_a_call(world: World) -> None:
    with pytest.raises(CredentialDead):
        await world.refresher.fresh(world.write(refreshToken="cut..."))
    assert world.auth.calls == []


# -- leaving, closing, full disks ----------------------------------------------------------


async def test_a_request_that_leaves_does_not_cancel_the_flight(world: World) -> None:
    credential = world.write()
    world.auth.gate.clear()
    leaving = asyncio.create_task(world.refresher.fresh(credential))
    staying = asyncio.create_task(world.refresher.fresh(credential))
    await world.auth.asked.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    world.auth.gate.set()
    assert (await staying).access_token == "access-1"


async def test_closing_waits_for_a_flight_that_everybody_left(world: World) -> None:
    credential = world.write()
    world.auth.gate.clear()
    leaving = asyncio.create_task(world.refresher.fresh(credential))
    await world.auth.asked.wait()
    leaving.cancel()
    closing = asyncio.create_task(world.refresher.aclose())
    await asyncio.sleep(0)
    world.auth.gate.set()
    await closing
    assert world.file()["refreshToken"] == world.auth.valid


@pytest.mark.parametrize("refused", [os.O_EXCL, os.O_CREAT], ids=["data", "locks-too"])
async def test_a_disk_that_does_not_take_the_token_does_not_stop_the_service(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: int
) -> None:
    credential = world.write()
    monkeypatch.setattr(refresh_module, "_RESCUE_S", 0.01)
    real, is_full = os.open, True

    def opened(file: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if is_full and flags & refused:
            raise OSError(28, "No space left on device")
        return real(file, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)
    with caplog.at_level(logging.ERROR):
        renewed = await world.refresher.fresh(credential)
    assert (renewed.access_token, renewed.refresh_token) == ("access-1", world.auth.valid)
    assert "LOST at exit" in caplog.text
    assert "Free some space" in caplog.text
    again = await world.refresher.fresh(renewed, force=True)
    assert again.access_token == "access-2"
    is_full = False
    while world.file()["accessToken"] != "access-2":
        await asyncio.sleep(0.005)
    assert world.file()["refreshToken"] == world.auth.valid


async def test_a_token_that_is_not_written_yet_is_not_traded_again_by_another_worker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = world.write()
    monkeypatch.setattr(refresh_module, "_RESCUE_S", 0.01)
    monkeypatch.setattr(refresh_module, "_LOCK_TIMEOUT_S", 0.2)
    real, is_full = os.open, True

    def opened(file: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if is_full and flags & os.O_EXCL:
            raise OSError(28, "No space left on device")
        return real(file, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)
    await world.refresher.fresh(credential)
    _, other = world.another_process()
    with pytest.raises(RefreshFailed, match="Another process"):
        await other.fresh(credential)
    assert len(world.auth.calls) == 1
    is_full = False
    while world.file()["accessToken"] != "access-1":
        await asyncio.sleep(0.005)
    monkeypatch.setattr(refresh_module, "_LOCK_TIMEOUT_S", 10.0)
    assert (await other.fresh(credential)).access_token == "access-1"
    assert len(world.auth.calls) == 1
    await other.aclose()


async def test_no_log_line_shows_a_token(world: World, caplog: pytest.LogCaptureFixture) -> None:
    credential = world.write()
    with caplog.at_level(logging.DEBUG, logger="kiroproxy"):
        await world.refresher.fresh(credential)
        with pytest.raises(CredentialDead):
            await world.refresher.fresh(world.write(refreshToken="x" * 200), force=True)
    assert caplog.records
    for secret in (FIRST, world.auth.valid, "access-1", "x" * 200):
        assert secret not in caplog.text
