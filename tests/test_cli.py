"""The command: what it prints, what it refuses, and with which exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import __version__
from kiroproxy.cli import main

ROOT = Path(__file__).parent.parent
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}  # this source, installed or not
GOOD_CONFIG = {"apiKey": "sk-1"}
GOOD_CREDENTIAL = {
    "refreshToken": "aor" + "x" * 120,
    "expiresAt": "2030-01-01T00:00:00Z",
    "authMethod": "social",
}


@pytest.fixture(autouse=True)
def a_clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KIRO_API_KEY", "KIROPROXY_API_KEY", "KIROPROXY_ADMIN_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def write(config: Any = None, credentials: Any = None) -> None:
    for name, value in (("config.json", config), ("credentials.json", credentials)):
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            Path(name).write_text(text)
            Path(name).chmod(0o600)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kiroproxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env=HERE)


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"kiroproxy {__version__}\n")


def test_nothing_heavy_is_loaded_to_answer_version() -> None:
    code = (
        "import sys\n"
        "from kiroproxy.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('asyncio', 'uvicorn', 'httpx', 'ssl') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=HERE)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("demo", "check", "simulate", "--config", "--credentials", "--workers"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--workers", "0"], ["--nonsense"], ["fly"]]
)
def test_a_mistyped_flag_is_refused_at_once(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_starting_without_a_configuration_says_what_to_do(capsys: Any) -> None:
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "config.json: does not exist" in told and "config.example.json" in told


def test_starting_names_every_fault_of_the_configuration(capsys: Any) -> None:
    write({"port": "eighty", "region": "mars"}, [])
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "config.json:1: port" in told and "region" in told and "apiKey" in told


def test_starting_without_credentials_is_refused(capsys: Any) -> None:
    write(GOOD_CONFIG)
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "credentials.json: does not exist" in told and "kiroproxy demo" in told


def test_starting_with_an_empty_file_is_refused_too(capsys: Any) -> None:
    write(GOOD_CONFIG, [])
    assert main([]) == 1
    assert "credentials.json: is empty" in capsys.readouterr().err


def test_check_is_satisfied_with_good_files(capsys: Any) -> None:
    write(GOOD_CONFIG, [GOOD_CREDENTIAL, {"kiroApiKey": "ksk_1234567890"}])
    assert main(["check"]) == 0
    told = capsys.readouterr().out
    assert "all good" in told
    assert "2 of 2 credentials enabled (1 api_key, 1 social)" in told
    assert GOOD_CREDENTIAL["refreshToken"] not in told


def test_check_takes_the_environment_for_a_file(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("KIROPROXY_API_KEY", "sk-1")
    monkeypatch.setenv("KIRO_API_KEY", "ksk_1234567890")
    assert main(["check"]) == 0
    assert "1 of 1 credentials enabled" in capsys.readouterr().out
    assert list(Path().iterdir()) == []  # the key of the environment stays in memory


@pytest.mark.parametrize(
    ("config", "credentials", "words"),
    [
        (None, [GOOD_CREDENTIAL], ["config.json: does not exist", "Copy config.example.json"]),
        ('{"apiKey": "a"\n "port": 1}', [GOOD_CREDENTIAL], ["config.json:2", "not JSON"]),
        ('{\n"apiKey": "a",\n"port": 99999}', [GOOD_CREDENTIAL], ["config.json:3: port"]),
        (GOOD_CONFIG, None, ["credentials.json: does not exist", "KIRO_API_KEY"]),
        (GOOD_CONFIG, '[{"refreshToken": }]', ["credentials.json:1", "not JSON"]),
        (GOOD_CONFIG, "[]", ["credentials.json: is empty", "kiroproxy demo"]),
        (GOOD_CONFIG, [GOOD_CREDENTIAL | {"disabled": True}], ["no enabled credential"]),
        (
            GOOD_CONFIG,
            [GOOD_CREDENTIAL, {"refreshToken": "short", "authMethod": "social"}],
            ["credential 2", "refreshToken", "truncated"],
        ),
        (
            GOOD_CONFIG,
            GOOD_CREDENTIAL | {"authMethod": "idc"},
            ["credential 1", "clientId", "clientSecret"],
        ),
        (GOOD_CONFIG, [GOOD_CREDENTIAL, GOOD_CREDENTIAL], ["credential 2", "credential 1's"]),
        (GOOD_CONFIG, [GOOD_CREDENTIAL | {"proxyUrl": "ftp://x"}], ["proxyUrl", "socks5://"]),
        ({"apiKey": "a", "port": 0, "host": 7}, ["x"], ["host", "credential 1", "not an object"]),
    ],
)
def test_check_names_the_fault(
    config: Any, credentials: Any, words: list[str], capsys: Any
) -> None:
    write(config, credentials)
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    for word in words:
        assert word in told
    assert "mend" in told and "all good" not in told


def test_check_changes_nothing_on_the_disk(capsys: Any) -> None:
    write(GOOD_CONFIG, [GOOD_CREDENTIAL])
    before = Path("credentials.json").read_bytes()
    assert main(["check"]) == 0
    assert Path("credentials.json").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["config.json", "credentials.json"]


def test_check_suggests_the_nearest_key(capsys: Any) -> None:
    write({"apiKey": "a", "prot": 1}, [GOOD_CREDENTIAL])
    assert main(["check"]) == 0
    assert 'unknown key "prot" is ignored; did you mean "port"?' in capsys.readouterr().out


def test_check_looks_at_the_files_it_is_told_to(capsys: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.json").write_text(json.dumps(GOOD_CONFIG))
    (other / "k.json").write_text(json.dumps([GOOD_CREDENTIAL]))
    (other / "k.json").chmod(0o600)
    flags = ["--config", str(other / "c.json"), "--credentials", str(other / "k.json")]
    assert main([*flags, "check"]) == 0
    assert main(["check", *flags]) == 0
    assert main(["check", "--config", "nowhere.json"]) == 1
    assert "nowhere.json: does not exist" in capsys.readouterr().out


def test_a_created_configuration_is_private_and_good(capsys: Any, monkeypatch: Any) -> None:
    write(credentials=[GOOD_CREDENTIAL])
    monkeypatch.setattr("kiroproxy.serve.run", lambda config: 0)
    assert main(["serve", "--create-config"]) == 0
    path = Path("config.json")
    assert path.stat().st_mode & 0o777 == 0o600
    key = json.loads(path.read_text())["apiKey"]
    assert len(key) > 32 and key in capsys.readouterr().out
    assert main(["serve", "--create-config"]) == 0  # and it is not written a second time
    assert json.loads(path.read_text())["apiKey"] == key
