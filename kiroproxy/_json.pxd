# Reading JSON from where it lies, for compiled modules that know what they expect.
from libc.stdint cimport uint8_t


cdef struct Reader:
    const uint8_t *at    # what comes next; borrowed, as is the end
    const uint8_t *end
    uint8_t *scratch     # where literals with escapes are decoded; owned, NULL until the first


cdef object read_value(Reader *reader, int depth)  # raises NotMine; depth: what it stands in
cdef str read_name(Reader *reader)  # a literal whose inside begins here; raises NotMine
