"""The Kafka log keeps the contract of every log, and its promises about a broker that is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

import aiokafka
import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7

from streams.log import (
    LogShortenedError,
    LogUnavailableError,
    Position,
    Record,
    TopicPartition,
    TopicSpec,
    TopologyMismatchError,
)
from streams.log.kafka.log import KafkaLog
from streams.log.kafka.members import KafkaMember
from streams.log.kafka.private import tasks_behind
from streams.log.topology import LOG_TIME
from tests.servers import Kafka
from tests.streams.log_contract import LogContract, Told, read, read_place

pytestmark = pytest.mark.kafka

T = TypeVar("T")
Unique = Callable[[str], str]


@pytest.fixture
async def log(kafka: Kafka) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka.url, session_timeout=1.5)
    await log.start()
    yield log
    await log.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.fixture
async def own_log(own_kafka: Kafka) -> AsyncIterator[KafkaLog]:
    """On a broker that the test may kill and freeze; gives up after 2 s."""
    log = KafkaLog(own_kafka.url, timeout=2.0, session_timeout=6.0)
    await log.start()
    await log.ensure([TopicSpec("t", 2)])
    yield log
    await log.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def until_available(call: Callable[[], Awaitable[T]], within: float = 40.0) -> T:
    """The result of `call`, asked again while the log is unavailable."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await call()
            except LogUnavailableError:
                await asyncio.sleep(0.1)


def now() -> float:
    return asyncio.get_running_loop().time()


class TestKafkaLog(LogContract):
    pass


async def test_topics_are_made_compacted_or_kept_for_ever_as_wanted_and_verified(
    log: KafkaLog, unique: Unique
) -> None:
    state, events, frames = unique("state"), unique("events"), unique("frames")
    wanted = [
        TopicSpec(state, 2, compacted=True),
        TopicSpec(events, 2),
        TopicSpec(frames, 2, retention_ms=60_000),
    ]
    await log.ensure(wanted)
    await log.ensure(wanted)
    with pytest.raises(TopologyMismatchError, match=rf"{state}.*cleanup\.policy=compact.*needs delete"):
        await log.ensure([TopicSpec(state, 2)])
    with pytest.raises(TopologyMismatchError, match=rf"{frames}.*retention\.ms=60000.*needs -1"):
        await log.ensure([TopicSpec(frames, 2)])


