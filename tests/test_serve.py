"""The running process: its address, its workers, how it stops; and the demo as a user meets it."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.sse import read, read_beginning

from kiroproxy.errors import ConfigError
from kiroproxy.serve import base_url, bind

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def process(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command; it and its children are gone afterwards."""
    command = [sys.executable, "-m", "kiroproxy", *arguments]
    running = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this source, installed or not
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def printed(running: subprocess.Popen[str], pattern: str) -> str:
    """Wait for a line on standard output; return its first group."""
    assert running.stdout is not None and running.stderr is not None
    for line in running.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"never printed {pattern}: {running.stderr.read()}")


def write_files(folder: Path, **config: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"apiKey": "sk-1", **config}))
    credential = {"kiroApiKey": "ksk_1234567890abcdef"}
    (folder / "credentials.json").write_text(json.dumps([credential]))
    (folder / "credentials.json").chmod(0o600)


def stop(running: subprocess.Popen[str], sign: signal.Signals = signal.SIGTERM) -> int:
    running.send_signal(sign)
    return running.wait(timeout=15)


ADDRESS = r"kiroproxy listens on (http://\S+)"
# Nobody listens there: no test may reach Kiro.
NOWHERE = dict.fromkeys(
    ("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl"), "http://127.0.0.1:9"
)


def test_port_0_picks_a_free_port_and_says_which(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", cwd=tmp_path) as running:
        url = printed(running, ADDRESS)
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        assert stop(running) == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_success(tmp_path: Path, sign: signal.Signals) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", cwd=tmp_path) as running:
        printed(running, ADDRESS)
        assert stop(running, sign) == 0


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process("--port", port, cwd=tmp_path) as running:
            _, told = running.communicate(timeout=15)
    assert running.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in told and "Traceback" not in told


def test_an_unreadable_credentials_file_stops_the_start(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "credentials.json").write_text("[{")
    with process("--port", "0", cwd=tmp_path) as running:
        out, told = running.communicate(timeout=15)
    assert running.returncode not in (0, None)
    assert "credentials.json" in told and "not JSON" in told
    assert "listens on" not in out


def test_two_workers_share_one_socket_and_stop_together(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", "--workers", "2", cwd=tmp_path) as running:
        url = printed(running, ADDRESS)
        assert httpx.get(f"{url}/health", timeout=20).json()["status"] == "ok"
        until(lambda: len(listeners(running.pid)) == 2)
        workers = listeners(running.pid)
        assert stop(running) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", "--workers", "2", cwd=tmp_path) as running:
        url = printed(running, ADDRESS)
        until(lambda: len(listeners(running.pid)) == 2)
        victim = listeners(running.pid)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(set(listeners(running.pid)) - {victim}) == 2)
        assert httpx.get(f"{url}/health", timeout=20).status_code == 200
        assert stop(running) == 0


def test_workers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", "--workers", "2", cwd=tmp_path) as running:
        printed(running, ADDRESS)
        until(lambda: len(listeners(running.pid)) == 2)
        workers = listeners(running.pid)
        running.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_drains_until_a_second_signal(tmp_path: Path, workers: str) -> None:
    with process("simulate", "--port", "0", cwd=tmp_path) as kiro:
        url = printed(kiro, r"Kiro simulator on (http://\S+)")
        credentials = printed(kiro, r"credentials\.json: (\[.*\])$")
        write_files(tmp_path, upstream=dict.fromkeys(NOWHERE, url))
        (tmp_path / "credentials.json").write_text(credentials)
        stuck = {"steps": [{"do": "start"}, {"do": "text", "text": "first"}, {"do": "silence"}]}
        httpx.put(f"{url}/_simulator/script", json=stuck).raise_for_status()
        with process("--port", "0", "--workers", workers, cwd=tmp_path) as running:
            address = printed(running, ADDRESS)
            headers = {"x-api-key": "sk-1"}
            with httpx.stream(
                "POST", f"{address}/v1/messages", json=HELLO, headers=headers, timeout=20
            ) as answer:
                lines, begun = answer.iter_lines(), []
                while not any('"first"' in line for line in begun):
                    begun.append(next(lines))
                running.send_signal(signal.SIGTERM)
                until(lambda: refuses(address))
                assert running.poll() is None  # it waits for the answer
                assert stop(running) == 0
                rest = []
                with contextlib.suppress(httpx.TransportError):  # cut, if nothing can be said
                    rest += lines
                assert not any(rest) or "event: error" in rest
                assert "event: message_stop" not in rest
                read_beginning("\n".join((*begun, *rest)))


HELLO = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello!"}],
}


