"""One client request as it arrived, and what is told of it at its end.

Rules of this file: no policy and no reading; a request's members are set once, by its arrival, but
for those that say so.

Source: `server.request`, which reads bodies; Anthropic's ids.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyTypeObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport fabs, rint
from libc.string cimport memchr

from kiroproxy._plain cimport fresh_id

cdef double EXACT = 1e9  # above it millionths are not told apart from each other's neighbours
cdef tuple NOTHING = ()

cdef enum:
    PATH_MAX = 200  # characters of a path that a log line shows


@cython.final
cdef class Record:
    """What the log line of a request tells, and its row in the records.

    Units: tokens; tries as counted by Kiro calls; what all of them cost, in Kiro's credits;
    s of the monotonic clock.
    """

    def __cinit__(self):
        self.model = self.kiro_model = self.stop_reason = ""
        self.error = self.error_message = self.detail = ""

    @property
    def attempts(self):
        """The calls to Kiro, in their order."""
        if self._attempts is None:
            self._attempts = []
        return self._attempts

    @attempts.setter
    def attempts(self, list attempts not None):
        self._attempts = attempts

    cpdef int charge(self, double credits) except -1:
        """Add what one call cost; Kiro counts in hundredths, not in binary fractions."""
        cdef double total = self.credits + credits
        self.credits = rint(total * 1e6) / 1e6 if fabs(total) < EXACT else total
        return 0

    def note(self, error) -> None:
        """Keep why the request failed."""
        self.error = type(error).__name__
        self.error_message = error.message
        self.detail = error.detail or self.detail

    cdef bint answered(self) noexcept:
        return self.first_token_s != 0 or self.stop_reason != ""

    @property
    def is_answered(self) -> bool:
        """Whether Kiro's model was at work: else `input_tokens` is an estimate nobody pays for."""
        return self.answered()

    cpdef str outcome(self, int status):
        """Return how the request ended: ok, error, cancelled or truncated."""
        cdef str error = self.error
        if error and error in ("client_closed", "cancelled"):
            return "cancelled"
        if status >= 400 or not status or (error and not error.startswith("search:")):
            return "error"
        return "truncated" if self.cut else "ok"

    cdef int tell(self, dict fields) except -1:
        """Add what a log line tells beyond the outcome, where there is something to tell."""
        if self.credential_id is not None:  # 0 is a credential: the environment's
            fields["credential_id"] = self.credential_id
        if self.model:
            fields["model"] = self.model
        if self.stream:
            fields["stream"] = True
        if self.tries:
            fields["tries"] = self.tries
        if self.input_tokens:
            fields["input_tokens"] = self.input_tokens
        if self.output_tokens:
            fields["output_tokens"] = self.output_tokens
        if self.credits:
            fields["credits"] = self.credits
        if self.searches:
            fields["searches"] = self.searches
        if self.stop_reason:
            fields["stop_reason"] = self.stop_reason
        if self.error:
            fields["error"] = self.error
        if self.detail:
            fields["detail"] = self.detail
        return 0


cdef class Arrived:
    """A parsed request head. Order: `whole`, or a subclass's own start calls `__init__`."""

    def __init__(
        self, str method not None, str path not None, bytes query not None, dict headers not None
    ):
        _begin(self, method, path, query, headers)

    @classmethod
    def whole(cls, bytes target not None, dict headers not None, outlet, client):
        """Return a POST that came whole. Shape: names in lower case, none twice."""
        return arrive(cls, target, headers, outlet, client)

    cpdef str text(self, bytes name):
        """Return a header's value, "" where it is absent."""
        cdef bytes value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1").strip()

    def told(self, int status) -> dict:
        """Return what the log line of the request tells, now that it is over."""
        cdef double ms = (monotonic_s() - self.started_s) * 1000
        cdef dict fields = {
            "method": self.method,
            "path": self.path[:PATH_MAX],
            "status": status,
            "ms": rint(ms * 10) / 10,
        }
        self.record.tell(fields)
        return fields


cdef Arrived arrive(type kind, bytes target, dict headers, object outlet, object client):
    """Make a request of a subclass without its `__init__`. Raises: UnicodeDecodeError."""
    cdef const char *text = PyBytes_AS_STRING(target)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(target)
    cdef const char *mark = <const char *>memchr(text, c"?", size)
    cdef Py_ssize_t end = size if mark == NULL else mark - text
    cdef Arrived request = <Arrived?>(<PyTypeObject *>kind).tp_new(
        kind, <PyObject *>NOTHING, NULL)
    _begin(request, "POST", PyUnicode_DecodeASCII(text, end, NULL),
           b"" if end == size else text[end + 1:size], headers)
    request.outlet, request.client = outlet, client
    return request


cdef int _begin(Arrived request, str method, str path, bytes query, dict headers) except -1:
    request.id = fresh_id("req_")
    request.method, request.path, request.query = method, path, query
    request.headers = headers
    request.record = Record.__new__(Record)
    request.started_s = monotonic_s()
    return 0
