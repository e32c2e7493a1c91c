"""config.json of a running gateway: edits by others, and edits of our own."""

import asyncio
import json
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.config import Config
from kiroproxy.errors import ConfigError
from kiroproxy.loading import Settings, load
from kiroproxy.server.config_file import ConfigFile
from kiroproxy.simulator.script import Hold, Script, Silence, answer

WRITTEN = '{\n  // mine\n  "apiKey": "k",\n  "port": 1, // taken\n  "unheardOf": 1\n}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(WRITTEN)
    path.chmod(0o644)
    return path


def test_an_edit_keeps_comments_and_unknown_keys_and_closes_the_file(path: Path) -> None:
    loaded = ConfigFile(Settings(load(path))).edit({"rpm": 7, "apiKey": "other"})
    expected = WRITTEN.replace('"k"', '"other"')
    assert path.read_text() == expected.replace(": 1\n}", ': 1,\n  "rpm": 7\n}')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (loaded.config.rpm, loaded.config.api_key) == (7, "other")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rpm": 7, "port": "x"}, "port"),
        ({"rpm": 7, "prot": 1}, "prot"),
        ({"apiKey": None}, "apiKey"),
    ],
)
def test_a_refused_edit_leaves_the_file_as_it_was(
    path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        ConfigFile(Settings(load(path))).edit(changes)
    assert path.read_text() == WRITTEN


def test_an_edit_goes_through_a_link_to_the_file_behind_it(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(path)
    ConfigFile(Settings(load(link))).edit({"rpm": 7})
    assert link.is_symlink() and json.loads(path.read_text().replace("// mine", "").replace(
        "// taken", ""))["rpm"] == 7  # fmt: skip


def test_our_own_edit_is_no_news(path: Path) -> None:
    file = ConfigFile(Settings(load(path)))
    assert file.look() is not None
    file.edit({"rpm": 7})
    assert file.look() is None


def test_a_file_that_is_gone_or_empty_is_no_news(path: Path) -> None:
    file = ConfigFile(Settings(load(path)))
    path.write_text("")
    assert file.look() is None
    path.unlink()
    assert file.look() is None


def test_a_file_that_cannot_be_written_is_said_with_its_remedy(path: Path) -> None:
    path.with_name(".config.json.lock").mkdir()  # refused to root too, unlike a mode
    with pytest.raises(ConfigError, match="writable"):
        ConfigFile(Settings(load(path))).edit({"rpm": 7})


def test_a_running_gateway_keeps_its_flags_when_the_file_changes(path: Path) -> None:
    settings = Settings(load(path, {}, {"port": 9}))
    path.write_text('{"apiKey": "k", "port": 3, "rpm": 4}')
    loaded = ConfigFile(settings).look()
    assert loaded is not None
    assert (loaded.config.port, loaded.config.rpm) == (9, 4)


# -- a whole gateway -------------------------------------------------------------------------


def written(gateway: Any, **changes: Any) -> None:
    """Put a config.json under the gateway that says what it runs with, and the changes."""
    config: Config = gateway.app._gateway.config
    upstream = dict.fromkeys(
        ("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl"), config.upstream.api_url
    )
    base = {"apiKey": config.api_key, "upstream": upstream, "systemVersion": "darwin#24.6.0"}
    base |= {"poolIdleTimeout": 5}
    # The path of the credentials is a flag in real life: reading the file must not lose it.
    object.__setattr__(config, "flags", {"credentials_path": config.credentials_path})
    config.path.write_text(json.dumps(base | changes))


async def taken_over(gateway: Any, is_so: Callable[[Config], bool]) -> Config:
    """Wait until the gateway, which looks by itself, has taken a change over."""
    async with asyncio.timeout(10):
        while not is_so(gateway.app._gateway.config):
            await asyncio.sleep(0.05)
    config: Config = gateway.app._gateway.config
    return config


async def test_a_new_key_counts_without_a_restart(run_gateway: Any) -> None:
    gateway = await run_gateway()
    written(gateway, apiKey="another-key-entirely")
    await taken_over(gateway, lambda config: config.api_key.startswith("another"))
    assert (await gateway.ask()).status_code == 401
    answer = await gateway.client.get("/v1/models", headers={"x-api-key": "another-key-entirely"})
    assert answer.status_code == 200


async def test_limits_of_the_file_reach_the_credentials(run_gateway: Any) -> None:
    gateway = await run_gateway()
    written(gateway, rpm=1, loadBalancingMode="balanced")
    await taken_over(gateway, lambda config: config.rpm == 1)
    pool = gateway.app._gateway.pool
    async with asyncio.timeout(5):
        while pool.snapshot()[0].credential.rpm != 1:
            await asyncio.sleep(0.01)
    assert pool.mode == "balanced"
    assert [(await gateway.ask()).status_code for _ in range(2)] == [200, 429]


async def test_a_bad_edit_is_refused_with_its_place_and_the_old_settings_stay(
    run_gateway: Any, caplog: Any
) -> None:
    gateway = await run_gateway()
    shared = gateway.app._gateway
    written(gateway, rpm="many")
    with caplog.at_level(logging.ERROR):
        assert await shared._look_at_config() is False
    assert "config.json:1: rpm: is a string" in caplog.text
    assert (await gateway.ask()).status_code == 200
    caplog.clear()
    assert await shared._look_at_config() is False
    assert caplog.text == ""  # said once


async def test_what_needs_a_restart_says_so(run_gateway: Any, caplog: Any) -> None:
    gateway = await run_gateway()
    written(gateway, port=1234, tlsBackend="native-tls")
    with caplog.at_level(logging.WARNING):
        await gateway.app._gateway._look_at_config()
    assert "port has changed and needs a restart" in caplog.text
    assert "tlsBackend has changed and needs a restart" in caplog.text
    assert gateway.app._gateway.config.tls_backend == "rustls"


async def test_a_running_request_keeps_the_settings_it_began_with(run_gateway: Any) -> None:
    script = answer("before ", Hold(), "after")
    # The second is never answered: a machine that was busy for a moment could be in time.
    gateway = await run_gateway(script, Script((Silence(),)))
    asked = asyncio.create_task(gateway.ask())
    await gateway.sim.wait_for(1)
    written(gateway, totalTimeout=0.001)
    await taken_over(gateway, lambda config: config.total_timeout_s == 0.001)
    gateway.sim.release()
    assert (await asked).json()["content"][0]["text"] == "before after"
    assert (await gateway.ask()).status_code == 504


async def test_settings_changed_through_the_gateway_are_written_and_taken_over(
    run_gateway: Any,
) -> None:
    gateway = await run_gateway()
    shared = gateway.app._gateway
    written(gateway)
    await shared.change_settings({"rpm": 1, "modelAliases": {"mine": "claude-haiku-4.5"}})
    assert json.loads(shared.config.path.read_text())["rpm"] == 1
    assert shared.pool.snapshot()[0].credential.rpm == 1
    answer = await gateway.client.get("/v1/models/mine")
    assert answer.status_code == 200, answer.text
