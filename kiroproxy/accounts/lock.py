"""A lock that other processes see: flock on a sidecar file.

Rules of this file: the file that is locked is never the file that is replaced — a rename would
leave every waiter with a lock on a file that nobody else can open. Sidecars are never deleted,
for the same reason. The kernel frees the lock of a process that dies.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

_POLL_S = 0.01


class FileLock:
    """One holder among all processes and among all instances of one process.

    Order: release() once for every try_acquire() or acquire() that said True.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free, without waiting.

        Raises: OSError — the sidecar cannot be made, e.g. in a read-only directory.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the lock; blocks the thread. Raises: as try_acquire."""
        # Polled, for flock has no deadline and a stopped holder must not stop everybody.
        deadline = time.monotonic() + timeout_s
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Give the lock back; closing the descriptor is what does it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