async def test_what_waits_for_many_partitions_and_topics_goes_in_one_request(
    log: KafkaLog, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [unique("one"), unique("two")]
    await log.ensure([TopicSpec(topic, 24) for topic in topics])
    for topic in topics:  # until all of them have their leaders
        await asyncio.gather(*(log.append(topic, number, [Record(b"k", b"")]) for number in range(24)))
    requests: list[ProduceRequest] = []
    send = AIOKafkaConnection.send

    def counted(self: AIOKafkaConnection, request: object, expect_response: bool = True) -> object:
        if isinstance(request, ProduceRequest):
            requests.append(request)
        return send(self, request, expect_response)

    monkeypatch.setattr(AIOKafkaConnection, "send", counted)
    await asyncio.gather(
        *(
            log.append_patiently(topic, number, [Record(b"k", b"%d" % count)])
            for count in range(3)
            for topic in topics
            for number in range(24)
        )
    )
    named = [topic for request in requests for topic in request.build(ProduceRequest_v7).topics]
    assert {topic: len(partitions) for topic, partitions in named} == dict.fromkeys(topics, 24)
    assert len(requests) == 1


async def test_a_member_started_again_under_its_node_name_gets_its_partitions_at_once(
    log: KafkaLog, unique: Unique
) -> None:
    topic, group = unique("t"), unique("g")
    await log.ensure([TopicSpec(topic, 4)])
    await log.append(topic, 0, [Record(b"k", b"v")])
    for _ in range(2):
        told = Told()
        member = log.member(group, [topic], "n1", told)
        await member.start()
        await read(member, 1, within=5)
        assert len(told.held) == 4
        await member.close()


async def test_a_command_has_the_time_at_which_the_log_took_it_whatever_its_edges_clock_says(
    kafka: Kafka, log: KafkaLog, unique: Unique
) -> None:
    topic = unique("t")
    await log.ensure([TopicSpec(topic, 1, settings=LOG_TIME)])
    before = time.time_ns() // 1_000_000
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.url)
    await producer.start()
    await producer.send_and_wait(topic, b"v", timestamp_ms=1_000)
    await producer.stop()
    await log.append(topic, 0, [Record(b"k", b"v")])
    found = await read_place(log, TopicPartition(topic, 0), 2)
    assert all(before <= record.timestamp <= time.time_ns() // 1_000_000 for record in found)


async def test_where_the_log_has_lost_its_tail_a_member_goes_on_at_the_end_and_reads_no_history(
    log: KafkaLog, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """Its position is behind the end of the log: one broker alone lost power."""
    topic, group = unique("t"), unique("g")
    await log.ensure([TopicSpec(topic, 1)])
    place = TopicPartition(topic, 0)
    await log.append(topic, 0, [Record(b"k", b"%d" % number) for number in range(5)])
    member = log.member(group, [topic], "n1", Told())
    await member.start()
    await read(member, 5)
    await member.commit({place: Position(9)})
    await member.close()
    again = log.member(group, [topic], "n1", Told())
    await again.start()
    async with asyncio.timeout(20):
        with pytest.raises(LogShortenedError) as said:
            while True:
                assert await again.poll(0.2) == {}
    assert said.value.places == {place}
    assert "has lost its tail" in caplog.text
    await again.poll(0.1)
    await log.append(topic, 0, [Record(b"k", b"new")])
    assert [record.value for record in await read(again, 1)] == [b"new"]
    await again.close()


@pytest.mark.parametrize("which", range(3))
async def test_a_member_whose_work_for_the_group_ends_says_so_and_joins_anew(
    log: KafkaLog, unique: Unique, which: int
) -> None:
    """Its view of the cluster, its fetches, its coordination: whatever ends, no partition is kept in silence."""
    topic, told = unique("t"), Told()
    await log.ensure([TopicSpec(topic, 4)])
    await log.append(topic, 0, [Record(b"k", b"1")])
    member = KafkaMember(log, unique("g"), [topic], "n1", told, 0.0)
    await member.start()
    await read(member, 1)
    tasks_behind(member._consumer)[which].cancel()
    with pytest.raises(LogUnavailableError, match="ended membership"):
        await read(member, 1)
    assert [record.value for record in await read(member, 1, within=40)] == [b"1"]
    assert [what for what, _ in told.history] == ["gained", "lost", "gained"]
    assert len(told.held) == 4
    await member.close()


async def test_a_broker_that_is_not_there_at_the_start_is_named_in_bounded_time() -> None:
    log = KafkaLog("127.0.0.1:1", timeout=0.5)
    started = now()
    with pytest.raises(
        LogUnavailableError, match=r"Kafka at 127\.0\.0\.1:1 did not be reached|127\.0\.0\.1:1"
    ):
        await log.start()
    assert 0.4 < now() - started < 3


@pytest.mark.kill
async def test_a_frozen_broker_is_named_at_the_start_and_lets_everything_close(own_kafka: Kafka) -> None:
    log = KafkaLog(own_kafka.url, timeout=1.0, session_timeout=1.5)
    await log.start()
    await log.ensure([TopicSpec("t", 2)])
    await log.append("t", 0, [Record(b"k", b"v")])
    member = log.member("g", ["t"], "n1", Told())
    await member.start()
    await read(member, 1)
    own_kafka.pause()
    with pytest.raises(LogUnavailableError, match=own_kafka.url):
        await KafkaLog(own_kafka.url, timeout=1.0).start()
    with pytest.raises(LogUnavailableError, match=own_kafka.url):
        await log.append("t", 0, [Record(b"k", b"v")])
    started = now()
    await log.close()
    assert now() - started < 15
    # An attempt to connect that was under way ends by its own timeout of a second.
    async with asyncio.timeout(5):
        while [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    own_kafka.resume()


@pytest.mark.long(14)
@pytest.mark.kill
async def test_a_killed_broker_makes_calls_unavailable_in_bounded_time_and_all_recovers_when_it_is_back(
    own_kafka: Kafka, own_log: KafkaLog, caplog: pytest.LogCaptureFixture
) -> None:
    place = TopicPartition("t", 0)
    told = Told()
    member = own_log.member("g", ["t"], "n1", told)
    await member.start()
    reader = own_log.reader()
    await reader.assign({place: 0})
    acked = [offset for n in range(20) for offset in await own_log.append("t", 0, [Record(b"k", b"%d" % n)])]
    await read(member, 20)
    await read(reader, 20)
    await member.commit({place: Position(20, "note")})

    await asyncio.to_thread(own_kafka.kill)
    started = now()
    outcomes = await asyncio.gather(
        own_log.append("t", 0, [Record(b"k", b"lost")]),
        own_log.ends([place]),
        own_log.committed("g", [place]),
        member.commit({place: Position(20)}),
        return_exceptions=True,
    )
    for outcome in outcomes:
        assert isinstance(outcome, LogUnavailableError)
        assert own_kafka.url in str(outcome)
    assert 1.5 < now() - started < 6
    for source in (member, reader):
        with pytest.raises(LogUnavailableError, match=own_kafka.url):
            await source.poll(0.5)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["streams.log.kafka.log"]

    await asyncio.to_thread(own_kafka.start)
    [offset] = await until_available(lambda: own_log.append("t", 0, [Record(b"k", b"after")]))
    found = await read_place(own_log, place, offset + 1)
    assert [record.offset for record in found][:20] == acked
    assert found[-1].value == b"after"
    for source in (member, reader):
        assert (await until_available(partial(read, source, 1)))[-1].offset >= 20
    await until_available(lambda: member.commit({place: Position(21, "later")}))
    assert (await own_log.committed("g", [place]))[place] == Position(21, "later")
    await member.close()
    await reader.close()


@pytest.mark.kill
async def test_a_short_pause_of_the_broker_is_waited_for(own_kafka: Kafka, own_log: KafkaLog) -> None:
    await own_log.append("t", 0, [Record(b"k", b"first")])
    own_kafka.pause()
    pending = asyncio.create_task(own_log.append("t", 0, [Record(b"k", b"second")]))
    done, _ = await asyncio.wait([pending], timeout=0.5)
    assert not done
    own_kafka.resume()
    assert list(await pending) == [1]


@pytest.mark.kill
async def test_a_frozen_broker_blocks_no_later_append_for_ever(own_kafka: Kafka, own_log: KafkaLog) -> None:
    await own_log.append("t", 0, [Record(b"k", b"first")])
    own_kafka.pause()
    started = now()
    outcomes = await asyncio.gather(
        *(own_log.append("t", n % 2, [Record(b"k", b"%d" % n)]) for n in range(10)), return_exceptions=True
    )
    assert all(isinstance(outcome, LogUnavailableError) for outcome in outcomes)
    assert 1.5 < now() - started < 5
    own_kafka.resume()
    offsets = [
        offset
        for n in range(2)
        for offset in await until_available(partial(own_log.append, "t", n, [Record(b"k", b"again")]))
    ]
    assert len(offsets) == 2


@pytest.mark.long(12)
@pytest.mark.kill
async def test_every_acknowledged_record_is_there_after_the_broker_was_killed_under_traffic(
    own_kafka: Kafka, own_log: KafkaLog
) -> None:
    acked: dict[tuple[int, int], bytes] = {}
    stop = asyncio.Event()
    enough = asyncio.Event()

    wanted = 500

    async def write(task: int) -> None:
        number = 0
        while not stop.is_set():
            value = b"%d/%d" % (task, number)
            number += 1
            try:
                [offset] = await own_log.append("t", task % 2, [Record(b"k", value)])
            except LogUnavailableError:
                continue
            assert (task % 2, offset) not in acked
            acked[task % 2, offset] = value
            if len(acked) >= wanted:
                enough.set()

    writers = [asyncio.create_task(write(task)) for task in range(10)]
    await enough.wait()
    await asyncio.to_thread(own_kafka.kill)
    await asyncio.to_thread(own_kafka.start)
    wanted = len(acked) + 500
    enough.clear()
    await asyncio.wait_for(enough.wait(), 60)
    stop.set()
    await asyncio.gather(*writers)
    places = [TopicPartition("t", 0), TopicPartition("t", 1)]
    reader = own_log.reader()
    await reader.assign(dict.fromkeys(places, 0))
    found = await read(reader, sum((await own_log.ends(places)).values()))
    await reader.close()
    stored = {(r.partition, r.offset): r.value for r in found}
    assert {at: stored.get(at) for at in acked} == acked
