"""The shared parts: what happens to them while requests run."""

import json
import logging
from typing import Any

import pytest

from kiroproxy.server.gateway import Gateway


def file_of(gateway: Any) -> Any:
    return gateway.app._gateway.config.credentials_path


async def health(gateway: Any) -> dict[str, int]:
    told: dict[str, int] = (await gateway.client.get("/health")).json()["credentials"]
    return told


@pytest.fixture(autouse=True)
def only_when_asked(monkeypatch: Any) -> None:
    """Let nobody but the test look at the file: who looks first takes the change over."""

    async def look(_: Gateway) -> bool:
        return True

    monkeypatch.setattr(Gateway, "_follow_files", look)


async def test_a_credential_added_to_the_file_is_used_without_a_restart(run_gateway: Any) -> None:
    gateway = await run_gateway()
    gateway.sim.token_state.add_social()
    file_of(gateway).write_text(json.dumps(gateway.sim.credentials()))
    await gateway.app._gateway._follow_file()
    assert await health(gateway) == {"total": 2, "available": 2}


async def test_a_credential_disabled_in_the_file_is_left_alone(run_gateway: Any) -> None:
    gateway = await run_gateway(accounts=2)
    first, second = json.loads(file_of(gateway).read_text())
    file_of(gateway).write_text(json.dumps([first | {"disabled": True}, second]))
    await gateway.app._gateway._follow_file()
    assert await health(gateway) == {"total": 2, "available": 1}
    assert (await gateway.ask()).status_code == 200


async def test_an_edit_that_makes_an_entry_unusable_is_refused_and_told(
    run_gateway: Any, caplog: Any
) -> None:
    gateway = await run_gateway(accounts=2)
    first, second = json.loads(file_of(gateway).read_text())
    file_of(gateway).write_text(json.dumps([first | {"refreshToken": "cut"}, second]))
    caplog.set_level(logging.WARNING, "kiroproxy.server")
    await gateway.app._gateway._follow_file()
    assert await health(gateway) == {"total": 2, "available": 2}
    assert "credential 1 (id 1): refreshToken" in caplog.text
    assert (await gateway.ask()).status_code == 200
    assert (
        gateway.sim.of("generate")[0].headers["authorization"] == f"Bearer {first['accessToken']}"
    )
    gateway.sim.tokens.expire(first["accessToken"])
    assert (await gateway.ask()).status_code == 200, "the other credential answers"
    assert gateway.sim.tokens.calls["refused"] == 0, "a broken token is not sent anywhere"
    file_of(gateway).write_text(json.dumps([first | {"refreshToken": "cut", "disabled": True}]))
    await gateway.app._gateway._follow_file()
    assert await health(gateway) == {"total": 1, "available": 0}, "switching it off is understood"


@pytest.mark.parametrize("content", [None, "[{", ""])
async def test_a_file_that_is_being_written_changes_nothing(
    run_gateway: Any, content: str | None
) -> None:
    gateway = await run_gateway()
    if content is None:
        file_of(gateway).unlink()
    else:
        file_of(gateway).write_text(content)
    await gateway.app._gateway._follow_file()
    assert await health(gateway) == {"total": 1, "available": 1}
    assert (await gateway.ask()).status_code == 200


async def test_background_work_that_fails_is_tried_again(
    run_gateway: Any, monkeypatch: Any, caplog: Any
) -> None:
    from kiroproxy.server import gateway as module

    asked = 0

    async def work() -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ZeroDivisionError
        if asked == 3:
            raise KeyboardInterrupt  # ends the test's loop, as nothing else should
        return True

    caplog.set_level(logging.ERROR, "kiroproxy.server")
    with pytest.raises(KeyboardInterrupt):
        await module._forever(work, 0, 0)
    assert "background work failed" in caplog.text
