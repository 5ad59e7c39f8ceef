"""A broker in the test's own process that answers what clients ask at their start, and may fall silent at any answer.

It speaks the oldest versions of ApiVersions, Metadata and InitProducerId. It holds every fetch and what is
produced, and knows every topic.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.transaction import InitProducerIdResponse_v0

PARTITIONS = 2
API_VERSIONS, METADATA, INIT_PRODUCER_ID, FETCH, PRODUCE = 18, 3, 22, 1, 0


class FakeBroker:
    """`answers` counts what was answered; nothing is answered any more after `silent_after` of them."""

    def __init__(self) -> None:
        self.answers = 0
        self.silent_after: int | None = None
        self.silent = asyncio.Event()
        self.produced = asyncio.Event()
        """A produce request has come."""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        return len(self._connections)

    def stop_reading(self) -> None:
        """What is written to it from now on waits in the sockets."""
        for writer in self._connections:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeBroker]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for writer in list(self._connections):
                writer.transport.abort()
            async with asyncio.timeout(5):
                while self._connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                [size] = struct.unpack("!i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _version, correlation, length = struct.unpack_from("!hhih", request)
                if self.silent_after is not None and self.answers >= self.silent_after:
                    self.silent.set()
                    continue
                answer = self._answer(key, request[10 + max(0, length) :])
                if answer is None:
                    continue
                self.answers += 1
                writer.write(struct.pack("!ii", 4 + len(answer), correlation) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._connections.discard(writer)

    def _answer(self, key: int, body: bytes) -> bytes | None:
        answer: bytes | None = None
        if key == API_VERSIONS:
            known = [(API_VERSIONS, 0, 0), (METADATA, 1, 1), (INIT_PRODUCER_ID, 0, 0), (FETCH, 1, 1)]
            known.append((PRODUCE, 3, 3))
            answer = ApiVersionResponse_v0(0, known).encode()
        elif key == METADATA:
            partitions = [(0, number, 1, [1], [1]) for number in range(PARTITIONS)]
            topics = [(0, name, False, partitions) for name in _names(body)]
            brokers = [(1, "127.0.0.1", self.port, None)]
            answer = MetadataResponse_v1(brokers, 1, topics).encode()
        elif key == PRODUCE:
            self.produced.set()
        elif key == INIT_PRODUCER_ID:
            answer = InitProducerIdResponse_v0(0, 0, 7, 0).encode()
        return answer


def _names(body: bytes) -> list[str]:
    [count] = struct.unpack_from("!i", body)
    names: list[str] = []
    at = 4
    for _ in range(count):
        [length] = struct.unpack_from("!h", body, at)
        names.append(body[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return names
