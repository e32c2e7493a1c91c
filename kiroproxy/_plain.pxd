# Plans and ids, for the compiled way of a request.
from cpython.object cimport PyObject

from kiroproxy._tally cimport Weights

cdef enum:
    MEMBERS_MAX = 40


cpdef bytes random_bytes(Py_ssize_t count)
cpdef str fresh_id(str prefix)
cpdef str fresh_uuid()
cpdef str uuid_of(bytes digest, int version)
cpdef str uuid_named(bytes space, bytes name)


cdef class Mould:
    # For life
    cdef type _kind
    cdef Py_ssize_t _own, _size      # members each instance has for itself, and in all
    cdef tuple _shared               # values of the others
    cdef Py_ssize_t[MEMBERS_MAX] _places  # of each member in the object, in bytes

    cdef object cast(self, PyObject **own)
    # make() of borrowed values, as many as the mould has members of its own.


cdef class Asked:
    # For life: what follows from a model's name
    cdef object model, id, window
    cdef Weights weights             # what a text weighs by
    cdef bytes ending                # of the body, behind the content
    cdef double tokens_max           # from here on the prompt is left to the long way
    cdef long long fixed             # tokens of a request without its texts
    cdef bint is_simple              # the name asks for nothing besides


cdef class Simple:
    # Rules, for life
    cdef frozenset _known
    cdef str _unwanted
    cdef Mould _mould
    cdef object _measure, _conversation_id
    cdef double _overflow
    cdef bytes _space, _first
    cdef bytes _before_turn, _before_conversation, _before_content, _ending
    # Until another catalogue comes
    cdef object _catalogue
    cdef dict _asked                 # requested name → Asked

    cdef object plan_of(
        self, dict body, object catalogue, object ids, str session_id, object correct
    )
    # plan() for compiled callers: the Plan, or None where it is not simple. Nothing is checked of
    # the arguments but the body's members.
    cdef Asked _understood(self, str name, object catalogue)
    cdef str _conversation(self, dict body, bytes content, object text, object ids, str session_id)
    cdef bytes _body(self, str conversation, bytes content, bytes ending)
