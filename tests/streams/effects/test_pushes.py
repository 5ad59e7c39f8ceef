"""Partners are told of sessions as they are, by one process a partition, and their CDRs follow the answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area, Meta
from commands.directory import AskOwner, ClaimParties, ReleaseParties
from commands.pushes import Report, TakeOver
from domain import outbox
from domain.aggregate import Event
from domain.delivery import AttemptDue, Wanted
from domain.directory import PartyRole
from domain.pushes import HandedOver, Reported, TakenOver
from domain.values import PartyId
from projections.store import HUB, Put
from projections.store.sqlite import SqliteReadStore
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.decider import Decider
from streams.effects import desk
from streams.effects import pushes as engine_module
from streams.effects.gate import LocalGate
from streams.effects.pushes import Pushes
from streams.effects.target import Content, Job, Outcome
from streams.following.group import Group
from streams.following.replay import facts, places
from streams.log import LogUnavailableError, TopicPartition
from streams.log.envelope import decode_events, record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic
from tests.domain.golden import golden
from tests.projections.facts import MSP, SESSION, decision, ended, meta, priced, started, used
from tests.streams.harness import until
from tests.streams.receiver import Receiver, Sent

PLACE = TopicPartition(events_topic(Area.SESSION), Layout().partition_of(f"session|{SESSION}"))
NEIGHBOURS = [
    f"s{number}" for number in range(2000) if Layout().partition_of(f"session|s{number}") == PLACE.partition
]
"""Sessions of the same partition."""


class Partner(Receiver):
    """Keeps the sessions that it was put."""

    def __init__(self) -> None:
        super().__init__(answer=lambda job: self.said.get(job.object_id, Outcome("delivered", 200)))
        self.said: dict[str, Outcome] = {}
        self.sessions: list[dict[str, Any]] = []
        self.prepared: list[Job] = []
        self.preparing, self.answering = asyncio.Event(), asyncio.Event()
        self.preparing.set()
        self.answering.set()
        self.damaged: set[PartyId] = set()
        self.looked_at_damaged = False
        self.goes_on = False
        self.looked_at: list[PartyId] = []

    async def connected(self, to: PartyId) -> bool:
        self.looked_at.append(to)
        if to in self.damaged:
            self.looked_at_damaged = True
            raise KeyError("holder")
        return await super().connected(to)

    async def send(self, letter: Sent, correlation_id: str) -> Outcome:
        outcome = await super().send(letter, correlation_id)
        await self.answering.wait()
        return outcome

    async def prepare(self, job: Job, content: Content) -> Sent | Outcome:
        self.prepared.append(job)
        if job.object_id == SESSION:
            await self.preparing.wait()
        session: Any = content.document.get("session")
        if job.to not in self.offline and session is not None:
            self.sessions.append(session)
        return await super().prepare(job, content)

    @property
    def told(self) -> list[tuple[str, int]]:
        return [(job.object_id, version) for job, version in self.sent]


class Effects:
    """A decider of deliveries, and processes that push."""

    def __init__(self, log: SqliteLog, store: SqliteReadStore) -> None:
        self.log, self.store, self.partner, self.gate = log, store, Partner(), LocalGate()
        channel, self._numbers = LocalChannel("one"), itertools.count()
        self.bus = CommandBus(log, channel)
        self.decider = Decider(log, registry.RULES, channel, "one", now, areas=[Area.DELIVERY, Area.PARTY])

    @asynccontextmanager
    async def pushing(self, *, group: str = "effects") -> AsyncIterator[Pushes[Sent]]:
        engine = Pushes(
            self.log, self.bus, registry.EVENTS, registry.PUSHED, self.store, self.partner, self.gate, now
        )
        async with running(Group(self.log, group, "one", [engine.sink]).run()):
            yield engine

    async def happens(self, *events: Event) -> None:
        """One decision."""
        entry = record(events[0].originator_id, decision(*events, meta=meta()), "demo")
        await self.log.append(*PLACE, [entry])

    async def happened(self, kind: str) -> list[Event]:
        """The events of accounts or deliveries."""
        return [
            event
            for place in places(self.log, [Area.DELIVERY])
            async for batch in facts(self.log, place)
            for fact in batch
            for event in decode_events(fact.decision, registry.EVENTS)
            if event.originator_id.startswith(f"{kind}|")
        ]

    async def account(self) -> list[Event]:
        return [event for event in await self.happened("pushes") if event.originator_id == ACCOUNT]

    async def ask(self, command: Any) -> Any:
        meta = Meta(command_id=f"test|{next(self._numbers)}", at=now(), tenant="demo")
        return await self.bus.ask(command, meta)


BROKEN = PartyId(country_code="DE", party_id="BAD")
ACCOUNT = f"pushes|sessions|{PLACE.partition}"


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task: asyncio.Task[None] = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def effects(embedded: SqliteLog, read_store: SqliteReadStore) -> AsyncIterator[Effects]:
    effects = Effects(embedded, read_store)
    async with running(effects.decider.run()):
        for party in (MSP, BROKEN):
            role = PartyRole(role="EMSP", country_code=party.country_code, party_id=party.party_id)
            await effects.ask(ClaimParties(owner=str(party), roles=(role,)))
        yield effects


@pytest.fixture
def for_ever(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who takes over from somebody silent is silent for ever: only a hand-over ends it."""
    monkeypatch.setattr(desk, "QUIET_S", 1e6)
    monkeypatch.setattr(desk, "HANDOVER_LOOKED_FOR_S", 0.05)
    yield


