"""Connections to partners over real sockets on loopback: kept, closed, and what their ends are called."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from chargesphere.loop import run
from gateway.ocpi.connections import Connections
from gateway.ocpi.url_policy import UrlPolicy, UrlRefused

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers each request with the next of its answers, the last one for ever; empty ends the connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.seen: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                self.seen.append(head + await reader.readexactly(int(length[1]) if length else 0))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    break
                writer.write(answer)
                if b"Connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def asking(*answers: bytes, idle_s: float = 20.0) -> AsyncIterator[tuple[httpx.AsyncClient, Peer]]:
    peer = Peer(*answers)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x?y=1"
    transport = Connections(UrlPolicy(allow_private_urls=True), idle_s=idle_s)
    try:
        async with httpx.AsyncClient(transport=transport, timeout=5) as client:
            yield client, peer
    finally:
        server.close()
        for writer in peer.writers:
            writer.close()
        await server.wait_closed()


async def eventually(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if fact():
                return
            await asyncio.sleep(0.005)


async def test_requests_one_after_another_share_a_connection() -> None:
    async with asking(OK) as (client, peer):
        answers = [await client.put(peer.url, content=b"body") for _ in range(5)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"ok")] * 5
    assert peer.connections == 1
    assert peer.seen[0].startswith(b"PUT /x?y=1 HTTP/1.1\r\n")
    assert peer.seen[0].endswith(b"\r\n\r\nbody")


async def test_requests_at_once_have_a_connection_each() -> None:
    async with asking(OK) as (client, peer):
        await asyncio.gather(*(client.get(peer.url) for _ in range(4)))
        await client.get(peer.url)
    assert peer.connections == 4


async def test_a_connection_that_the_peer_closed_meanwhile_is_not_used_again() -> None:
    async with asking(OK) as (client, peer):
        await client.get(peer.url)
        peer.writers[0].write_eof()
        await eventually(lambda: peer.writers[0].is_closing())
        assert (await client.get(peer.url)).status_code == 200
    assert peer.connections == 2


async def test_a_connection_on_which_something_comes_that_nobody_asked_is_closed() -> None:
    """Else it would be taken for the answer of the next request."""
    async with asking(OK) as (client, peer):
        await client.get(peer.url)
        peer.writers[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
        await eventually(lambda: peer.writers[0].is_closing())
        assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


async def test_an_answer_with_more_behind_it_ends_its_connection() -> None:
    async with asking(OK + OK, OK) as (client, peer):
        assert (await client.get(peer.url)).content == b"ok"
        assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


async def test_an_unused_connection_is_closed_in_time() -> None:
    async with asking(OK, idle_s=0.02) as (client, peer):
        await client.get(peer.url)
        await eventually(lambda: peer.writers[0].is_closing())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nok",
    ],
)
async def test_every_form_of_an_answer_is_read(answer: bytes) -> None:
    async with asking(answer) as (client, peer):
        assert (await client.get(peer.url)).content == b"ok"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([b""], httpx.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok"], httpx.RemoteProtocolError),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], httpx.RemoteProtocolError),
    ],
)
async def test_a_connection_that_ends_too_early_is_said(
    answers: Sequence[bytes], error: type[Exception]
) -> None:
    async with asking(*answers) as (client, peer):
        with pytest.raises(error):
            await client.get(peer.url)


async def test_a_closed_port_is_a_failure_to_connect() -> None:
    async with asking(OK) as (client, peer):
        url = peer.url
    async with httpx.AsyncClient(transport=Connections(UrlPolicy(allow_private_urls=True))) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_an_address_that_the_policy_refuses_is_not_connected_to() -> None:
    async with asking(OK) as (_, peer):
        async with httpx.AsyncClient(transport=Connections(UrlPolicy())) as client:
            with pytest.raises(UrlRefused):
                await client.get(peer.url)
        assert peer.connections == 0


async def test_a_body_that_nobody_reads_to_its_end_ends_its_connection() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    async with asking(long, OK) as (client, peer):
        async with client.stream("GET", peer.url) as response:
            async for _ in response.aiter_bytes():
                break
        assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


async def test_no_more_connections_than_there_may_be() -> None:
    peer = Peer(OK)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport = Connections(UrlPolicy(allow_private_urls=True), connections=2)
    async with httpx.AsyncClient(transport=transport) as client:
        await asyncio.gather(*(client.get(url) for _ in range(10)))
    server.close()
    await server.wait_closed()
    assert peer.connections == 2


def test_it_works_on_the_loop_that_the_product_runs_on() -> None:
    """uvloop's transports are not asyncio's by their class."""

    async def ask() -> tuple[int, int]:
        async with asking(OK) as (client, peer):
            answers = [await client.get(peer.url) for _ in range(3)]
        return len(answers), peer.connections

    assert run(ask()) == (3, 1)
