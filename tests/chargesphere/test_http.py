"""What strangers can hold open at the HTTP door, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from chargesphere.http import HttpServer, Limits, allowed_connections
from tests.streams.harness import until

QUICK = Limits(head=0.2, body=0.2, stalled=0.2, connections=4, look_every=0.02)
PATIENT = Limits(head=60, body=60, stalled=60, connections=4, look_every=0.02)
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """A server with one route that reads its body, one that does not, and one that answers without an end."""

    def __init__(self, limits: Limits) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.ended: list[str] = []
        self.server = HttpServer(self._app(), listening, limits)
        self._wires: list[asyncio.StreamWriter] = []

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/read")
        async def read(request: Request) -> Response:
            try:
                return Response(str(len(await request.body())))
            except ClientDisconnect:
                self.ended.append("read")
                raise HTTPException(400) from None

        @app.post("/unread")
        async def unread() -> Response:
            return Response("early")

        @app.get("/large")
        async def large() -> Response:
            return Response(b"x" * 20_000_000)

        return app

    async def connect(self) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._wires.append(writer)
        return reader, writer

    @property
    def connections(self) -> set[Any]:
        return self.server._server.server_state.connections

    async def close(self) -> None:
        for writer in self._wires:
            writer.close()
        await self.server.stop()


@contextlib.asynccontextmanager
async def door(limits: Limits) -> AsyncIterator[Door]:
    made = Door(limits)
    await made.server.start()
    try:
        async with asyncio.timeout(20):
            yield made
    finally:
        await made.close()


HEAD = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"P", HEAD[:-2], HEAD, HEAD + b"1234"],
    ids=["nothing", "a letter", "half a head", "no body", "half a body"],
)
async def test_a_request_that_does_not_come_is_ended(sent: bytes) -> None:
    async with door(QUICK) as made:
        reader, writer = await made.connect()
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert made.server.counts["slow"] == 1


@pytest.mark.parametrize("sent", [b"\r\n", HEAD.replace(b"read", b"unread") + b"1"])
async def test_what_is_no_request_or_was_answered_early_is_not_held_either(sent: bytes) -> None:
    async with door(QUICK) as made:
        reader, writer = await made.connect()
        writer.write(sent)
        assert (await reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 200"))


async def test_a_body_that_comes_in_drops_has_no_more_time_than_one_that_does_not_come() -> None:
    async with door(QUICK) as made:
        reader, writer = await made.connect()
        writer.write(HEAD.replace(b"5", b"100000"))
        dropping = asyncio.create_task(_drops(writer))
        with contextlib.suppress(ConnectionError):  # closed with bytes unread, which is a reset
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        dropping.cancel()
        await until(lambda: made.ended)  # the route is told
        assert made.server.counts["slow"] == 1


async def _drops(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)


async def test_a_connection_that_is_used_again_and_again_is_not_slow() -> None:
    """Longer than any limit in all, and each request at once."""
    async with door(QUICK) as made:
        reader, writer = await made.connect()
        loop = asyncio.get_running_loop()
        until, count = loop.time() + 1.0, 0
        while loop.time() < until:
            writer.write(HEAD + b"12345")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readexactly(1)
            count += 1
            await asyncio.sleep(0.005)
        assert count > 10
        assert made.server.counts == {"busy": 0, "slow": 0, "stalled": 0}


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with door(QUICK) as made:
        _, writer = await made.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: made.server.counts["stalled"])


async def test_who_reads_nothing_holds_up_no_end_of_the_process() -> None:
    async with door(PATIENT) as made:
        _, writer = await made.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: any(c.transport.get_write_buffer_size() for c in made.connections))
        async with asyncio.timeout(8):
            await made.server.stop()
        assert made.server.counts["stalled"] == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends connections by it")
async def test_who_acknowledges_nothing_for_a_minute_is_given_up_by_the_kernel() -> None:
    async with door(PATIENT) as made:
        reader, writer = await made.connect()
        writer.write(HEAD + b"12345")
        await reader.readuntil(b"\r\n\r\n")
        [connection] = made.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_one_connection_too_many_is_told_to_come_back_and_the_others_are_served() -> None:
    async with door(PATIENT) as made:
        held = [await made.connect() for _ in range(4)]
        for _, writer in held[1:]:
            writer.write(HEAD)
        reader, _ = await made.connect()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n")
        assert made.server.counts["busy"] == 1
        reader, writer = held[0]
        writer.write(HEAD + b"12345")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


def test_most_descriptors_are_left_for_charge_points() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= allowed_connections() <= max(16, soft // 4)