async def silent_holder(effects: Effects) -> int:
    """Somebody held the partition, and nobody has heard of it since."""
    reply = await effects.ask(TakeOver(module="sessions", partition=PLACE.partition, by="gone"))
    return int(reply.version)


async def test_a_session_is_told_as_the_facts_say_though_no_read_model_has_it(effects: Effects) -> None:
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
        await effects.happens(ended(2, 600, 4200), priced(3, 600))
        await until(lambda: effects.partner.told == [(SESSION, 1), (SESSION, 3)])
    first, last = effects.partner.sessions
    assert (first["status"], first["kwh"], last["status"], last["kwh"]) == ("ACTIVE", 0, "COMPLETED", 4.2)


async def test_a_session_that_a_cpo_pushed_is_told_as_it_is_and_a_later_life_of_its_id_too(
    effects: Effects,
) -> None:
    """Folded from its facts though no read model has them, also where they begin anew above what was known."""

    def said(name: str, version: int) -> Event:
        event = registry.EVENTS.decode(golden("foreign_session", f"foreign_session.{name}.v1"))
        return msgspec.structs.replace(event, originator_version=version)

    async with effects.pushing():
        await effects.happens(said("begun", 1))
        await until(lambda: len(effects.partner.sessions) == 1)
        await effects.happens(said("patched", 2))
        await effects.happens(said("put", 3), said("ended", 4))
        await until(lambda: len(effects.partner.sessions) == 2)
        await effects.happens(said("begun", 1_772_366_400))
        await until(lambda: len(effects.partner.sessions) == 3)
    assert [one["kwh"] for one in effects.partner.sessions] == [0, 8.4, 0]
    assert effects.partner.told == [
        ("FR*CPO|s1", 1),
        ("FR*CPO|s1", 4),
        ("FR*CPO|s1", 1_772_366_400),
    ]


async def test_a_cdr_that_a_cpo_posted_is_wanted_once_and_again_by_who_takes_over_before_that_is_reported(
    effects: Effects,
) -> None:
    """It names the fact that took it in; nothing of its session is waited for."""
    posted = [
        registry.EVENTS.decode(golden("foreign_cdr", f"foreign_cdr.{name}.v1"))
        for name in ("posted", "checked")
    ]
    for group in ("one", "two"):
        async with effects.pushing(group=group) as engine:
            if group == "one":
                await effects.happens(*posted)
            await until(
                lambda: engine.sink.lanes[PLACE].at.offset == 1 if PLACE in engine.sink.lanes else False
            )
    wanted, *others = await effects.happened("delivery")
    assert isinstance(wanted, Wanted) and [type(other) for other in others] == [AttemptDue]
    assert (str(wanted.to), wanted.object_id, wanted.wanted) == ("NL*EMS", "FR*CPO|c1", 1)
    assert (wanted.partition, wanted.offset) == (PLACE.partition, 0)


async def test_what_is_told_at_once_costs_no_record_of_its_own(effects: Effects) -> None:
    """Fifty sessions of one partition: the account is taken over once, reported seldom, and handed over."""
    async with effects.pushing():
        for id in NEIGHBOURS[:50]:
            await effects.happens(started(id=id))
        await until(lambda: len(effects.partner.told) == 50)
    kinds = [type(event) for event in await effects.account()]
    assert kinds[0] is TakenOver and kinds[-1] is HandedOver
    assert len(kinds) <= 4
    assert await effects.happened("delivery") == []


