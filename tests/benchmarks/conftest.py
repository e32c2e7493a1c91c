"""The load programs, built once, and the benchmarks' package on the path."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder that holds `kiro` and `load`."""
    with (ROOT / "Makefile").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # tests that run beside these make them only once
        done = subprocess.run(["make", "load"], cwd=ROOT, capture_output=True, text=True)
    if "OpenSSL headers are missing" in done.stdout:
        pytest.skip("the load programs need OpenSSL's headers")
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "benchmarks" / "load" / "build"
