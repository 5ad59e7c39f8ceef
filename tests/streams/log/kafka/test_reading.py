"""Reading from Kafka does not end in silence: against consumers whose work ends in every way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiokafka
import pytest
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError

from streams.log import LogShortenedError, LogUnavailableError, Position, TopicPartition
from streams.log.kafka import reading as kafka_reading
from streams.log.kafka.reading import KafkaReader

PLACE = TopicPartition("t", 0)
OTHER = TopicPartition("u", 0)


class Fetcher:
    _fetcher_timeout = 0.2

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._fetch_task = task

    def _get_actions_per_node(self, assignment: object) -> tuple[list[object], ...]:
        return ([],)


class Holder:
    """Something that holds a task of a consumer."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._sync_task = self._reset_committed_task = task

    async def send(self, node: int, request: object) -> None: ...


class Consumer:
    """A consumer of one partition in which record n has the value n, up to `end`; it does what a test says next."""

    def __init__(self, end: int) -> None:
        self.behind = {name: asyncio.create_task(asyncio.sleep(3600)) for name in ("sync", "fetch", "reset")}
        self._client = Holder(self.behind["sync"])
        self._fetcher = Fetcher(self.behind["fetch"])
        self._coordinator = Holder(self.behind["reset"])
        self.at: dict[Any, int] = {}
        self.end = end
        self.failure: BaseException | None = None
        self.turn = asyncio.Event()

    def assign(self, places: Sequence[Any]) -> None:
        self.at = dict.fromkeys(places, 0)

    def seek(self, place: Any, offset: int) -> None:
        self.at[place] = offset

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        while True:
            if self.failure is not None:
                raise self.failure
            found = {
                place: [
                    aiokafka.ConsumerRecord(
                        place.topic, place.partition, offset, 1, 0, b"k", b"%d" % offset, None, 1, 1, ()
                    )
                    for offset in range(at, min(self.end, at + 2))
                ]
                for place, at in self.at.items()
                if at < self.end
            }
            if found:
                for place, records in found.items():
                    self.at[place] += len(records)
                return found
            self.turn.clear()
            await self.turn.wait()

    def fail(self, error: BaseException) -> None:
        self.failure = error
        self.turn.set()


class FakeKafka:
    """What reading needs of the log, with consumers that a test can break."""

    bootstrap = "kafka:9092"
    timeout = 5.0
    session_timeout = 6.0

    def __init__(self) -> None:
        self.made: list[Consumer] = []
        self.ended: list[Consumer] = []
        self.away = 0
        self.first_offset, self.end_offset = 0, 5
        self.grow = 5
        """Where consumers made from now on end."""

    async def new_consumer(self, **settings: object) -> Any:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise LogUnavailableError("Kafka at kafka:9092 did not be reached")
        self.made.append(Consumer(self.grow))
        return self.made[-1]

    def end(self, client: Any, *, abandon: bool = False) -> asyncio.Task[None]:
        async def ending() -> None:
            for task in client.behind.values():
                task.cancel()

        self.ended.append(client)
        return asyncio.create_task(ending())

    async def surely(self, work: Coroutine[object, object, None]) -> None:
        await work

    async def partitions(self, topic: str) -> int:
        return 1

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        return {}

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(places, self.first_offset)

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(places, self.end_offset)

    def check_open(self) -> None: ...
    def check_away(self, since: float) -> None: ...
    def register(self, owner: object, close: object) -> None: ...
    def forget(self, owner: object) -> None: ...


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
async def reader(kafka: FakeKafka) -> AsyncIterator[KafkaReader]:
    reader = KafkaReader(kafka, 0.0)
    await reader.assign({PLACE: 0})
    yield reader
    await reader.close()
    assert kafka.ended == kafka.made


class Heard:
    """All that polls gave, and said."""

    def __init__(self, reader: KafkaReader) -> None:
        self.values: list[tuple[str, int]] = []
        self.failures: list[str] = []
        self._reader = reader

    async def until(self, values: int, failures: int = 0, limit: int = 500) -> None:
        async with asyncio.timeout(5):
            while len(self.values) < values or len(self.failures) < failures:
                try:
                    found = await self._reader.poll(1.0, limit)
                except LogUnavailableError as error:
                    self.failures.append(str(error))
                    continue
                for place, records in found.items():
                    self.values += [(place.topic, int(record.value or b"")) for record in records]


ALL = [("t", number) for number in range(5)]


def cancel(name: str) -> Callable[[Consumer], object]:
    return lambda consumer: consumer.behind[name].cancel()


ENDS: dict[str, Callable[[Consumer], object]] = {
    "a Kafka error": lambda consumer: consumer.fail(CorruptRecordException("damaged")),
    "an error that is none of Kafka's": lambda consumer: consumer.fail(ValueError("a bug")),
    "a cancellation that nobody asked for": lambda consumer: consumer.fail(asyncio.CancelledError()),
    "the end of its fetches": cancel("fetch"),
    "the end of its view of the cluster": cancel("sync"),
    "the end of its coordination": cancel("reset"),
}