async def test_a_cdr_is_wanted_once_the_end_of_its_session_was_answered(effects: Effects) -> None:
    effects.partner.said[SESSION] = Outcome("unreachable", reason="no route")
    async with effects.pushing() as engine:
        await effects.happens(started())
        await effects.happens(ended(2, 600, 4200), priced(3, 600))
        await until(lambda: engine.counts.get("unreachable"))
        await until(lambda: reported(effects))
        assert await effects.happened("delivery") == []
        effects.partner.said[SESSION] = Outcome("refused", 400, "2001")
        await until(lambda: effects.happened("delivery"))
    wanted, due = await effects.happened("delivery")
    assert wanted.originator_id == due.originator_id == f"delivery|{MSP}|cdrs|{SESSION}"


async def reported(effects: Effects) -> bool:
    return any(isinstance(event, Reported) and event.waiting for event in await effects.account())


async def test_what_was_tried_in_vain_is_named_and_forgotten_once_it_is_told(effects: Effects) -> None:
    effects.partner.said[SESSION] = Outcome("refused", 500, "HTTP 500")
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: reported(effects))
        del effects.partner.said[SESSION]
        await until(lambda: told_after_all(effects), 15)
    [named] = [event for event in await effects.account() if isinstance(event, Reported) and event.waiting]
    [waiting] = named.waiting
    assert (waiting.object_id, waiting.version, waiting.attempts) == (SESSION, 1, 1)
    assert (waiting.outcome, waiting.reason, waiting.tenant) == ("refused", "HTTP 500", "demo")


async def told_after_all(effects: Effects) -> bool:
    return any(isinstance(event, Reported) and event.told for event in await effects.account())


async def test_who_takes_over_from_somebody_silent_sends_nothing_before_that_hands_over(
    effects: Effects, for_ever: None
) -> None:
    epoch = await silent_holder(effects)
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: engine.sink.handled and engine.waiting == 1)
        looked = (await effects.log.ends([commands()]))[commands()]
        await until(lambda: has_looked(effects, looked + 3))
        assert effects.partner.told == []
        last = Report(module="sessions", partition=PLACE.partition, epoch=epoch, last=True)
        await effects.ask(last)
        await until(lambda: effects.partner.told == [(SESSION, 1)])


def commands() -> TopicPartition:
    return TopicPartition("chargesphere.commands.delivery", Layout().partition_of(ACCOUNT))


async def has_looked(effects: Effects, offset: int) -> bool:
    return (await effects.log.ends([commands()]))[commands()] >= offset


async def test_a_process_that_ends_hands_over_so_that_the_next_one_sends_at_once(
    effects: Effects, for_ever: None
) -> None:
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
    async with effects.pushing():
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: effects.partner.told == [(SESSION, 1), (NEIGHBOURS[0], 1)])


