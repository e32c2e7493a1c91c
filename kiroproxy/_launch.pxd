# A request's first try, for the compiled modules that make it and follow it.
from libc.stdint cimport int64_t

from kiroproxy._line cimport Limits, Line, Listener
from kiroproxy._wire cimport Consumer


cdef extern from *:
    """
    #include <time.h>
    static inline int64_t kp_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
    }
    """
    int64_t now_ms "kp_now_ms"() noexcept nogil   # since epoch


cdef class Ready:
    # What the first tries of a credential have in common, for as long as it holds.
    cdef readonly object credential   # as the pool has it
    cdef readonly object sent         # as it is sent: with its door, its profile
    cdef object _config
    cdef bytes _before, _after        # a head's lines, around the invocation id
    cdef readonly object key          # whose idle connections may be used
    cdef object _arn
    cdef bint _is_shaped              # the body goes out as the plan has it
    cdef int64_t _until_ms
    cdef int64_t _findings            # how much was known of doors and profiles


cdef class Launcher:
    cdef object _dispatcher, _pool, _connections, _budget, _ids, _doors, _profiles
    cdef dict _ready                  # by credential id
    cdef object _times                # of the latest request …
    cdef Limits _limits               # … and what a line is told of them

    cdef Launch launch(self, object plan, object config, Listener listener)
    cdef Ready _ready_for(self, object credential, object config, int64_t at_ms)
    cdef int64_t _findings(self) except -1
    cdef Limits _limits_of(self, object times)
    cdef int _prepare(self, Launch launch, Ready ready, object plan, object config) except -1


cdef class Launch:
    cdef Launcher _launcher
    cdef readonly object slot         # whose credential is leased; None once given back
    cdef readonly bint is_probe
    cdef readonly Ready ready         # None = nothing was sent
    cdef readonly Line line           # what it was sent on; None = nothing was, or it is handed on
    cdef readonly bint is_fresh       # the line was opened for it, so that it was never idle
    cdef readonly object connecting   # a task that opens a line for it; None = there is none
    cdef readonly object times
    cdef readonly int64_t started_ms
    cdef readonly str invocation_id
    cdef readonly bytes head, body    # what was sent, until nobody will send it again
    cdef readonly bint is_landed      # its answer is an ordinary stream, and is being taken

    cdef bint is_under_way(self) except -1
    cdef int connected(self, Listener listener) except -1
    cdef int _send(self, Listener listener) except -1
    cdef bint lands(self) except -1
    cdef int attach(self, Consumer consumer) except -1
    cdef int forget(self) except -1
    cdef int succeeded(self) except -1
    cdef int give_up(self) except -1
    cdef int _give_back(self) except -1
