# A worker's row of counters, for the compiled way of a request.
from libc.stdint cimport int64_t

from kiroproxy._request cimport Record

cdef enum:
    BOUNDS_MAX = 32


cdef struct Buckets:
    Py_ssize_t at              # of the first bucket in the row; the sum stands behind the last
    int count                  # of bounds; there is one bucket more
    double scale               # of the sum's unit to the value's
    double bounds[BOUNDS_MAX]


cdef class Row:
    cdef Py_buffer _view       # the memory of all rows, while one of them is ours
    cdef int64_t *_words       # our row in it; NULL = none is claimed
    cdef Py_ssize_t _size      # of a row, in words
    cdef Py_ssize_t _in_flight, _requests, _attempts, _refreshes, _credits, _cached
    cdef Py_ssize_t _ordinary  # the request that ended well, and the try that did
    cdef Py_ssize_t _well
    cdef int64_t _messages     # the endpoint whose answers are measured
    cdef dict _endpoints, _outcomes, _statuses, _faults, _refresh_names   # name to place
    cdef Buckets _duration, _first_token, _input, _output

    cdef int begin(self) except -1
    # Count a request in, as began() does.
    cdef int finished_ok(self, Record record, double duration_s, double first_token_s) except -1
    # Count out a conversation with status 200 after one call to Kiro: what ended(), answered()
    # and attempted([""]) do. Units: s from the request; 0 = no content came.
    cdef int tell(self, Record record, double first_token_s) except -1
    # Count what an answer took and cost, as answered() does.

    cdef int64_t *_own(self) except NULL
    # The row's words. Raises: ValueError, while none is claimed.
    cdef Py_ssize_t _place(self, str endpoint, str outcome, int status) except -1
    # Where in the row a request of that end is counted.
