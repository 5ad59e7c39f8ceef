"""The websocket server for charge points: sockets come in, connections are served, all of them end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Coroutine, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from commands.base import Downlink
from gateway.ocpp import metrics
from gateway.ocpp.admission import Admission, RefusedHandshakeError
from gateway.ocpp.connection import GONE, PROTOCOL_ERROR, RESTART, ChargePointConnection
from gateway.ocpp.credentials import Credentials
from gateway.ocpp.knocks import Knocks
from gateway.ocpp.orphaned_connections import end_lost_connections
from gateway.ocpp.registry import Registry
from gateway.ocpp.services import Services
from gateway.ocpp.socket import ChargePointSocket
from gateway.ocpp.versions import VERSIONS, common

logger = logging.getLogger(__name__)

# Refused and broken handshakes are counted, not logged one by one (J-03).
_QUIET = logging.getLogger("gateway.ocpp.websockets")
_QUIET.setLevel(logging.CRITICAL)

BACKLOG = 4096


class OcppGateway:
    """Serves charge points from `start` to `stop`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        options = services.options
        self._credentials = Credentials()
        self.registry = Registry(options.evictions, options.eviction_window)
        self._knocks = Knocks(services)
        self._admission = Admission(services, self._credentials, self.registry, self._knocks)
        self._server: Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._undertaker: asyncio.Task[None] | None = None
        self._teller: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        services.channel.on_downlink(self.deliver)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; the port that was taken. Raises OSError where it is busy."""
        options = self._services.options
        self._server = await serve(
            self._serve,  # type: ignore[arg-type]
            host,
            port,
            ssl=tls,
            process_request=self._admit,  # type: ignore[arg-type]
            select_subprotocol=_select,
            compression=None,
            server_header=None,
            logger=_QUIET,
            open_timeout=options.handshake_patience + 16,  # it may wait for two turns
            close_timeout=3,
            ping_interval=None,
            max_size=options.limits.size,
            create_connection=partial(ChargePointSocket, proxies=options.proxies),  # type: ignore[arg-type]
            backlog=BACKLOG,
        )
        self._server.gateway = self  # type: ignore[attr-defined]
        self._sweeper = asyncio.create_task(self._sweep_forever())
        self._undertaker = asyncio.create_task(end_lost_connections(self._services, self.registry))
        self._teller = asyncio.create_task(self._knocks.run())
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Take no more, then close all with 1012, spread over `drain` seconds at most."""
        if self._server is None:
            return
        self._server.close(close_connections=False)
        for task in (self._sweeper, self._undertaker, self._teller):
            if task is not None:
                task.cancel()
        connections = list(self.registry)
        pause = min(self._services.options.drain / max(1, len(connections)), 0.001)
        closing = []
        for connection in connections:
            closing.append(asyncio.create_task(connection.close(RESTART, "gateway stopping")))
            await asyncio.sleep(pause)
        if closing:
            await asyncio.wait(closing, timeout=self._services.options.drain)
        for connection in self.registry:
            connection.abort("gateway stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._services.options.drain):
                await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        self._credentials.close()

    async def deliver(self, downlink: Downlink) -> None:
        """A downlink for one of our connections."""
        await self.registry.deliver(downlink)

    def lost(self, connection: ChargePointConnection) -> None:
        """Its socket went away before the upgrade was through."""
        self.registry.remove(connection)
        self._later(connection.end("handshake broken off"))

    # -- inside ------------------------------------------------------------------------------------------------

    async def _admit(self, socket: ChargePointSocket, request: Request) -> Response | None:
        proxies = self._services.options.proxies
        address = proxies.client(socket.address, request.headers.get_all("X-Forwarded-For"))
        try:
            connection = await self._admission.admit(request.path, request.headers, address)
        except RefusedHandshakeError as refused:
            metrics.HANDSHAKES.labels(refused.outcome).inc()
            response = socket.respond(refused.status, refused.text)
            if refused.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = 'Basic realm="OCPP", charset="UTF-8"'
            if refused.retry_after:
                response.headers["Retry-After"] = str(refused.retry_after)
            return response
        except Exception:
            logger.exception("a handshake failed")
            metrics.HANDSHAKES.labels("failed").inc()
            return socket.respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error.\n")
        metrics.HANDSHAKES.labels("accepted" if connection else "no_subprotocol").inc()
        if connection is not None:
            self._make_current(connection)
            socket.connection = connection
            if socket.transport.is_closing():
                self.lost(connection)
        return None

    def _make_current(self, connection: ChargePointConnection) -> None:
        replaced = self.registry.put(connection, asyncio.get_running_loop().time())
        if replaced is not None:
            self._later(replaced.close(GONE, "replaced"))

    async def _serve(self, socket: ChargePointSocket) -> None:
        connection = socket.connection
        socket.served = True
        if not isinstance(connection, ChargePointConnection):
            await socket.close(PROTOCOL_ERROR, f"no common subprotocol: use {' or '.join(VERSIONS)}")
            return
        metrics.CONNECTIONS.inc()
        try:
            await connection.serve(socket)
        finally:
            metrics.CONNECTIONS.dec()
            self.registry.remove(connection)

    async def _sweep_forever(self) -> None:
        """Find connections that are silent: ping them, and drop those that stay so (J-19)."""
        while True:
            await asyncio.sleep(self._services.options.sweep_every)
            now = asyncio.get_running_loop().time()
            for count, connection in enumerate(self.registry):
                self._sweep(connection, now)
                if count % 500 == 499:
                    await asyncio.sleep(0)

    def _sweep(self, connection: ChargePointConnection, now: float) -> None:
        options = self._services.options
        silent = now - connection.last_seen
        if connection.answers_pings:
            longest = 3 * options.ping_every
        else:
            longest = max(options.silent_after, 3 * connection.interval)
        if silent > longest:
            connection.abort("silent")
        elif silent > options.ping_every and now - connection.pinged_at > options.ping_every:
            connection.pinged_at = now
            self._later(_ping(connection))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ping(connection: ChargePointConnection) -> None:
    socket = connection.socket
    if socket is None:
        return
    try:
        pong = await socket.ping()
        async with asyncio.timeout(30):
            await pong
    except (ConnectionClosed, TimeoutError):
        return
    connection.ponged()


def _select(socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """J-04: the header is left out where there is nothing in common."""
    name = common(offered)
    return None if name is None else Subprotocol(name)
