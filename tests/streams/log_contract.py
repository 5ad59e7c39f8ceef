"""What every log must do: subclass `LogContract` and give it a `log` fixture, started."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import uuid4

import pytest

from streams.log import (
    MAX_APPEND_BYTES,
    Listener,
    Log,
    LogError,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
    TopologyMismatchError,
)

Batch = Mapping[TopicPartition, Sequence[Stored]]


class Told(Listener):
    """Remembers what it was told and holds."""

    def __init__(self) -> None:
        self.held: dict[TopicPartition, Position] = {}
        self.history: list[tuple[str, frozenset[TopicPartition]]] = []

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        self.held |= positions
        self.history.append(("gained", frozenset(positions)))

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            del self.held[place]
        self.history.append(("lost", places))


async def read(source: Reader | Member, count: int, within: float = 20.0) -> list[Stored]:
    """Poll until `count` records came."""
    found: list[Stored] = []
    async with asyncio.timeout(within):
        while len(found) < count:
            for records in (await source.poll(1.0)).values():
                found.extend(records)
    return found


async def read_place(log: Log, place: TopicPartition, count: int, offset: int = 0) -> list[Stored]:
    reader = log.reader()
    await reader.assign({place: offset})
    try:
        return await read(reader, count)
    finally:
        await reader.close()


async def poll_until_held(members: Mapping[Member, Told], *counts: int, within: float = 40.0) -> None:
    """Poll all members until they hold so many partitions, whoever holds which number."""
    async with asyncio.timeout(within):
        while sorted(len(told.held) for told in members.values()) != sorted(counts):
            await asyncio.gather(*(member.poll(0.1) for member in members))


class LogContract:
    @pytest.fixture
    async def topic(self, log: Log) -> str:
        """A topic of four partitions."""
        name = f"test.{uuid4().hex}"
        await log.ensure([TopicSpec(name, 4)])
        return name

    async def test_appended_records_are_read_in_order_with_their_offsets(self, log: Log, topic: str) -> None:
        offsets = await log.append(topic, 1, [Record(b"k", b"one"), Record(b"k", b"two")])
        last = await log.append(topic, 1, [Record(b"k", b"three")])
        found = await read_place(log, TopicPartition(topic, 1), 3)
        assert [record.value for record in found] == [b"one", b"two", b"three"]
        assert [record.offset for record in found] == [*offsets, *last]
        assert sorted({record.offset for record in found}) == [record.offset for record in found]
        assert {record.place for record in found} == {TopicPartition(topic, 1)}

    async def test_headers_keys_and_times_come_back_as_given(self, log: Log, topic: str) -> None:
        headers = (("ce_id", b"1"), ("ce_type", "é".encode()), ("ce_id", b""))
        await log.append(topic, 0, [Record(b"\x00\xff", b"v", headers)])
        [found] = await read_place(log, TopicPartition(topic, 0), 1)
        assert (found.key, found.value, found.headers) == (b"\x00\xff", b"v", headers)
        assert found.timestamp > 1_700_000_000_000

    async def test_missing_and_empty_keys_and_values_are_told_apart(self, log: Log, topic: str) -> None:
        given = [Record(None, None), Record(b"", b""), Record(None, b""), Record(b"", None)]
        await log.append(topic, 0, given)
        found = await read_place(log, TopicPartition(topic, 0), 4)
        assert [Record(record.key, record.value) for record in found] == given

    async def test_nothing_appended_is_nothing_done(self, log: Log, topic: str) -> None:
        assert list(await log.append(topic, 0, [])) == []
        assert await log.ends([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 0}

    async def test_many_appends_at_once_are_all_there_and_each_caller_gets_its_own_offset(
        self, log: Log, topic: str
    ) -> None:
        async def one(number: int) -> tuple[TopicPartition, int, bytes]:
            value = b"%d" % number
            [offset] = await log.append(topic, number % 4, [Record(b"k", value)])
            return TopicPartition(topic, number % 4), offset, value

        acked = await asyncio.gather(*(one(number) for number in range(400)))
        reader = log.reader()
        await reader.assign({TopicPartition(topic, partition): 0 for partition in range(4)})
        found = await read(reader, 400)
        await reader.close()
        assert {(record.place, record.offset, record.value) for record in found} == set(acked)

    async def test_appends_of_one_task_one_after_the_other_keep_their_order_though_not_awaited(
        self, log: Log, topic: str
    ) -> None:
        tasks = [asyncio.create_task(log.append(topic, 0, [Record(b"k", b"%d" % n)])) for n in range(100)]
        offsets = [offset for [offset] in await asyncio.gather(*tasks)]
        assert offsets == sorted(offsets)
        found = await read_place(log, TopicPartition(topic, 0), 100)
        assert [record.value for record in found] == [b"%d" % n for n in range(100)]

    async def test_appends_with_and_without_haste_keep_their_order(self, log: Log, topic: str) -> None:
        ways = [log.append_patiently, log.append, log.append_patiently, log.append_patiently, log.append]
        appends = [
            asyncio.ensure_future(way(topic, 0, [Record(b"k", str(number).encode())]))
            for number, way in enumerate(ways)
        ]
        offsets = await asyncio.gather(*appends)
        assert [offset for [offset] in offsets] == list(range(5))
        stored = await read_place(log, TopicPartition(topic, 0), 5)
        assert [one.value for one in stored] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_a_record_of_300_kilobytes_passes(self, log: Log, topic: str) -> None:
        value = bytes(range(256)) * 1200
        await log.append(topic, 0, [Record(b"big", value), Record(b"big", value)])
        found = await read_place(log, TopicPartition(topic, 0), 2)
        assert [record.value for record in found] == [value, value]

    async def test_an_append_over_the_limit_is_refused_and_the_largest_one_passes(
        self, log: Log, topic: str
    ) -> None:
        with pytest.raises(LogError, match="over 1000000"):
            await log.append(topic, 0, [Record(b"k", b"v" * 500_000)] * 2)
        largest = [Record(b"k", b"v" * (MAX_APPEND_BYTES // 2 - 33))] * 2
        assert list(await log.append(topic, 0, largest)) == [0, 1]
        found = await asyncio.gather(
            *(log.append(topic, 0, [Record(b"k", b"v" * 400_000)]) for _ in range(5))
        )
        assert [list(offsets) for offsets in found] == [[2], [3], [4], [5], [6]]

    async def test_a_record_without_a_key_is_refused_in_a_compacted_topic(self, log: Log, topic: str) -> None:
        state = f"{topic}.state"
        await log.ensure([TopicSpec(state, 1, compacted=True)])
        with pytest.raises(LogError, match=f"{state} needs a key"):
            await log.append(state, 0, [Record(b"k", b"v"), Record(None, b"v")])
        assert list(await log.append(state, 0, [Record(b"k", b"v")])) == [0]

    async def test_beginnings_and_ends_are_the_first_readable_and_the_next_offset(
        self, log: Log, topic: str
    ) -> None:
        empty, used = TopicPartition(topic, 0), TopicPartition(topic, 1)
        [*_, last] = await log.append(topic, 1, [Record(b"k", b"1"), Record(b"k", b"2")])
        assert await log.beginnings([empty, used]) == {empty: 0, used: 0}
        assert await log.ends([empty, used]) == {empty: 0, used: last + 1}

    async def test_a_topic_is_made_once_and_a_wrong_partition_count_is_named(
        self, log: Log, topic: str
    ) -> None:
        await log.ensure([TopicSpec(topic, 4)])
        with pytest.raises(TopologyMismatchError, match=rf"{topic}.*\b4\b.*\b24\b"):
            await log.ensure([TopicSpec(topic, 24)])

    async def test_a_partition_that_does_not_exist_is_a_topology_mismatch(self, log: Log, topic: str) -> None:
        with pytest.raises(TopologyMismatchError, match="no-such-topic"):
            await log.append("no-such-topic", 0, [Record(b"k", b"v")])
        with pytest.raises(TopologyMismatchError, match=topic):
            await log.append(topic, 4, [Record(b"k", b"v")])

    async def test_a_reader_starts_at_its_offset_and_waits_for_what_comes(self, log: Log, topic: str) -> None:
        place = TopicPartition(topic, 2)
        offsets = await log.append(topic, 2, [Record(b"k", b"%d" % n) for n in range(5)])
        reader = log.reader()
        await reader.assign({place: offsets[3]})
        assert [record.value for record in await read(reader, 2)] == [b"3", b"4"]
        assert await reader.poll(0.05) == {}
        waiting = asyncio.create_task(read(reader, 1))
        await asyncio.sleep(0)
        await log.append(topic, 2, [Record(b"k", b"5")])
        assert [record.value for record in await waiting] == [b"5"]
        await reader.close()

    async def test_a_poll_returns_no_more_than_its_limit_and_goes_on_after_it(
        self, log: Log, topic: str
    ) -> None:
        for partition in range(2):
            await log.append(topic, partition, [Record(b"k", b"%d" % n) for n in range(10)])
        reader = log.reader()
        await reader.assign({TopicPartition(topic, 0): 0, TopicPartition(topic, 1): 0})
        seen: dict[TopicPartition, list[bytes | None]] = {}
        async with asyncio.timeout(20):
            while sum(map(len, seen.values())) < 20:
                batch = await reader.poll(1.0, limit=3)
                assert sum(map(len, batch.values())) <= 3
                for place, records in batch.items():
                    seen.setdefault(place, []).extend(record.value for record in records)
        assert list(seen.values()) == [[b"%d" % n for n in range(10)]] * 2
        await reader.close()

    async def test_a_reader_assigned_again_reads_exactly_the_new_partitions_from_the_new_offsets(
        self, log: Log, topic: str
    ) -> None:
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        await log.append(topic, 0, [Record(b"k", b"a0"), Record(b"k", b"a1")])
        await log.append(topic, 1, [Record(b"k", b"b0"), Record(b"k", b"b1")])
        reader = log.reader()
        await reader.assign({first: 0})
        assert [record.value for record in await read(reader, 2)] == [b"a0", b"a1"]
        await reader.assign({first: 1, second: 0})
        again = await read(reader, 3)
        assert {record.value for record in again} == {b"a1", b"b0", b"b1"}
        await reader.assign({second: 1})
        assert [record.value for record in await read(reader, 1)] == [b"b1"]
        await log.append(topic, 0, [Record(b"k", b"a2")])
        assert await reader.poll(0.3) == {}
        await reader.assign({})
        assert await reader.poll(0.05) == {}
        await reader.close()

    async def test_a_member_alone_gains_all_partitions_from_the_beginning(self, log: Log, topic: str) -> None:
        await log.append(topic, 3, [Record(b"k", b"v")])
        told = Told()
        member = log.member(f"g.{topic}", [topic], "n1", told)
        await member.start()
        [found] = await read(member, 1)
        assert told.held == {TopicPartition(topic, partition): Position(0) for partition in range(4)}
        assert found.value == b"v"
        await member.close()

    async def test_the_committed_position_and_its_note_are_where_the_next_member_begins(
        self, log: Log, topic: str
    ) -> None:
        group, place = f"g.{topic}", TopicPartition(topic, 0)
        await log.append(topic, 0, [Record(b"k", b"%d" % n) for n in range(3)])
        assert await log.committed(group, [place]) == {}
        member = log.member(group, [topic], "n1", Told())
        await member.start()
        await read(member, 3)
        await member.commit({place: Position(2, "epoch=7 é")})
        await member.close()
        assert await log.committed(group, [place, TopicPartition(topic, 1)]) == {
            place: Position(2, "epoch=7 é")
        }
        told = Told()
        again = log.member(group, [topic], "n1", told)
        await again.start()
        assert [record.value for record in await read(again, 1)] == [b"2"]
        assert told.held[place] == Position(2, "epoch=7 é")
        assert told.held[TopicPartition(topic, 1)] == Position(0)
        await again.close()

    async def test_a_partition_is_read_from_where_its_listener_begins_and_the_position_stays(
        self, log: Log, topic: str
    ) -> None:
        class Begins(Told):
            def begin(self, place: TopicPartition, position: Position) -> int:
                return int(position.note) if position.note else position.offset

        group, place = f"g.{topic}", TopicPartition(topic, 0)
        await log.append(topic, 0, [Record(b"k", b"%d" % n) for n in range(5)])
        member = log.member(group, [topic], "n1", Begins())
        await member.start()
        await read(member, 5)
        await member.commit({place: Position(1, "3")})
        await member.close()
        told = Begins()
        again = log.member(group, [topic], "n1", told)
        await again.start()
        assert [record.value for record in await read(again, 2)] == [b"3", b"4"]
        assert told.held[place] == Position(1, "3")
        await again.close()

    async def test_two_members_share_and_the_one_that_stays_gets_all_back(self, log: Log, topic: str) -> None:
        group = f"g.{topic}"
        told1, told2 = Told(), Told()
        one = log.member(group, [topic], "n1", told1)
        two = log.member(group, [topic], "n2", told2)
        await one.start()
        await poll_until_held({one: told1}, 4)
        starting = asyncio.create_task(two.start())
        await poll_until_held({one: told1}, 2)
        await starting
        await poll_until_held({one: told1, two: told2}, 2, 2)
        assert told1.held.keys().isdisjoint(told2.held)
        for partition in range(4):
            await log.append(topic, partition, [Record(b"k", b"%d" % partition)])
        assert {r.place for r in await read(one, 2)} == told1.held.keys()
        assert {r.place for r in await read(two, 2)} == told2.held.keys()
        kept = next(iter(told2.held))
        await two.commit({kept: Position(1, "two was here")})
        await two.close()
        await poll_until_held({one: told1}, 4)
        assert told1.held[kept] == Position(1, "two was here")
        await one.close()

    async def test_a_member_may_commit_while_it_is_told_of_its_loss(self, log: Log, topic: str) -> None:
        class Commits(Told):
            async def lost(self, places: frozenset[TopicPartition]) -> None:
                await one.commit({place: Position(1, "handed over") for place in places})
                await super().lost(places)

        for partition in range(4):
            await log.append(topic, partition, [Record(b"k", b"%d" % partition)])
        told1, told2 = Commits(), Told()
        one = log.member(f"g.{topic}", [topic], "n1", told1)
        two = log.member(f"g.{topic}", [topic], "n2", told2)
        await one.start()
        await poll_until_held({one: told1}, 4)
        await two.start()
        await poll_until_held({one: told1, two: told2}, 2, 2)
        assert set(told2.held.values()) == {Position(1, "handed over")}
        await one.close()
        await two.close()

    async def test_a_commit_of_a_partition_that_is_not_held_is_refused(self, log: Log, topic: str) -> None:
        other = f"{topic}.other"
        await log.ensure([TopicSpec(other, 1)])
        member = log.member(f"g.{topic}", [topic], "n1", Told())
        await member.start()
        await log.append(topic, 0, [Record(b"k", b"v")])
        await read(member, 1)
        with pytest.raises(LogUnavailableError, match=other):
            await member.commit({TopicPartition(other, 0): Position(1)})
        await member.close()

    async def test_a_poll_that_is_cancelled_loses_nothing(self, log: Log, topic: str) -> None:
        place = TopicPartition(topic, 0)
        reader = log.reader()
        await reader.assign({place: 0})
        waiting = asyncio.create_task(reader.poll(30.0))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await log.append(topic, 0, [Record(b"k", b"v")])
        assert [record.value for record in await read(reader, 1)] == [b"v"]
        await reader.close()

    async def test_a_listener_that_raises_ends_its_members_polls_with_its_error(
        self, log: Log, topic: str
    ) -> None:
        class Raises(Told):
            async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
                raise ZeroDivisionError

        member = log.member(f"g.{topic}", [topic], "n1", Raises())
        await member.start()
        with pytest.raises(ZeroDivisionError):
            await read(member, 1)
        await member.close()

    async def test_nothing_is_polled_while_the_listener_is_told_of_a_gain(self, log: Log, topic: str) -> None:
        told, go_on = asyncio.Event(), asyncio.Event()

        class Slow(Told):
            async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
                told.set()
                await go_on.wait()

        await log.append(topic, 0, [Record(b"k", b"v")])
        member = log.member(f"g.{topic}", [topic], "n1", Slow())
        await member.start()
        async with asyncio.timeout(20):
            await told.wait()
        assert await member.poll(0.3) == {}
        go_on.set()
        assert [record.value for record in await read(member, 1)] == [b"v"]
        await member.close()

    async def test_a_closed_log_is_unavailable_to_all_who_use_it(self, log: Log, topic: str) -> None:
        place = TopicPartition(topic, 0)
        reader = log.reader()
        await reader.assign({place: 0})
        member = log.member(f"g.{topic}", [topic], "n1", Told())
        await member.start()
        waiting = [asyncio.create_task(source.poll(30.0)) for source in (reader, member)]
        await asyncio.sleep(0)
        await log.close()
        for call in (
            *waiting,
            log.append(topic, 0, [Record(b"k", b"v")]),
            log.ends([place]),
            member.poll(1.0),
        ):
            with pytest.raises(LogUnavailableError):
                await call
        await member.close()
        await reader.close()
