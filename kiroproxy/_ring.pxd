"""What `_roster` sees of the page: its words, and the class that holds it."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #define KP_TIME_MASK ((1ULL << 48) - 1)   /* ms until the year 10889 */
    typedef struct {
        uint64_t magic;
        uint32_t capacity, rows;
        uint8_t  pad0[48];
        uint64_t rows_used;      /* how many rows were ever claimed: as far as sums go */
        uint8_t  pad1[56];
        uint64_t turn;           /* choices so far; a slot's `turn` is when it was chosen */
        uint8_t  pad2[56];
        uint64_t changes;        /* credentials replaced by a worker */
        uint64_t edition;        /* changes of the file that a worker has taken over */
        uint8_t  pad3[48];
    } kp_head;
    typedef struct {
        /* the first line: read by every choice */
        uint64_t id;             /*  0  credential id + 1; 0 = free */
        uint64_t state;          /*  8  reason 4 | failures 12 | disabled at, ms 48 */
        uint64_t cool;           /* 16  windows 16 | until, ms 48 */
        uint64_t avoid;          /* 24  faults 16 | until, ms 48 */
        uint64_t quota;          /* 32  until, ms */
        uint64_t probe;          /* 40  row + 1 of the worker that probes; 0 = nobody */
        uint64_t rate;           /* 48  epoch 16 | six counts of 12 s, 8 each, newest low */
        uint64_t turn;           /* 56 */
        /* the second line: counters and what is looked at seldom */
        uint64_t last_used;      /* 64  ms */
        uint64_t successes;      /* 72 */
        uint64_t refresh_failures; /* 80  in a row */
        uint64_t generation;     /* 88  how often its tokens were replaced */
        uint64_t spare[4];
    } kp_slot;
    _Static_assert(sizeof(kp_slot) == 128, "two cache lines");
    _Static_assert(sizeof(kp_head) == 256, "four cache lines");
    _Static_assert(__atomic_always_lock_free(8, 0), "64-bit atomics are part of the design");

    static inline uint64_t kp_load(const uint64_t *at) {
        return __atomic_load_n(at, __ATOMIC_ACQUIRE);
    }
    static inline void kp_store(uint64_t *at, uint64_t value) {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    static inline uint64_t kp_add(uint64_t *at, uint64_t more) {
        return __atomic_fetch_add(at, more, __ATOMIC_ACQ_REL);
    }
    static inline int kp_swap(uint64_t *at, uint64_t *seen, uint64_t value) {
        return __atomic_compare_exchange_n(
            at, seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
    }
    static inline uint32_t kp_lane_load(const uint32_t *at) {
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);
    }
    static inline void kp_lane_add(uint32_t *at, int32_t more) {
        __atomic_fetch_add(at, (uint32_t) more, __ATOMIC_SEQ_CST);
    }
    static inline void kp_lane_clear(uint32_t *at) {
        __atomic_store_n(at, 0, __ATOMIC_SEQ_CST);
    }
    """
    const uint64_t TIME_MASK "KP_TIME_MASK"

    ctypedef struct kp_head:
        uint64_t magic
        uint32_t capacity, rows
        uint64_t rows_used, turn, changes, edition

    ctypedef struct kp_slot:
        uint64_t id, state, cool, avoid, quota, probe, rate, turn
        uint64_t last_used, successes, refresh_failures, generation

    uint64_t kp_load(const uint64_t *at) noexcept nogil
    void kp_store(uint64_t *at, uint64_t value) noexcept nogil
    uint64_t kp_add(uint64_t *at, uint64_t more) noexcept nogil
    bint kp_swap(uint64_t *at, uint64_t *seen, uint64_t value) noexcept nogil
    uint32_t kp_lane_load(const uint32_t *at) noexcept nogil
    void kp_lane_add(uint32_t *at, int32_t more) noexcept nogil
    void kp_lane_clear(uint32_t *at) noexcept nogil

cdef inline uint64_t _until(uint64_t word) noexcept nogil:
    return word & TIME_MASK


cdef inline uint64_t _count(uint64_t word) noexcept nogil:
    return word >> 48


cdef inline uint64_t _time(int64_t ms) noexcept nogil:
    return 0 if ms < 0 else min(<uint64_t> ms, TIME_MASK)


cdef inline uint64_t _reason(uint64_t state) noexcept nogil:
    return state >> 60


cdef class Ring:
    cdef Py_buffer _view       # the page; ours until we are gone
    cdef bint _has_view
    cdef kp_head *_head        # these four point into the page
    cdef uint64_t *_rows
    cdef kp_slot *_slots
    cdef uint32_t *_lanes
    cdef uint32_t _stride      # lanes a slot has: the rows, rounded up to a cache line
    cdef int64_t _row          # our own; -1 = none claimed
    cdef uint64_t _pid         # what stands in it
    cdef dict _known           # credential id → slot, as far as the page was read
    cdef readonly uint32_t capacity

    cdef void _clear(self, uint32_t row, uint64_t own_pid) noexcept
    cdef kp_slot *_at(self, uint32_t index) except NULL

    cdef inline uint32_t *_lane(self, uint32_t index, uint32_t row) noexcept:
        return self._lanes + <size_t> index * self._stride + row

    cdef inline uint32_t _load(self, uint32_t index) noexcept:
        """Return how many requests use a slot, over all workers."""
        cdef uint32_t total = 0
        cdef uint32_t row
        cdef uint32_t used = <uint32_t> kp_load(&self._head.rows_used)
        cdef uint32_t *lane = self._lane(index, 0)
        for row in range(used):
            total += kp_lane_load(lane + row)
        return total
