"""One worker's order of choice among the slots of the ring, and the lease of the best.

Rules of this file: as in `_ring`: no lock, no clock, no policy; the choice allocates nothing.
A roster holds what the credentials file says and never changes: a changed file is a new one.

Theory of operation. `take` chooses, then reserves; whoever loses a race chooses again. It asks
one priority class after the other. Without a key: the least used. With one: the slot that the
key always leads to, so that a conversation stays where its prompt cache is, without any table
of conversations. Classes above EXACT_MAX are sampled: a slot that is idle when the shared
cursor meets it is as good as any, and so is the least used of sixteen.

Requests a minute are counted exactly in one word: six counts of 12 s, of which the newest is
not over, hold at least the last minute, so no 60 s ever see more than the limit.

Source: rendezvous hashing (Thaler, Ravishankar 1998); "The power of two choices" (Mitzenmacher
1996) for why a sample does.
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from kiroproxy._ring cimport (
    Ring, TIME_MASK, _reason, _time, _until, kp_add, kp_lane_add, kp_load, kp_slot, kp_store,
    kp_swap,
)

cdef enum:
    RATE_EPOCH_MS = 12_000     # six make at least a minute, the current one being young
    RATE_EPOCHS = 6
    RATE_MAX = 255             # a count has eight bits
    EXACT_MAX = 32             # classes up to here are looked at whole
    LOOKED_AT = 16             # usable slots looked at in a larger one
    KEYED_MAX = 48             # jumps that find a key's slot in a larger one
    RACES_MAX = 64             # lost races in a row; one is rare
    BUSY_MS = 1000             # when a request will end nobody can know

MAX_RPM = RATE_MAX


cdef inline uint64_t _rate_now(uint64_t rate, uint64_t epoch) noexcept nogil:
    """Return the rate word as it stands in an epoch: what is older than a minute drops out."""
    cdef int32_t passed = <int32_t> ((epoch & 0xFFFF) - (rate >> 48)) & 0xFFFF
    if passed >= 0x8000:
        passed -= 0x10000
    if -RATE_EPOCHS < passed <= 0:  # a clock that was set back a little: its time goes on
        return rate
    if passed >= RATE_EPOCHS or passed < 0:
        return (epoch & 0xFFFF) << 48
    return (epoch & 0xFFFF) << 48 | (rate << (8 * passed) & TIME_MASK)


cdef inline uint32_t _rate_sum(uint64_t rate) noexcept nogil:
    cdef uint32_t total = 0
    cdef int part
    for part in range(RATE_EPOCHS):
        total += rate >> (8 * part) & 0xFF
    return total


cdef inline uint64_t _mixed(uint64_t word) noexcept nogil:
    # Stafford's variant 13 of MurmurHash3's finaliser: every input bit moves every output bit.
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9ULL
    word = (word ^ word >> 27) * 0x94D049BB133111EBULL
    return word ^ word >> 31


cdef uint64_t _hash_of(str key) except? 0:
    """Return FNV-1a of a key: the same in every process, which Python's own hash is not."""
    cdef Py_ssize_t length, at
    cdef const char *text = PyUnicode_AsUTF8AndSize(key, &length)
    cdef uint64_t found = 0xCBF29CE484222325ULL
    for at in range(length):
        found = (found ^ <unsigned char> text[at]) * 0x100000001B3ULL
    return found


cdef struct _Outlook:
    int64_t enabled            # how many
    int64_t wait_ms            # the earliest end of a wait; -1 = every plan is used up
    int64_t quota_ms           # the earliest reset of a plan


