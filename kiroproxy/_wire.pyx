"""HTTP/1.1 answers taken apart as they arrive, their bodies handed on without a copy.

Rules of this file: no I/O but pausing the transport, no timers, no tasks: what happened is told
through the methods under "told to the subclass". It knows nothing of what a body holds. A clean
end is reported only when the body's own framing says so. Nothing grows with an answer's age.

Theory of operation. The event loop reads into a buffer that all wires of a loop share; nothing
else may read into it before `buffer_updated` returns. An ordinary head that lies whole in the
buffer is read here (`_head`); any other goes to httptools, up to its last byte and not further.
The body is measured here, by length, by chunks, or by the connection's end. A body goes to an attached `Consumer` while it still lies in the read buffer; without one
it waits in a queue, which pauses the socket when it is long.

    IDLE → HEAD → BODY → DONE → IDLE        any of them → CLOSED

Source: RFC 9112 §6 and §7.1.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from kiroproxy._head cimport read_fields, read_status

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# Unread bytes above which the socket is paused; uvicorn pauses its clients at the same mark.
cdef Py_ssize_t HIGH_WATER = 64 * 1024
# Kiro's heads are under 2 KiB; httptools itself would collect one without end.
cdef Py_ssize_t HEAD_LIMIT = 64 * 1024
# Of chunk extensions and trailers between two pieces of data: nobody sends any.
cdef Py_ssize_t EXTRA_LIMIT = 16 * 1024
cdef int SIZE_DIGITS = 15  # what fits into the counter

cdef bytes BLANK_LINE = b"\r\n\r\n"


class Malformed(ValueError):
    """Bytes that are not HTTP."""


cdef class Consumer:
    """Takes a body as it arrives. Order: at most one at a time for a wire."""

    cdef int consume(self, const uint8_t *data, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef int flush(self, double now) except -1:
        return 0


cdef class Wire:
    """The reading half of one client connection.

    Shape: `clock` is the event loop's time(); `buffer` is writable and outlives the wire.
    Order: begin → the head is told → attach or take_queue until the end is told → begin.
    """

    def __cinit__(self, clock, buffer, *rest):
        cdef Py_buffer view
        self._clock, self._view = clock, memoryview(buffer)
        PyObject_GetBuffer(self._view, &view, PyBUF_WRITABLE)
        self._start, self._room = <uint8_t *>view.buf, view.len
        PyBuffer_Release(&view)  # `_view` keeps the bytes where they are
        self._queue = []
        self.headers = {}
        self.phase = CLOSED

    def begin(self) -> None:
        """Expect an answer."""
        self._parser = None
        self.status = 0
        self.headers = {}
        self.answered = self.keep_alive = self.paused = False
        self.body_bytes = self._head_bytes = self._extra = 0
        self._ends = 0
        self._consumer = None
        self._queue.clear()
        self.queued_bytes = 0
        self.quiet_since = self._clock()
        self.phase = HEAD

    def attach(self, Consumer consumer not None) -> None:
        """Give what waits, and from now on everything, to a consumer."""
        cdef bytes piece
        consumer.source, self._consumer = self, consumer
        queue, self._queue, self.queued_bytes = self._queue, [], 0
        for piece in queue:
            consumer.consume(<const uint8_t *>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        consumer.flush(self._clock())
        self.settle()

    def detach(self) -> None:
        """Let what arrives wait in the queue again."""
        if self._consumer is not None:
            self._consumer.source = None
            self._consumer = None
            self.settle()

    def take_queue(self) -> bytes:
        """Return what arrived and waits."""
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self.queued_bytes = 0
        self.settle()
        return data

    @property
    def wants_more(self) -> bool:
        """Whether the attached consumer still takes bytes."""
        return self._consumer is not None and not self._consumer.is_done

    @property
    def is_delimited_by_close(self) -> bool:
        """Whether the connection's end is the body's."""
        return self._framing == BY_CLOSE

    def forget_parser(self) -> None:
        """Drop what refers back to the wire."""
        self._parser = None

    # -- told to the subclass --------------------------------------------------------------

    cpdef arrived(self):
        """Note that the head is complete, the queue is longer, or the consumer is done."""

    cpdef began(self):
        """Note that the first byte of the body is there."""

    cpdef ended(self):
        """Note that the answer is complete."""

    cpdef broken(self, fault):
        """Give up: bytes that are no answer (Malformed), or a consumer that raised."""

    # -- from the event loop ---------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, Py_ssize_t nbytes) -> None:
        self.take(self._start, nbytes)

    cdef int take(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Take one read apart. The bytes are borrowed until it returns."""
        cdef Py_ssize_t queued = self.queued_bytes
        cdef Consumer consumer
        try:
            if self.phase != HEAD and self.phase != BODY:
                raise Malformed("bytes that nobody asked for")
            self.answered = True
            self.quiet_since = self._clock()
            self._take_all(data, data + size)
            consumer = self._consumer
            if consumer is not None:
                consumer.flush(self.quiet_since)  # may detach it
                if consumer.is_done:
                    self.arrived()
            elif self.queued_bytes != queued:
                self.arrived()
            self.settle()
        except Exception as fault:
            self.keep_alive = False
            self.broken(fault)
        return 0

    # -- from httptools (they may not raise) -----------------------------------------------

    def on_message_begin(self) -> None:
        self.headers = {}  # those of an interim answer do not count

    def on_header(self, bytes name, bytes value) -> None:
        key = name.lower()
        known = self.headers.get(key)
        self.headers[key] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        cdef int status = self._parser.get_status_code()
        if status >= 200:  # else an interim answer: the real one follows
            self.keep_alive = self._parser.should_keep_alive()
            self.status = status

    # -- inside ----------------------------------------------------------------------------

    cdef int _take_all(self, const uint8_t *data, const uint8_t *end) except -1:
        while data < end:
            if self.phase == BODY:
                data = self._take_body(data, end)
            elif self.phase == HEAD:
                data = self._take_head(data, end)
            else:
                self.keep_alive = False  # something follows: it would be the next answer's
                return 0
        return 0

    cdef const uint8_t *_take_head(self, const uint8_t *data, const uint8_t *end) except NULL:
        """Feed the parser up to a blank line: it must not see the body."""
        cdef const uint8_t *stop = data
        cdef const char *blank = PyBytes_AS_STRING(BLANK_LINE)
        cdef Py_ssize_t size
        if self._parser is None:
            size = self._take_ordinary_head(data, end - data)
            if size:
                return data + size
            self._parser = HttpResponseParser(self)
        while stop < end and self._ends < 4:
            if stop[0] == <uint8_t>blank[self._ends]:
                self._ends += 1
            else:
                self._ends = stop[0] == c"\r"
            stop += 1
        self._head_bytes += stop - data
        try:
            self._parser.feed_data(PyBytes_FromStringAndSize(<const char *>data, stop - data))
        except (HttpParserError, HttpParserUpgrade) as fault:
            raise Malformed(str(fault)) from fault
        if self.status:
            if self._ends < 4:  # it saw another end than we do, and bytes behind it
                raise Malformed("a head without a blank line")
            self._parser = None
            self._begin_body()
        elif self._head_bytes > HEAD_LIMIT:
            raise Malformed(f"more than {HEAD_LIMIT} bytes of headers")
        if self._ends == 4:
            self._ends = 0
        return stop

    cdef Py_ssize_t _take_ordinary_head(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Read a whole head of the form every server sends. Returns its length, 0 = it is not."""
        cdef int status
        cdef Py_ssize_t line = read_status(data, size, &status), length
        cdef dict headers
        if line == 0 or status < 200 or status == 204 or status == 304:
            return 0
        headers = {}
        length = read_fields(data + line, size - line, headers)
        if length == 0 or line + length > HEAD_LIMIT:
            return 0
        self.headers, self.status, self.keep_alive = headers, status, True
        self._head_bytes = line + length
        self._begin_body()
        return line + length

    cdef int _begin_body(self) except -1:
        """Decide how the body is measured; httptools refused heads that say two things."""
        cdef bytes coding = self.headers.get(b"transfer-encoding", b"").lower()
        cdef bytes length = self.headers.get(b"content-length")
        self.phase = BODY
        self._left = 0
        if self.status == 204 or self.status == 304:
            self._framing = BY_LENGTH
        elif coding:
            last = coding.rpartition(b",")[2].strip()
            self._framing = BY_CHUNKS if last == b"chunked" else BY_CLOSE
        elif length is not None:
            self._framing, self._left = BY_LENGTH, int(length)
        else:
            self._framing = BY_CLOSE
        self._step = SIZE_FIRST
        if self._framing == BY_CLOSE:
            self.keep_alive = False
        self.arrived()
        if self._framing == BY_LENGTH and self._left == 0:
            self._finish()
        return 0

    cdef const uint8_t *_take_body(self, const uint8_t *data, const uint8_t *end) except NULL:
        """Hand on one piece, or read what stands between two pieces."""
        cdef Py_ssize_t size = end - data
        if self._framing == BY_CLOSE:
            self._deliver(data, size)
            return end
        if self._framing == BY_CHUNKS and self._step != DATA:
            return self._take_coding(data, end)
        if size > self._left:
            size = <Py_ssize_t>self._left
        self._left -= size
        self._deliver(data, size)
        if self._left == 0 and self.phase == BODY:
            if self._framing == BY_CHUNKS:
                self._step = DATA_CR
            else:
                self._finish()
        return data + size

    cdef const uint8_t *_take_coding(self, const uint8_t *data, const uint8_t *end) except NULL:
        """Read sizes, extensions, trailers and the line ends around them."""
        cdef uint8_t byte
        while data < end:
            byte = data[0]
            data += 1
            if self._step <= SIZE_MORE:
                self._take_size(byte)
            elif self._step == EXTENSION or self._step == LINE:
                self._extra += 1
                if byte == c"\r":
                    self._step = SIZE_LF if self._step == EXTENSION else LINE_LF
                elif byte == c"\n" or self._extra > EXTRA_LIMIT:
                    raise Malformed("a bare line feed, or no end, in the chunked coding")
            elif self._step == DATA_CR:
                if byte != c"\r":
                    raise Malformed("a chunk is longer than its size")
                self._step = DATA_LF
            elif self._step == LINE_FIRST:
                self._extra += 1
                self._step = LAST_LF if byte == c"\r" else LINE
                if byte == c"\n":
                    raise Malformed("a bare line feed in the chunked coding")
            elif byte != c"\n":
                raise Malformed("a carriage return without its line feed")
            elif self._step == SIZE_LF:
                self._step = DATA if self._left else LINE_FIRST
                if self._left:
                    return data
            elif self._step == DATA_LF:
                self._step, self._extra = SIZE_FIRST, 0
            elif self._step == LINE_LF:
                self._step = LINE_FIRST
            else:  # LAST_LF
                self._finish()
                return data
        return data

    cdef int _take_size(self, uint8_t byte) except -1:
        cdef int digit
        if c"0" <= byte <= c"9":
            digit = byte - c"0"
        elif c"a" <= (byte | 0x20) <= c"f":
            digit = (byte | 0x20) - c"a" + 10
        elif self._step == SIZE_MORE and byte == c"\r":
            self._step = SIZE_LF
            return 0
        elif self._step == SIZE_MORE and (byte == c";" or byte == c" " or byte == c"\t"):
            self._step = EXTENSION
            return 0
        else:
            raise Malformed("a chunk size is not a hexadecimal number")
        if self._step == SIZE_FIRST:
            self._step, self._left, self._digits = SIZE_MORE, 0, 0
        self._digits += 1
        if self._digits > SIZE_DIGITS:
            raise Malformed("a chunk size is too large")
        self._left = self._left << 4 | digit
        return 0

    cdef int _deliver(self, const uint8_t *data, Py_ssize_t size) except -1:
        if self.body_bytes == 0:
            self.began()
        self.body_bytes += size
        if self._consumer is not None:
            return self._consumer.consume(data, size)
        self._queue.append(PyBytes_FromStringAndSize(<const char *>data, size))
        self.queued_bytes += size
        return 0

    cdef int _finish(self) except -1:
        self.phase = DONE
        self.ended()
        return 0

    cdef int settle(self) except -1:
        cdef bint full
        if self._consumer is not None:
            full = self._consumer.is_full
        else:
            full = self.queued_bytes > HIGH_WATER
        full = full and self.phase == BODY
        if full == self.paused:
            return 0
        self.paused = full
        if self._transport is None or self._transport.is_closing():
            return 0
        if full:
            self._transport.pause_reading()
        else:
            self.quiet_since = self._clock()  # while the reader was behind, the silence was ours
            self._transport.resume_reading()
        return 0
