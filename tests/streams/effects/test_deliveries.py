"""The deliveries engine: each partner has its own queue and breaker, and a lost attempt comes again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from commands.base import Area, Command, Meta
from commands.creating import CREATING
from commands.delivery import ROUTES, TIMER, Want
from domain.aggregate import EventRegistry
from domain.clock import CLOCKS_APART
from domain.delivery import AGGREGATE_EVENTS, LEASE, AttemptDue, Delivery, delivery_id
from domain.values import PartyId
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.deciding.partition import Rules
from streams.effects.deliveries import Deliveries
from streams.effects.gate import LocalGate
from streams.effects.target import Content, Job, Outcome
from streams.following.group import Group
from streams.following.replay import facts, places
from streams.log import Listener, Log, LogUnavailableError, Member, Position, TopicPartition
from streams.log.envelope import DamagedRecordError, decode_events
from streams.log.sqlite.log import SqliteLog
from tests.streams.harness import FlakyLog, until
from tests.streams.receiver import Receiver, Sent

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


class FakePartner(Receiver):
    """Notes what it is sent; `silent` parties never answer, `away` ones cannot be reached.

    Objects of which a version is `late` are not found before it is let go, those in `wrong` raise."""

    def __init__(self) -> None:
        super().__init__(answer=self._answer)
        self.silent: set[PartyId] = set()
        self.away: set[PartyId] = set()
        self.late: dict[str, asyncio.Event] = {}
        self.wrong: set[str] = set()
        self.looked = 0
        self.prepared = 0

    async def find(self, event: AttemptDue) -> Content:
        self.looked += 1
        if event.object_id in self.late:
            await self.late[event.object_id].wait()
        if event.object_id in self.wrong:
            raise DamagedRecordError("no such CDR")
        return Content({}, event.wanted)

    async def prepare(self, job: Job, content: Content) -> Sent | Outcome:
        self.prepared += 1
        return await super().prepare(job, content)

    def _answer(self, job: Job) -> Outcome:
        return Outcome("unreachable", reason="refused") if job.to in self.away else Outcome("delivered", 200)

    async def send(self, letter: Sent, correlation_id: str) -> Outcome:
        outcome = await super().send(letter, correlation_id)
        if letter[0].to in self.silent:
            await asyncio.Event().wait()
        return outcome

    def to(self, party: PartyId) -> list[str]:
        return [job.object_id for job, _ in self.sent if job.to == party]


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Effects:
    """A decider of deliveries with an engine that can be taken away."""

    def __init__(self, log: Log, partner: FakePartner) -> None:
        self.log, self.partner, self.clock = log, partner, Clock()
        self.gate = LocalGate()
        channel = LocalChannel("one")
        self.bus = CommandBus(log, channel)
        self.decider = Decider(log, RULES, channel, "one", self.clock, areas=[Area.DELIVERY])

    @asynccontextmanager
    async def deciding(self) -> AsyncIterator[None]:
        async with _running(self.decider.run()):
            yield

    @asynccontextmanager
    async def delivering(
        self,
        *,
        concurrency: int = 8,
        queue: int = 2000,
        group: str = "effects",
        behind: timedelta = timedelta(),
    ) -> AsyncIterator[Deliveries[Sent]]:
        """`behind`: by what its clock is behind that of the decider."""
        engine = Deliveries(
            self.log,
            self.bus,
            EVENTS,
            self.partner.find,
            self.partner,
            self.gate,
            lambda: self.clock() - behind,
            concurrency=concurrency,
            queue=queue,
        )
        async with _running(Group(self.log, group, "one", [engine.sink]).run()):
            yield engine

    async def want(self, to: PartyId, object_id: str) -> None:
        command: Command = Want(
            to=to, module="cdrs", object_id=object_id, tenant="t", version=1, partition=0, offset=0
        )
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
    partner = FakePartner()
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering() as engine:
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"))

    assert partner.sent == [(Job(GOOD, "cdrs", "1"), 1)]
    assert await effects.happened(GOOD, "1") == ["Wanted", "AttemptDue", "Delivered"]
    assert engine.counts == {"delivered": 1}


async def test_an_attempt_that_another_process_is_given_too_is_made_by_one_of_them(
    embedded: SqliteLog,
) -> None:
    """The first one loses its partitions before their positions are kept, and the second one begins there anew."""
    partner = FakePartner()
    effects = Effects(embedded, partner)
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

    assert sorted(partner.to(GOOD)) == ["1", "2"]


async def test_what_was_delivered_before_the_groups_positions_were_lost_is_not_sent_again(
    embedded: SqliteLog,
) -> None:
    """As after a restore: the lease of an attempt still runs, and its outcome stands some batches behind it."""
    partner = FakePartner()
    effects = Effects(embedded, partner)
    async with effects.deciding():
        async with effects.delivering():
            for number in (1, 2):
                await effects.want(GOOD, str(number))
                await until(lambda number=number: delivered(effects, GOOD, str(number)))  # type: ignore[misc]
        partner.sent.clear()
        async with effects.delivering(group="nobody-knows-it") as engine:
            engine.sink._batch = 1
            await effects.want(GOOD, "3")
            await until(lambda: delivered(effects, GOOD, "3"))

    assert partner.to(GOOD) == ["3"]


async def test_a_silent_partner_delays_nobody_else(embedded: SqliteLog) -> None:
    partner = FakePartner()
    partner.silent.add(BAD)
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering(concurrency=2):
        for i in range(30):
            await effects.want(BAD, str(i))
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"), 5)

    assert len(partner.to(BAD)) == 2
    assert partner.to(GOOD) == ["1"]


async def test_an_object_that_is_not_found_yet_takes_no_place_in_its_partys_queue(
    embedded: SqliteLog,
) -> None:
    """What waits for our own read model does not hold up what is ready."""
    partner = FakePartner()
    partner.late["1"] = asyncio.Event()
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering(concurrency=1):
        await effects.want(GOOD, "1")
        await effects.want(GOOD, "2")
        await until(lambda: delivered(effects, GOOD, "2"))
        partner.late["1"].set()
        await until(lambda: delivered(effects, GOOD, "1"))

    assert partner.to(GOOD) == ["2", "1"]


async def test_a_delivery_whose_object_is_nowhere_is_said_to_be_wrong_and_not_sent(
    embedded: SqliteLog,
) -> None:
    partner = FakePartner()
    partner.wrong.add("1")
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering() as engine:
        await effects.want(GOOD, "1")
        await until(lambda: attempted(effects, GOOD, "1"))

    assert (partner.sent, engine.counts) == ([], {"refused": 1})


async def test_a_partner_that_is_not_connected_is_sent_nothing(embedded: SqliteLog) -> None:
    partner = FakePartner()
    partner.offline.add(BAD)
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering() as engine:
        await effects.want(BAD, "1")
        await until(lambda: attempted(effects, BAD, "1"))

    assert (partner.sent, engine.counts) == ([], {"offline": 1})


async def test_what_does_not_fit_into_a_partners_queue_comes_again_when_its_lease_ends(
    embedded: SqliteLog,
) -> None:
    partner = FakePartner()
    partner.silent.add(BAD)
    effects = Effects(embedded, partner)
    async with effects.deciding():
        async with effects.delivering(concurrency=1, queue=1) as engine:
            for i in range(5):
                await effects.want(BAD, str(i))
            await until(lambda: engine.sink.handled == 5)
        partner.silent.clear()
        async with effects.delivering():
            effects.clock.ahead = timedelta(seconds=31)
            await until(lambda: attempted(effects, BAD, "4"))
            effects.clock.ahead = timedelta(seconds=62)
            for i in range(5):
                await until(lambda i=i: delivered(effects, BAD, str(i)))  # type: ignore[misc]


async def test_an_attempt_lost_between_send_and_report_is_repeated_with_the_same_object(
    embedded: SqliteLog,
) -> None:
    partner = FakePartner()
    partner.silent.add(GOOD)
    effects = Effects(embedded, partner)
    async with effects.deciding():
        async with effects.delivering() as engine:
            await effects.want(GOOD, "1")
            await until(lambda: partner.sent and engine.sink.handled)
        partner.silent.clear()
        async with effects.delivering():
            effects.clock.ahead = timedelta(seconds=31)
            await until(lambda: attempted(effects, GOOD, "1"))
            effects.clock.ahead = timedelta(seconds=62)
            await until(lambda: delivered(effects, GOOD, "1"))

    assert partner.sent == [(Job(GOOD, "cdrs", "1"), 1)] * 2
    assert await effects.happened(GOOD, "1") == [
        "Wanted",
        "AttemptDue",
        "AttemptFailed",
        "AttemptDue",
        "Delivered",
    ]


async def test_no_attempt_is_begun_that_the_next_one_may_meet_by_the_deciders_clock(
    embedded: SqliteLog,
) -> None:
    """1.5 s of its lease are left by the decider's clock, more by that of who sends."""
    partner = FakePartner()
    partner.late["1"] = asyncio.Event()
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering(behind=CLOCKS_APART):
        await effects.want(GOOD, "1")
        await until(lambda: partner.looked == 1)
        effects.clock.ahead = LEASE - timedelta(seconds=1.5)
        partner.late["1"].set()
        await until(lambda: partner.prepared == 1)
        effects.clock.ahead = timedelta(seconds=31)
        await until(lambda: attempted(effects, GOOD, "1"))

    assert partner.sent == []


