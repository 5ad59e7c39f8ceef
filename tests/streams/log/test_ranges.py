"""Reading partitions to their ends: a compacted one while others write it, and any one while its reader is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from streams.following.parking import PLACE, Parked, Parking
from streams.log import LogUnavailableError, Reader, Record, Stored, TopicPartition
from streams.log.ranges import SILENT_SECONDS, newest
from streams.log.sqlite.log import SqliteLog
from tests.streams.harness import FlakyLog, now


class Busy(FlakyLog):
    """Somebody appends this to the partition each time after its end was asked for."""

    def __init__(self, log: SqliteLog, *appends: Sequence[Record]) -> None:
        super().__init__(log, "")
        self.appends = list(appends)

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        ends = await super().ends(places)
        if self.appends:
            await self.inner.append(*PLACE, self.appends.pop(0))
        return ends


class Silent(FlakyLog):
    """Its readers get nothing so many times before they get something."""

    def __init__(self, log: SqliteLog, times: int) -> None:
        super().__init__(log, "")
        self.times = times

    def reader(self, gather: float = 0.0) -> Reader:
        return SilentReader(super().reader(gather), self.times)


class SilentReader(Reader):
    def __init__(self, inner: Reader, times: int) -> None:
        self.inner = inner
        self.times = times

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        await self.inner.assign(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        self.times -= 1
        return {} if self.times >= 0 else await self.inner.poll(timeout, limit)

    async def position(self, place: TopicPartition) -> int:
        return await self.inner.position(place)

    async def close(self) -> None:
        await self.inner.close()


@pytest.mark.parametrize("times", (3, SILENT_SECONDS))
async def test_a_silent_reader_is_not_at_the_end_of_its_partition(embedded: SqliteLog, times: int) -> None:
    """One release took three silent seconds for the end of the state topic: its decider went on without some
    states, and an aggregate had the versions 1, 2, 3, 4, 5, 1."""
    await embedded.append(*PLACE, [Record(b"a", b"1"), Record(b"b", b"1")])
    assert set(await newest(Silent(embedded, times), PLACE)) == {b"a", b"b"}


async def test_a_reader_that_stays_silent_has_not_read_its_partition(embedded: SqliteLog) -> None:
    await embedded.append(*PLACE, [Record(b"a", b"1"), Record(b"b", b"1")])
    with pytest.raises(LogUnavailableError, match="could be read up to 0, not to 2"):
        await newest(Silent(embedded, SILENT_SECONDS + 1), PLACE)


async def test_a_key_that_is_written_anew_while_a_compacted_partition_is_read_is_not_missed(
    embedded: SqliteLog,
) -> None:
    """The newer record takes the older one's place, and stands behind the end that was known."""
    await embedded.append(*PLACE, [Record(b"a", b"1"), Record(b"b", b"1"), Record(b"c", b"1")])
    busy = Busy(
        embedded, [Record(b"a", b"2")], [Record(b"b", b"2"), Record(b"c", None)], [Record(b"a", b"3")]
    )
    found = await newest(busy, PLACE)
    assert {key: stored.value for key, stored in found.items()} == {b"a": b"3", b"b": b"2", b"c": None}


async def test_what_is_parked_anew_while_one_looks_for_it_is_found(embedded: SqliteLog) -> None:
    parked = Parked(group="g", topic="t", partition=0, aggregate="counter|a", offset=1, reason="", at=now())
    await Parking(embedded).put(parked)
    again = (await newest(embedded, PLACE))[parked.id.encode()]
    busy = Busy(embedded, [Record(again.key, again.value)])
    assert await Parking(busy).all() == {parked.id: parked}
