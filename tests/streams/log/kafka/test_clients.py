"""Who starts a client of Kafka ends it, wherever the start is broken off: against a broker that falls silent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from streams.log import LogUnavailableError, Record, TopicPartition
from streams.log.kafka.clients import Chores, Clients
from streams.log.kafka.log import KafkaLog
from tests.streams.kafka_fake import PARTITIONS, FakeBroker
from tests.streams.log_contract import Told

KINDS = ("consumer", "producer", "admin")
MOST_STEPS = 400
"""More turns of the event loop than any start needs."""


@pytest.fixture(autouse=True)
def leaks_are_seen() -> Iterator[None]:
    """aiokafka warns of a client or a connection that nobody closed when it is collected."""
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    async with FakeBroker().serving() as broker:
        yield broker


async def nothing_left(broker: FakeBroker, within: float = 2.0) -> None:
    """No task and no connection is left but those of the test and its broker."""
    async with asyncio.timeout(within):
        while broker.connections or any(  # noqa: ASYNC110
            "FakeBroker" not in repr(task.get_coro())
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task()
        ):
            await asyncio.sleep(0.01)


async def after_turns(turns: int, task: asyncio.Task[object]) -> bool:
    """Let the event loop turn so often, or until the task is done; returns whether it is."""
    for _ in range(turns):
        if task.done():
            return True
        # The other side of a socket needs a moment too.
        await asyncio.sleep(0.0005 if _ % 8 == 7 else 0)
    return task.done()


async def cancelled_at_every_turn(attempt: Callable[[int], Awaitable[bool]]) -> None:
    """`attempt` cancels after so many turns; True: all was done before."""
    for turns in range(MOST_STEPS):
        if await attempt(turns):
            assert turns > 5
            return
    raise AssertionError("it is never done")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_start_that_is_cancelled_at_any_await_leaves_nothing(broker: FakeBroker, kind: str) -> None:
    async def attempt(turns: int) -> bool:
        chores = Chores()
        clients = Clients(broker.url, 5.0, chores)
        starting = asyncio.create_task(getattr(clients, kind)())
        done = await after_turns(turns, starting)
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled():
            clients.end(starting.result())
        await chores.finish()
        assert clients.alive == 0
        return done

    await cancelled_at_every_turn(attempt)
    await nothing_left(broker)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answers", range(5))
async def test_a_start_that_hangs_ends_at_once_when_it_is_cancelled(
    broker: FakeBroker, kind: str, answers: int
) -> None:
    """The versions, the metadata, and for a producer its id: with `answers` of them given, the next one hangs."""
    broker.silent_after = answers
    chores = Chores()
    clients = Clients(broker.url, 30.0, chores)
    starting = asyncio.create_task(getattr(clients, kind)())
    silent = asyncio.create_task(broker.silent.wait())
    await asyncio.wait([starting, silent], return_when=asyncio.FIRST_COMPLETED)
    silent.cancel()
    starting.cancel()
    await asyncio.wait([starting])
    if not starting.cancelled():
        clients.end(starting.result())
    async with asyncio.timeout(2):
        await chores.finish()
    assert clients.alive == 0
    await nothing_left(broker)


@pytest.mark.parametrize("answers", range(4))
async def test_a_start_that_takes_too_long_leaves_nothing(broker: FakeBroker, answers: int) -> None:
    broker.silent_after = answers
    log = KafkaLog(broker.url, timeout=0.3)
    with pytest.raises(LogUnavailableError, match=broker.url):
        await log.start()
    assert log.clients.alive == 0
    await nothing_left(broker)


async def test_closing_ends_the_starts_that_are_under_way(broker: FakeBroker) -> None:
    broker.silent_after = 1
    chores = Chores()
    clients = Clients(broker.url, 30.0, chores)
    starting = [asyncio.create_task(getattr(clients, kind)()) for kind in KINDS]
    await broker.silent.wait()
    await clients.close()
    for outcome in await asyncio.gather(*starting, return_exceptions=True):
        assert isinstance(outcome, LogUnavailableError)
    with pytest.raises(LogUnavailableError, match="closed"):
        await clients.consumer()
    await chores.finish()
    assert clients.alive == 0
    await nothing_left(broker)


async def test_a_log_whose_start_is_cancelled_at_any_await_leaves_nothing(broker: FakeBroker) -> None:
    async def attempt(turns: int) -> bool:
        log = KafkaLog(broker.url)
        starting = asyncio.create_task(log.start())
        done = await after_turns(turns, starting)
        starting.cancel()
        await asyncio.wait([starting])
        await log.close()
        assert turns == 0 or log.clients.alive == 0
        return done

    await cancelled_at_every_turn(attempt)
    await nothing_left(broker)


@pytest.fixture
async def log(broker: FakeBroker) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(broker.url, session_timeout=1.5)
    await log.start()
    yield log
    await log.close()
    assert log.clients.alive == 0
    await nothing_left(broker)


PLACES = {TopicPartition(name, number): 0 for name in ("a", "b", "c") for number in range(PARTITIONS)}


async def test_a_reader_cancelled_while_it_is_assigned_leaves_nothing(log: KafkaLog) -> None:
    """Of several consumers one may be started while another is not: nobody is there to take it."""
    before = log.clients.alive

    async def attempt(turns: int) -> bool:
        reader = log.reader()
        assigning = asyncio.create_task(reader.assign(PLACES))
        done = await after_turns(turns, assigning)
        assigning.cancel()
        await asyncio.wait([assigning])
        await reader.close()
        async with asyncio.timeout(5):
            while log.clients.alive > before:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return done

    await cancelled_at_every_turn(attempt)


async def test_a_reader_closed_while_it_is_assigned_leaves_nothing(log: KafkaLog) -> None:
    before = log.clients.alive

    async def attempt(turns: int) -> bool:
        reader = log.reader()
        assigning = asyncio.create_task(reader.assign(PLACES))
        done = await after_turns(turns, assigning)
        await reader.close()
        outcome = (await asyncio.gather(assigning, return_exceptions=True))[0]
        assert done or outcome is None or isinstance(outcome, LogUnavailableError)
        async with asyncio.timeout(5):
            while log.clients.alive > before:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return done

    await cancelled_at_every_turn(attempt)


async def test_a_reader_whose_close_is_cancelled_is_closed_all_the_same(log: KafkaLog) -> None:
    before = log.clients.alive
    reader = log.reader()
    await reader.assign(PLACES)
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    async with asyncio.timeout(5):
        while log.clients.alive > before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_member_cancelled_or_closed_while_it_joins_leaves_nothing(log: KafkaLog) -> None:
    before = log.clients.alive

    async def attempt(turns: int, close_first: bool) -> bool:
        member = log.member("g", ["a"], "n1", Told())
        starting = asyncio.create_task(member.start())
        done = await after_turns(turns, starting)
        if close_first:
            await member.close()
        starting.cancel()
        await asyncio.wait([starting])
        await member.close()
        async with asyncio.timeout(5):
            while log.clients.alive > before:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return done

    await cancelled_at_every_turn(lambda turns: attempt(turns, False))
    await cancelled_at_every_turn(lambda turns: attempt(turns, True))


async def test_an_append_whose_caller_has_gone_leaves_no_producer_behind(log: KafkaLog) -> None:
    async def attempt(turns: int) -> bool:
        appending = asyncio.create_task(log.append("a", 0, [Record(b"k", b"v")]))
        await after_turns(turns, appending)
        appending.cancel()
        await asyncio.wait([appending])
        return turns > 30

    await cancelled_at_every_turn(attempt)
    async with asyncio.timeout(10):
        await log.close()


async def test_a_log_closed_by_somebody_who_is_cancelled_is_closed_all_the_same(broker: FakeBroker) -> None:
    log = KafkaLog(broker.url)
    await log.start()
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await log.close()
    assert log.clients.alive == 0
    await nothing_left(broker)


async def test_what_goes_wrong_while_nobody_waits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    chores = Chores()
    chores.begin(fails())
    await chores.finish()
    assert "did not end well" in caplog.text


# -- tasks of the adapter's own --------------------------------------------------------------------------------------


class Broken:
    """An admin client that fails as none of Kafka's errors does."""

    async def describe_topics(self, names: list[str]) -> list[object]:
        raise ZeroDivisionError


