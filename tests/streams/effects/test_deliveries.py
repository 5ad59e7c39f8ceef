"""The deliveries engine: each partner has its own queue and breaker, and a lost attempt comes again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from commands.base import Area, Command, Meta
from commands.creating import CREATING
from commands.delivery import ROUTES, TIMER, Want
from domain.aggregate import EventRegistry
from domain.delivery import AGGREGATE_EVENTS, AttemptDue, Delivery, delivery_id
from domain.values import PartyId
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.partition import Rules
from streams.effects.deliveries import Deliveries, Outcome, Sender
from streams.following.group import Group
from streams.following.replay import facts, places
from streams.log import Listener, Log, LogUnavailableError, Member, Position, TopicPartition
from streams.log.envelope import decode_events
from streams.log.sqlite.log import SqliteLog
from tests.streams.harness import FlakyLog, until

EVENTS = EventRegistry({Delivery: AGGREGATE_EVENTS})
RULES = Rules(ROUTES, {"delivery": TIMER}, EVENTS, CREATING)
GOOD, BAD = PartyId(country_code="NL", party_id="GUD"), PartyId(country_code="NL", party_id="BAD")


class Unsettled(FlakyLog):
    """A log that keeps no positions of the group of this engine."""

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        member = super().member(group, topics, node, listener, gather)

        async def commit(positions: Mapping[TopicPartition, Position]) -> None:
            raise LogUnavailableError("positions are not kept")

        member.commit = commit  # type: ignore[method-assign]
        return member


class FakeSender(Sender[int]):
    """Notes what it is given; `silent` parties never answer, `away` ones cannot be reached.

    Objects of which a version is `late` are not found before it is let go, `absent` ones not at all."""

    def __init__(self) -> None:
        self.silent: set[PartyId] = set()
        self.away: set[PartyId] = set()
        self.late: dict[str, asyncio.Event] = {}
        self.absent: set[str] = set()
        self.sent: list[tuple[PartyId, str, int]] = []

    async def find(self, job: AttemptDue) -> int | None:
        if job.object_id in self.late:
            await self.late[job.object_id].wait()
        return None if job.object_id in self.absent else job.wanted

    async def send(self, job: AttemptDue, content: int, correlation_id: str) -> Outcome:
        self.sent.append((job.to, job.object_id, job.attempt))
        if job.to in self.silent:
            await asyncio.Event().wait()
        if job.to in self.away:
            return Outcome("unreachable", reason="refused")
        return Outcome("delivered", sent=content, http_status=200)

    def to(self, party: PartyId) -> list[str]:
        return [id for to, id, _ in self.sent if to == party]


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Effects:
    """A decider of deliveries with an engine that can be taken away."""

    def __init__(self, log: Log, sender: Sender[int]) -> None:
        self.log, self.sender, self.clock = log, sender, Clock()
        channel = LocalChannel("one")
        self.bus = CommandBus(log, channel)
        self.decider = Decider(log, RULES, channel, "one", self.clock, areas=[Area.DELIVERY])

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[None]:
        async with _running(self.decider.run()):
            yield

    @asynccontextmanager
    async def delivering(
        self, *, concurrency: int = 8, queue: int = 2000, group: str = "effects"
    ) -> AsyncIterator[Deliveries[int]]:
        engine = Deliveries(
            self.log, self.bus, EVENTS, self.sender, self.clock, concurrency=concurrency, queue=queue
        )
        async with _running(Group(self.log, group, "one", [engine.sink]).run()):
            yield engine

    async def want(self, to: PartyId, object_id: str) -> None:
        command: Command = Want(to=to, module="cdrs", object_id=object_id, tenant="t", version=1)
        await self.bus.ask(command, Meta(command_id=f"{to}|{object_id}", at=self.clock(), tenant="t"))

    async def happened(self, to: PartyId, object_id: str) -> list[str]:
        """The names of the events of one delivery."""
        id = delivery_id(to, "cdrs", object_id)
        return [
            type(event).__name__
            for place in places(self.log, [Area.DELIVERY])
            async for batch in facts(self.log, place)
            for fact in batch
            for event in decode_events(fact.decision, EVENTS)
            if event.originator_id == id
        ]


@asynccontextmanager
async def _running(work: object) -> AsyncIterator[None]:
    task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_what_is_wanted_is_sent_once_and_recorded_as_delivered(embedded: SqliteLog) -> None:
    sender = FakeSender()
    effects = Effects(embedded, sender)
    async with effects.deciding(), effects.delivering() as engine:
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"))

    assert sender.sent == [(GOOD, "1", 1)]
    assert await effects.happened(GOOD, "1") == ["Wanted", "AttemptDue", "Delivered"]
    assert engine.counts == {"delivered": 1}


async def test_an_attempt_that_another_process_is_given_too_is_made_by_one_of_them(
    embedded: SqliteLog,
) -> None:
    """The first one loses its partitions before their positions are kept, and the second one begins there anew."""
    sender = FakeSender()
    effects = Effects(embedded, sender)
    async with effects.deciding():
        effects.log = Unsettled(embedded, "")
        async with effects.delivering() as engine:
            for number in (1, 2):
                await effects.want(GOOD, str(number))
                await until(lambda number=number: engine.sink.handled >= number)  # type: ignore[misc]
        effects.log = embedded
        async with effects.delivering():
            await until(lambda: delivered(effects, GOOD, "1"))
            await until(lambda: delivered(effects, GOOD, "2"))

    assert sorted(sender.to(GOOD)) == ["1", "2"]


async def test_what_was_delivered_before_the_groups_positions_were_lost_is_not_sent_again(
    embedded: SqliteLog,
) -> None:
    """As after a restore: the lease of an attempt still runs, and its outcome stands some batches behind it."""
    sender = FakeSender()
    effects = Effects(embedded, sender)
    async with effects.deciding():
        async with effects.delivering():
            for number in (1, 2):
                await effects.want(GOOD, str(number))
                await until(lambda number=number: delivered(effects, GOOD, str(number)))  # type: ignore[misc]
        sender.sent.clear()
        async with effects.delivering(group="nobody-knows-it") as engine:
            engine.sink._batch = 1
            await effects.want(GOOD, "3")
            await until(lambda: delivered(effects, GOOD, "3"))

    assert sender.to(GOOD) == ["3"]


async def test_a_silent_partner_delays_nobody_else(embedded: SqliteLog) -> None:
    sender = FakeSender()
    sender.silent.add(BAD)
    effects = Effects(embedded, sender)
    async with effects.deciding(), effects.delivering(concurrency=2):
        for i in range(30):
            await effects.want(BAD, str(i))
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"), 5)

    assert len(sender.to(BAD)) == 2
    assert sender.to(GOOD) == ["1"]


async def test_an_object_that_is_not_found_yet_takes_no_place_in_its_partys_queue(
    embedded: SqliteLog,
) -> None:
    """What waits for our own read model does not hold up what is ready."""
    sender = FakeSender()
    sender.late["1"] = asyncio.Event()
    effects = Effects(embedded, sender)
    async with effects.deciding(), effects.delivering(concurrency=1):
        await effects.want(GOOD, "1")
        await effects.want(GOOD, "2")
        await until(lambda: delivered(effects, GOOD, "2"))
        sender.late["1"].set()
        await until(lambda: delivered(effects, GOOD, "1"))

    assert sender.to(GOOD) == ["2", "1"]


async def test_an_object_that_is_not_there_in_time_is_reported_and_not_sent(embedded: SqliteLog) -> None:
    sender = FakeSender()
    sender.absent.add("1")
    effects = Effects(embedded, sender)
    async with effects.deciding(), effects.delivering() as engine:
        await effects.want(GOOD, "1")
        await until(lambda: attempted(effects, GOOD, "1"))

    assert (sender.sent, engine.counts) == ([], {"not_ready": 1})


async def test_what_does_not_fit_into_a_partners_queue_comes_again_when_its_lease_ends(
    embedded: SqliteLog,
) -> None:
    sender = FakeSender()
    sender.silent.add(BAD)
    effects = Effects(embedded, sender)
    async with effects.deciding():
        async with effects.delivering(concurrency=1, queue=1) as engine:
            for i in range(5):
                await effects.want(BAD, str(i))
            await until(lambda: engine.sink.handled == 5)
        sender.silent.clear()
        async with effects.delivering():
            effects.clock.ahead = timedelta(seconds=31)
            await until(lambda: attempted(effects, BAD, "4"))
            effects.clock.ahead = timedelta(seconds=62)
            for i in range(5):
                await until(lambda i=i: delivered(effects, BAD, str(i)))  # type: ignore[misc]


async def test_an_attempt_lost_between_send_and_report_is_repeated_with_the_same_object(
    embedded: SqliteLog,
) -> None:
    sender = FakeSender()
    sender.silent.add(GOOD)
    effects = Effects(embedded, sender)
    async with effects.deciding():
        async with effects.delivering() as engine:
            await effects.want(GOOD, "1")
            await until(lambda: sender.sent and engine.sink.handled)
        sender.silent.clear()
        async with effects.delivering():
            effects.clock.ahead = timedelta(seconds=31)
            await until(lambda: attempted(effects, GOOD, "1"))
            effects.clock.ahead = timedelta(seconds=62)
            await until(lambda: delivered(effects, GOOD, "1"))

    assert sender.sent == [(GOOD, "1", 1), (GOOD, "1", 2)]
    assert await effects.happened(GOOD, "1") == [
        "Wanted",
        "AttemptDue",
        "AttemptFailed",
        "AttemptDue",
        "Delivered",
    ]


async def test_a_partner_that_fails_five_times_in_a_row_is_left_alone_for_a_while(
    embedded: SqliteLog,
) -> None:
    sender = FakeSender()
    sender.away.add(BAD)
    effects = Effects(embedded, sender)
    async with effects.deciding(), effects.delivering(concurrency=1) as engine:
        for i in range(12):
            await effects.want(BAD, str(i))
        await until(lambda: engine.counts.get("unreachable") == 12)
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"))

    assert 5 <= len(sender.to(BAD)) < 12


async def delivered(effects: Effects, to: PartyId, object_id: str) -> bool:
    return "Delivered" in await effects.happened(to, object_id)


async def attempted(effects: Effects, to: PartyId, object_id: str) -> bool:
    return "AttemptFailed" in await effects.happened(to, object_id)
