"""login, import and export as a person runs them: real processes, real files."""

import asyncio
import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support import plain

from kiroproxy.simulator.server import Simulator
from kiroproxy.simulator.tokens import TokenState

ROOT = Path(__file__).parent.parent


class Bench:
    """A folder with a config, and a Kiro to log in to."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder, self.simulator = folder, simulator
        (folder / "config.json").write_text(json.dumps({"upstream": simulator.upstream()}))
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith("KIRO")
        } | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kiroproxy", *arguments,
            cwd=self.folder, env=self.environ, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        process = await self.start(*arguments)
        output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 20)
        return process.returncode or 0, output.decode()

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads((self.folder / "credentials.json").read_text())
        return entries


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    tokens = TokenState()
    tokens.devices.interval_s = 0.2
    async with Simulator(tokens=tokens) as simulator:
        yield Bench(tmp_path, simulator)


@pytest.mark.parametrize("method", ["builder-id", "google"])
async def test_login_shows_a_code_and_keeps_what_comes_of_it(bench: Bench, method: str) -> None:
    process = await bench.start("login", method, "--priority", "2")
    assert process.stdout
    shown = ""
    while "Waiting" not in shown:
        line = await asyncio.wait_for(process.stdout.readline(), 15)
        assert line, shown
        shown += line.decode()
    page = re.search(r"page  (\S+)", shown)
    assert page
    async with plain.client() as browser:
        assert (await browser.get(page[1])).status_code == 200
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, output
    (entry,) = bench.entries
    assert entry["authMethod"] == ("idc" if method == "builder-id" else "social")
    assert entry["priority"] == 2 and "disabled" not in entry
    assert entry["email"] == "simulated@example.com"
    assert stat.S_IMODE((bench.folder / "credentials.json").stat().st_mode) == 0o600
    for secret in (entry["refreshToken"], entry["accessToken"]):
        assert secret not in shown + output.decode()


async def test_an_api_key_comes_through_a_pipe_never_the_command_line(bench: Bench) -> None:
    account = bench.simulator.tokens.add_api_key()
    code, output = await bench.run("login", "api-key", stdin=account.api_key + "\n")
    assert code == 0, output
    assert bench.entries[0]["kiroApiKey"] == account.api_key
    assert account.api_key not in output
    code, output = await bench.run("login", "api-key", stdin="ksk_not_known_to_kiro\n")
    assert code == 1 and len(bench.entries) == 1


async def test_import_proves_each_login_and_says_what_became_of_it(bench: Bench) -> None:
    tokens = bench.simulator.tokens
    good = tokens.credential(tokens.add_idc())
    exported = {"version": "1", "accounts": [
        {"email": "good@example.com", "status": "active", "credentials": good},
        {"email": "dead@example.com", "credentials": {"refreshToken": "aor" + "z" * 120}},
        {"email": "cut@example.com", "credentials": {"refreshToken": "aor..."}},
        {"email": "gone@example.com", "status": "error", "credentials": {
            "refreshToken": "aor" + "g" * 120}},
    ]}  # fmt: skip
    (bench.folder / "accounts.json").write_text(json.dumps(exported))

    code, output = await bench.run("import", "accounts.json", "--dry-run")
    assert code == 1 and "usable  good@example.com" in output
    assert not (bench.folder / "credentials.json").exists()

    code, output = await bench.run("import", "accounts.json")
    assert code == 1
    assert re.search(r"kept +good@example.com", output)
    assert re.search(r"refused +dead@example.com", output)
    assert re.search(r"skipped +cut@example.com .*truncated", output)
    assert re.search(r"skipped +gone@example.com", output)
    assert "1 of 4 kept" in output
    (entry,) = bench.entries
    assert entry["email"] == "good@example.com"
    assert entry["refreshToken"] != good["refreshToken"], "it was proven by a refresh"

    (bench.folder / "again.json").write_text(json.dumps([entry]))
    code, output = await bench.run("import", "again.json")
    assert code == 0 and "is here already, as credential 1" in output


async def test_import_finds_kiro_ide_s_own_login(bench: Bench) -> None:
    tokens = bench.simulator.tokens
    told = tokens.credential(tokens.add_idc())
    cache = bench.folder / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    client = {key: told.pop(key) for key in ("clientId", "clientSecret")}
    ide = {**told, "authMethod": "IdC", "provider": "BuilderId", "clientIdHash": "abc",
           "region": "us-east-1"}  # fmt: skip
    (cache / "kiro-auth-token.json").write_text(json.dumps(ide))
    (cache / "abc.json").write_text(json.dumps(client))
    code, output = await bench.run("import", "ide")
    assert code == 0, output
    assert bench.entries[0]["clientId"] == client["clientId"]


async def test_import_without_asking_kiro(bench: Bench) -> None:
    text = json.dumps({"refreshToken": "aor" + "q" * 120})
    code, output = await bench.run("import", "-", "--no-verify", stdin=text)
    assert code == 0, output
    assert len(bench.entries) == 1 and not bench.simulator.requests


async def test_export_writes_a_new_private_file_or_nothing(bench: Bench) -> None:
    entries = [{"id": n, "refreshToken": f"{n}" * 120, "machineId": "ab" * 32} for n in (1, 2)]
    (bench.folder / "credentials.json").write_text(json.dumps(entries))
    code, output = await bench.run("export", "backup.json", "--id", "2")
    assert code == 0 and "2" * 120 not in output
    backup = bench.folder / "backup.json"
    assert json.loads(backup.read_text()) == [entries[1]]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    code, output = await bench.run("export", "backup.json")
    assert code == 1 and "does not exist yet" in output
    assert json.loads(backup.read_text()) == [entries[1]]
    code, output = await bench.run("export", "-")
    assert json.loads(output) == entries
    code, output = await bench.run("export", "-", "--id", "9")
    assert code == 1 and "no credential 9" in output


async def test_what_was_exported_can_be_imported_elsewhere(bench: Bench, tmp_path: Path) -> None:
    tokens = bench.simulator.tokens
    entries = [tokens.credential(tokens.add_social()), tokens.credential(tokens.add_api_key())]
    (bench.folder / "credentials.json").write_text(json.dumps(entries))
    assert (await bench.run("export", "out.json"))[0] == 0
    code, output = await bench.run("import", "out.json", "--credentials", "other.json")
    assert code == 0, output
    assert len(json.loads((bench.folder / "other.json").read_text())) == 2


async def test_a_mistyped_source_or_method_is_refused_at_once(bench: Bench) -> None:
    assert (await bench.run("login", "facebook"))[0] == 2
    code, output = await bench.run("import", "nowhere.json")
    assert code == 1 and "nowhere.json" in output and "Traceback" not in output
    code, output = await bench.run("login", "idc")
    assert code == 1 and "startUrl" in output
