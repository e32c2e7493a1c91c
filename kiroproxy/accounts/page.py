"""The memory in which the workers of one gateway share their live state.

Rules of this file: only the supervisor creates and removes a page; a worker opens it by name.
Nothing in a page outlives the run: it is made anew at every start.

Theory of operation. uvicorn spawns its workers, so they inherit no memory: a page is a file of
the memory file system, created 0600 under a fresh name, whose path every worker is given. The
supervisor holds an flock on it for as long as it lives. A page that nobody holds was left by a
supervisor that was killed, and the next start removes it. Not multiprocessing.shared_memory:
its resource tracker removes a page as soon as any one worker ends. Not a memfd: it has a name
under /proc only, so not on macOS and not where a process may not be looked into.
One process alone uses the same code on memory of its own. The page holds two parts: the ring of
the credentials, and behind it the meter of the client keys.

Source: shm_overview(7), flock(2).
"""

import contextlib
import fcntl
import mmap
import os
import stat
import tempfile
from pathlib import Path

from kiroproxy import _meter, metrics
from kiroproxy._meter import Meter
from kiroproxy._ring import Ring, page_size
from kiroproxy.metrics import Metrics

# A slot is never given up, so this bounds the ids that ever were in the file during one run.
CAPACITY = 16_384
KEYS = 4096  # client keys that ever were in use during one run
CUTS_LEN = 64 * 1024  # for tool calls that were cut; 512 of them
_PREFIX = f"kiroproxy-{os.getuid()}-"


def rows_for(workers: int) -> int:
    """Return how many rows a page needs: twice the workers, for a restart overlaps."""
    return max(16, 2 * workers)


def private_ring() -> Ring:
    """Return a ring of this process alone. Cost: memory is taken as slots are used."""
    rows = rows_for(1)
    ring = Ring(mmap.mmap(-1, page_size(CAPACITY, rows)), CAPACITY, rows)
    ring.claim(os.getpid())
    return ring


def open_ring(path: str) -> Ring:
    """Open a page by name and take a row in it. Raises: OSError, ValueError, RingFull."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        ring = Ring(mmap.mmap(fd, 0))
    finally:
        os.close(fd)
    sweep(ring)
    ring.claim(os.getpid())
    return ring


def sweep(ring: Ring) -> list[int]:
    """Take back what dead workers held. Returns their pids."""
    return ring.sweep(_is_alive, os.getpid())


def private_meter() -> Meter:
    """Return a meter of this process alone."""
    rows = rows_for(1)
    meter = Meter(mmap.mmap(-1, _meter.page_size(KEYS, rows)), KEYS, rows)
    meter.claim(os.getpid())
    return meter


def open_meter(path: str, workers: int) -> Meter:
    """Open the meter of a page by name and take a row in it. Raises: OSError, ValueError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        meter = Meter(_meter_memory(fd, rows_for(workers)))
    finally:
        os.close(fd)
    meter.claim(os.getpid())
    return meter


def _meter_at(rows: int) -> int:
    """Return where the meter begins: a mapping starts at a whole page of memory."""
    step = mmap.ALLOCATIONGRANULARITY
    return -(-page_size(CAPACITY, rows) // step) * step


def _meter_memory(fd: int, rows: int) -> mmap.mmap:
    return mmap.mmap(fd, _meter.page_size(KEYS, rows), offset=_meter_at(rows))


def private_cuts() -> mmap.mmap:
    """Return memory of this process alone for tool calls that were cut."""
    return mmap.mmap(-1, CUTS_LEN)


def open_cuts(path: str, workers: int) -> mmap.mmap:
    """Map that memory of a page by name. Raises: OSError, ValueError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return mmap.mmap(fd, CUTS_LEN, offset=_cuts_at(rows_for(workers)))
    finally:
        os.close(fd)


def _cuts_at(rows: int) -> int:
    """Return where it begins: behind the meter, at a whole page of memory."""
    step = mmap.ALLOCATIONGRANULARITY
    return -(-(_meter_at(rows) + _meter.page_size(KEYS, rows)) // step) * step


def private_metrics() -> Metrics:
    """Return counters of this process alone."""
    return Metrics(mmap.mmap(-1, metrics.page_size(rows_for(1))))


def open_metrics(path: str, workers: int) -> Metrics:
    """Open the counters of a page by name. Raises: OSError, ValueError."""
    rows = rows_for(workers)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return Metrics(mmap.mmap(fd, metrics.page_size(rows), offset=_metrics_at(rows)))
    finally:
        os.close(fd)


def _metrics_at(rows: int) -> int:
    """Return where they begin: behind the cuts, at a whole page of memory."""
    step = mmap.ALLOCATIONGRANULARITY
    return -(-(_cuts_at(rows) + CUTS_LEN) // step) * step


class SharedPage:
    """The supervisor's hold on a page. Order: `close()` at the end. Raises: OSError."""

    def __init__(self, workers: int, folder: Path | None = None) -> None:
        folder = folder or _folder()
        remove_orphans(folder)
        self._fd, self.path = _create(folder)
        rows = rows_for(workers)
        size = _metrics_at(rows) + metrics.page_size(rows)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._fd, 0, size)  # full memory is said now, not by SIGBUS later
        else:
            os.truncate(self._fd, size)
        self.ring = Ring(mmap.mmap(self._fd, page_size(CAPACITY, rows)), CAPACITY, rows)
        self.meter = Meter(_meter_memory(self._fd, rows), KEYS, rows)

    def sweep(self) -> list[int]:
        """Take back what dead workers held. Returns their pids."""
        self.meter.sweep(_is_alive)
        return sweep(self.ring)

    def close(self) -> None:
        """Remove the name; workers that still run keep the memory."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108 - a name, not a path anybody walks
        os.close(self._fd)


def remove_orphans(folder: Path) -> None:
    """Remove our pages that no living supervisor holds."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_uid == os.getuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            finally:
                os.close(fd)


def _create(folder: Path) -> tuple[int, str]:
    """Return a new file, locked, and still there once it is: a start beside us may sweep."""
    while True:
        fd, path = tempfile.mkstemp(prefix=_PREFIX, dir=folder)  # 0600, O_EXCL, O_CLOEXEC
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)


def _folder() -> Path:
    shared = Path("/dev/shm")  # noqa: S108 - mkstemp makes the name
    return shared if os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
