"""A worker's row of counters in memory that all workers share.

Rules of this file: whose counters they are and where each stands is `metrics`' to say. Only the row
that was taken is written to, and only by its worker; no place is written that was not found to lie
within it. A number that nobody can have meant counts as nothing.

Source: `metrics`.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport fabs, rint

cdef double COUNTED_MAX = 9007199254740992.0  # 2**53: as far as a double is a whole number


cdef class Row:
    """Where each counter stands, and the words of one row. Order: `take` before counting.

    Shape: a table's place and its names; a histogram's place, its bounds, and its sum's scale.
    The last status, fault and so on stands for any other.
    """

    def __init__(
        self, Py_ssize_t size, Py_ssize_t in_flight, tuple requests, tuple attempts,
        tuple refreshes, Py_ssize_t credits, Py_ssize_t cached, tuple duration, tuple first_token,
        tuple input, tuple output
    ):
        if self._words != NULL:
            raise ValueError("a row is taken")
        self._size = size
        at, endpoints, outcomes, statuses = requests
        self._endpoints, self._outcomes = _places(endpoints), _places(outcomes)
        self._statuses, self._messages = _places(statuses), self._endpoints["messages"]
        self._requests = _within(self, at, len(endpoints) * len(outcomes) * len(statuses))
        self._attempts = _within(self, attempts[0], len(attempts[1]))
        self._refreshes = _within(self, refreshes[0], len(refreshes[1]))
        self._faults, self._refresh_names = _places(attempts[1]), _places(refreshes[1])
        self._in_flight = _within(self, in_flight, 1)
        self._credits, self._cached = _within(self, credits, 1), _within(self, cached, 1)
        _spread(self, &self._duration, duration)
        _spread(self, &self._first_token, first_token)
        _spread(self, &self._input, input)
        _spread(self, &self._output, output)
        self._ordinary = self._place("messages", "ok", 200)
        self._well = self._attempts + <Py_ssize_t>self._faults[""]

    def __dealloc__(self):
        if self._words != NULL:
            PyBuffer_Release(&self._view)

    def take(self, memory, Py_ssize_t row, Py_ssize_t stride) -> None:
        """Count in a row from now on. Shape: rows of `stride` words, counted from 0."""
        cdef Py_ssize_t start = row * stride
        self.drop()
        PyObject_GetBuffer(memory, &self._view, PyBUF_WRITABLE)
        if row < 0 or not 0 < self._size <= stride or (start + self._size) * 8 > self._view.len:
            PyBuffer_Release(&self._view)
            raise IndexError(row)
        self._words = <int64_t *>self._view.buf + start

    def drop(self) -> None:
        """Count no more: whoever tries has a ValueError."""
        if self._words != NULL:
            self._words = NULL
            PyBuffer_Release(&self._view)

    # -- for Python --------------------------------------------------------------------------

    def began(self) -> None:
        """Count a request in."""
        self.begin()

    def ended(self, str endpoint not None, str outcome not None, int status, double duration_s):
        """Count a request out."""
        cdef Py_ssize_t place = self._place(endpoint, outcome, status)
        cdef int64_t *words = self._own()
        words[self._in_flight] -= 1
        words[place] += 1
        if <int64_t>self._endpoints[endpoint] == self._messages:
            _observe(words, &self._duration, duration_s)

    def answered(self, Record told not None, double first_token_s) -> None:
        """Count what an answer took and cost. Units: s from the request; 0 = no content came."""
        self.tell(told, first_token_s)

    def attempted(self, faults) -> None:
        """Count requests to Kiro, by the class of what they failed for; "" = answered."""
        cdef Py_ssize_t other = len(self._faults) - 1
        for fault in faults:
            self._own()[self._attempts + <Py_ssize_t>self._faults.get(fault, other)] += 1

    def finished(self, Record record not None, double duration_s, double first_token_s) -> None:
        """Count out a conversation with status 200 after one call to Kiro that was answered."""
        self.finished_ok(record, duration_s, first_token_s)

    def refreshed(self, str outcome not None) -> None:
        """Count the end of a token's renewal."""
        self._own()[self._refreshes + <Py_ssize_t>self._refresh_names[outcome]] += 1

    # -- for compiled modules ----------------------------------------------------------------

    cdef int begin(self) except -1:
        self._own()[self._in_flight] += 1
        return 0

    cdef int finished_ok(self, Record record, double duration_s, double first_token_s) except -1:
        cdef str outcome = record.outcome(200)
        cdef int64_t *words = self._own()
        words[self._in_flight] -= 1
        words[self._ordinary if outcome == "ok" else self._place("messages", outcome, 200)] += 1
        words[self._well] += 1
        _observe(words, &self._duration, duration_s)
        return self.tell(record, first_token_s)

    cdef int tell(self, Record record, double first_token_s) except -1:
        cdef int64_t *words = self._own()
        if first_token_s != 0:
            _observe(words, &self._first_token, first_token_s)
        if record.answered():
            _observe(words, &self._input, <double>record.input_tokens)
            _observe(words, &self._output, <double>record.output_tokens)
            words[self._cached] += record.cache_read_tokens
        words[self._credits] += _whole(record.credits * 1e6)
        return 0

    # -- inside ------------------------------------------------------------------------------

    cdef int64_t *_own(self) except NULL:
        if self._words == NULL:
            raise ValueError("no row is claimed")
        return self._words

    cdef Py_ssize_t _place(self, str endpoint, str outcome, int status) except -1:
        cdef Py_ssize_t kinds = len(self._statuses)
        cdef Py_ssize_t at = <Py_ssize_t>self._endpoints[endpoint] * len(self._outcomes)
        at += <Py_ssize_t>self._outcomes[outcome]
        return self._requests + at * kinds + <Py_ssize_t>self._statuses.get(status, kinds - 1)


cdef dict _places(names):
    return {name: at for at, name in enumerate(names)}


cdef Py_ssize_t _within(Row row, Py_ssize_t at, Py_ssize_t count) except -1:
    if at < 0 or count < 1 or at + count > row._size:
        raise IndexError(at)
    return at


cdef int _spread(Row row, Buckets *buckets, tuple told) except -1:
    at, bounds, buckets.scale = told
    if len(bounds) > BOUNDS_MAX:
        raise ValueError("too many buckets")
    buckets.count = len(bounds)
    buckets.at = _within(row, at, len(bounds) + 2)
    for place, bound in enumerate(bounds):
        buckets.bounds[<Py_ssize_t>place] = bound
    return 0


cdef int64_t _whole(double value) noexcept nogil:
    """Round to even, as Python does."""
    return <int64_t>rint(value) if fabs(value) < COUNTED_MAX else 0


cdef void _observe(int64_t *words, const Buckets *buckets, double value) noexcept nogil:
    cdef int place = 0
    while place < buckets.count and buckets.bounds[place] < value:
        place += 1
    words[buckets.at + place] += 1
    words[buckets.at + buckets.count + 1] += _whole(value * buckets.scale)
