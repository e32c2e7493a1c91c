"""From Kiro's socket to the client's in one call: frames → events → SSE → one write a read.

Rules of this file: no task is woken and no Python object is made for an event; the one object
a read costs is what is written. A pump writes only between a response's start and its end,
which the server sends itself, so its own account of the response stays true; a `Carrier` writes
these two as well, and its owner keeps the server's account.

Theory of operation. `Pump` sits on Kiro's connection and drives the translator; `Outlet` stands
for the client's transport and frames what goes out as one HTTP chunk. A client whose buffer is
full pauses the outlet, that makes the pump full, and the connection stops reading; the other
way round when it has drained. Nothing is held here, so nothing can pile up here.
A transport that holds nothing back has given all it was given to the kernel, so what is sent on
its socket then comes behind that; whatever the kernel does not take, or refuses, the transport
gets as ever. The socket is the transport's: nothing is sent once that is closing, and it closes
it only after it told its protocol, which tells the outlet.

Source: RFC 9112 §7.1 for the chunk; the server's protocol class for when to pause.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from kiroproxy._line cimport Listener
from kiroproxy._sse cimport Translator
from kiroproxy._wire cimport DONE, Consumer

cdef extern from "sys/socket.h" nogil:
    """
    #ifndef MSG_NOSIGNAL  /* where Python's ignoring of SIGPIPE has to do */
    #define MSG_NOSIGNAL 0
    #endif
    """
    Py_ssize_t send(int fd, const void *data, size_t size, int flags)
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL

cdef const char *HEX = b"0123456789abcdef"
cdef bytes LAST_CHUNK = b"0\r\n\r\n"


cdef class Outlet:
    """The writing half of a client's connection, past the server's send().

    Order: pause, resume and close are the transport's callbacks, handed on by the server.
    """

    def __cinit__(self, write):
        self._write, self._fd = write, -1

    def bypass(self, transport) -> None:
        """Write past a transport that holds nothing, if that is its socket's plain bytes.

        Cost: a fifth of what the transport's own write does beside the system call.
        """
        if transport.get_extra_info("sslcontext") is not None:
            return
        socket = transport.get_extra_info("socket")
        if socket is not None:
            self._held, self._is_closing = transport.get_write_buffer_size, transport.is_closing
            self._fd = socket.fileno()

    def write(self, bytes events, double now) -> None:
        """Write whole events as one chunk of the body."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(events)
        cdef bytes chunk = _framed(size, b"", b"")
        memcpy(_inside(chunk, size), PyBytes_AS_STRING(events), size)
        self.put(chunk, now)

    def send(self, bytes response, double now) -> None:
        """Write a whole response, head and body."""
        self.put(response, now)

    def pause(self) -> None:
        """Note that the client reads more slowly than we write."""
        self.paused = True

    def resume(self) -> None:
        """Note that the client has caught up."""
        self.paused = False
        if self._pump is not None:
            self._pump.go_on()

    def watch(self, on_close) -> None:
        """Have a function called when the client leaves; None ends that."""
        self._on_close = on_close

    def close(self) -> None:
        """Note that the client has left."""
        self.closed = True
        self._shut()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    cdef int put(self, bytes chunk, double now) except -1:
        cdef Py_ssize_t sent
        if self._write is None:
            return 0  # whoever serves the client is being told
        self.wrote_at = now
        if self._fd >= 0:
            sent = self._put_past(chunk)
            if sent == PyBytes_GET_SIZE(chunk):
                return 0
            if sent:
                chunk = chunk[sent:]
        try:
            self._write(chunk)
        except RuntimeError:  # uvloop's word for a transport that is closing; close() follows
            self._shut()
        return 0

    cdef Py_ssize_t _put_past(self, bytes chunk) except -1:
        """Send what the kernel takes now, if the transport holds nothing. Returns how much."""
        cdef Py_ssize_t sent
        if self._held() != 0 or self._is_closing():
            return 0
        sent = send(
            self._fd,
            PyBytes_AS_STRING(chunk),
            PyBytes_GET_SIZE(chunk),
            MSG_DONTWAIT | MSG_NOSIGNAL,
        )
        return sent if sent > 0 else 0  # a fault the transport will meet again, and tell

    cdef int _shut(self) except -1:
        self._fd = -1
        self._write = self._held = self._is_closing = None
        return 0


cdef class Pump(Consumer):
    """Puts one answer of Kiro's through a translator and writes what comes out.

    Shape: done once the translator failed or finished early; what was complete is written.
    Order: attach it to a connection; close() afterwards.
    Cost: one bytes object and one copy of the events a read.
    """

    def __cinit__(
        self, Translator translator not None, Outlet outlet not None, on_content, *rest
    ):
        self._translator, self._outlet, self._on_content = translator, outlet, on_content
        outlet._pump = self

    def close(self) -> None:
        """Let go of the client."""
        if self._outlet._pump is self:
            self._outlet._pump = None

    cdef int consume(self, const uint8_t *data, Py_ssize_t size) except -1:
        return self._translator.take_in(data, size)

    cdef int flush(self, double now) except -1:
        cdef Py_ssize_t size = self._translator.waiting()
        cdef bytes chunk
        if size:
            chunk = _framed(size, b"", b"")
            self._translator.move_to(_inside(chunk, size))
            self._outlet.put(chunk, now)
        self._note_content()
        self.is_done = self._translator.failure is not None or self._translator.is_finished()
        self.is_full = self._outlet.paused
        return 0

    cdef int _note_content(self) except -1:
        if self._on_content is not None and self._translator.is_content():
            on_content, self._on_content = self._on_content, None
            on_content()
        return 0

    cdef int go_on(self) except -1:
        self.is_full = False
        if self.source is not None:
            self.source.settle()
        return 0


