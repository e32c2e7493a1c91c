"""Which machine, versions and commit a result belongs to."""

import os
import platform
import ssl
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.compare.processes import ROOT, nginx_program

PACKAGES = ("kiroproxy", "uvicorn", "uvloop", "httptools", "httpx", "starlette", "orjson", "Cython")


def describe(command: str) -> dict[str, object]:
    """Everything a reader needs to judge or repeat a run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "commit": commit(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "nginx": _first_line(nginx_program() or "nginx", "-v").removeprefix("nginx version: "),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def commit() -> str:
    """The commit measured, with a plus when the product's files differ from it."""
    head = _first_line("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    changed = _first_line("git", "-C", str(ROOT), "status", "--porcelain", "--", "kiroproxy")
    return head + ("+" if changed else "") if head else "unknown"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).split("\n", 1)[0].strip()
