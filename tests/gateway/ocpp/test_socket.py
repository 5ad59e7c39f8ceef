"""The bytes of a charge point's websocket, however they are cut (RFC 6455, section 5): J-12, J-22."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.ocpp.fakes import PASSWORD, World, world

TEXT, MORE, BINARY, CLOSE, PING, PONG = 0x81, 0x01, 0x82, 0x88, 0x89, 0x8A
LAST = 0x80  # of a fragmented message
MASK = b"\x01\x02\x03\x04"


def frame(body: bytes, kind: int = TEXT, masked: bool = True) -> bytes:
    """A frame as a client sends it."""
    size, flag = len(body), 0x80 if masked else 0
    if size < 126:
        head = bytes((kind, flag | size))
    elif size < 1 << 16:
        head = bytes((kind, flag | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((kind, flag | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + body
    return head + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(body))


def heartbeat(id: str, blanks: int = 0) -> bytes:
    return b'[2,"%s","Heartbeat",%s{}]' % (id.encode(), b" " * blanks)


class RawClient:
    """Bytes to the gateway and its frames back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes, piece: int = 1 << 20) -> None:
        """In pieces that the gateway gets one by one."""
        for start in range(0, len(data), piece):
            self.writer.write(data[start : start + piece])
            await self.writer.drain()
            await asyncio.sleep(0.002 if piece < len(data) else 0)

    async def receive(self) -> tuple[int, bytes]:
        """First byte and body of the next frame."""
        async with asyncio.timeout(5):
            kind, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            return kind, await self.reader.readexactly(size)

    async def answered(self) -> str:
        """The id of the next confirmation."""
        kind, body = await self.receive()
        assert kind == TEXT
        answer: Any = json.loads(body)
        assert answer[0] == 3
        return str(answer[1])


def upgrade() -> bytes:
    token = base64.b64encode(f"CP-1:{PASSWORD}".encode()).decode()
    return (
        "GET /ocpp/demo/CP-1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic {token}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def raw(w: World, behind: bytes = b"", piece: int = 1 << 20) -> AsyncIterator[RawClient]:
    """An upgraded socket; the bytes `behind` the request are sent before its answer."""
    client = RawClient(*await asyncio.open_connection("127.0.0.1", w.port))
    try:
        await client.send(upgrade() + behind, piece)
        async with asyncio.timeout(5):
            head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        yield client
    finally:
        client.writer.close()
        await client.writer.wait_closed()


async def test_frames_in_one_segment_are_answered_one_by_one() -> None:
    async with world() as w, raw(w) as client:
        await client.send(b"".join(frame(heartbeat(str(n))) for n in range(5)))
        assert [await client.answered() for _ in range(5)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("piece", [1, 2, 7, 50])
async def test_frames_in_pieces_are_put_together(piece: int) -> None:
    async with world() as w, raw(w) as client:
        await client.send(frame(heartbeat("a")) + frame(heartbeat("b", 200)) + frame(heartbeat("c")), piece)
        assert [await client.answered() for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("blanks", [80, 126, 127, 30_000, 65_500, 65_536, 200_000])
async def test_frames_of_every_length_are_read(blanks: int) -> None:
    async with world() as w, raw(w) as client:
        for id in ("a", "b"):
            await client.send(frame(heartbeat(id, blanks)))
            assert await client.answered() == id


async def test_what_does_not_wait_for_the_answer_of_the_handshake_is_dropped() -> None:
    """RFC 6455, 4.1: a client has to wait for it."""
    early, begun = frame(heartbeat("a")), frame(heartbeat("b"))
    async with world() as w, raw(w, early + begun[:9]) as client:
        await client.send(begun[9:] + frame(heartbeat("c")))
        assert [await client.answered() for _ in range(2)] == ["b", "c"]


async def test_a_request_in_pieces_is_a_request() -> None:
    async with world() as w, raw(w, piece=100) as client:
        await client.send(frame(heartbeat("a")))
        assert await client.answered() == "a"


async def test_a_ping_is_answered_between_calls_and_a_stray_pong_is_not_J_18() -> None:
    async with world() as w, raw(w) as client:
        await client.send(frame(b"are you there", PING) + frame(b"", PONG) + frame(heartbeat("a")), 5)
        assert await client.receive() == (PONG, b"are you there")
        assert await client.answered() == "a"


async def test_a_message_in_fragments_with_a_ping_between_them_is_one_J_22() -> None:
    async with world() as w, raw(w) as client:
        text = heartbeat("f")
        await client.send(frame(heartbeat("a")) + frame(text[:5], MORE) + frame(b"p", PING))
        await client.send(frame(b"", 0) + frame(text[5:], LAST) + frame(heartbeat("b")), 3)
        answers = [await client.receive() for _ in range(4)]
        assert [kind for kind, _ in answers].count(PONG) == 1
        assert [json.loads(body)[1] for kind, body in answers if kind == TEXT] == ["a", "f", "b"]


async def test_a_binary_message_is_read_as_text() -> None:
    async with world() as w, raw(w) as client:
        await client.send(frame(heartbeat("a"), BINARY) + frame(heartbeat("b")))
        assert [await client.answered() for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize(
    "wrong",
    [
        frame(heartbeat("x"), masked=False),
        frame(heartbeat("x"), TEXT | 0x40),
        frame(b"x" * 126, PING),
        frame(b"x", 0x83),
        frame(b"x", LAST),
    ],
    ids=["not masked", "an extension's bit", "a long ping", "an unknown kind", "a fragment of nothing"],
)
async def test_a_frame_that_breaks_the_protocol_ends_the_connection(wrong: bytes) -> None:
    async with world() as w, raw(w) as client:
        await client.send(frame(heartbeat("a")) + wrong)
        seen = [await client.receive()]
        while seen[-1][0] != CLOSE:
            seen.append(await client.receive())
        assert int.from_bytes(seen[-1][1][:2], "big") == 1002


async def test_a_farewell_is_returned() -> None:
    async with world() as w, raw(w) as client:
        await client.send(frame(heartbeat("a")))
        assert await client.answered() == "a"
        await client.send(frame(b"\x03\xe8", CLOSE), 3)
        assert await client.receive() == (CLOSE, b"\x03\xe8")


async def test_a_charge_point_that_floods_is_read_again_once_it_is_answered_J_10() -> None:
    async with world() as w, raw(w) as client:
        for first in range(0, 300, 100):
            await client.send(b"".join(frame(heartbeat(str(n))) for n in range(first, first + 100)))
        assert [await client.answered() for _ in range(300)] == [str(n) for n in range(300)]
