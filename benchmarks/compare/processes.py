"""The programs of one comparison, started, pinned, and stopped: stand-in, client, gateways.

Rules of this file: everything listens on 127.0.0.1, is stopped by its process id, and lives in a
temporary folder. The gateway under test has CPU 0 for itself; stand-in and client share CPU 1.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "benchmarks" / "load" / "build"
GATEWAY_CPU, LOAD_CPU = 0, 1
READY_S = 20.0  # the slowest of them needs two on a loaded machine
KEY = "benchmark-key"
PROFILE = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Something the client can load. `api`: whose request it takes, "messages" or "kiro"."""

    name: str
    port: int
    pid: int
    api: str = "kiro"
    key: str = ""
    path: str = ""
    expect_end: str = ""
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the stand-in shows over TLS, and the authority that signed it."""

    chain: Path
    key: Path
    authority: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificate":
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
        made = cls(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        made.chain.write_bytes(chain)
        leaf.private_key_pem.write_to_path(made.key)
        authority.cert_pem.write_to_path(made.authority)
        return made


class Processes:
    """Owns what it starts. Order: use as a context manager; the last started stops first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            self.stop(process)

    def start(
        self, command: Sequence[str | Path], cpu: int, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a program on one CPU; what it prints to stderr goes to the folder's log."""
        log = (self.folder / "log.txt").open("ab")
        process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE if command[0] == BUILD / "kiro" else log,
            stderr=log,
        )
        self._running.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in self._running:
            self._running.remove(process)

    def stop_gateway(self, gateway: Gateway) -> None:
        for process in [each for each in self._running if each.pid == gateway.pid]:
            self.stop(process)


@dataclass(frozen=True, slots=True)
class StandIn:
    """The running stand-in for Kiro."""

    port: int
    pid: int
    certificate: Certificate | None

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def stats(self) -> dict[str, Any]:
        """What it says of itself."""
        return self._call("GET", "/stats")

    def reset(self) -> None:
        """Forget how late it was so far."""
        self._call("POST", "/stats/reset")

    def _call(self, method: str, path: str) -> dict[str, Any]:
        context = None
        if self.certificate:
            context = ssl.create_default_context(cafile=str(self.certificate.authority))
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def start_stand_in(processes: Processes, certificate: Certificate | None, port: int = 0) -> StandIn:
    command: list[str | Path] = [BUILD / "kiro", "--port", str(port)]
    if certificate:
        command += ["--tls", certificate.chain, certificate.key]
    process = processes.start(command, LOAD_CPU)
    assert process.stdout is not None
    first = process.stdout.readline()
    if not first:
        raise SystemExit(f"the stand-in did not start, see {processes.folder}/log.txt")
    return StandIn(json.loads(first)["port"], process.pid, certificate)


# -- the gateways ---------------------------------------------------------------------------


def start_kiroproxy(processes: Processes, upstream: StandIn) -> Gateway:
    port, folder = free_port(), processes.folder
    urls = dict.fromkeys(("apiUrl", "managementUrl", "socialAuthUrl", "oidcUrl"), upstream.url)
    settings = {"apiKey": KEY, "port": port, "logLevel": "warning", "upstream": urls}
    credential = {
        "authMethod": "social",
        "refreshToken": "r" * 120,
        "accessToken": "a" * 200,
        "expiresAt": "2099-01-01T00:00:00Z",
        "profileArn": PROFILE,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "credentials.json").write_text(json.dumps(credential))
    (folder / "credentials.json").chmod(0o600)
    files: list[str | Path] = ["-c", folder / "config.json"]
    files += ["--credentials", folder / "credentials.json"]
    process = processes.start(
        [sys.executable, "-m", "kiroproxy", *files], GATEWAY_CPU, **_trust(upstream)
    )
    gateway = Gateway("kiroproxy", port, process.pid, "messages", KEY, expect_end="message_stop")
    return _ready(gateway, process, processes.folder)


def start_nginx(processes: Processes, upstream: StandIn) -> Gateway:
    port = free_port()
    folder = processes.folder / f"nginx-{port}"
    folder.mkdir()
    (folder / "nginx.conf").write_text(nginx_configuration(port, upstream, folder))
    process = processes.start(
        [nginx_program() or "nginx", "-c", folder / "nginx.conf", "-p", folder], GATEWAY_CPU
    )
    return _ready(Gateway("nginx", port, process.pid), process, processes.folder)


def nginx_configuration(port: int, upstream: StandIn, folder: Path) -> str:
    """A pass-through at its best: no buffering, no log, kept connections, checked certificate."""
    trust = ""
    if upstream.certificate:
        trust = (
            f"proxy_ssl_trusted_certificate {upstream.certificate.authority};"
            " proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_session_reuse on;"
        )
    return f"""
daemon off; worker_processes 1; worker_rlimit_nofile 60000;
pid {folder}/pid; error_log stderr error;
events {{ worker_connections 30000; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 100000000; client_max_body_size 64m;
  client_body_buffer_size 32m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream kiro {{
    server 127.0.0.1:{upstream.port}; keepalive 1024; keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass {upstream.url.split(":")[0]}://kiro; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; {trust}
    }}
  }}
}}
"""


def start_plain_python(processes: Processes, upstream: StandIn) -> Gateway:
    port = free_port()
    options = f"--no-access-log --log-level warning --backlog 4096 --port {port}".split()
    process = processes.start(
        [sys.executable, "-m", "uvicorn", *options, "benchmarks.compare.proxy:app"],
        GATEWAY_CPU,
        UPSTREAM=upstream.url,
        **_trust(upstream),
    )
    return _ready(Gateway("httpx+Starlette", port, process.pid), process, processes.folder)


STARTERS: dict[str, Callable[[Processes, StandIn], Gateway]] = {
    "kiroproxy": start_kiroproxy,
    "nginx": start_nginx,
    "httpx+Starlette": start_plain_python,
}


def direct(upstream: StandIn) -> Gateway:
    """No gateway at all: the floor under every latency. Only without TLS."""
    return Gateway("direct", upstream.port, upstream.pid)


def nginx_program() -> str | None:
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _trust(upstream: StandIn) -> dict[str, str]:
    if not upstream.certificate:
        return {}
    return {"SSL_CERT_FILE": str(upstream.certificate.authority)}


def _ready(gateway: Gateway, process: subprocess.Popen[bytes], folder: Path) -> Gateway:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((gateway.host, gateway.port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return gateway
    raise SystemExit(f"{gateway.name} did not start, see {folder}/log.txt")


# -- the client ------------------------------------------------------------------------------


def load(gateway: Gateway, options: Sequence[str | Path]) -> dict[str, Any]:
    """Run the client once against a gateway and return what it printed."""
    command: list[str | Path] = ["taskset", "-c", str(LOAD_CPU), BUILD / "load"]
    command += ["--host", gateway.host, "--port", str(gateway.port), "--api", gateway.api]
    command += ["--key", gateway.key, "--pid", str(gateway.pid)]
    if gateway.path:
        command += ["--path", gateway.path]
    if gateway.expect_end and "--no-stream" not in options:
        command += ["--expect-end", gateway.expect_end]
    done = subprocess.run([*map(str, command), *map(str, options)], stdout=-1, stderr=-1)
    if done.returncode:
        raise SystemExit(f"load: {done.stderr.decode(errors='replace')}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def usage(*pids: int) -> dict[str, Any]:
    """CPU and memory of process trees, as the client reads them."""
    done = subprocess.run([BUILD / "load", "usage", *map(str, pids)], stdout=-1, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
