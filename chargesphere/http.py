"""The HTTP door of a process: uvicorn with bounds on what strangers can hold open.

What enters: the application and a listening socket. A request has so long to arrive, head and body, and an answer so
long to be taken; beyond that its connection is closed. There are so many connections at once, so that descriptors
are left for charge points; one more is told to come back. uvicorn has a timeout for idle connections alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

OF_DESCRIPTORS = 4
"""HTTP may have one of so many of the process's descriptors."""
MOST_CONNECTIONS = 4_000
STALLED_AT_THE_END = 1.0
"""Seconds for an answer that nobody reads, once the process ends."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for a request's head, for its body, and for an answer that nobody reads; connections at once."""

    head: float = 10.0
    body: float = 30.0
    stalled: float = 60.0
    connections: int = field(default_factory=lambda: allowed_connections())
    look_every: float = 1.0


def allowed_connections() -> int:
    """HTTP's share of the descriptors that this process may have."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft < 0 else max(16, min(MOST_CONNECTIONS, soft // OF_DESCRIPTORS))


class HttpServer:
    """`start`, then `stop`. `counts` holds what was closed, by reason.

    What a request says of its client's address is believed where it comes from one of `proxies`.
    """

    def __init__(
        self,
        app: FastAPI,
        listening: socket.socket,
        limits: Limits | None = None,
        *,
        proxies: Sequence[str] = (),
    ) -> None:
        self._limits = limits or Limits()
        self._listening = listening
        _give_up_the_silent(listening, self._limits.stalled)
        self.counts = {"busy": 0, "slow": 0, "stalled": 0}
        most, counts = self._limits.connections, self.counts

        class Connection(H11Protocol):
            """One that is too many hears so."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if len(self.connections) > most:
                    counts["busy"] += 1
                    _farewell(transport, b"503 Service Unavailable", b"retry-after: 5\r\n")

        config = uvicorn.Config(
            app,
            http=Connection,
            log_level="error",
            lifespan="off",
            access_log=False,
            server_header=False,
            # Never those that uvicorn trusts by itself: this machine, and who is in FORWARDED_ALLOW_IPS.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._serving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it answers."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # uvicorn tells its start by this flag alone
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """What is being answered has 10 s to end, and a second of them where its client takes nothing."""
        self._limits = replace(self._limits, stalled=min(self._limits.stalled, STALLED_AT_THE_END))
        if self._serving is not None:
            self._server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(10):
                    await self._serving
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        """Look at every connection now and then: what it waits for, and since when."""
        loop, since = asyncio.get_running_loop(), dict[tuple[object, ...], float]()
        while True:
            await asyncio.sleep(self._limits.look_every)
            now = loop.time()
            seen: dict[tuple[object, ...], float] = {}
            for connection in list(self._server.server_state.connections):
                if not isinstance(connection, H11Protocol):
                    continue
                try:
                    for what, limit, mark in self._waits(connection):
                        key = (connection, what, mark)
                        seen[key] = since.get(key, now)
                        if now - seen[key] >= limit:
                            self._end(connection, what)
                except Exception:  # the others are looked at all the same
                    logger.exception("an HTTP connection cannot be looked at")
            since = seen

    def _waits(self, connection: H11Protocol) -> Iterator[tuple[str, float, object]]:
        """What a connection is waiting for from outside, how long it may, and what changes when it came."""
        transport, cycle = connection.transport, connection.cycle
        if left := transport.get_write_buffer_size():
            yield "answer", self._limits.stalled, left
        if transport.is_closing():
            return
        if cycle is None or cycle.response_complete:
            if connection.timeout_keep_alive_task is None:
                yield "head", self._limits.head, cycle
        elif cycle.more_body:
            yield "body", self._limits.body, cycle

    def _end(self, connection: H11Protocol, what: str) -> None:
        if what == "answer":
            self.counts["stalled"] += 1
            connection.transport.abort()
            return
        self.counts["slow"] += 1
        if what == "body" and connection.cycle.response_started:
            connection.transport.close()
        else:
            _farewell(connection.transport, b"408 Request Timeout")


def _give_up_the_silent(listening: socket.socket, seconds: float) -> None:
    """Connections to it end once what was sent has not been acknowledged for so long (RFC 5482; the kernel else tries
    for a quarter of an hour): of a client that went without a word an answer without an end hears nothing else."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _farewell(transport: asyncio.Transport, status: bytes, headers: bytes = b"") -> None:
    transport.write(
        b"HTTP/1.1 " + status + b"\r\n" + headers + b"connection: close\r\ncontent-length: 0\r\n\r\n"
    )
    transport.close()
