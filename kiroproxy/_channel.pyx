"""TLS over a plain transport: ciphertext in, plaintext into the protocol's own buffer.

Rules of this file: a handshake is finished only by OpenSSL's own verdict on certificate and host
name, under the caller's context; nothing is handed on before it. The end of the connection
without the peer's close_notify is told as a fault: it may be a cut.

Theory of operation. A `Channel` is the protocol of the plain transport and the transport of the
protocol it carries. All records of one read are decrypted into that protocol's buffer one behind
the other, so it is told once a read. The event loop's own TLS layer does the same for 8 us more
a read. What goes out is encrypted in small pieces, because OpenSSL's memory buffers never shrink.

Source: RFC 8446 §6.1 (closing); the ssl module's documentation of SSLObject.
"""

import ssl
from collections import deque

# Two records and a bit. The buffer is shared by all channels of a loop, but what OpenSSL's own
# memory buffer once held it keeps room for, for as long as the connection lives.
READ_BYTES = 32 * 1024
cdef Py_ssize_t PIECE_BYTES = 8192

cdef object WantRead = ssl.SSLWantReadError
cdef object Fault = ssl.SSLError


cdef class Channel:
    """One TLS connection, as client.

    Shape: `buffer` is writable, at least READ_BYTES, and used by nobody else during a read;
    `session` is one of the same context and host, or None.
    Order: it is given to a plain transport as protocol → `shaken` is set → carry(protocol).
    """

    cdef object _view            # where ciphertext is read to
    cdef object _incoming, _outgoing
    cdef object _tls             # the SSLObject
    cdef object _loop
    cdef object _transport       # None when it is lost
    cdef object _protocol        # whom it carries; None during the handshake
    cdef object _backlog         # plaintext that OpenSSL would not take yet
    cdef object _on_session      # called once, with a session to resume from
    cdef readonly object shaken  # a future: the handshake
    cdef bint _paused            # the carried protocol takes no more
    cdef bint _closing           # nothing more is sent
    cdef bint _ended             # the peer's close_notify came
    cdef bint _settled           # its first bytes came

    def __cinit__(self, loop, context, str host, buffer, session=None, on_session=None):
        self._loop = loop
        self._view = memoryview(buffer)[:READ_BYTES]
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        self._on_session = on_session
        self._backlog = deque()
        self.shaken = loop.create_future()

    def carry(self, protocol) -> None:
        """Begin to hand plaintext on; what has arrived already comes from the loop."""
        self._protocol = protocol
        protocol.connection_made(self)
        if self._incoming.pending or self._tls.pending():
            self._loop.call_soon(self._pull)

    # -- as the plain transport's protocol -------------------------------------------------

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, Py_ssize_t nbytes) -> None:
        self._incoming.write(self._view[:nbytes])
        if self._protocol is not None:
            self._pull()
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
        self._pull()  # what a slow reader left here arrived before the end
        protocol, self._protocol = self._protocol, None
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
            self._loop.call_soon(self._pull)  # not from within: the caller may be in a read

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

    def _shake(self) -> None:
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

    def _fail(self, fault) -> None:
        if not self.shaken.done():
            self.shaken.set_exception(fault)
        self.close()

    def _pull(self) -> None:
        """Decrypt what is there and hand it on, one call for all of it."""
        cdef Py_ssize_t size, filled, count
        cdef bint is_more = True
        while is_more and not (self._paused or self._closing or self._protocol is None):
            target = self._protocol.get_buffer(-1)
            size, filled = len(target), 0
            fault = None
            try:
                while filled < size:
                    count = self._tls.read(size - filled, target[filled:] if filled else target)
                    filled += count
                    if count == 0:
                        self._ended = True
                    # Asking for more where nothing is costs an exception.
                    if count == 0 or not (self._incoming.pending or self._tls.pending()):
                        is_more = False
                        break
            except WantRead:
                is_more = False
            except Fault as error:
                fault, is_more = error, False
            if filled:
                if fault is None:
                    self._settle()
                self._protocol.buffer_updated(filled)
            if self._outgoing.pending or self._backlog:
                self._answer()
            if fault is not None:
                self._break(fault)
            elif self._ended and self._protocol is not None:
                self.close()

    def _answer(self) -> None:
        """Send what reading brought about: a key update, or what had to wait for a read."""
        try:
            self._push()
        except Fault as fault:
            self._break(fault)

    def _push(self) -> None:
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

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing.pending:
            if not self._transport.is_closing():
                self._transport.write(self._outgoing.read())

    def _settle(self) -> None:
        """Do once what follows the tickets of TLS 1.3, which come with the first bytes.

        Reading a ticket makes OpenSSL get itself a buffer for writing, 16 KiB, which it frees
        only when it next writes; for a stream that is its end. Writing nothing frees it as well.
        """
        if self._settled:
            return
        self._settled = True
        if not self._backlog:
            self._tls.write(b"")
        if self._on_session is not None:
            on_session, self._on_session = self._on_session, None
            session = self._tls.session
            if session is not None:
                on_session(session)

    def _break(self, fault) -> None:
        """Give up on a connection whose records make no sense."""
        protocol, self._protocol = self._protocol, None
        self.abort()
        if protocol is not None:
            protocol.connection_lost(fault)