async def test_a_probe_that_fails_in_any_way_says_that_the_broker_is_away_and_goes_on(log: KafkaLog) -> None:
    loop = asyncio.get_running_loop()

    async def until(away: bool) -> None:
        async with asyncio.timeout(5):
            while True:
                try:
                    log.check_away(loop.time())
                    found = False
                except LogUnavailableError:
                    found = True
                if found is away:
                    return
                await asyncio.sleep(0.02)

    admin, log._admin = log._admin, Broken()
    await until(away=True)
    log._admin = admin
    await until(away=False)


async def test_an_append_whose_work_is_broken_off_fails_and_blocks_no_later_one(
    broker: FakeBroker, log: KafkaLog
) -> None:
    await log.partitions("a")
    broker.silent_after = broker.answers
    appending = [asyncio.create_task(log.append("a", 0, [Record(b"k", b"v")])) for _ in range(3)]
    await broker.silent.wait()
    for pump in list(log._appender._pumps.values()):
        pump.cancel()
    for outcome in await asyncio.gather(*appending, return_exceptions=True):
        assert isinstance(outcome, LogUnavailableError)
        assert "broken off" in str(outcome)
    assert not log._appender._pumps


async def test_who_waits_for_a_producer_that_is_given_up_is_told_at_once(broker: FakeBroker) -> None:
    """One partition's failure ends it for all: what was in it is unknown, and waiting for it tells nobody more."""
    log = KafkaLog(broker.url, timeout=60.0)
    await log.start()
    await log.partitions("a")
    one, other = (asyncio.create_task(log.append("a", number, [Record(b"k", b"v")])) for number in (0, 1))
    await broker.produced.wait()
    log._appender._pumps[TopicPartition("a", 0)].cancel()
    async with asyncio.timeout(10):
        for append in (one, other):
            with pytest.raises(LogUnavailableError):
                await append
        await log.close()


async def test_a_connection_that_nobody_reads_from_is_cut_and_not_waited_for(broker: FakeBroker) -> None:
    """What was written waits in the socket for ever: its close would wait with it."""
    chores = Chores()
    clients = Clients(broker.url, 30.0, chores)
    producer = await clients.producer()
    [*_, connection] = producer.client._conns.values()
    broker.stop_reading()
    connection._writer.write(bytes(50_000_000))
    async with asyncio.timeout(10):
        await clients.end(producer)
    assert clients.alive == 0