cdef class Roster:
    """This worker's order of choice over the slots; made anew when the file changes.

    Shape: `members` are (slot, priority, concurrency limit, requests a minute), 0 = no limit,
    in order of priority. `probed` is the reason that a slot may disprove with one request,
    `probe_after_ms` after it was disabled. A plan past its reset date is proven the same way.
    """

    cdef Ring _ring
    cdef uint32_t _size
    cdef uint32_t *_slot_of        # position → slot
    cdef uint32_t *_end            # position → end of its priority class
    cdef uint32_t *_most           # position → requests in flight at most
    cdef uint32_t *_rpm            # position → requests a minute at most
    cdef uint64_t *_excluded_in    # position → the last call it was excluded from
    cdef int32_t *_position_of     # slot → position, -1 = not ours
    cdef uint32_t _slots           # how many slots `_position_of` knows
    cdef uint64_t _call
    cdef uint64_t _probed
    cdef int64_t _probe_after_ms

    def __cinit__(self, Ring ring not None, list members, uint32_t probed, int64_t probe_after_ms):
        cdef uint32_t size = len(members), at, end
        self._ring, self._size = ring, size
        self._probed, self._probe_after_ms = probed, probe_after_ms
        self._slots = max([member[0] for member in members], default=-1) + 1
        if self._slots > ring.capacity:
            raise IndexError(self._slots)
        self._slot_of = <uint32_t *> calloc(size + 1, sizeof(uint32_t))
        self._end = <uint32_t *> calloc(size + 1, sizeof(uint32_t))
        self._most = <uint32_t *> calloc(size + 1, sizeof(uint32_t))
        self._rpm = <uint32_t *> calloc(size + 1, sizeof(uint32_t))
        self._excluded_in = <uint64_t *> calloc(size + 1, sizeof(uint64_t))
        self._position_of = <int32_t *> calloc(self._slots + 1, sizeof(int32_t))
        if not (self._slot_of and self._end and self._most and self._rpm
                and self._excluded_in and self._position_of):
            raise MemoryError
        for at in range(self._slots):
            self._position_of[at] = -1
        for at in range(size):
            self._slot_of[at], _, self._most[at], self._rpm[at] = members[at]
            self._rpm[at] = min(self._rpm[at], RATE_MAX)
            self._position_of[self._slot_of[at]] = at
        end = size
        for at in range(size, 0, -1):
            if at < size and members[at - 1][1] != members[at][1]:
                end = at
            self._end[at - 1] = end

    def __dealloc__(self):
        free(self._slot_of)
        free(self._end)
        free(self._most)
        free(self._rpm)
        free(self._excluded_in)
        free(self._position_of)

    def __len__(self):
        return self._size

    # -- the choice --------------------------------------------------------------------------

    def take(self, int64_t now_ms, str key, bint balanced, exclude):
        """Lease a slot. Returns 2 × its position, + 1 for a probe; -1: nobody, see `outlook`.

        Shape: `key` names what should go to the same slot as before, "" = nothing does;
        `exclude` holds slots.
        Cost: no allocation but the answer; O(1) in classes above 32, unless most are out.
        """
        cdef uint64_t hashed = _hash_of(key) if key else 0
        cdef int64_t at
        cdef int got, tries
        self._exclude(exclude)
        for tries in range(RACES_MAX):
            at = self._choose(now_ms, hashed, balanced)
            if at < 0:
                return -1
            got = self._reserve(<uint32_t> at, now_ms)
            if got >= 0:
                return 2 * at + got
        return -1

    cdef int _exclude(self, exclude) except -1:
        cdef uint32_t slot
        self._call += 1
        if exclude:
            for slot in exclude:
                if slot < self._slots and self._position_of[slot] >= 0:
                    self._excluded_in[self._position_of[slot]] = self._call
        return 0

    cdef int64_t _choose(self, int64_t now_ms, uint64_t hashed, bint balanced) noexcept:
        """Return the best position of the first class that has one; avoided ones come last."""
        cdef uint32_t first = 0, end
        cdef int64_t found, avoided = -1
        while first < self._size:
            end = self._size if balanced else self._end[first]
            if hashed:
                found = self._kept(first, end, now_ms, hashed, &avoided)
            elif end - first <= EXACT_MAX:
                found = self._least(first, end, now_ms, &avoided)
            else:
                found = self._next(first, end, now_ms, &avoided)
            if found >= 0:
                return found
            first = end
        return avoided

    cdef int _judge(self, uint32_t at, int64_t now_ms) noexcept:
        """Return 0 = out, 1 = to be avoided, 2 = good. Cost: one or two cache lines."""
        cdef kp_slot *slot = &self._ring._slots[self._slot_of[at]]
        if self._excluded_in[at] == self._call or self._is_out(slot, now_ms):
            return 0
        if self._busy_until(at, now_ms) > now_ms:
            return 0
        return 1 if _until(kp_load(&slot.avoid)) > _time(now_ms) else 2

    cdef inline bint _is_out(self, kp_slot *slot, int64_t now_ms) noexcept:
        cdef uint64_t now = _time(now_ms)
        cdef uint64_t state = kp_load(&slot.state), quota = kp_load(&slot.quota)
        if _until(kp_load(&slot.cool)) > now or quota > now:
            return True
        if quota and kp_load(&slot.probe):
            return True  # its plan should be new by now; one request proves it for all
        return _reason(state) and not (self._is_due(state, now_ms) and kp_load(&slot.probe) == 0)

    cdef inline bint _is_due(self, uint64_t state, int64_t now_ms) noexcept:
        if _reason(state) != self._probed:
            return False
        return now_ms >= <int64_t> _until(state) + self._probe_after_ms

    cdef int64_t _busy_until(self, uint32_t at, int64_t now_ms) noexcept:
        """Return when a slot at a limit may be asked again; 0 = it is at none."""
        cdef uint32_t index = self._slot_of[at], part
        cdef uint64_t epoch = now_ms // RATE_EPOCH_MS, rate
        if self._most[at] and self._ring._load(index) >= self._most[at]:
            return now_ms + BUSY_MS
        if self._rpm[at] == 0:
            return 0
        rate = _rate_now(kp_load(&self._ring._slots[index].rate), epoch)
        if _rate_sum(rate) < self._rpm[at]:
            return 0
        for part in range(1, RATE_EPOCHS + 1):
            if _rate_sum(rate << (8 * part) & TIME_MASK) < self._rpm[at]:
                break
        return <int64_t> (epoch + part) * RATE_EPOCH_MS

    cdef int64_t _least(
        self, uint32_t first, uint32_t end, int64_t now_ms, int64_t *avoided
    ) noexcept:
        """Return the least used of a class: in flight, then longest ago, then smallest id."""
        cdef int64_t best = -1
        cdef uint32_t at
        cdef int rank
        cdef int64_t spare = -1
        for at in range(first, end):
            rank = self._judge(at, now_ms)
            if rank == 2 and (best < 0 or self._is_before(at, <uint32_t> best)):
                best = at
            elif rank == 1 and (spare < 0 or self._is_before(at, <uint32_t> spare)):
                spare = at
        if avoided[0] < 0:
            avoided[0] = spare
        return best

    cdef bint _is_before(self, uint32_t one, uint32_t other) noexcept:
        cdef uint32_t a = self._slot_of[one], b = self._slot_of[other]
        cdef uint32_t a_load = self._ring._load(a), b_load = self._ring._load(b)
        cdef uint64_t a_turn, b_turn
        if a_load != b_load:
            return a_load < b_load
        a_turn, b_turn = kp_load(&self._ring._slots[a].turn), kp_load(&self._ring._slots[b].turn)
        if a_turn != b_turn:
            return a_turn < b_turn
        return kp_load(&self._ring._slots[a].id) < kp_load(&self._ring._slots[b].id)

    cdef int64_t _next(
        self, uint32_t first, uint32_t end, int64_t now_ms, int64_t *avoided
    ) noexcept:
        """Return the least used of the next few usable ones after the shared cursor.

        The cursor passes everybody in turn, so an idle one that it meets is the longest unused.
        """
        cdef uint32_t size = end - first, step, at, load, seen = 0, least = 0
        cdef uint32_t start = kp_load(&self._ring._head.turn) % size
        cdef int64_t best = -1
        cdef int rank
        for step in range(size):
            at = first + (start + step) % size
            rank = self._judge(at, now_ms)
            if rank == 1 and avoided[0] < 0:
                avoided[0] = at
            if rank < 2:
                continue
            load = self._ring._load(self._slot_of[at])
            if best < 0 or load < least:
                best, least = at, load
            seen += 1
            if load == 0 or seen == LOOKED_AT:
                break
        return best

    cdef int64_t _kept(
        self, uint32_t first, uint32_t end, int64_t now_ms, uint64_t hashed, int64_t *avoided
    ) noexcept:
        """Return the slot that a key always leads to while it is usable, else its next.

        Rendezvous hashing. In a large class, jumps over the slot numbers: the first jump that
        lands on a usable member is its slot, in every worker, whoever joins or leaves elsewhere.
        """
        cdef uint32_t mask = 1, jump, slot, at
        cdef int64_t position, best = -1, spare = -1
        cdef uint64_t score, highest = 0, spare_highest = 0
        cdef int rank
        if end - first > EXACT_MAX:
            while mask < self._slots:
                mask <<= 1
            for jump in range(KEYED_MAX):
                slot = _mixed(hashed + jump * 0x9E3779B97F4A7C15ULL) & (mask - 1)
                position = self._position_of[slot] if slot < self._slots else -1
                if first <= position < end and self._judge(<uint32_t> position, now_ms) == 2:
                    return position
        for at in range(first, end):
            rank = self._judge(at, now_ms)
            if rank == 0:
                continue
            score = _mixed(hashed ^ _mixed(self._slot_of[at] + 1))
            if rank == 2 and (best < 0 or score > highest):
                best, highest = at, score
            elif rank == 1 and (spare < 0 or score > spare_highest):
                spare, spare_highest = at, score
        if avoided[0] < 0:
            avoided[0] = spare
        return best

    cdef int _reserve(self, uint32_t at, int64_t now_ms) noexcept:
        """Lease a position. Returns 0, or 1 for a probe; -1 = somebody was faster."""
        cdef Ring ring = self._ring
        cdef uint32_t index = self._slot_of[at]
        cdef kp_slot *slot = &ring._slots[index]
        cdef uint64_t reason = _reason(kp_load(&slot.state))
        cdef bint is_probe = reason != 0 or kp_load(&slot.quota) != 0
        cdef uint64_t nobody = 0, mine = <uint64_t> ring._row + 1
        cdef uint32_t *lane
        if ring._row < 0 or reason not in (0, self._probed):
            return -1
        lane = ring._lane(index, <uint32_t> ring._row)
        kp_lane_add(lane, 1)
        if self._most[at] and ring._load(index) > self._most[at]:
            kp_lane_add(lane, -1)
            return -1
        if is_probe and not kp_swap(&slot.probe, &nobody, mine):
            kp_lane_add(lane, -1)
            return -1
        if self._rpm[at] and not self._spend(at, now_ms):
            if is_probe:
                kp_swap(&slot.probe, &mine, 0)
            kp_lane_add(lane, -1)
            return -1
        kp_store(&slot.turn, kp_add(&ring._head.turn, 1) + 1)
        kp_store(&slot.last_used, _time(now_ms))
        return is_probe

    cdef bint _spend(self, uint32_t at, int64_t now_ms) noexcept:
        """Count one request against the minute. False = the minute is full."""
        cdef kp_slot *slot = &self._ring._slots[self._slot_of[at]]
        cdef uint64_t seen = kp_load(&slot.rate), rate
        while True:
            rate = _rate_now(seen, now_ms // RATE_EPOCH_MS)
            if _rate_sum(rate) >= self._rpm[at]:
                return False
            if kp_swap(&slot.rate, &seen, rate + 1):
                return True

    def usable(self, int64_t now_ms):
        """Return how many could be asked now, limits aside. Cost: O(slots)."""
        cdef uint32_t at, found = 0
        for at in range(self._size):
            found += not self._is_out(&self._ring._slots[self._slot_of[at]], now_ms)
        return found

    # -- nobody left -------------------------------------------------------------------------

    def outlook(self, int64_t now_ms, exclude):
        """Say why nobody could be chosen, of those not excluded if any of them is enabled.

        Shape: (enabled, earliest end of a wait or -1 where all plans are used up, earliest
        reset of a plan, bits of the reasons, earliest probe or -1). Cost: O(slots).
        """
        cdef _Outlook untried = _Outlook(0, -1, -1), everybody = _Outlook(0, -1, -1), found
        cdef int64_t probe_ms = -1, at_ms
        cdef uint64_t reasons = 0, state
        cdef uint32_t at
        self._exclude(exclude)
        for at in range(self._size):
            state = kp_load(&self._ring._slots[self._slot_of[at]].state)
            if _reason(state):
                reasons |= 1ULL << _reason(state)
                at_ms = <int64_t> _until(state) + self._probe_after_ms
                if _reason(state) == self._probed and (probe_ms < 0 or at_ms < probe_ms):
                    probe_ms = at_ms
                continue
            self._note(at, now_ms, &everybody)
            if self._excluded_in[at] != self._call:
                self._note(at, now_ms, &untried)
        found = untried if untried.enabled else everybody
        return found.enabled, found.wait_ms, found.quota_ms, reasons, probe_ms

    cdef void _note(self, uint32_t at, int64_t now_ms, _Outlook *found) noexcept:
        cdef kp_slot *slot = &self._ring._slots[self._slot_of[at]]
        cdef int64_t quota_ms = kp_load(&slot.quota)
        cdef int64_t wait_ms = max(
            <int64_t> _until(kp_load(&slot.cool)), self._busy_until(at, now_ms)
        )
        if quota_ms and kp_load(&slot.probe):
            wait_ms = max(wait_ms, now_ms + BUSY_MS)
        found.enabled += 1
        if quota_ms <= now_ms and (found.wait_ms < 0 or wait_ms < found.wait_ms):
            found.wait_ms = wait_ms
        if found.quota_ms < 0 or quota_ms < found.quota_ms:
            found.quota_ms = quota_ms
