"""Replacing a file whole: a kill at any point leaves the old content or the new.

Rules of this file: callers hold the file's lock. The temporary file is created 0600 in the
target's own directory (a rename across file systems is a copy), is durable before it is
renamed, and the directory is synced after it.

Theory of operation. A process killed between the sync and the rename leaves a whole temporary
file behind. It may hold the only copy of a rotated refresh token, so `finish_interrupted` does
the rename after the fact — unless the target was changed since, which is somebody else's newer
word. A temporary file that is not whole is deleted.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

_SUFFIX = ".kiroproxy-tmp"


def replace_file(target: Path, data: bytes) -> None:
    """Make `data` the content of `target`, mode 0600. Raises: OSError — nothing has changed."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    try:
        try:
            os.fchmod(fd, 0o600)  # the umask may have taken the owner's own bits
            _keep_owner(fd, target)
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(target.parent)


def finish_interrupted(target: Path, is_whole: Callable[[bytes], bool]) -> bool:
    """Rename what a killed writer left ready, delete what it left half done.

    Shape: True if the target has a new content now.
    """
    renamed = False
    for leftover in list(_leftovers(target)):
        if _is_newer(leftover, target) and is_whole(leftover.read_bytes()):
            leftover.replace(target)
            renamed = True
        else:
            leftover.unlink(missing_ok=True)
    if renamed:
        sync_directory(target.parent)
    return renamed


def sync_directory(directory: Path) -> None:
    """Make a rename in it durable."""
    # Some file systems refuse to sync a directory; the rename itself has happened by now.
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _keep_owner(fd: int, target: Path) -> None:
    """Leave the file with the user who owns it: a service run as root must not take it away."""
    with contextlib.suppress(OSError):
        owner = target.stat()
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, owner.st_uid, owner.st_gid)


def _leftovers(target: Path) -> Iterator[Path]:
    prefix = f".{target.name}."
    with os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX):
                yield target.with_name(entry.name)


def _is_newer(leftover: Path, target: Path) -> bool:
    try:
        return leftover.stat().st_mtime_ns >= target.stat().st_mtime_ns
    except FileNotFoundError:
        return False  # without a target there is nothing that an interrupted write had replaced