async def test_who_gets_a_partition_back_that_it_could_not_hand_over_tells_nothing_again_too_soon(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 730105."""
    monkeypatch.setattr(desk.Accounts, "hand_over", lambda self, desk: asyncio.sleep(0))
    for every in ("REPORT_EVERY_S", "TOLD_EVERY_S", "ASKED_EVERY_S"):
        monkeypatch.setattr(desk, every, 1e9)
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
        engine._changed(PLACE)
        async for batch in facts(effects.log, PLACE):
            await engine._handle(PLACE, batch)
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: (NEIGHBOURS[0], 1) in effects.partner.told)
    assert effects.partner.told == [(SESSION, 1), (NEIGHBOURS[0], 1)]


async def test_what_a_killed_process_had_not_told_is_told_by_the_next_one(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "QUIET_S", 0.0)
    monkeypatch.setattr(Pushes, "write", lambda self: asyncio.sleep(0))
    effects.partner.said[SESSION] = Outcome("unreachable", reason="no route")
    for every in ("REPORT_EVERY_S", "TOLD_EVERY_S", "ASKED_EVERY_S"):
        monkeypatch.setattr(desk, every, 1e9)  # what was reported would be tried once the read model has it
    async with effects.pushing() as engine:
        await effects.happens(started(id=NEIGHBOURS[0]))
        await effects.happens(started())
        await until(lambda: engine.counts.get("unreachable"))
    effects.partner.said.clear()
    before = len(effects.partner.told)  # its neighbour may have been told by then, or not
    document: Any = {"owner": str(MSP), "status": "ACTIVE", "clock_offset_s": 0, "session": {"id": SESSION}}
    await effects.store.apply(
        [Put(HUB, "sessions", SESSION, 1, document)]
    )  # where the position passed it already
    async with effects.pushing():
        await until(lambda: (SESSION, 1) in effects.partner.told[before:], 20)


async def test_who_reads_again_what_was_told_tells_nothing_older_on_the_way(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former holder told more than it could report."""
    monkeypatch.setattr(desk, "QUIET_S", 0.0)
    monkeypatch.setattr(Pushes, "write", lambda self: asyncio.sleep(0))
    for every in ("REPORT_EVERY_S", "TOLD_EVERY_S", "ASKED_EVERY_S"):
        monkeypatch.setattr(desk, every, 1e9)
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
        await effects.happens(ended(2, 600, 4200), priced(3, 600))
        await until(lambda: effects.partner.told == [(SESSION, 1), (SESSION, 3)])
    whole = Pushes._handle

    async def slowly(self: Any, place: TopicPartition, facts: Any) -> None:
        for fact in facts:
            await whole(self, place, [fact])
            await asyncio.sleep(0.3)

    monkeypatch.setattr(Pushes, "_handle", slowly)
    async with effects.pushing(group="from the beginning"):
        await until(lambda: len(effects.partner.told) > 2)
    assert effects.partner.told[2:] == [(SESSION, 3)]


async def test_a_process_that_ends_while_the_end_of_a_session_is_told_lets_its_cdr_go(
    effects: Effects,
) -> None:
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
        effects.partner.answering.clear()
        await effects.happens(ended(2, 600, 4200), priced(3, 600))
        await until(lambda: effects.partner.told == [(SESSION, 1), (SESSION, 3)])
        asyncio.get_running_loop().call_later(0.1, effects.partner.answering.set)
    async with effects.pushing():
        await until(lambda: effects.happened("delivery"))


async def test_what_was_begun_before_somebody_else_took_over_is_not_sent_afterwards(
    effects: Effects, for_ever: None
) -> None:
    """Its request was ready while the account was ours: whoever had it since then may have told something newer."""
    effects.partner.preparing.clear()
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.prepared)
        await silent_holder(effects)
        effects.partner.said[NEIGHBOURS[0]] = Outcome("refused", 500, "HTTP 500")
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: retaken(effects))
        effects.partner.preparing.set()
        looked = (await effects.log.ends([commands()]))[commands()]
        await until(lambda: has_looked(effects, looked + 3))
        assert effects.partner.told == [(NEIGHBOURS[0], 1)]


async def retaken(effects: Effects) -> bool:
    return sum(isinstance(event, TakenOver) for event in await effects.account()) == 3


async def test_a_partner_of_whom_nothing_can_be_said_keeps_no_other_one_away(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "AWAY_AGAIN", timedelta(seconds=0.05))
    effects.partner.offline |= {MSP, BROKEN}
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: engine.counts == {"offline": 1})
        for desk_ in engine._desks.values():
            desk_.outbox.offline(str(BROKEN))
        effects.partner.damaged.add(BROKEN)
        await until(lambda: effects.partner.looked_at_damaged)
        effects.partner.offline.clear()
        await until(lambda: effects.partner.told == [(SESSION, 1)])


@pytest.mark.parametrize("kind", [TakeOver, Report])
async def test_what_cannot_be_asked_of_the_account_is_asked_again(
    effects: Effects, monkeypatch: pytest.MonkeyPatch, kind: type[TakeOver | Report]
) -> None:
    ask, failed = effects.bus.ask, asyncio.Event()

    async def fails_once(command: Any, *others: Any, **named: Any) -> Any:
        about = isinstance(command, kind) and command.partition == PLACE.partition
        if about and not failed.is_set():
            failed.set()
            raise ValueError("a record that no log takes")
        return await ask(command, *others, **named)

    monkeypatch.setattr(effects.bus, "ask", fails_once)
    effects.partner.said[SESSION] = Outcome("refused", 500, "HTTP 500")
    async with effects.pushing():
        await effects.happens(started())
        await until(failed.is_set)
        await until(lambda: reported(effects))


