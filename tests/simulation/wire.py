"""A websocket between a simulated charge point and a real gateway: frames in order, cut off at any moment.

The gateway's half looks as `gateway.ocpp.socket.ChargePointSocket` does to a connection; the other half is the
charge point's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from websockets.datastructures import Headers

from tests.simulation.loop import Node, SimLoop
from tests.simulation.network import Network


class Response:
    """What a gateway answers to a handshake that it does not take."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        self.status = status
        self.text = text
        self.headers: dict[str, str] = {}


class Upgrade:
    """A handshake's request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.headers = Headers({"Sec-WebSocket-Protocol": "ocpp1.6"})


class _Transport:
    def __init__(self, socket: GatewaySocket) -> None:
        self._socket = socket

    def is_closing(self) -> bool:
        return self._socket.closed.is_set()

    def abort(self) -> None:
        self._socket.lost(1006)


class GatewaySocket:
    """The gateway's half."""

    def __init__(self, line: Line, address: str) -> None:
        self._line = line
        self.address = address
        self.transport = _Transport(self)
        self.connection: Any = None
        self.served = False
        self.closed = asyncio.Event()
        self.close_code = 1006
        self.paused = False

    def respond(self, status: HTTPStatus, text: str) -> Response:
        return Response(status, text)

    def post(self, frame: bytes) -> None:
        if not self.closed.is_set():
            self._line.to_charge_point(frame)

    async def written(self) -> None:
        return

    def hold(self) -> None:
        return

    def go_on(self) -> None:
        return

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await asyncio.sleep(0)
        self.lost(code)

    async def wait_closed(self) -> None:
        await self.closed.wait()

    async def ping(self) -> asyncio.Future[float]:
        pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._line.ping(pong)
        return pong

    def lost(self, code: int) -> None:
        """It is over, from whichever side."""
        if not self.closed.is_set():
            self.close_code = code
            self.closed.set()
            self._line.closed_by_gateway()

    def received(self, frame: bytes) -> None:
        if self.connection is not None and not self.closed.is_set():
            self.connection.received(frame)


class Line:
    """One TCP connection. `receive` and `closed` are the charge point's callbacks, in its own process."""

    def __init__(
        self,
        network: Network,
        charge_point: Node,
        gateway: Node,
        receive: Callable[[bytes], None],
        closed: Callable[[], None],
    ) -> None:
        self.network = network
        self.loop: SimLoop = network.loop
        self.charge_point = charge_point
        self.gateway = gateway
        self.broken = False
        self.socket = GatewaySocket(self, "192.0.2.1")
        self._receive = receive
        self._closed = closed
        self._up = self._down = 0.0

    def to_gateway(self, frame: bytes) -> None:
        """From the charge point."""
        self._up = max(self._up, self.loop.now + self.network.delay("wire"))
        self._at(self._up, self.gateway, lambda: self.socket.received(frame))

    def to_charge_point(self, frame: bytes) -> None:
        """From the gateway."""
        self._down = max(self._down, self.loop.now + self.network.delay("wire"))
        self._at(self._down, self.charge_point, lambda: self._receive(frame))

    def closed_by_gateway(self) -> None:
        self._down = max(self._down, self.loop.now + self.network.delay("wire"))
        self._at(self._down, self.charge_point, self._closed)

    def hang_up(self) -> None:
        """The charge point closes, or is gone and its modem says so."""
        self._up = max(self._up, self.loop.now + self.network.delay("wire"))
        self._at(self._up, self.gateway, lambda: self.socket.lost(1001))

    def ping(self, pong: asyncio.Future[float]) -> None:
        def answer() -> None:
            if not pong.done():
                pong.set_result(0.0)

        self._at(self.loop.now + 2 * self.network.delay("wire"), self.gateway, answer)

    def _at(self, when: float, node: Node, work: Callable[[], None]) -> None:
        def arrive() -> None:
            if self.broken or not self.network.reaches(self.charge_point, "wire"):
                return
            if not self.gateway.alive:
                # The process is dead: its kernel resets the connection.
                self.broken = True
                self.loop.call_soon(self._closed, context=self.charge_point.context)
                return
            self.loop.call_soon(work, context=node.context)

        self.loop.call_at(when, arrive, context=self.loop.world_context)
