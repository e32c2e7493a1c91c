"""Credential slots in memory that all workers share: who is in use, who is out, and until when.

Rules of this file: no lock, no clock, no file, no policy: times, limits and reasons are
arguments. Every decision is one atomic operation on one word; a word is never left in a state
that another process could not go on from. A token is never in the page.

Theory of operation. `Ring` is the shared page: what has happened. `Roster` is this worker's own
order of choice: what the credentials file says. A slot belongs to one credential id for the
page's life; the first free slot is claimed by compare-and-swap of its id, so all workers agree.

The page, by offset (bytes; little or big endian as the machine is):

    0     head     magic, capacity, rows; rows used; turn; changes; edition: a cache line each
    4096  rows     8 a worker: its pid, 0 = free, pid | SWEEPING while somebody clears it
    then  slots    128 a credential, two cache lines: `kp_slot` below
    then  lanes    4 a worker and credential, slot by slot: requests in flight

  word              writers        order            after the death of a writer
  head.turn         many, add      relaxed          -
  head.changes      many, add      release          at worst a change is seen later
  rows[w]           many, cas      acq_rel          the sweeper's pid is in it: others finish
  slot.id           many, cas once acq_rel          -
  state cool avoid  many, cas      acq_rel          each word is a whole decision
  quota reset turn  many, store    release          -
  rate              many, cas      acq_rel          one request of a minute is lost
  probe             many, cas      acq_rel          holds the worker's row: cleared with it
  counters          many, add      relaxed          one count is lost
  lane[slot][w]     worker w only  seq_cst          cleared with the row; nothing else holds it

In flight is the sum of a slot's lanes and is stored nowhere, so no death can make it drift.
A limit is kept by adding first and looking then: of those who add, the last one sees all
others, so never more than the limit stay; who is above it takes its request back and looks
again. Whoever looks last finds the others gone: a place is never refused to everybody.

Source: BEHAVIOUR.md for what the words mean; GCC's __atomic builtins for the orders.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    HEAD_LEN = 4096
    ROW_LEN = 8
    SLOT_LEN = 128
    LANES_A_LINE = 16

cdef uint64_t MAGIC = 0x4B50_5249_4E47_0001   # "KPRING", version 1: another layout, another one
cdef uint64_t PID_MASK = (1ULL << 32) - 1
cdef uint64_t SWEEPING = 1ULL << 32


class RingFull(Exception):
    """There is no free slot or row left."""


def page_size(capacity: int, rows: int) -> int:
    """Return how many bytes a page of so many credentials and workers needs."""
    cdef Py_ssize_t lines = (rows + LANES_A_LINE - 1) // LANES_A_LINE
    return _slots_at(rows) + capacity * (SLOT_LEN + 4 * LANES_A_LINE * lines)


cdef Py_ssize_t _slots_at(Py_ssize_t rows) noexcept:
    return (HEAD_LEN + ROW_LEN * rows + SLOT_LEN - 1) // SLOT_LEN * SLOT_LEN


cdef inline uint64_t _counted(uint64_t count, int64_t until_ms) noexcept nogil:
    return min(count, 0xFFFFULL) << 48 | _time(until_ms)


cdef inline uint64_t _state(uint64_t reason, uint64_t failures, uint64_t at_ms) noexcept nogil:
    return reason << 60 | min(failures, 0xFFFULL) << 48 | at_ms


cdef inline uint64_t _failures(uint64_t state) noexcept nogil:
    return state >> 48 & 0xFFF


cdef inline int64_t _doubled(int64_t first_ms, uint64_t times, int64_t cap_ms) noexcept nogil:
    return min(first_ms << min(<int64_t> times - 1, 16), cap_ms) if times else first_ms


cdef void _forget(kp_slot *slot) noexcept:
    kp_store(&slot.cool, 0)
    kp_store(&slot.avoid, 0)
    kp_store(&slot.quota, 0)
    kp_store(&slot.refresh_failures, 0)
    kp_store(&slot.probe, 0)


cdef class Ring:
    """One worker's hold on the page.

    Order: `claim` before the first lease; `leave` at the end. The supervisor claims nothing and
    calls `sweep`. Shape: a slot is named by the number that `join` gave.
    """

    def __cinit__(self, memory, capacity=0, rows=0):
        """Open a page; with `capacity` and `rows`, make one of zeroed memory first."""
        PyObject_GetBuffer(memory, &self._view, PyBUF_WRITABLE)
        self._has_view = True
        self._row = -1
        self._known = {}
        if self._view.len < HEAD_LEN or <size_t> self._view.buf % SLOT_LEN:
            raise ValueError("too small or not aligned for a ring")
        self._head = <kp_head *> self._view.buf
        if capacity:
            if self._view.len < page_size(capacity, rows):
                raise ValueError("the memory is smaller than the page")
            self._head.capacity, self._head.rows = capacity, rows
            kp_store(&self._head.magic, MAGIC)
        if kp_load(&self._head.magic) != MAGIC:
            raise ValueError("not a ring of this version")
        if self._view.len < page_size(self._head.capacity, self._head.rows):
            raise ValueError("a part of the ring is missing")
        self.capacity = self._head.capacity
        self._rows = <uint64_t *> (<char *> self._view.buf + HEAD_LEN)
        self._slots = <kp_slot *> (<char *> self._view.buf + _slots_at(self._head.rows))
        self._lanes = <uint32_t *> (self._slots + self._head.capacity)
        self._stride = (self._head.rows + LANES_A_LINE - 1) // LANES_A_LINE * LANES_A_LINE

    def __dealloc__(self):
        if self._has_view:
            PyBuffer_Release(&self._view)

    # -- workers -----------------------------------------------------------------------------

    def claim(self, uint32_t pid):
        """Take a row for this worker. Raises: RingFull — more workers than rows."""
        cdef uint64_t seen, used
        cdef uint32_t row
        for row in range(self._head.rows):
            # A row that says our pid is left from a dead process that had it before us.
            if kp_load(&self._rows[row]) & PID_MASK == pid:
                self._clear(row, pid)
            seen = 0
            if kp_swap(&self._rows[row], &seen, pid):
                self._row, self._pid = row, pid
                used = kp_load(&self._head.rows_used)
                while used <= row and not kp_swap(&self._head.rows_used, &used, row + 1):
                    pass
                return
        raise RingFull(f"all {self._head.rows} rows are taken")

    def leave(self):
        """Give the row back, with whatever it still holds."""
        if self._row >= 0:
            self._clear(<uint32_t> self._row, self._pid)
            self._row = -1

    def sweep(self, is_alive, uint32_t own_pid):
        """Clear the rows of processes that are gone. Returns their pids."""
        cdef uint64_t seen
        cdef uint32_t row
        cleared = []
        for row in range(self._head.rows):
            seen = kp_load(&self._rows[row])
            if seen == 0 or is_alive(seen & PID_MASK):
                continue
            # Whoever wins this clears it, and if he dies too, the next one finds his pid.
            if kp_swap(&self._rows[row], &seen, SWEEPING | own_pid):
                cleared.append(seen & PID_MASK)
                self._clear(row, own_pid)
        return cleared

    cdef void _clear(self, uint32_t row, uint64_t own_pid) noexcept:
        """Take back every lease of a row, then free it."""
        cdef uint32_t index
        cdef uint64_t seen
        kp_store(&self._rows[row], SWEEPING | own_pid)
        for index in range(self.capacity):
            if kp_load(&self._slots[index].id) == 0:
                break
            kp_lane_clear(self._lane(index, row))
            seen = row + 1
            kp_swap(&self._slots[index].probe, &seen, 0)
        kp_store(&self._rows[row], 0)

    @property
    def row(self):
        """Return the number of this worker's row, -1 without one."""
        return self._row

    def workers(self):
        """Return the pids that hold a row."""
        words = [kp_load(&self._rows[row]) for row in range(self._head.rows)]
        return [word for word in words if word and not word & SWEEPING]

    # -- slots -------------------------------------------------------------------------------

    def join(self, int64_t id):
        """Return the slot of a credential, a new one if it has none. Raises: RingFull."""
        cdef uint32_t index = len(self._known)
        cdef uint64_t seen
        if id in self._known:
            return self._known[id]
        while index < self.capacity:  # slots are taken in order and never given up
            seen = 0
            if kp_swap(&self._slots[index].id, &seen, id + 1):
                seen = id + 1
            self._known[<int64_t> seen - 1] = index
            if <int64_t> seen == id + 1:
                return index
            index += 1
        raise RingFull(f"all {self.capacity} slots are taken")

    cdef kp_slot *_at(self, uint32_t index) except NULL:
        if index >= self.capacity:
            raise IndexError(index)
        return &self._slots[index]

    def read(self, uint32_t index):
        """Return a slot's values in the order of `accounts.slot.State`."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t state = kp_load(&slot.state)
        cdef uint64_t cool = kp_load(&slot.cool), avoid = kp_load(&slot.avoid)
        return (
            self._load(index), kp_load(&slot.turn), kp_load(&slot.last_used),
            kp_load(&slot.successes), _failures(state), kp_load(&slot.refresh_failures),
            _count(cool), _count(avoid), _until(avoid), _until(cool), kp_load(&slot.quota),
            _reason(state), _until(state), kp_load(&slot.probe) != 0,
        )

    def reason(self, uint32_t index):
        """Return the number of the reason why a slot is disabled, 0 if it is not."""
        return _reason(kp_load(&self._at(index).state))

    def disable(self, uint32_t index, uint32_t reason, int64_t now_ms):
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.state)
        while not kp_swap(&slot.state, &seen, _state(reason, _failures(seen), _time(now_ms))):
            pass

    def reset(self, uint32_t index, uint32_t reason):
        """Forget every fault; the reason that stays may be 0."""
        cdef kp_slot *slot = self._at(index)
        _forget(slot)
        kp_store(&slot.state, _state(reason, 0, 0))

    def heal(self, uint32_t index, uint32_t reason):
        """Forget every fault if the slot is disabled for that reason, and for no other."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.state)
        while _reason(seen) == reason:
            _forget(slot)  # first: a fault that another worker notes meanwhile stays
            if kp_swap(&slot.state, &seen, 0):
                return

    def succeed(self, uint32_t index, int64_t now_ms, uint32_t cured):
        """Note an answer; a slot disabled for the reason `cured` is well again, and a plan whose
        reset date has passed is proven to be new.

        Cost: one add; the rest is read, and written only where it says something else.
        """
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen
        kp_add(&slot.successes, 1)
        if kp_load(&slot.refresh_failures):
            kp_store(&slot.refresh_failures, 0)
        if kp_load(&slot.avoid):
            kp_store(&slot.avoid, 0)
        seen = kp_load(&slot.cool)
        while seen and _until(seen) <= _time(now_ms) and not kp_swap(&slot.cool, &seen, 0):
            pass
        seen = kp_load(&slot.quota)
        while seen and seen <= _time(now_ms) and not kp_swap(&slot.quota, &seen, 0):
            pass
        seen = kp_load(&slot.state)
        while _failures(seen) and _reason(seen) != cured:
            if kp_swap(&slot.state, &seen, _state(_reason(seen), 0, _until(seen))):
                return
        self.heal(index, cured)

    def count_failure(self, uint32_t index, int64_t now_ms, uint32_t limit, uint32_t reason):
        """Count a refusal; the one that reaches the limit disables, for that reason."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.state), made = 0
        while True:
            made = _state(_reason(seen), _failures(seen) + 1, _until(seen))
            if _failures(made) >= limit and _reason(seen) in (0, reason):
                made = _state(reason, _failures(made), _time(now_ms))
            if kp_swap(&slot.state, &seen, made):
                return

    def count_refresh_failure(self, uint32_t index):
        """Return how many there are in a row now."""
        return kp_add(&self._at(index).refresh_failures, 1) + 1

    def cool(self, uint32_t index, int64_t until_ms):
        """Keep a slot out until a time, or longer if it is already."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.cool)
        while _until(seen) < _time(until_ms):
            if kp_swap(&slot.cool, &seen, _counted(_count(seen), until_ms)):
                return

    def throttle(
        self, uint32_t index, int64_t now_ms, int64_t told_ms, int64_t first_ms, int64_t cap_ms
    ):
        """Keep a slot out for as long as told (-1: not told), else twice as long each time.

        Many refusals within one window are one: window count and end are one word.
        """
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.cool), windows
        cdef int64_t wait_ms
        while True:
            windows = _count(seen) + (_until(seen) <= _time(now_ms))
            wait_ms = told_ms if told_ms >= 0 else _doubled(first_ms, windows, cap_ms)
            wait_ms = max(now_ms + wait_ms, <int64_t> _until(seen))
            if kp_swap(&slot.cool, &seen, _counted(windows, wait_ms)):
                return

    def avoid(self, uint32_t index, int64_t now_ms, int64_t first_ms, int64_t cap_ms):
        """Prefer others for a while, twice as long with every fault in a row."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = kp_load(&slot.avoid), faults
        while True:
            faults = _count(seen) + 1
            if kp_swap(
                &slot.avoid, &seen, _counted(faults, now_ms + _doubled(first_ms, faults, cap_ms))
            ):
                return

    def exhaust(self, uint32_t index, int64_t until_ms):
        """Take a slot out until its plan begins anew; from then on one request is to prove it."""
        kp_store(&self._at(index).quota, _time(until_ms))

    # -- changes other workers have to hear of -----------------------------------------------

    @property
    def changes(self):
        """How many credentials were replaced so far, by anybody."""
        return kp_load(&self._head.changes)

    @property
    def edition(self):
        """How many times anybody has taken over a changed credentials file."""
        return kp_load(&self._head.edition)

    def announce_edition(self):
        kp_add(&self._head.edition, 1)

    def generation(self, uint32_t index):
        """Return how often a slot's tokens were replaced."""
        return kp_load(&self._at(index).generation)

    def announce(self, uint32_t index):
        """Tell the other workers that a credential has new tokens. Returns its generation."""
        made = kp_add(&self._at(index).generation, 1) + 1
        kp_add(&self._head.changes, 1)
        return made

    # -- one lease ---------------------------------------------------------------------------

    def release(self, uint32_t index, bint is_probe):
        """Give back one lease of this worker."""
        cdef kp_slot *slot = self._at(index)
        cdef uint64_t seen = <uint64_t> self._row + 1
        cdef uint32_t *lane
        if self._row < 0:
            return  # the row was given back, and all its leases with it
        lane = self._lane(index, <uint32_t> self._row)
        if kp_lane_load(lane) == 0:
            return  # the row was cleared, because somebody thought us dead
        kp_lane_add(lane, -1)
        if is_probe:
            kp_swap(&slot.probe, &seen, 0)