@pytest.mark.parametrize("how", ENDS)
async def test_any_end_of_reading_is_raised_once_and_then_it_goes_on(
    kafka: FakeKafka, reader: KafkaReader, how: str
) -> None:
    heard = Heard(reader)
    await heard.until(3, limit=1)
    ENDS[how](kafka.made[0])
    await heard.until(5, failures=1)
    assert heard.values == ALL
    [failure] = heard.failures
    assert failure.startswith("t on Kafka at kafka:9092 cannot be read: ")
    assert (len(kafka.made), kafka.ended) == (2, [kafka.made[0]])


async def test_a_poll_that_waits_is_told_at_once(kafka: FakeKafka, reader: KafkaReader) -> None:
    await Heard(reader).until(5)
    waiting = asyncio.create_task(reader.poll(60.0))
    await asyncio.sleep(0)
    kafka.made[0].fail(ValueError("a bug"))
    async with asyncio.timeout(2):
        with pytest.raises(LogUnavailableError, match="a bug"):
            await waiting


async def test_what_was_fetched_of_another_topic_is_not_lost_with_the_failure(kafka: FakeKafka) -> None:
    reader = KafkaReader(kafka, 0.0)
    await reader.assign({PLACE: 0, OTHER: 0})
    await asyncio.sleep(0.01)
    kafka.made[1].behind["fetch"].cancel()
    heard = Heard(reader)
    await heard.until(10, failures=1)
    assert sorted(heard.values) == ALL + [("u", number) for number in range(5)]
    await reader.close()


async def test_while_no_new_consumer_can_be_had_every_poll_says_so(
    kafka: FakeKafka, reader: KafkaReader
) -> None:
    kafka.made[0].fail(ValueError("a bug"))
    kafka.away = 2
    heard = Heard(reader)
    await heard.until(5, failures=3)
    assert heard.values == ALL


async def test_what_has_failed_is_not_read_on_where_it_was_once_it_is_assigned_anew(
    kafka: FakeKafka, reader: KafkaReader
) -> None:
    kafka.made[0].fail(ValueError("a bug"))
    heard = Heard(reader)
    await heard.until(0, failures=1)
    before = len(heard.values)
    await reader.assign({PLACE: 4})
    await heard.until(before + 1)
    assert heard.values[before:] == [("t", 4)]


async def test_an_error_that_is_none_of_kafkas_is_logged_with_where_it_was(
    kafka: FakeKafka, reader: KafkaReader, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.made[0].fail(ValueError("a bug"))
    await Heard(reader).until(0, failures=1)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None and isinstance(record.exc_info[1], ValueError)


@pytest.mark.parametrize(("first", "at", "expected"), [(0, 9, 5), (3, 1, 3), (0, 2, 2)])
async def test_a_position_that_is_not_in_the_log_becomes_the_nearest_that_is(
    kafka: FakeKafka, first: int, at: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.first_offset = first
    reader = KafkaReader(kafka, 0.0)
    await reader.assign({PLACE: at})
    kafka.made[0].fail(OffsetOutOfRangeError("out of range"))
    heard = Heard(reader)
    assert await reader.poll(0.05) == {}
    kafka.grow = 6
    if at > 5:
        with pytest.raises(LogShortenedError):
            await reader.poll(1.0)
    await heard.until(6 - expected)
    assert heard.values == [("t", number) for number in range(expected, 6)]
    assert ("has lost its tail" in caplog.text) == (at > 5)
    assert heard.failures == []
    await reader.close()


async def test_each_topic_of_a_member_is_read_at_the_distance_that_its_listener_says(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances: list[float] = []
    monkeypatch.setattr(kafka_reading, "spare_fetches", lambda _, seconds: distances.append(seconds))
    topics = kafka_reading.Topics(kafka, {"t": 0.025, "u": 0.5, "v": 0.0}.__getitem__)
    await topics.read(dict.fromkeys((PLACE, OTHER, TopicPartition("v", 0)), 0))
    assert distances == [0.025, 0.5, kafka_reading.LEAST_GATHER]
    await topics.close()


async def test_another_assignment_is_read_by_other_consumers(kafka: FakeKafka, reader: KafkaReader) -> None:
    await reader.assign({PLACE: 3, OTHER: 4})
    assert len(kafka.made) == 3
    assert kafka.ended == kafka.made[:1]
    heard = Heard(reader)
    await heard.until(values=3)
    assert sorted(heard.values) == [("t", 3), ("t", 4), ("u", 4)]


async def test_a_consumer_that_fails_before_all_are_there_is_unavailable_and_the_next_assignment_reads(
    kafka: FakeKafka, reader: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = kafka.new_consumer, asyncio.Event()

    async def one_after_the_other(**settings: object) -> Any:
        consumer = await make(**settings)
        if len(kafka.made) == 3:
            await made.wait()
        return consumer

    monkeypatch.setattr(kafka, "new_consumer", one_after_the_other)
    assigning = asyncio.create_task(reader.assign({PLACE: 3, OTHER: 4}))
    async with asyncio.timeout(5):
        while len(kafka.made) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        ENDS["the end of its fetches"](kafka.made[1])
        with pytest.raises(LogUnavailableError):
            await reader.poll(1.0)
        made.set()
        with pytest.raises(LogUnavailableError, match="has ended before it began"):
            await assigning
    await reader.assign({PLACE: 3, OTHER: 4})
    heard = Heard(reader)
    await heard.until(values=3)
    assert sorted(heard.values) == [("t", 3), ("t", 4), ("u", 4)]
