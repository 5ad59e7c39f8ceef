"""The first start lays down how many partitions the log has; every other one obeys, or is refused with one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from commands.base import Area
from streams.log import Log, LogError, Record, TopicPartition, TopologyMismatchError
from streams.log.envelope import NewerReleaseError
from streams.log.founding import KEY, PLACE, found, join
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    yield log
    await log.close()


def test_a_key_lives_where_kafkas_own_partitioner_puts_it() -> None:
    """The hash of "foobar" is that of Apache Kafka's own test of its murmur2: -790332482."""
    hashed = -790332482 & 0x7FFFFFFF
    for count in (1, 7, 24, 500):
        assert Layout(count).partition_of("foobar") == hashed % count


async def test_the_first_start_lays_down_what_every_later_one_has(log: SqliteLog) -> None:
    await found(log, 3)
    assert log.layout == Layout(3)
    await log.ensure(topics(log.layout))
    place = events_topic(Area.TOKEN)
    assert log.places(place) == [TopicPartition(place, number) for number in range(3)]
    log.layout = Layout()
    await join(log)
    assert log.layout == Layout(3)
    await found(log, 3)
    assert (await log.ends([PLACE]))[PLACE] == 1


async def test_who_says_nothing_lays_down_24(log: SqliteLog) -> None:
    await found(log)
    assert log.layout == Layout(24)


@pytest.mark.parametrize("begin", [found, join])
async def test_another_number_is_refused_with_one_line_and_nothing_is_made(
    log: SqliteLog, begin: Callable[[Log, int], Awaitable[None]]
) -> None:
    await found(log, 3)
    with pytest.raises(TopologyMismatchError) as refused:
        await begin(log, 5)
    assert str(refused.value) == (
        "CHARGESPHERE_PARTITIONS is 5, and the log has had 3 partitions since its first start: leave it out"
    )
    assert (await log.ends([PLACE]))[PLACE] == 1


async def test_of_two_first_starts_at_once_the_first_record_counts(log: SqliteLog) -> None:
    both = await asyncio.gather(found(log, 3), found(log, 5), return_exceptions=True)
    (refused,) = [one for one in both if one is not None]
    assert isinstance(refused, TopologyMismatchError)
    await join(log)
    assert log.layout.partitions in (3, 5)
    assert str(log.layout.partitions) in str(refused)
    before = log.layout
    await log.append(*PLACE, [Record(KEY, b'{"v":1,"partitions":7}')])
    await join(log)
    assert log.layout == before


async def test_who_only_looks_makes_no_log(log: SqliteLog) -> None:
    with pytest.raises(LogError):
        await join(log)
    await log.ensure([spec for spec in topics(Layout(1)) if spec.name == PLACE.topic])
    with pytest.raises(TopologyMismatchError, match="no topology yet"):
        await join(log)


@pytest.mark.parametrize(
    ("value", "error"), [(b'{"v":2,"partitions":3}', NewerReleaseError), (b"{", LogError)]
)
async def test_a_record_that_cannot_be_read_is_obeyed_by_nobody(
    log: SqliteLog, value: bytes, error: type[LogError]
) -> None:
    await log.ensure([spec for spec in topics(Layout(1)) if spec.name == PLACE.topic])
    await log.append(*PLACE, [Record(KEY, value)])
    with pytest.raises(error):
        await found(log)
