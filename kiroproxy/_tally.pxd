# Counting and weighing texts, for compiled modules that come upon them.
from libc.stdint cimport int64_t, uint8_t


cdef enum:
    WORDS = 4
    REST = 7
    CLASSES = 11   # of both, as kp_tally in _tally.h
    SCRIPTS = 10


cdef struct Counts:
    int64_t classes[CLASSES]   # a kp_tally
    int64_t scripts[SCRIPTS]   # characters, in the order of SCRIPT_NAMES


# Counts one more text, of UTF-8.
cdef int count_text(
    const uint8_t *text, Py_ssize_t size, bint is_ascii, Counts *found
) except -1
cdef tuple counted(Counts *found)  # in the shape that `tally` has


cdef class Weights:
    # For life: what each count of `tally` is worth, in its order.
    cdef double[WORDS] _words
    cdef double[REST] _rest
    cdef double[SCRIPTS] _scripts
    cdef double _factor              # of words and of the first script

    cdef double weight_of(self, list texts) except? -1.0
    # weigh() for compiled callers; a text of neither kind raises.
    cdef double _weight(self, Counts *found) noexcept
