"""A charge point's websocket: whole messages go straight to its connection, and frames are written at once.

The protocol is the library's; what is left out is its queue of messages and the task that reads from it. It never
looks into a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from gateway.ocpp.client_address import BadPreambleError, Proxies, read_preamble


class Receiver(Protocol):
    """Takes a charge point's messages; a handshake makes it."""

    def received(self, message: bytes) -> None:
        """A whole message, in the order in which they come; never raises."""
        ...


class ChargePointSocket(ServerConnection):
    """A socket with the connection that its handshake made."""

    # In slots: a few attributes more would double the dictionary of each of many thousand sockets.
    __slots__ = ("_fragments", "_held", "_preamble", "_proxies", "address", "connection", "served")

    def __init__(
        self, protocol: ServerProtocol, server: Server, *, proxies: Proxies | None = None, **options: object
    ) -> None:
        super().__init__(protocol, server, **options)  # type: ignore[arg-type]  # those of websockets' own
        self.connection: Receiver | None = None
        self.served = False
        self.address = ""
        self._proxies = proxies or Proxies()
        self._preamble: bytearray | None = None
        self._fragments: bytearray | None = None
        self._held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.address = str((self.remote_address or ("",))[0])
        if self._proxies.trusts(self.address):
            self._preamble = bytearray()

    def data_received(self, data: bytes) -> None:
        """What a trusted proxy says of its client comes before the first byte of HTTP."""
        if self._preamble is not None:
            self._preamble += data
            try:
                found = read_preamble(bytes(self._preamble))
            except BadPreambleError:
                self.transport.abort()
                return
            if found is None:
                return
            data, self._preamble = bytes(self._preamble[found.length :]), None
            self.address = found.address or self.address
        if data:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        gateway = getattr(self.server, "gateway", None)
        if self.connection is not None and not self.served and gateway is not None:
            gateway.lost(self.connection)

    def process_event(self, event: Event) -> None:
        """What the library read: messages are put together and delivered, everything else is its own."""
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
        self.protocol.send_text(message)
        self.send_data()

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

    def _deliver(self, message: bytes) -> None:
        # A client has to wait for the answer of the handshake (RFC 6455, 4.1): without a connection nobody takes it.
        if self.connection is not None:
            self.connection.received(message)
