"""Reading what a compacted partition holds, while others write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.following.parking import PLACE, Parked, Parking
from streams.log import Record, TopicPartition
from streams.log.ranges import newest
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
