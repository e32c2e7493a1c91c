# One client request and what is told of it, for the compiled modules that serve and count it.
cimport cython
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <time.h>
    #ifdef CLOCK_UPTIME_RAW
    #define KP_MONOTONIC CLOCK_UPTIME_RAW   /* macOS: what time.monotonic() reads there */
    #else
    #define KP_MONOTONIC CLOCK_MONOTONIC
    #endif
    static inline double kp_monotonic_s(void) {
        struct timespec now;
        clock_gettime(KP_MONOTONIC, &now);
        return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
    }
    """
    double monotonic_s "kp_monotonic_s"() noexcept nogil   # the clock of time.monotonic()


@cython.final
cdef class Record:
    cdef public str model           # as the client named it
    cdef public str kiro_model
    cdef public str stop_reason
    cdef public str error           # a class or a code; "" = none
    cdef public str error_message   # what the client was told
    cdef public str detail          # upstream text: for the log line only
    cdef public object credential_id   # None or int; 0 is a credential
    cdef public object key_id       # None = config's apiKey
    cdef public int64_t tries
    cdef public int64_t input_tokens
    cdef public int64_t output_tokens
    cdef public int64_t cache_read_tokens
    cdef public int64_t searches
    cdef public int64_t request_bytes
    cdef public double credits
    cdef public double first_token_s   # of monotonic_s(); 0 = no content came
    cdef public bint stream
    cdef public bint cut            # Kiro ended the answer short of its end
    cdef list _attempts             # None until somebody asks for it

    cpdef int charge(self, double credits) except -1
    cpdef str outcome(self, int status)
    cdef bint answered(self) noexcept   # is_answered
    cdef int tell(self, dict fields) except -1


cdef class Arrived:
    cdef readonly str id
    cdef readonly str method
    cdef readonly str path
    cdef readonly bytes query
    cdef readonly dict headers      # bytes to bytes; names in lower case
    cdef readonly Record record
    cdef readonly double started_s  # of monotonic_s()
    cdef public object client       # (address, port), or None
    cdef public object outlet       # a _pump.Outlet, or None
    cdef public object work         # what began without a task, or None
    cdef public object grant        # a client key's, or None

    cpdef str text(self, bytes name)


cdef Arrived arrive(type kind, bytes target, dict headers, object outlet, object client)
# Make a request of a subclass without its __init__: a POST that came whole.
