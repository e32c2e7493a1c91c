# HTTP/1.1 heads of the ordinary form, for the compiled modules that read answers.
from libc.stdint cimport uint8_t


cdef Py_ssize_t read_status(const uint8_t *data, Py_ssize_t size, int *status) noexcept
# Length of a status line with its line end; 0 = not an ordinary one, or not whole.
cdef Py_ssize_t read_fields(const uint8_t *data, Py_ssize_t size, dict fields) except -1
# Length of the header lines and the blank line behind them; 0 likewise.
