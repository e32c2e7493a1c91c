# The ordinary request on its way, for the compiled modules around it.
from kiroproxy._answer cimport Answer
from kiroproxy._counters cimport Row
from kiroproxy._keys cimport KeyCheck
from kiroproxy._launch cimport Launch, Launcher
from kiroproxy._plain cimport Simple
from kiroproxy._pump cimport Carrier, Gatherer, Outlet, Owner
from kiroproxy._request cimport Arrived, Record


cdef class Way:
    # What the express requests of one worker share; `server.express.Lane` is one.
    # For life, given by the lane
    cdef public Simple simple        # how a simple request is planned
    cdef public Row metrics
    cdef public KeyCheck keys        # the operator's own; replaced when they change
    cdef public object gateway, settings, log
    cdef public long long learned_min  # tokens of a request from which its count teaches anything
    cdef type _request               # what a request is made as
    cdef Launcher _launcher
    cdef object _clock, _soon        # the loop's time() and call_soon()
    # Per worker
    cdef readonly set young, old     # the requests under way, by the lane's last tick
    cdef object _defaults            # the server's headers of every response …
    cdef bytes _before, _after       # … and a stream's head made with them, around the request id
    cdef object _whole_defaults      # the same …
    cdef bytes _whole_before, _whole_between, _whole_after  # … for a whole one's: its size, its id
    cdef public bint is_ticking      # the lane's timer is set
    cdef dict _targets               # request targets seen, and whether they are the lane's

    cdef bint _look_at(self, bytes target) except -1
    cdef bint _is_plain(self, Arrived request) except -1
    cdef object _plan(self, Express express)
    cdef bytes _head_for(self, object link, str request_id)
    cdef bytes _whole(self, Express express)
    cdef int _take_whole_form(self, bytes form) except -1
    cdef int _finish(self, Express express) except -1


cdef class Express(Owner):
    cdef readonly Way lane
    cdef readonly object link        # the client's connection; None when it is over
    cdef readonly Arrived request
    cdef readonly object config
    cdef readonly object plan        # None until it is planned
    cdef readonly Answer answer      # None until Kiro's is landed
    cdef readonly object bug         # of ours, to be told and logged
    cdef public object body          # the parsed body, until it has become the plan's
    cdef readonly object draft       # a plan not accepted yet; None = the body is to be planned
    cdef readonly Py_ssize_t size    # of the body as it was sent, in bytes
    cdef readonly str message_id
    cdef readonly double began_at    # in the loop's seconds
    cdef readonly Launch launch
    cdef bytes _target
    cdef Carrier _carrier
    cdef Gatherer _gatherer
    cdef readonly bint started       # once it is over: the client has the response's beginning
    cdef bint _is_plain              # one call to Kiro, passed on as it comes, is the answer
    cdef bint _is_over, _is_leaving

    cdef int _carry(self) except -1
    cdef int _hand_over_soon(self) except -1
    cdef bint _has_ended(self) except -1
    cdef int _settle(self) except -1
    cdef int _end(self) except -1
