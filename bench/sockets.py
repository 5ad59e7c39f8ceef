"""A websocket client of a few lines, cheap enough that the load generator is not what is measured.

What enters: a URL, texts to send. What leaves: each text that comes, handed to one function as bytes. It masks with
zeros (RFC 6455 asks for a mask, not for a random one), answers pings, and joins no fragments: OCPP answers are short.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
_NO_MASK = b"\x00\x00\x00\x00"


class HandshakeRefusedError(Exception):
    """The server answered something else than 101; `status` is what it said."""

    def __init__(self, status: int, retry_after: float) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.retry_after = status, retry_after


class Socket(asyncio.Protocol):
    """`opened` is done after the handshake; `lost` is called once at the end of an opened one."""

    __slots__ = ("_buffer", "_lost", "_request", "_take", "_transport", "_upgraded", "closed", "opened")

    def __init__(self, request: bytes, take: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self._request, self._take, self._lost = request, take, lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._upgraded = False

    def send(self, text: bytes) -> None:
        """One text frame; nothing where the socket is closed."""
        self._send(TEXT, text)

    @property
    def waiting(self) -> int:
        """Bytes that the other side has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Say farewell and close."""
        self._send(CLOSE, b"\x03\xe8")
        self.abort()

    def abort(self) -> None:
        """Close without a farewell."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError("closed during the handshake"))
        elif self._upgraded:
            self._lost()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            if not self._shake(head):
                return
            buffer = rest
        at, end = 0, len(buffer)
        while end - at >= 2:
            kind, size, start = buffer[at], buffer[at + 1] & 0x7F, at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if end < start + size:
                break
            at = start + size
            if kind == TEXT:
                self._take(buffer[start:at])
            elif kind == PING:
                self._send(PONG, buffer[start:at])
            elif kind == CLOSE:
                self.abort()
        self._buffer = buffer[at:]

    def _shake(self, head: bytes) -> bool:
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status == 101:
            self._upgraded = True
            if not self.opened.done():
                self.opened.set_result(None)
            return True
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        if not self.opened.done():
            self.opened.set_exception(HandshakeRefusedError(status, float(fields.get("retry-after", "0"))))
        self.abort()
        return False

    def _send(self, kind: int, body: bytes) -> None:
        if self._transport is None or self.closed or self._transport.is_closing():
            return
        size = len(body)
        if size < 126:
            head = bytes((kind, 0x80 | size))
        elif size < 65536:
            head = bytes((kind, 0xFE)) + size.to_bytes(2, "big")
        else:
            head = bytes((kind, 0xFF)) + size.to_bytes(8, "big")
        self._transport.write(head + _NO_MASK + body)


async def open_socket(
    url: str,
    take: Callable[[bytes], None],
    lost: Callable[[], None],
    *,
    basic: str | None = None,
    timeout: float = 20.0,
) -> Socket:
    """Connect as an OCPP 1.6 charge point. Raises HandshakeRefusedError, OSError or TimeoutError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: ocpp1.6",
    ]
    if basic is not None:
        lines.append(f"Authorization: Basic {base64.b64encode(basic.encode()).decode()}")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        _, socket = await loop.create_connection(lambda: Socket(request, take, lost), host, port)
        try:
            await socket.opened
        except BaseException:
            socket.abort()
            raise
    return socket
