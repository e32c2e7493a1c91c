# The weights of an estimate, for the compiled module that plans a small request.

cdef enum:
    WORDS = 4
    REST = 7
    SCRIPTS = 10


cdef class Weights:
    # For life: what each count of `tally` is worth, in its order.
    cdef double[WORDS] _words
    cdef double[REST] _rest
    cdef double[SCRIPTS] _scripts
    cdef double _factor              # of words and of the first script

    cdef double weight_of(self, list texts) except? -1.0
    # weigh() for compiled callers; a text of neither kind raises.
