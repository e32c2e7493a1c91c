"""What clients have used, in memory that all workers share: keys' requests, quotas, wrong keys.

Rules of this file: as in `_ring`: no lock, no clock, no file, no policy; times, limits and
amounts are arguments. Every decision is one atomic operation on one word. No key, no digest and
no address is in the page: keys are numbers, addresses are 64-bit hashes.

Theory of operation. A slot belongs to one client key for the page's life. In flight is the sum
of its lanes, one a worker, as in `_ring`; a limit is kept by adding first and looking then. The
rate is four counts of 20 s in one word, so no 60 s ever see more than the limit. A quota is one
word too, the number of its period (a day, a month) above the amount, so that the first request
of a new period starts it anew.

The page, by offset (bytes):

    0     head     magic, capacity, rows; rows used; editions; totals: a cache line each
    4096  rows     8 a worker: its pid, 0 = free
    then  marks    16 an address that presented wrong keys: hash; failures 16 | time 48
    then  slots    64 a client key: id, rate, four quota words, 2 spare
    then  lanes    4 a worker and key: requests in flight

Source: BEHAVIOUR.md, "Client keys"; `_ring.pyx` for the orders and the sweep.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from kiroproxy._ring cimport (
    _time, kp_add, kp_lane_add, kp_lane_clear, kp_lane_load, kp_load, kp_store, kp_swap,
)

cdef enum:
    HEAD_LEN = 4096
    LINE_LEN = 64
    LANES_A_LINE = 16
    EDITIONS_AT = 4            # words into the head, from here on
    EDITIONS = 8
    TOTALS_AT = 16
    MARKS = 1024
    MARK_WORDS = 2
    MARKS_LOOKED_AT = 16
    SLOT_WORDS = 8             # id, rate, four quotas, spare
    RATE_AT = 1
    QUOTAS_AT = 2
    QUOTAS = 4
    RATE_EPOCH_MS = 20_000     # four make at least a minute, the current one being young
    RATE_EPOCHS = 4
    RATE_BITS = 12
    AMOUNT_BITS = 48

cdef uint64_t MAGIC = 0x4B50_4D45_5445_0001   # "KPMETE", version 1
cdef uint64_t LOW = (1ULL << 48) - 1
cdef uint64_t COUNT = (1ULL << RATE_BITS) - 1

MAX_RPM = (1 << RATE_BITS) - 1


class MeterFull(Exception):
    """There is no free slot or row left."""


def page_size(capacity: int, rows: int) -> int:
    """Return how many bytes a page of so many keys and workers needs."""
    cdef Py_ssize_t lines = (rows + LANES_A_LINE - 1) // LANES_A_LINE
    return _slots_at(rows) + capacity * (8 * SLOT_WORDS + 4 * LANES_A_LINE * lines)


cdef Py_ssize_t _slots_at(Py_ssize_t rows) noexcept:
    return _marks_at(rows) + 8 * MARK_WORDS * MARKS


cdef Py_ssize_t _marks_at(Py_ssize_t rows) noexcept:
    return (HEAD_LEN + 8 * rows + LINE_LEN - 1) // LINE_LEN * LINE_LEN


cdef inline uint64_t _rate_now(uint64_t rate, uint64_t epoch) noexcept nogil:
    """Return the rate word as it stands in an epoch: what is older than a minute drops out."""
    cdef int32_t passed = <int32_t> ((epoch & 0xFFFF) - (rate >> 48)) & 0xFFFF
    if passed >= 0x8000:
        passed -= 0x10000
    if -RATE_EPOCHS < passed <= 0:  # a clock that was set back a little: its time goes on
        return rate
    if passed >= RATE_EPOCHS or passed < 0:
        return (epoch & 0xFFFF) << 48
    return (epoch & 0xFFFF) << 48 | (rate << (RATE_BITS * passed) & LOW)


cdef inline uint64_t _rate_sum(uint64_t rate) noexcept nogil:
    cdef uint64_t total = 0
    cdef int part
    for part in range(RATE_EPOCHS):
        total += rate >> (RATE_BITS * part) & COUNT
    return total


cdef class Meter:
    """One worker's hold on the page.

    Order: `claim` before the first `admit`; `leave` at the end. Whoever supervises claims nothing
    and calls `sweep`. Shape: a key is named by the number that `join` gave.
    """

    cdef Py_buffer _view
    cdef bint _has_view
    cdef uint64_t *_head        # these five point into the page
    cdef uint64_t *_rows
    cdef uint64_t *_marks
    cdef uint64_t *_slots
    cdef uint32_t *_lanes
    cdef uint32_t _row_count
    cdef uint32_t _stride       # lanes a slot has: the rows, rounded up to a cache line
    cdef int64_t _row           # our own; -1 = none claimed
    cdef dict _known            # key id → slot, as far as the page was read
    cdef readonly uint32_t capacity

    def __cinit__(self, memory, capacity=0, rows=0):
        """Open a page; with `capacity` and `rows`, make one of zeroed memory first."""
        PyObject_GetBuffer(memory, &self._view, PyBUF_WRITABLE)
        self._has_view = True
        self._row = -1
        self._known = {}
        if self._view.len < HEAD_LEN or <size_t> self._view.buf % LINE_LEN:
            raise ValueError("too small or not aligned for a meter")
        self._head = <uint64_t *> self._view.buf
        if capacity:
            if self._view.len < page_size(capacity, rows):
                raise ValueError("the memory is smaller than the page")
            self._head[1] = <uint64_t> capacity << 32 | <uint32_t> rows
            kp_store(&self._head[0], MAGIC)
        if kp_load(&self._head[0]) != MAGIC:
            raise ValueError("not a meter of this version")
        self.capacity, self._row_count = self._head[1] >> 32, self._head[1] & 0xFFFFFFFF
        if self._view.len < page_size(self.capacity, self._row_count):
            raise ValueError("a part of the meter is missing")
        self._rows = self._head + HEAD_LEN // 8
        self._marks = <uint64_t *> (<char *> self._view.buf + _marks_at(self._row_count))
        self._slots = <uint64_t *> (<char *> self._view.buf + _slots_at(self._row_count))
        self._lanes = <uint32_t *> (self._slots + <size_t> self.capacity * SLOT_WORDS)
        self._stride = (self._row_count + LANES_A_LINE - 1) // LANES_A_LINE * LANES_A_LINE

    def __dealloc__(self):
        if self._has_view:
            PyBuffer_Release(&self._view)

    # -- workers -----------------------------------------------------------------------------

    def claim(self, uint32_t pid):
        """Take a row for this worker. Raises: MeterFull — more workers than rows."""
        cdef uint64_t seen, used
        cdef uint32_t row
        for row in range(self._row_count):
            if kp_load(&self._rows[row]) == pid:  # left from a dead process with our number
                self._clear(row)
            seen = 0
            if kp_swap(&self._rows[row], &seen, pid):
                self._row = row
                used = kp_load(&self._head[2])
                while used <= row and not kp_swap(&self._head[2], &used, row + 1):
                    pass
                return
        raise MeterFull(f"all {self._row_count} rows are taken")

    def leave(self):
        """Give the row back, with whatever it still holds."""
        if self._row >= 0:
            self._clear(<uint32_t> self._row)
            self._row = -1

    def sweep(self, is_alive):
        """Clear the rows of processes that are gone. Order: by one process, the supervisor."""
        cdef uint64_t seen
        cdef uint32_t row
        for row in range(self._row_count):
            seen = kp_load(&self._rows[row])
            if seen and not is_alive(seen):
                self._clear(row)

    cdef void _clear(self, uint32_t row) noexcept:
        """Take back every request of a row, then free it: as often as one likes."""
        cdef uint32_t index
        for index in range(self.capacity):
            if kp_load(&self._slots[index * SLOT_WORDS]) == 0:
                break
            kp_lane_clear(self._lane(index, row))
        kp_store(&self._rows[row], 0)

    # -- news and totals -----------------------------------------------------------------------

    def edition(self, uint32_t topic):
        """Return how often anybody has announced a change of a topic."""
        if topic >= EDITIONS:
            raise IndexError(topic)
        return kp_load(&self._head[EDITIONS_AT + topic])

    def announce(self, uint32_t topic):
        """Tell the other workers of a change. Returns the topic's edition."""
        if topic >= EDITIONS:
            raise IndexError(topic)
        return kp_add(&self._head[EDITIONS_AT + topic], 1) + 1

    def count(self, uint64_t requests, uint64_t errors):
        """Add to the totals of this run."""
        kp_add(&self._head[TOTALS_AT], requests)
        kp_add(&self._head[TOTALS_AT + 1], errors)

    def totals(self):
        """Return (requests, errors) of this run, over all workers."""
        return kp_load(&self._head[TOTALS_AT]), kp_load(&self._head[TOTALS_AT + 1])

    # -- one key -------------------------------------------------------------------------------

    def join(self, int64_t id):
        """Return the slot of a key, a new one if it has none. Raises: MeterFull."""
        cdef uint32_t index = len(self._known)
        cdef uint64_t seen
        if id in self._known:
            return self._known[id]
        while index < self.capacity:  # slots are taken in order and never given up
            seen = 0
            if kp_swap(&self._slots[index * SLOT_WORDS], &seen, id + 1):
                seen = id + 1
            self._known[<int64_t> seen - 1] = index
            if <int64_t> seen == id + 1:
                return index
            index += 1
        raise MeterFull(f"all {self.capacity} slots are taken")

    cdef uint64_t *_at(self, uint32_t index) except NULL:
        if index >= self.capacity:
            raise IndexError(index)
        return self._slots + <size_t> index * SLOT_WORDS

    cdef inline uint32_t *_lane(self, uint32_t index, uint32_t row) noexcept:
        return self._lanes + <size_t> index * self._stride + row

    cdef uint32_t _load(self, uint32_t index) noexcept:
        cdef uint32_t total = 0, row
        cdef uint32_t used = <uint32_t> kp_load(&self._head[2])
        for row in range(used):
            total += kp_lane_load(self._lane(index, row))
        return total

    def admit(self, uint32_t index, int64_t now_ms, uint32_t most, uint32_t rpm):
        """Let one request in. Shape: 0 = it is; -1 = too many in flight; else when to come back.

        Units: limits of 0 are none. Raises: RuntimeError — no row was claimed.
        Cost: no allocation; a sum over the workers where `most` is set.
        """
        cdef uint64_t *slot = self._at(index)
        cdef uint32_t *lane
        cdef int64_t until_ms
        if self._row < 0:
            raise RuntimeError("claim a row first")
        lane = self._lane(index, <uint32_t> self._row)
        kp_lane_add(lane, 1)
        if most and self._load(index) > most:
            kp_lane_add(lane, -1)
            return -1
        until_ms = self._spend(slot, now_ms, min(rpm, <uint32_t> COUNT)) if rpm else 0
        if until_ms:
            kp_lane_add(lane, -1)
        return until_ms

    cdef int64_t _spend(self, uint64_t *slot, int64_t now_ms, uint32_t rpm) noexcept:
        """Count one request against the minute; else return when there will be room."""
        cdef uint64_t epoch = now_ms // RATE_EPOCH_MS
        cdef uint64_t seen = kp_load(&slot[RATE_AT]), rate
        cdef uint32_t part
        while True:
            rate = _rate_now(seen, epoch)
            if _rate_sum(rate) >= rpm:
                for part in range(1, RATE_EPOCHS + 1):
                    if _rate_sum(rate << (RATE_BITS * part) & LOW) < rpm:
                        break
                return <int64_t> (epoch + part) * RATE_EPOCH_MS
            if kp_swap(&slot[RATE_AT], &seen, rate + 1):
                return 0

    def release(self, uint32_t index):
        """Note the end of one request that was let in."""
        cdef uint32_t *lane
        self._at(index)
        if self._row < 0:
            return  # the row was given back, and all it held with it
        lane = self._lane(index, <uint32_t> self._row)
        if kp_lane_load(lane):  # else the row was cleared, because somebody thought us dead
            kp_lane_add(lane, -1)

    def in_flight(self, uint32_t index):
        """Return how many requests use a key now, over all workers."""
        self._at(index)
        return self._load(index)

    # -- quotas --------------------------------------------------------------------------------

    def used(self, uint32_t index, uint32_t which, uint64_t period):
        """Return what was used of a quota in a period."""
        cdef uint64_t word = kp_load(self._quota(index, which))
        return word & LOW if word >> AMOUNT_BITS == period & 0xFFFF else 0

    def add(self, uint32_t index, uint32_t which, uint64_t period, uint64_t amount):
        """Add to a quota; the first amount of a new period starts it anew."""
        cdef uint64_t *at = self._quota(index, which)
        cdef uint64_t seen = kp_load(at), base
        while True:
            base = seen & LOW if seen >> AMOUNT_BITS == period & 0xFFFF else 0
            if kp_swap(at, &seen, (period & 0xFFFF) << AMOUNT_BITS | min(base + amount, LOW)):
                return

    def seed(self, uint32_t index, uint32_t which, uint64_t period, uint64_t amount):
        """Put in what was used before this run, unless somebody has done so."""
        cdef uint64_t nothing = 0
        kp_swap(
            self._quota(index, which), &nothing,
            (period & 0xFFFF) << AMOUNT_BITS | min(amount, LOW),
        )

    cdef uint64_t *_quota(self, uint32_t index, uint32_t which) except NULL:
        if which >= QUOTAS:
            raise IndexError(which)
        return self._at(index) + QUOTAS_AT + which

    # -- wrong keys ----------------------------------------------------------------------------

    def failed(
        self, uint64_t address, int64_t now_ms, uint32_t free, int64_t first_ms, int64_t cap_ms,
        int64_t memory_ms,
    ):
        """Count a wrong key. Returns until when the address is locked out, 0 = it is not.

        Shape: `free` failures cost nothing, each one after it twice as long as before; whoever
        was quiet for `memory_ms` begins anew.
        """
        cdef uint64_t *word = self._mark(address, True)
        cdef uint64_t seen = kp_load(word), failures
        cdef int64_t until_ms
        while True:
            failures = seen >> 48
            if <int64_t> (seen & LOW) + memory_ms < now_ms:
                failures = 0
            failures = min(failures + 1, 0xFFFF)
            until_ms = 0
            if failures >= free:
                until_ms = now_ms + min(first_ms << min(failures - free, 20), cap_ms)
            if kp_swap(word, &seen, failures << 48 | _time(max(until_ms, now_ms))):
                return until_ms

    def locked_until(self, uint64_t address, int64_t now_ms, uint32_t free):
        """Return until when an address is locked out, 0 = it is not."""
        cdef uint64_t *word = self._mark(address, False)
        cdef uint64_t seen = kp_load(word) if word != NULL else 0
        return seen & LOW if seen >> 48 >= free and <int64_t> (seen & LOW) > now_ms else 0

    def forgive(self, uint64_t address):
        """Forget an address's wrong keys."""
        cdef uint64_t *word = self._mark(address, False)
        if word != NULL:
            kp_store(word, 0)

    cdef uint64_t *_mark(self, uint64_t address, bint make) noexcept:
        """Return an address's word; where its places are all taken, the stalest one's."""
        cdef uint32_t step, at, stalest = 0
        cdef uint64_t seen, oldest = LOW
        address = address or 1  # 0 = a free place
        for step in range(MARKS_LOOKED_AT):
            at = (address + step) % MARKS * MARK_WORDS
            seen = kp_load(&self._marks[at])
            if seen == address:
                return &self._marks[at + 1]
            if seen == 0:
                if not make:
                    return NULL
                if kp_swap(&self._marks[at], &seen, address) or seen == address:
                    return &self._marks[at + 1]
            if kp_load(&self._marks[at + 1]) & LOW < oldest:
                oldest, stalest = kp_load(&self._marks[at + 1]) & LOW, at
        if not make:
            return NULL
        kp_store(&self._marks[stalest], address)
        kp_store(&self._marks[stalest + 1], 0)
        return &self._marks[stalest + 1]
