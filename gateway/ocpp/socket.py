"""A charge point's websocket: bytes enter, whole messages leave for its connection, and frames are written at once.

Nearly every message is one masked text frame of less than 64 KB: these are cut from the stream here, without the
library's parser, queue and reading task. Everything else (handshake, pings, close, fragments, large and wrong frames)
is the library's. It never looks into a message.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.frames import apply_mask as unmask  # type: ignore[attr-defined]  # compiled where it can be
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from gateway.ocpp.connection import Connection

TEXT, PING, PONG = 0x81, 0x89, 0x8A
"""First bytes of frames that are whole and use no extension."""
_MASKED, _LENGTH, _SHORT, _TWO_BYTES = 0x80, 0x7F, 125, 126
_END_OF_REQUEST = b"\r\n\r\n"


class ChargePointSocket(ServerConnection):
    """A socket with the connection that its handshake made."""

    # In slots: a few attributes more would double the dictionary of each of many thousand sockets.
    __slots__ = ("_cuts", "_fragments", "_held", "_rest", "connection", "served")

    def __init__(self, protocol: ServerProtocol, server: Server, **options: object) -> None:
        super().__init__(protocol, server, **options)  # type: ignore[arg-type]  # those of websockets' own
        self.connection: Connection | None = None
        self.served = False
        self._cuts = False  # frames are cut here, and the library's parser is between two of them
        self._rest = b""  # the beginning of a frame that is not whole yet
        self._fragments: bytearray | None = None
        self._held = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        gateway = getattr(self.server, "gateway", None)
        if self.connection is not None and not self.served and gateway is not None:
            gateway.lost(self.connection)

    def data_received(self, data: bytes) -> None:
        if self._cuts and self.protocol.state is not State.CONNECTING:
            self._cut(self._rest + data if self._rest else data)
            return
        asked = self.request is not None
        super().data_received(data)
        # A request with nothing behind it: who sends frames before its answer leaves them all to the library.
        self._cuts = not asked and self.request is not None and data.find(_END_OF_REQUEST) + 4 == len(data)

    def process_event(self, event: Event) -> None:
        """What the library read: messages of its frames go the same way as those cut here."""
        if self.request is None or not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if self._fragments is None:
            self._fragments = bytearray()
        self._fragments += event.data
        if event.fin:
            message, self._fragments = bytes(self._fragments), None
            self._deliver(message)

    def post(self, message: bytes) -> None:
        """Write a text message; nothing where the socket is closed or about to be."""
        if self.protocol.state is not State.OPEN or self.transport.is_closing():
            return
        size = len(message)
        if size <= _SHORT:
            head = bytes((TEXT, size))
        elif size < 1 << 16:
            head = bytes((TEXT, _TWO_BYTES)) + size.to_bytes(2, "big")
        else:
            head = bytes((TEXT, _TWO_BYTES + 1)) + size.to_bytes(8, "big")
        self.transport.write(head + message)

    async def written(self) -> None:
        """Returns at once, unless the peer does not read what we write."""
        if self.paused:
            with contextlib.suppress(OSError):
                await self.drain()

    def hold(self) -> None:
        """Read no more until `go_on`; what was read already still comes."""
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._held and not self.transport.is_closing():
            self._held = False
            self.transport.resume_reading()

    def _cut(self, data: bytes) -> None:
        at, end, limit = 0, len(data), self.protocol.max_message_size
        while end - at >= 2:
            kind, length = data[at], data[at + 1]
            if (
                kind not in (TEXT, PING, PONG)
                or not length & _MASKED
                or self.protocol.state is not State.OPEN
            ):
                break
            if end - at < 6:
                self._rest = data[at:]
                return
            size, mask = length & _LENGTH, at + 2
            if size > _SHORT:
                if size > _TWO_BYTES or kind != TEXT:
                    break
                size, mask = data[mask] << 8 | data[mask + 1], mask + 2
                if limit is not None and size > limit:
                    break
            body = mask + 4
            if end - body < size:
                self._rest = data[at:]
                return
            if kind == TEXT:
                self._deliver(unmask(data[body : body + size], data[mask:body]))
            else:
                super().data_received(data[at : body + size])
            at = body + size
        else:
            self._rest = data[at:]
            return
        # From the first other frame on everything is the library's.
        self._cuts, self._rest = False, b""
        super().data_received(data[at:])

    def _deliver(self, message: bytes) -> None:
        # A client has to wait for the answer of the handshake (RFC 6455, 4.1): without a connection nobody takes it.
        if self.connection is not None:
            self.connection.received(message)