async def test_an_account_that_went_on_while_it_was_taken_over_is_not_ahead_of_the_log(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before tells of a fact, and reports it, after we have begun to ask."""
    ask = effects.bus.ask
    epoch = await silent_holder(effects)

    async def after_one_more(command: Any, *others: Any, **named: Any) -> Any:
        if (
            isinstance(command, TakeOver)
            and command.partition == PLACE.partition
            and not effects.partner.goes_on
        ):
            effects.partner.goes_on = True
            await effects.happens(started())
            await effects.ask(Report(module="sessions", partition=PLACE.partition, epoch=epoch, through=1))
        return await ask(command, *others, **named)

    monkeypatch.setattr(effects.bus, "ask", after_one_more)
    async with effects.pushing() as engine:
        await until(lambda: engine.sink.handled == 1)
        assert engine.sink.halted == {}


async def test_nothing_is_kept_of_a_session_that_is_told_to_nobody(effects: Effects) -> None:
    """A tag that was not accepted, of a token whose owner is known."""
    async with effects.pushing() as engine:
        await effects.happens(msgspec.structs.replace(started(), status="INVALID"))
        await until(lambda: engine.sink.handled == 1)
        [desk_] = [one for place, one in engine._desks.items() if place == PLACE]
        assert desk_.contents == {}


async def test_who_asks_for_silence_for_years_is_asked_again_after_an_hour(effects: Effects) -> None:
    effects.partner.said[SESSION] = Outcome("refused", 503, "busy", retry_after=2.5e11)
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: reported(effects))
    [named] = [event for event in await effects.account() if isinstance(event, Reported) and event.waiting]
    [waiting] = named.waiting
    assert not waiting.given_up
    assert waiting.due is not None and waiting.due <= now() + timedelta(hours=1)


async def test_a_session_that_began_before_is_read_once_and_not_before_the_store_has_what_is_missing(
    effects: Effects,
) -> None:
    """The read model may be behind the facts: then the partition waits, and the log holds nothing of it."""
    session = {"status": "ACTIVE", "kwh": 1.5, "id": SESSION}
    document: Any = {"owner": str(MSP), "status": "ACTIVE", "clock_offset_s": 0, "session": session}
    async with effects.pushing() as engine:
        await effects.happens(ended(7, 600, 4200))
        await until(lambda: engine.sink.waiting == 1)
        assert engine.waiting == 0
        await effects.store.apply([Put(HUB, "sessions", SESSION, 6, document)])
        await until(lambda: effects.partner.told == [(SESSION, 7)])
    assert effects.partner.sessions[0]["kwh"] == 4.2


async def test_a_partner_that_is_not_connected_is_sent_nothing_and_then_what_is_now(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "AWAY_AGAIN", timedelta(seconds=0.05))
    effects.partner.offline.add(MSP)
    async with effects.pushing() as engine:
        await effects.happens(started())
        await effects.happens(used(2, 60, 900, owner=MSP))
        await until(lambda: reported(effects))
        await until(lambda: engine.sink.handled == 2)
        assert (effects.partner.sent, engine.counts) == ([], {"offline": 1})
        effects.partner.offline.clear()
        await until(lambda: effects.partner.told == [(SESSION, 2)])


async def test_a_partner_that_was_away_for_long_gets_each_object_once_as_it_is_and_its_cdrs(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "AWAY_AGAIN", timedelta(seconds=0.05))
    monkeypatch.setattr(outbox, "MOST_NAMED", 3)
    monkeypatch.setattr(outbox, "WALKED_AT_ONCE", 2)
    effects.partner.offline.add(MSP)
    ids = NEIGHBOURS[:8]
    async with effects.pushing() as engine:
        for id in ids:
            await effects.happens(started(id=id))
        await until(lambda: is_behind(effects))
        for id in ids:
            await effects.happens(ended(2, 600, 4200, id=id), priced(3, 600, id=id))
        await until(lambda: engine.sink.handled == 16)
        assert engine.waiting == 0
    for id in ids:
        # The projector has come to the end meanwhile.
        document: Any = {"owner": str(MSP), "status": "COMPLETED", "session": {"id": id}}
        await effects.store.apply([Put(HUB, "sessions", id, 3, document)])
    async with effects.pushing() as engine:
        await until(lambda: engine.sink.lanes and effects.partner.sent == [])
        effects.partner.offline.clear()
        await until(lambda: caught_up(effects))
    assert sorted(effects.partner.told) == sorted((id, 3) for id in ids)
    wanted = {event.originator_id for event in await effects.happened("delivery")}
    assert wanted == {f"delivery|{MSP}|cdrs|{id}" for id in ids}


async def is_behind(effects: Effects) -> bool:
    return any(isinstance(event, Reported) and event.behind for event in await effects.account())


async def caught_up(effects: Effects) -> bool:
    return any(isinstance(event, Reported) and event.caught_up for event in await effects.account())


async def test_an_account_that_is_ahead_of_the_log_halts_the_partition(effects: Effects) -> None:
    epoch = await silent_holder(effects)
    ahead = Report(module="sessions", partition=PLACE.partition, epoch=epoch, through=99, last=True)
    await effects.ask(ahead)
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: PLACE in engine.sink.halted)
        assert "lost its end" in engine.sink.halted[PLACE]
    assert effects.partner.told == []


async def test_what_was_told_before_the_groups_positions_were_lost_is_not_told_again(
    effects: Effects,
) -> None:
    """As after a restore: the account says up to where all is told."""
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: effects.partner.told == [(SESSION, 1)])
    async with effects.pushing(group="nobody-knows-it") as engine:
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: engine.sink.handled == 2 and len(effects.partner.told) == 2)
    assert effects.partner.told == [(SESSION, 1), (NEIGHBOURS[0], 1)]


async def test_a_partner_that_asks_for_silence_is_left_alone(effects: Effects) -> None:
    effects.partner.said[SESSION] = Outcome("refused", 429, "too many", retry_after=600)
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: engine.counts.get("refused"))
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: engine.sink.handled == 2)
        assert await effects.gate.enter(str(MSP)) > 500
    assert effects.partner.told == [(SESSION, 1)]


async def test_a_partner_that_was_removed_is_asked_for_no_more_until_somebody_speaks_for_its_party_again(
    effects: Effects, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one, which is but away, is asked for all the time."""
    monkeypatch.setattr(engine_module, "AWAY_AGAIN", timedelta(seconds=0.02))
    effects.partner.offline |= {MSP, BROKEN}
    await effects.ask(ReleaseParties(owner=str(MSP)))
    partner = effects.partner
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: f"{MSP} is spoken for by nobody any more" in caplog.text)
        for desk_ in engine._desks.values():
            desk_.outbox.offline(str(BROKEN))
        looked, before = len(partner.looked_at), partner.looked_at.count(MSP)
        await until(lambda: partner.looked_at[looked:].count(BROKEN) == 5)
        assert partner.looked_at.count(MSP) == before

        partner.offline.clear()
        await effects.happens(started(id=NEIGHBOURS[0]))
        await until(lambda: len(partner.told) == 2)


