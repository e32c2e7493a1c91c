"""What a gateway holds right now: told by the kernel, by its own figures, by the probe in it.

Rules of this file: reading changes nothing but one short connection at a time, which is closed
before the sockets are counted.

Source: proc(5) for /proc; `probe/sitecustomize.py` for tasks and timers.
"""

import json
import re
import socket
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ESTABLISHED, _CLOSE_WAIT, _LISTEN = "01", "08", "0A"
_IN_FLIGHT = re.compile(r"^kiroproxy_requests_in_flight (\d+)$", re.M)
_LEASES = re.compile(r"^kiroproxy_credential_requests_in_flight\{.*\} (\d+)$", re.M)
_ERRORS = re.compile(r'"level":"(?:error|critical)"|^Traceback|never retrieved|never awaited')


@dataclass(frozen=True, slots=True)
class Facts:
    """One reading, of all processes together. Units: KiB of anonymous memory; bytes of records."""

    at_s: float
    clients: int  # sockets towards clients, in any state
    upstream: int  # sockets towards Kiro, in any state
    close_wait: int
    fds: int
    threads: int
    memory_kib: int
    requests: int  # in flight, as /metrics tells
    leases: int
    key_requests: int
    tasks: int
    timers: int
    objects: int
    entries: int
    rows: int
    records_bytes: int
    error_lines: int
    names: Counter[str]  # of tasks
    kinds: Counter[str]  # of objects


@dataclass(frozen=True, slots=True)
class Watched:
    """A running gateway and where to ask."""

    pid: int
    port: int
    upstream_port: int
    key: str
    admin_key: str
    folder: Path

    def read(self, at_s: float) -> Facts:
        """Read everything once. Blocks. Raises: OSError — the gateway is gone."""
        figures = self._get("/metrics", self.key).decode()
        keys = json.loads(self._get("/api/admin/keys", self.admin_key))["keys"]
        pids = list(_family(self.pid))
        probes = [told for pid in pids if (told := self._probe(pid))]
        sockets = Counter(where for pid in pids for where in self._sockets(pid))
        return Facts(
            at_s=at_s,
            clients=sockets["client"],
            upstream=sockets["upstream"],
            close_wait=sockets["close_wait"],
            fds=sum(len(_links(pid)) for pid in pids),
            threads=sum(_status(pid, "Threads") for pid in pids),
            memory_kib=sum(_status(pid, "RssAnon") for pid in pids),
            requests=sum(map(int, _IN_FLIGHT.findall(figures))),
            leases=sum(map(int, _LEASES.findall(figures))),
            key_requests=sum(key["inFlight"] for key in keys),
            tasks=sum(sum(told["tasks"].values()) for told in probes),
            timers=sum(told["timers"] for told in probes),
            objects=sum(told["objects"] for told in probes),
            entries=sum(told["entries"] for told in probes),
            rows=self._rows(),
            records_bytes=sum(each.stat().st_size for each in self.folder.glob("kiroproxy.db*")),
            error_lines=len(self.errors()),
            names=sum((Counter(told["tasks"]) for told in probes), Counter()),
            kinds=sum((Counter(told["kinds"]) for told in probes), Counter()),
        )

    def errors(self) -> list[str]:
        """Return the lines of the log that should not be there."""
        text = (self.folder / "gateway.log").read_text(errors="replace")
        return [line for line in text.splitlines() if _ERRORS.search(line)]

    def _get(self, path: str, key: str) -> bytes:
        headers = {"x-api-key": key, "connection": "close"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: bytes = answer.read()
        return found

    def _probe(self, pid: int) -> dict[str, Any] | None:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(20)
            try:
                asking.connect(str(self.folder / f"probe-{pid}.sock"))
            except OSError:
                return None
            told = b"".join(iter(lambda: asking.recv(65536), b""))
        found: dict[str, Any] = json.loads(told)
        return found

    def _sockets(self, pid: int) -> Iterable[str]:
        """Name each TCP socket of a process by whom it leads to."""
        table = _connections(pid)
        for link in _links(pid):
            local, remote, state = table.get(link, (0, 0, _LISTEN))
            if state == _LISTEN:
                continue
            if state == _CLOSE_WAIT:
                yield "close_wait"
            if local == self.port:
                yield "client"
            elif remote == self.upstream_port:
                yield "upstream"

    def _rows(self) -> int:
        path = self.folder / "kiroproxy.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found: int = database.execute("SELECT count(*) FROM requests").fetchone()[0]
        return found


def _family(pid: int) -> Iterable[int]:
    """Yield a process and everything that came of it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _links(pid: int) -> list[str]:
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(each.readlink()))
        except FileNotFoundError:  # closed between listing and looking
            continue
    return found


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _connections(pid: int) -> dict[str, tuple[int, int, str]]:
    """Return link name → local port, remote port, state."""
    found = {}
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, remote, state, *rest = line.split()
            ports = (int(end.rpartition(":")[2], 16) for end in (local, remote))
            found[f"socket:[{rest[5]}]"] = (*ports, state)
    return found  # type: ignore[return-value]  # two ports and a state
