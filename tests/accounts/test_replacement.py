"""Replacing a file whole: kills and faults at every step leave the old content or the new."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.accounts.replacement import finish_interrupted, replace_file

OLD, NEW = b"old\n", b"new " * 5000 + b"\n"
# Every call of the write path that reaches the kernel, in order.
STEPS = ("open", "fchmod", "write", "fsync", "close", "replace", "open", "fsync", "close")


def at_step(number: int, act: Callable[[], None]) -> dict[str, Callable[..., Any]]:
    """Return stand-ins for os functions that act instead of doing the n-th call."""
    seen = 0

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen - 1 == number:
                act()
            return real(*args, **kwargs)

        return call

    return {name: wrap(name) for name in set(STEPS)}


def is_whole(data: bytes) -> bool:
    return data.endswith(b"\n")


def replace_in_child(target: Path, step: int) -> int:
    """Run one replacement in a child that kills itself before a step; return its status."""
    child = os.fork()
    if child == 0:
        try:
            kill = at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            for name, stand_in in kill.items():
                setattr(os, name, stand_in)
            replace_file(target, NEW)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    target.chmod(0o600)
    return target


def test_the_new_content_is_there_and_private(target: Path) -> None:
    target.chmod(0o644)
    replace_file(target, NEW)
    assert target.read_bytes() == NEW
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_kill_before_any_step_leaves_one_whole_file(target: Path, step: int) -> None:
    status = replace_in_child(target, step)
    assert os.WIFSIGNALED(status), "the step was never reached: STEPS is out of date"
    assert target.read_bytes() == (OLD if step <= STEPS.index("replace") else NEW)
    assert target.stat().st_mode & 0o777 == 0o600
    finish_interrupted(target, is_whole)
    # From the sync on the temporary file is whole, and may be the only copy of a token.
    assert target.read_bytes() == (OLD if step <= STEPS.index("write") else NEW)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_there_are_no_steps_beyond_those_that_were_killed(target: Path) -> None:
    assert replace_in_child(target, len(STEPS)) == 0
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EBUSY, errno.EXDEV])
@pytest.mark.parametrize("step", range(STEPS.index("replace") + 1))
def test_a_fault_at_any_step_leaves_the_old_file_and_no_other(
    target: Path, monkeypatch: pytest.MonkeyPatch, step: int, code: int
) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        for name, stand_in in at_step(step, fail).items():
            patch.setattr(os, name, stand_in)
        with pytest.raises(OSError, match=os.strerror(code)):
            replace_file(target, NEW)
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]


def test_short_writes_are_continued(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    replace_file(target, NEW)
    assert target.read_bytes() == NEW


def test_a_whole_leftover_older_than_the_target_is_dropped(target: Path) -> None:
    leftover = target.with_name(".file.1-ab.kiroproxy-tmp")
    leftover.write_bytes(NEW)
    os.utime(leftover, ns=(1, 1))
    assert not finish_interrupted(target, is_whole)
    assert target.read_bytes() == OLD
    assert not leftover.exists()


def test_a_file_of_somebody_else_is_left_alone(target: Path) -> None:
    other = target.with_name(".file.swp")
    other.write_bytes(NEW)
    finish_interrupted(target, is_whole)
    assert other.exists()