def refuses(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health", timeout=1).status_code != 200)
    except httpx.HTTPError:
        return True


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def listeners(pid: int) -> list[int]:
    """Children that run the event loop: those that have an epoll descriptor."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):
            links = (os.readlink(entry) for entry in Path(f"/proc/{child}/fd").iterdir())
            if any("eventpoll" in link for link in links):
                found.append(child)
    return found


def until(condition: Any, limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def test_a_request_that_is_not_http_is_one_line_with_the_id_the_client_got(tmp_path: Path) -> None:
    write_files(tmp_path, upstream=NOWHERE)
    with process("--port", "0", cwd=tmp_path) as running:
        port = int(printed(running, ADDRESS).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GARBAGE\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert stop(running) == 0
        assert running.stderr is not None
        lines = [json.loads(line) for line in running.stderr]
    (refused,) = [line for line in lines if line["message"] == "refused"]
    assert refused["request_id"].encode() in answer
    assert not [line for line in lines if line["logger"].startswith("uvicorn")]


# -- the demo ----------------------------------------------------------------------------------


def pasted(line: str) -> str:
    """Run a curl line in a shell; where there is no curl, send what the shell makes of it."""
    if shutil.which("curl"):
        command = ["sh", "-c", line]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout
    program, flag, url, *rest = shlex.split(line)
    assert (program, flag) == ("curl", "-N")
    options = list(zip(rest[::2], rest[1::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    (body,) = [value for name, value in options if name == "-d"]
    return httpx.post(url, content=body, headers=headers).text


def test_the_demos_curl_line_works_when_pasted(tmp_path: Path) -> None:
    with process("demo", "--port", "0", cwd=tmp_path) as running:
        answer = pasted(printed(running, r"^\s*(curl .*)$"))
        read(answer)
        for shown in ("text_delta", "thinking_delta", "input_json_delta"):
            assert shown in answer
        assert answer.count("text_delta") > 3
        base = printed(running, r"export ANTHROPIC_BASE_URL=(\S+)")
        key = printed(running, r"export ANTHROPIC_API_KEY=(\S+)")
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hello!"}],
        }
        whole = httpx.post(f"{base}/v1/messages", json=body, headers={"x-api-key": key})
        assert whole.json()["stop_reason"] == "end_turn"
        assert stop(running) == 0
    assert list(tmp_path.iterdir()) == []  # nothing of the demo is left behind


def test_the_demo_says_that_it_is_one(tmp_path: Path) -> None:
    with process("demo", "--port", "0", cwd=tmp_path) as running:
        assert printed(running, "(simulator)")
        assert stop(running) == 0


def test_the_demo_does_not_touch_the_operators_files(tmp_path: Path) -> None:
    write_files(tmp_path, port=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with process("demo", "--port", "0", cwd=tmp_path) as running:
        printed(running, r"address\s+(http://127\.0\.0\.1:\d+)")
        assert stop(running) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_simulator_runs_alone(tmp_path: Path) -> None:
    with process("simulate", "--port", "0", cwd=tmp_path) as running:
        url = printed(running, r"Kiro simulator on (http://\S+)")
        credentials = json.loads(printed(running, r"credentials\.json: (\[.*\])$"))
        assert httpx.post(f"{url}/generateAssistantResponse", json={}).status_code >= 400
        assert [entry["authMethod"] for entry in credentials] == ["social", "idc", "api_key"]
        assert stop(running, signal.SIGINT) == 0


def test_the_simulator_says_that_its_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with process("simulate", "--port", port, cwd=tmp_path) as running:
            assert running.wait(timeout=15) == 1
            assert running.stderr is not None
            told = running.stderr.read()
    assert "host, port: the simulator cannot listen there" in told and "Traceback" not in told


# -- the socket --------------------------------------------------------------------------------


def test_an_address_that_is_not_ours_is_a_config_error() -> None:
    with pytest.raises(ConfigError) as caught:
        bind("192.0.2.1", 8080)
    assert "cannot listen on 192.0.2.1:8080" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
def test_the_url_is_one_a_client_here_can_use(host: str, shown: str) -> None:
    try:
        listener = bind(host, 0)
    except ConfigError:
        pytest.skip(f"this machine has no {host}")
    with listener:
        assert base_url(host, listener) == f"http://{shown}:{listener.getsockname()[1]}"
