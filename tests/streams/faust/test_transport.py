"""Faust's own recovery and its own fetcher over a model of what aiokafka reads: no event is thrown away unhandled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP

from streams.faust.transport import SparingTransport
from tests.streams.harness import until

COMMITTED, FRESH = TP("events", 0), TP("events", 1)
ROWS = TP("rows", 0)
END = 6


class Reads:
    """The positions of a consumer, over partitions of six records each. A fetch lasts so many turns."""

    def __init__(self, committed: Mapping[TP, int | None], positions: Mapping[TP, int]) -> None:
        self.committed = committed
        self.positions = dict(positions)
        self.turns = 3

    def assignment(self) -> set[TP]:
        return set(self.committed)

    def highwater(self, tp: TP) -> int:
        return END

    async def getmany(self, active: Iterable[TP], timeout: float) -> dict[TP, list[Any]]:
        """As aiokafka: what is active when records are there, and all where nothing is active."""
        await turns(self.turns)
        found: dict[TP, list[Any]] = {}
        for tp, at in self.positions.items():
            if (not active or tp in active) and at < END:
                found[tp] = [record(tp, offset) for offset in range(at, END)]
                self.positions[tp] = END
        return found

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """As aiokafka: one after the other, and what has nothing committed not at all."""
        for tp, offset in self.committed.items():
            await turns(20)
            if offset:
                self.positions[tp] = offset
        await turns(20)
        return self.committed

    async def seek_to_beginning(self, *tps: TP) -> None:
        for tp in tps:
            self.positions[TP(*tp)] = 0


async def turns(count: int) -> None:
    """Whoever else is ready goes on so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def record(tp: TP, offset: int) -> SimpleNamespace:
    return SimpleNamespace(
        topic=tp.topic,
        partition=tp.partition,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        headers=(),
        key=b"k",
        value=b"v",
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=1,
    )


class Reader:
    """An application that has read its changelogs, and whose fetcher runs."""

    def __init__(self, reads: Reads) -> None:
        self.app = faust.App("reader", broker="kafka://127.0.0.1:1", store="memory://")
        self.app.transport = SparingTransport(self.app.conf.broker_consumer, self.app)
        self.consumer = self.app.consumer
        self.consumer._thread.thread_loop.close()
        self.consumer._thread = self.reads = reads
        self.app.tables._changelogs[ROWS.topic] = object()
        self.queue = self.app.FlowControlQueue(maxsize=100, clear_on_resume=True)
        self.consumer.callback = self.queue.put
        self.handled: list[tuple[int, int]] = []

    async def recovering(self) -> None:
        """As far as Faust is when the last row has come."""
        self.consumer._set_active_tps(self.consumer.assignment())
        self.consumer.pause_partitions(self.consumer.assignment())
        self.consumer.resume_partitions({ROWS})
        self.app.flow_control.resume()
        self.consumer.resume_flow()
        await self.app._fetcher.maybe_start()
        await until(lambda: self.consumer._read_offset[ROWS] == END - 1, 5)

    async def handle(self) -> None:
        while True:
            message = await self.queue.get()
            if message.topic != ROWS.topic:
                self.handled.append((message.partition, message.offset))
            # Its batch is written.
            await turns(10)


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    # Something of the fresh partition was read and thrown away before.
    reads = Reads({COMMITTED: 2, FRESH: None, ROWS: None}, {COMMITTED: 2, FRESH: 3, ROWS: 0})
    reader = Reader(reads)
    handling = asyncio.create_task(reader.handle())
    yield reader
    await reader.app._fetcher.stop()
    handling.cancel()
    await asyncio.gather(handling, return_exceptions=True)


@pytest.mark.parametrize("fetch", [0, 1, 3, 10, 30, 50])
async def test_every_event_from_what_is_committed_on_is_handled_once_and_in_order_after_a_recovery(
    reader: Reader, fetch: int
) -> None:
    """However many turns a fetch lasts, of which a seek has eighty."""
    reader.reads.turns = fetch
    await reader.recovering()
    reader.consumer.pause_partitions({ROWS})
    await reader.app.tables.recovery.on_recovery_completed(reader.app.consumer_generation_id)
    await until(lambda: (0, END - 1) in reader.handled and (1, END - 1) in reader.handled, 5)

    assert [offset for number, offset in reader.handled if number == COMMITTED.partition] == [2, 3, 4, 5]
    assert [offset for number, offset in reader.handled if number == FRESH.partition] == [0, 1, 2, 3, 4, 5]


async def test_a_partition_whose_stream_was_full_is_not_read_while_it_is_paused(reader: Reader) -> None:
    await reader.recovering()
    reader.consumer.on_buffer_full(COMMITTED)
    reader.consumer.pause_partitions({COMMITTED})
    reader.consumer.on_buffer_drop(COMMITTED)

    assert COMMITTED not in reader.consumer._get_active_partitions()
    assert COMMITTED not in reader.consumer._buffered_partitions


async def test_a_recovery_that_is_broken_off_leaves_nothing_to_be_read_before_the_next_one_has_sought(
    reader: Reader,
) -> None:
    await reader.recovering()
    reader.consumer.resume_partitions({COMMITTED, FRESH})
    await reader.recovering()

    assert reader.consumer._get_active_partitions() == {ROWS}


async def test_a_fetch_is_of_what_was_active_when_it_began(reader: Reader) -> None:
    active = {ROWS}
    fetch = asyncio.create_task(reader.consumer._getmany(active, 0))
    await turns(1)
    active.clear()

    assert (await fetch).keys() == {ROWS}
    assert await reader.consumer._getmany(active, 0) == {}


async def test_a_seek_follows_the_fetch_that_has_begun(reader: Reader) -> None:
    """Asked for before partitions moved: what comes of it is thrown away."""
    reader.reads.turns = 30
    fetch = asyncio.create_task(reader.consumer._getmany({COMMITTED, FRESH}, 0))
    await turns(1)
    await reader.consumer.perform_seek()
    await fetch

    assert reader.reads.positions == {COMMITTED: 2, FRESH: 0, ROWS: 0}
