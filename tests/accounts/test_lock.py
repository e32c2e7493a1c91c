"""The lock: one holder, in this process and in others, even one that is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from kiroproxy.accounts.lock import FileLock

HOLDER = """
import sys, time
from pathlib import Path
from kiroproxy.accounts.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.try_acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_holder_has_to_wait_for_the_first(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "l"), FileLock(tmp_path / "l")
    assert first.try_acquire()
    assert not second.try_acquire()
    assert not second.acquire(timeout_s=0.0)
    first.release()
    assert second.acquire(timeout_s=0.0)
    second.release()


def test_release_may_be_called_twice(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "l"), FileLock(tmp_path / "l")
    assert lock.try_acquire()
    lock.release()
    assert other.try_acquire()
    lock.release()
    assert not FileLock(tmp_path / "l").try_acquire()
    other.release()


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "l")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert not lock.try_acquire()
        holder.kill()
        holder.wait()
        assert lock.acquire(timeout_s=5)
    lock.release()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "l").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "l").try_acquire()
    assert not victim.exists()


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "l")
    assert lock.try_acquire()
    lock.release()
    assert lock.path.stat().st_mode & 0o777 == 0o600
