"""TLS over a plain transport: ciphertext in, plaintext into the protocol's own buffer.

Rules of this file: a handshake is finished only by OpenSSL's own verdict on certificate and host
name, under the caller's context; nothing is handed on before it. The end of the connection
without the peer's close_notify is told as a fault: it may be a cut.

Theory of operation. A `Channel` is the protocol of the plain transport and the transport of the
protocol it carries. All records of one read are decrypted into that protocol's buffer one behind
the other, so it is told once a read. The event loop's own TLS layer does the same for 8 us more
a read. What goes out is encrypted in small pieces, because OpenSSL's memory buffers never shrink.
The way of a streamed event is a read that is one record: nothing is sliced, looked up or asked
for it that the record's own length says already.

Source: RFC 8446 §5.1 (records), §6.1 (closing); the ssl module's documentation of SSLObject.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject_CallObject
from libc.stdint cimport uint8_t

import ssl
from collections import deque

from kiroproxy._wire cimport Wire

# Two records and a bit. The buffer is shared by all channels of a loop, but what OpenSSL's own
# memory buffer once held it keeps room for, for as long as the connection lives.
READ_BYTES = 32 * 1024
cdef Py_ssize_t PIECE_BYTES = 8192
cdef Py_ssize_t RECORD_HEAD_BYTES = 5
cdef object ALL_ROOM = (1 << 31) - 1  # what read() cuts down to the room there is

cdef object WantRead = ssl.SSLWantReadError
cdef object Fault = ssl.SSLError


@cython.internal
cdef class Window:
    """Bytes that lie elsewhere, shown to who asks by the buffer protocol; a slice without a copy.

    Order: whoever points it somewhere keeps the bytes there until the call it is for returns.
    """

    cdef uint8_t *start
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.start, self.size, 0, flags)


cdef class Channel:
    """One TLS connection, as client.

    Shape: `buffer` is writable, at least READ_BYTES, and used by nobody else during a read;
    `session` is one of the same context and host, or None.
    Order: it is given to a plain transport as protocol → `shaken` is set → carry(protocol).
    """

    cdef object _view            # where ciphertext is read to …
    cdef Window _sealed          # … and what of it came
    cdef Window _opened          # where plaintext goes
    cdef object _incoming, _outgoing
    cdef object _tls             # the SSLObject
    cdef object _feed, _read, _pending  # bound methods, of the one and of what the other wraps
    cdef tuple _read_arguments
    cdef object _loop
    cdef object _transport       # None when it is lost
    cdef object _protocol        # whom it carries; None during the handshake
    cdef Wire _wire              # the same, if it can be told without a Python call
    cdef object _backlog         # plaintext that OpenSSL would not take yet
    cdef object _on_session      # called once, with a session to resume from
    cdef readonly object shaken  # a future: the handshake
    cdef bint _paused            # the carried protocol takes no more
    cdef bint _closing           # nothing more is sent
    cdef bint _ended             # the peer's close_notify came
    cdef bint _settled           # its first bytes came
    cdef bint _is_drained        # OpenSSL holds neither part of a record nor plaintext

    def __cinit__(self, loop, context, str host, buffer, session=None, on_session=None):
        self._loop = loop
        self._view = memoryview(buffer)[:READ_BYTES]
        self._sealed, self._opened = Window(), Window()
        self._sealed.start = _first_byte(self._view, &self._sealed.size)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        # The object inside spares a Python frame a call; without one, the one outside does.
        inner = getattr(self._tls, "_sslobj", self._tls)
        self._feed, self._read, self._pending = self._incoming.write, inner.read, inner.pending
        self._read_arguments = (ALL_ROOM, self._opened)
        self._on_session = on_session
        self._backlog = deque()
        self.shaken = loop.create_future()

    def carry(self, protocol) -> None:
        """Begin to hand plaintext on; what has arrived already comes from the loop."""
        self._protocol = protocol
        self._wire = protocol if isinstance(protocol, Wire) else None
        protocol.connection_made(self)
        if self._incoming.pending or self._pending():
            self._loop.call_soon(self._go_on)

    # -- as the plain transport's protocol -------------------------------------------------

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, Py_ssize_t nbytes) -> None:
        cdef bint is_one = self._is_drained and _is_one_record(self._sealed.start, nbytes)
        self._is_drained = False  # until it is seen again: whoever is paused takes nothing
        self._sealed.size = nbytes
        self._feed(self._sealed)
        if self._protocol is not None:
            self._pull(is_one)
        elif not self.shaken.done():
            self._shake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc) -> None:
        transport, self._transport = self._transport, None
        if self._protocol is None:
            self._fail(exc or ConnectionResetError("closed during the TLS handshake"))
            return
        self._paused = False
        self._pull(False)  # what a slow reader left here arrived before the end
        protocol = self._let_go()
        if exc is None and not self._ended and not self._closing:
            exc = ConnectionResetError("closed without TLS close_notify")
        protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- as the carried protocol's transport -----------------------------------------------

    def get_extra_info(self, name, default=None):
        if name == "ssl_object":
            return self._tls
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing or self._transport is None or self._transport.is_closing()

    def write(self, data) -> None:
        self.writelines((data,))

    def writelines(self, pieces) -> None:
        if self._closing or self._transport is None:
            return
        self._backlog.extend([memoryview(piece) for piece in pieces if len(piece)])
        try:
            self._push()
        except Fault as fault:
            self._break(fault)

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._loop.call_soon(self._go_on)  # not from within: the caller may be in a read

    def close(self) -> None:
        """Send close_notify, then close; the peer's is not waited for."""
        if self._closing or self._transport is None:
            return
        try:
            self._tls.unwrap()
        except Fault:  # it wants the peer's, as a rule
            pass
        self._flush()
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- inside ----------------------------------------------------------------------------

    cdef int _shake(self) except -1:
        try:
            self._tls.do_handshake()
        except WantRead:
            self._flush()
        except (Fault, ValueError) as fault:
            self._flush()  # the alert that says why
            self._fail(fault)
        else:
            self._flush()
            if not self.shaken.done():
                self.shaken.set_result(None)

    cdef int _fail(self, fault) except -1:
        if not self.shaken.done():
            self.shaken.set_exception(fault)
        self.close()

    def _go_on(self) -> None:
        self._pull(False)

    cdef int _pull(self, bint is_one) except -1:
        """Decrypt what is there and hand it on, one call for all of it.

        `is_one` says that one whole record is there and nothing else: if it gives plaintext it
        is used up and brought nothing about that would have to be answered.
        """
        cdef Py_ssize_t filled
        cdef bint is_more = True
        while is_more and not (self._paused or self._closing or self._protocol is None):
            fault = None
            self._aim()
            filled = self._opened.size
            try:
                is_more = self._open(is_one)
            except WantRead:
                is_more = is_one = False
            except Fault as error:
                fault, is_more, is_one = error, False, False
            filled -= self._opened.size
            if filled:
                if fault is None and not self._settled:
                    self._settle()
                self._tell(filled)
            if not is_one and (self._outgoing.pending or self._backlog):
                self._answer()
            if fault is not None:
                self._break(fault)
            elif self._ended and self._protocol is not None:
                self.close()
        return 0

    cdef int _aim(self) except -1:
        """Have plaintext go to the beginning of the protocol's buffer."""
        if self._wire is not None:
            self._opened.start, self._opened.size = self._wire._start, self._wire._room
        else:
            self._opened.start = _first_byte(self._protocol.get_buffer(-1), &self._opened.size)
        return 0

    cdef bint _open(self, bint is_one) except -1:
        """Decrypt until the protocol's buffer is full or nothing is left. Returns which it is."""
        cdef Window opened = self._opened
        cdef Py_ssize_t count
        while opened.size:
            count = PyObject_CallObject(self._read, self._read_arguments)
            opened.start += count
            opened.size -= count
            if count == 0:
                self._ended = True
                return False
            # Asking for more where nothing is costs an exception.
            if (is_one and opened.size) or not (self._incoming.pending or self._pending()):
                self._is_drained = True
                return False
        return True

    cdef int _tell(self, Py_ssize_t filled) except -1:
        if self._wire is not None:
            return self._wire.take(self._wire._start, filled)
        self._protocol.buffer_updated(filled)
        return 0

    cdef object _let_go(self):
        protocol, self._protocol, self._wire = self._protocol, None, None
        return protocol

    cdef int _answer(self) except -1:
        """Send what reading brought about: a key update, or what had to wait for a read."""
        try:
            self._push()
        except Fault as fault:
            self._break(fault)

    cdef int _push(self) except -1:
        """Encrypt what waits and give it to the plain transport in one write."""
        sealed = []
        while self._backlog:
            plain = self._backlog[0]
            try:
                count = self._tls.write(plain[:PIECE_BYTES])
            except WantRead:
                break
            sealed.append(self._outgoing.read())
            if count == len(plain):
                self._backlog.popleft()
            else:
                self._backlog[0] = plain[count:]
        sealed.append(self._outgoing.read())
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(sealed))

    cdef int _flush(self) except -1:
        if self._transport is not None and self._outgoing.pending:
            if not self._transport.is_closing():
                self._transport.write(self._outgoing.read())

    cdef int _settle(self) except -1:
        """Do once what follows the tickets of TLS 1.3, which come with the first bytes.

        Reading a ticket makes OpenSSL get itself a buffer for writing, 16 KiB, which it frees
        only when it next writes; for a stream that is its end. Writing nothing frees it as well.
        """
        self._settled = True
        if not self._backlog:
            self._tls.write(b"")
        if self._on_session is not None:
            on_session, self._on_session = self._on_session, None
            session = self._tls.session
            if session is not None:
                on_session(session)

    cdef int _break(self, fault) except -1:
        """Give up on a connection whose records make no sense."""
        protocol = self._let_go()
        self.abort()
        if protocol is not None:
            protocol.connection_lost(fault)


cdef uint8_t *_first_byte(view, Py_ssize_t *size) except NULL:
    """Return where a writable buffer lies, and its size; who has it keeps it there."""
    cdef Py_buffer shown
    PyObject_GetBuffer(view, &shown, PyBUF_WRITABLE)
    size[0] = shown.len
    PyBuffer_Release(&shown)
    return <uint8_t *>shown.buf


cdef bint _is_one_record(const uint8_t *data, Py_ssize_t size) noexcept:
    """Whether this is one whole record: type, version, and the length that its head says."""
    if size < RECORD_HEAD_BYTES:
        return False
    return size - RECORD_HEAD_BYTES == (<Py_ssize_t>data[3] << 8 | data[4])
