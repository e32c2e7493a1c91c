"""Real proxies as scripts for peers: HTTP CONNECT and SOCKS5, open or with a password."""

import asyncio
import base64
import contextlib

from support.peers import Script

USER, PASSWORD = "user@corp", "s3cret:/ü"
ESTABLISHED = b"HTTP/1.1 200 Established\r\n\r\n"


async def relay(reader, writer, port: int) -> None:
    """Carry bytes both ways until either side ends."""
    there, back = await asyncio.open_connection("localhost", port)

    async def pump(source, sink) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(reader, back), pump(there, writer))
    finally:
        back.transport.abort()


def connect_proxy(auth: bool = False, answer: bytes = ESTABLISHED) -> Script:
    """Script: an HTTP proxy that knows CONNECT."""
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode())

    async def script(peer, reader, writer) -> None:
        head, _ = await peer.request(reader)
        if auth and b"proxy-authorization: basic " + expected.lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            return
        for byte in answer:  # one at a time: a head comes in as many pieces as it likes
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        if answer.startswith(b"HTTP/1.1 200"):
            await relay(reader, writer, int(head.split()[1].rpartition(b":")[2]))

    return script


def socks_proxy(auth: bool = False, code: int = 0, *, in_pieces: bool = True) -> Script:
    """Script: a SOCKS5 proxy; what it was asked for ends up in `peer.requests`.

    Shape: its reply comes byte by byte, or in one write, which is all that httpcore understands.
    """

    async def script(peer, reader, writer) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if auth else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((version, method)))
        if auth:
            name = await reader.readexactly((await reader.readexactly(2))[1])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            good = (name, password) == (USER.encode(), PASSWORD.encode())
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        _, _, _, kind = await reader.readexactly(4)
        length = (await reader.readexactly(1))[0] if kind == 3 else {1: 4, 4: 16}[kind]
        address, port = await reader.readexactly(length), await reader.readexactly(2)
        peer.requests.append((bytes((kind,)), address))
        reply = bytes((5, code, 0, 3, 9)) + b"proxy.lan" + b"\x00\x00"
        whole = reply if code == 0 else reply[:4]
        for at in range(0, len(whole), 1 if in_pieces else len(whole)):
            writer.write(whole[at : at + 1] if in_pieces else whole)
            await asyncio.sleep(0)
        if code == 0:
            await relay(reader, writer, int.from_bytes(port, "big"))

    return script