async def test_while_the_log_cannot_say_who_speaks_for_a_party_its_partner_is_asked_for(
    effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, refused = effects.bus.ask, 0

    async def away(command: Any, *others: Any, **named: Any) -> Any:
        nonlocal refused
        if isinstance(command, AskOwner):
            refused += 1
            raise LogUnavailableError("away")
        return await ask(command, *others, **named)

    monkeypatch.setattr(engine_module, "AWAY_AGAIN", timedelta(seconds=0.02))
    monkeypatch.setattr(effects.bus, "ask", away)
    effects.partner.offline.add(MSP)
    async with effects.pushing():
        await effects.happens(started())
        await until(lambda: refused == 2)
        effects.partner.offline.clear()
        await until(lambda: effects.partner.told == [(SESSION, 1)])


@pytest.mark.parametrize("work", ["take_up", "due", "news", "failed"])
async def test_a_mistake_of_ours_in_the_work_on_a_partition_halts_it_and_is_said(
    effects: Effects, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: str
) -> None:
    """Taking it over, looking for what is due, reporting, and what became of a request."""

    def mistaken(*said: Any, **more: Any) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(outbox.Outbox, work, mistaken)
    effects.partner.said[SESSION] = Outcome("refused", 500, "HTTP 500")
    async with effects.pushing() as engine:
        await effects.happens(started())
        await until(lambda: PLACE in engine.sink.halted)
        assert engine.sink.halted[PLACE] == "a mistake of ours"
    assert f"{PLACE.topic}[{PLACE.partition}] cannot be told of any more" in caplog.text
