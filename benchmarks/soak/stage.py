"""The processes of a soak: the simulator and one gateway on it, in a folder of their own.

Rules of this file: everything listens on 127.0.0.1 and is stopped by its process id.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.processes import ROOT, Certificate, free_port
from benchmarks.soak.facts import Watched

READY_S = 30.0
PROBE = Path(__file__).parent / "probe"
ROWS = 1000  # the least that is allowed, so that forgetting is part of the soak

# Short, so that each limit ends many answers, and nothing waits long at the end.
LIMITS = {
    "headTimeout": 6,
    "firstByteTimeout": 6,
    "idleTimeout": 8,
    "totalTimeout": 40,
    "receiveTimeout": 5,
    "poolIdleTimeout": 5,
    "pingInterval": 1,
    "earlyStart": 1,
    "drainTimeout": 5,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands: the gateway that is watched, and the keys that its clients present."""

    watched: Watched
    keys: tuple[str, ...]


@contextmanager
def stand(folder: Path, workers: int, tls: bool) -> Iterator[Stage]:
    """Start both; stop both."""
    certificate = Certificate.make(folder) if tls else None
    with (folder / "kiro.log").open("ab") as log:
        command = [sys.executable, "-m", "benchmarks.soak.kiro"]
        if certificate:
            command += ["--tls", str(certificate.chain), str(certificate.key)]
        kiro = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        assert kiro.stdout is not None
        told = json.loads(kiro.stdout.readline() or b"null")
        if told is None:
            raise SystemExit(f"the simulator did not start, see {folder}/kiro.log")
        with _gateway(folder, told, workers, certificate) as stage:
            yield stage
    finally:
        _stop(kiro)
        if kiro.stdout:
            kiro.stdout.close()


@contextmanager
def _gateway(
    folder: Path, kiro: dict[str, Any], workers: int, certificate: Certificate | None
) -> Iterator[Stage]:
    port, key, admin_key = free_port(), secrets.token_hex(16), secrets.token_hex(16)
    url = kiro["url"]
    settings = LIMITS | {
        "apiKey": key,
        "adminApiKey": admin_key,
        "port": port,
        "workers": workers,
        "logLevel": "warning",
        "recordsRows": ROWS,
        "upstream": dict.fromkeys(
            ("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl"), url
        ),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "credentials.json").write_text(json.dumps(kiro["credentials"]))
    for name in ("config.json", "credentials.json"):
        (folder / name).chmod(0o600)
    environment = {k: v for k, v in os.environ.items() if "PROXY" not in k.upper()}
    environment |= {"PYTHONPATH": str(PROBE), "SOAK_FOLDER": str(folder)}
    if certificate:
        environment["SSL_CERT_FILE"] = str(certificate.authority)
    command = [sys.executable, "-m", "kiroproxy", "-c", str(folder / "config.json")]
    command += ["--credentials", str(folder / "credentials.json")]
    with (folder / "gateway.log").open("ab") as log:
        gateway = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
    try:
        _wait(gateway, port, folder)
        watched = Watched(gateway.pid, port, kiro["port"], key, admin_key, folder)
        yield Stage(watched, (key, _client_key(port, admin_key)))
    finally:
        _stop(gateway)


def _wait(gateway: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + READY_S
    while gateway.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2).close()
        except OSError:
            time.sleep(0.1)
            continue
        return
    raise SystemExit(f"the gateway did not start:\n{(folder / 'gateway.log').read_text()}")


def _client_key(port: int, admin_key: str) -> str:
    """Make a client key with every kind of limit, none of which is met."""
    limits = {"name": "soak", "maxConcurrency": 1000, "rpm": 4000, "dailyTokens": 10**9}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/admin/keys",
        json.dumps(limits).encode(),
        {"x-api-key": admin_key, "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        secret: str = json.load(answer)["secret"]
    return secret


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
