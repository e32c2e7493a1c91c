"""A file of the operator's on its disk: where it really is, its lock, mode and faults in words.

Rules of this file: nothing is known here about what the text means; an operator reads every
message, so each OSError of the write path gets a remedy.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from kiroproxy.accounts.lock import FileLock
from kiroproxy.accounts.replacement import finish_interrupted, replace_file
from kiroproxy.errors import ConfigError

# A write takes milliseconds; whoever holds the lock longer is stopped or on a dead disk.
_LOCK_TIMEOUT_S = 10.0

Signature = tuple[int, int, int]


class GuardedFile:
    """One path, symlinks followed: a rename would replace the link and leave its target stale."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def target(self) -> Path:
        return self.path.resolve()

    def signature(self) -> Signature | None:
        """Return what changes when the content does, None for no file. Raises: ConfigError."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as fault:
            raise self.fault(f"cannot be read ({_words(fault)})") from fault
        return found.st_mtime_ns, found.st_size, found.st_ino

    def read(self) -> str | None:
        """Return the text, None for no file. Raises: ConfigError — there, but not readable."""
        try:
            return self.target.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            remedy = "Docker makes one where a mounted file is missing: create the file first"
            raise self.fault("is a directory", remedy) from None
        except (OSError, UnicodeDecodeError) as fault:
            raise self.fault(f"cannot be read ({_words(fault)})") from fault

    def write(self, data: bytes) -> None:
        """Replace the content. Order: inside `locked()`. Raises: OSError — nothing changed."""
        replace_file(self.target, data)

    @contextlib.contextmanager
    def locked(self, is_whole: Callable[[bytes], bool]) -> Iterator[None]:
        """Keep every other writer out, and finish or clear what a killed one left.

        Raises: ConfigError — somebody holds it; OSError — the lock file cannot be made.
        """
        target = self.target
        lock = FileLock(target.with_name(f".{target.name}.lock"))
        if not lock.acquire(_LOCK_TIMEOUT_S):
            raise self.fault("is locked by another process", f"See who holds {lock.path}")
        try:
            finish_interrupted(target, is_whole)
            yield
        finally:
            lock.release()

    def lock_for(self, id: int) -> FileLock:
        """Return the lock under which one process at a time renews a credential."""
        return self.side_lock(str(id))

    def side_lock(self, name: str) -> FileLock:
        """Return a lock that all who use this file know by a name."""
        target = self.target
        return FileLock(target.with_name(f".{target.name}.{name}.lock"))

    def exposure(self) -> str:
        """Return the file's mode in octal if other users can read it, else ""."""
        try:
            found = self.target.stat().st_mode
        except OSError:
            return ""  # reading it will say why
        is_open = not stat.S_ISDIR(found) and found & 0o077
        return f"{stat.S_IMODE(found):04o}" if is_open else ""

    def tighten_mode(self) -> str:
        """Take the file away from other users; return a warning if they could read it."""
        target, mode = self.target, self.exposure()
        if not mode:
            return ""
        done = "it is 0600 now"
        try:
            target.chmod(0o600)
        except OSError as fault:
            done = f"that cannot be changed ({_words(fault)}); run: chmod 600 {target}"
        return f"{self.path}: other users could read it (mode {mode}); {done}"

    def fault(self, reason: str, remedy: str = "") -> ConfigError:
        return ConfigError(reason, file=str(self.path), remedy=remedy)

    def write_fault(self, fault: OSError) -> ConfigError:
        """Say why a write failed and what to do about it."""
        directory = self.target.parent
        remedies = {
            errno.EBUSY: "It is a mount of its own: mount the directory it is in instead",
            errno.ENOSPC: f"Free some space in {directory}",
            errno.EDQUOT: f"Free some space in {directory}",
        }
        other = f"Make {directory} writable for user {os.geteuid()}"
        remedy = remedies.get(fault.errno or 0, other)
        return self.fault(f"cannot be written ({_words(fault)})", remedy)


def _words(fault: Exception) -> str:
    return getattr(fault, "strerror", None) or str(fault)