async def test_an_outcome_that_cannot_be_recorded_holds_up_nobody_and_its_attempt_is_made_again(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    partner = FakePartner()
    effects = Effects(embedded, partner)
    tell, failed = effects.bus.tell, 0

    async def fails_once(command: Command, meta: Meta) -> None:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise ValueError("a record that no log takes")
        await tell(command, meta)

    monkeypatch.setattr(effects.bus, "tell", fails_once)
    async with effects.deciding(), effects.delivering(concurrency=1):
        await effects.want(GOOD, "1")
        await until(lambda: failed)
        await effects.want(GOOD, "2")
        await until(lambda: delivered(effects, GOOD, "2"))
        effects.clock.ahead = timedelta(seconds=31)
        await until(lambda: attempted(effects, GOOD, "1"))
        effects.clock.ahead = timedelta(seconds=62)
        await until(lambda: delivered(effects, GOOD, "1"))

    assert partner.to(GOOD) == ["1", "2", "1"]
    assert "that cdrs 1 was delivered cannot be recorded" in caplog.text


async def test_a_gate_that_raises_is_an_attempt_that_failed_and_holds_up_nobody(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = FakePartner()
    effects = Effects(embedded, partner)
    enter = effects.gate.enter

    async def raises(key: str) -> float:
        monkeypatch.setattr(effects.gate, "enter", enter)
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(effects.gate, "enter", raises)
    async with effects.deciding(), effects.delivering(concurrency=1):
        await effects.want(GOOD, "1")
        await until(lambda: attempted(effects, GOOD, "1"))
        await effects.want(GOOD, "2")
        await until(lambda: delivered(effects, GOOD, "2"))


async def test_a_partner_that_fails_five_times_in_a_row_is_left_alone_for_a_while(
    embedded: SqliteLog,
) -> None:
    partner = FakePartner()
    partner.away.add(BAD)
    effects = Effects(embedded, partner)
    async with effects.deciding(), effects.delivering(concurrency=1) as engine:
        for i in range(12):
            await effects.want(BAD, str(i))
        await until(lambda: engine.counts.get("unreachable") == 12)
        await effects.want(GOOD, "1")
        await until(lambda: delivered(effects, GOOD, "1"))

    assert 5 <= len(partner.to(BAD)) < 12


async def delivered(effects: Effects, to: PartyId, object_id: str) -> bool:
    return "Delivered" in await effects.happened(to, object_id)


async def attempted(effects: Effects, to: PartyId, object_id: str) -> bool:
    return "AttemptFailed" in await effects.happened(to, object_id)