cdef class Owner(Listener):
    """Whose response a carrier or a gatherer brings; cpdef, so that tests can be one in Python."""

    cpdef content_came(self):
        """Note that the answer has its first content. Called once."""

    cpdef bint ends(self) except -1:
        """Have the translator hold the answer's last events; False = it was not complete."""
        return False

    cpdef done(self):
        """Note that the last events are written."""

    cpdef came_whole(self):
        """Note that the body of a gathered answer ended cleanly."""


cdef class Carrier(Pump):
    """A pump that carries a whole response: what goes before the first events, and the end.

    Shape: at the body's end the owner puts the last events into the translator, and is told when
    they are written. A short answer is one write.
    Order: attach it, then lead(); it writes at the end of the read that is being taken apart.
    """

    def __cinit__(self, translator, outlet, on_content, Owner owner not None):
        self._owner = owner

    @property
    def has_begun(self) -> bool:
        """Whether the response's head was written."""
        return self._opening is not None and self._lead is None

    def lead(self, bytes head not None, bytes opening not None) -> None:
        """Begin the response with the first write."""
        self._lead, self._opening = head, opening

    def close(self) -> None:
        """Let go of the client, and of the owner."""
        self._owner = None
        Pump.close(self)

    cdef int flush(self, double now) except -1:
        cdef Owner owner = self._owner
        if self._opening is None or owner is None:  # being attached: it leads when it knows how
            return 0
        if self.source is not None and self.source.phase == DONE and self._is_whole():
            if owner.ends():
                self._note_content()
                self._put_last(now)
                owner.done()
                return 0
        if self._lead is not None:
            if self._translator.failure is not None:
                self.is_done = True  # nothing was shown: what waits may be tried anew
                return 0
            self._outlet.put(self._chunk(b""), now)
        return Pump.flush(self, now)

    cdef int _note_content(self) except -1:
        if not self._is_told and self._owner is not None and self._translator.is_content():
            self._is_told = True
            self._owner.content_came()
        return 0

    cdef bint _is_whole(self) noexcept:
        return self._translator.failure is None and not self._translator.is_finished()

    cdef int _put_last(self, double now) except -1:
        self._outlet.put(self._chunk(LAST_CHUNK), now)
        return 0

    cdef bytes _chunk(self, bytes tail):
        """Return what waits as one chunk: behind the head and the opening, if they do; the tail."""
        cdef bytes lead = b"", opening = b"", chunk
        cdef Py_ssize_t before, size
        cdef char *inside
        if self._lead is not None:
            lead, opening, self._lead = self._lead, self._opening, None
        before = PyBytes_GET_SIZE(opening)
        size = before + self._translator.waiting()
        chunk = _framed(size, lead, tail)
        inside = _inside(chunk, size + PyBytes_GET_SIZE(tail))
        memcpy(inside, PyBytes_AS_STRING(opening), before)
        self._translator.move_to(inside + before)
        return chunk


cdef class Gatherer(Consumer):
    """Puts a whole answer through a translator, where its events wait for the end.

    Shape: the owner is told of the body's clean end, unless the answer failed or ended early.
    """

    def __cinit__(self, Translator translator not None, Owner owner not None):
        self._translator, self._owner = translator, owner

    def close(self) -> None:
        """Let go of the owner."""
        self._owner = None

    cdef int consume(self, const uint8_t *data, Py_ssize_t size) except -1:
        return self._translator.take_in(data, size)

    cdef int flush(self, double now) except -1:
        cdef Owner owner = self._owner
        cdef bint has_failed = self._translator.failure is not None
        if owner is None:
            return 0
        if not self._is_told and self._translator.is_content():
            self._is_told = True
            owner.content_came()
        self.is_done = has_failed or self._translator.is_finished()
        if self.source is not None and self.source.phase == DONE and not self.is_done:
            owner.came_whole()
            self.is_done = self._translator.failure is not None
        return 0


cdef bytes _framed(Py_ssize_t size, bytes lead, bytes tail):
    """Return a chunk of the chunked coding whose inside is not written yet, and what is around."""
    cdef int digits = 1, at
    cdef Py_ssize_t rest = size >> 4
    cdef Py_ssize_t before = PyBytes_GET_SIZE(lead), after = PyBytes_GET_SIZE(tail)
    cdef bytes chunk
    cdef char *out
    while rest:
        digits, rest = digits + 1, rest >> 4
    chunk = PyBytes_FromStringAndSize(NULL, before + digits + 2 + size + 2 + after)
    out, rest = PyBytes_AS_STRING(chunk), size
    memcpy(out, PyBytes_AS_STRING(lead), before)
    out += before
    for at in range(digits - 1, -1, -1):
        out[at], rest = HEX[rest & 15], rest >> 4
    memcpy(out + digits, b"\r\n", 2)
    out += digits + 2 + size
    memcpy(out, b"\r\n", 2)
    memcpy(out + 2, PyBytes_AS_STRING(tail), after)
    return chunk


cdef char *_inside(bytes chunk, Py_ssize_t size):
    """Return where the `size` bytes of a chunk's inside begin; only its maker may write there.

    Shape: what follows the chunk counts as a part of its inside.
    """
    return PyBytes_AS_STRING(chunk) + PyBytes_GET_SIZE(chunk) - 2 - size
