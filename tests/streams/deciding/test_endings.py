"""What is over is forgotten after a month, and nothing that comes after all meets a blank (ADR 16)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area, Command, Meta, Refusal
from commands.creating import CREATING
from commands.delivery import Retry, Want
from commands.remote_command import Conclude
from commands.session import EndSession
from domain.delivery import delivery_id
from domain.session import End
from streams.deciding import checkpoints
from streams.deciding.checkpoints import CHECKPOINT_KEY, Saver
from streams.deciding.claims import Claims, Places
from streams.deciding.partition import ForgottenError, Partition, Rules
from streams.log import LogUnavailableError, Record
from streams.log.envelope import CommandRecord, Decision, ReplyTo, decode_events, encode, raw, record
from streams.log.layout import Layout
from streams.log.ranges import newest, stretch
from streams.log.sqlite import log as sqlite_log
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import RETENTION, topics
from tests.commands.test_session import at, start_command
from tests.streams.deciding.test_partition import DELIVERY, MSP, REQUEST, TO, WHO, ended, report

BEGIN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RULES = Rules(registry.ROUTES, registry.TIMERS, registry.EVENTS, CREATING)
S1, D1, C1 = "session|s1", delivery_id(MSP, "sessions", "s1"), "remote_command|demo|c1"


class Clock:
    """The log log's, which stands until it is moved."""

    now = BEGIN

    def time_ns(self) -> int:
        return int(self.now.timestamp() * 1e9)

    monotonic = staticmethod(time.monotonic)


@pytest.fixture
async def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteLog]:
    monkeypatch.setattr(Clock, "now", BEGIN)
    monkeypatch.setattr(sqlite_log, "time", Clock())
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


class Decider:
    """One partition on the embedded log; each `begin` is another decider's."""

    def __init__(self, log: SqliteLog, area: Area, rules: Rules = RULES) -> None:
        self.log = log
        self.places = Places(area, 0)
        self.claims = Claims(log, rules, "one", 100)
        self.looked_up: list[str] = []

    @property
    def now(self) -> datetime:
        return Clock.now

    async def begin(self, *, trust_states: bool = True) -> Partition:
        claimed = await self.claims.claim(self.places, 0, trust_states=trust_states)
        self.partition = claimed.partition
        self.saver = Saver(self.log, self.places.states, 0.0, lambda: None, asyncio.Semaphore(1))
        self.saver.since = claimed.states_since
        return self.partition

    async def say(self, id: str, command: Command, caused: timedelta | None = None) -> Decision:
        """It is decided, appended and folded; `caused`: how long ago, where a process says it."""
        value = CommandRecord(
            aggregate=command.aggregate_id,
            meta=Meta(command_id=id, at=self.now, caused_at=None if caused is None else self.now - caused),
            reply_to=ReplyTo(1, "boot", 1) if caused is None else None,
            command=raw(command),
        )
        [offset] = await self.log.append(*self.places.commands, [Record(b"", encode(value))])
        [stored] = [one async for batch in stretch(self.log, self.places.commands, offset) for one in batch]
        while True:
            try:
                decision = self.partition.decide(stored, self.now)
                break
            except ForgottenError as error:
                self.looked_up.append(error.aggregate)
                await self.claims.look_up(self.places, self.partition, error.aggregate)
        assert decision is not None
        [at] = await self.log.append(*self.places.events, [record(decision.reply.aggregate, decision)])
        self.partition.folded = at + 1
        return decision

    async def save(self) -> None:
        """A whole checkpoint."""
        self.saver.begin()
        self.saver.go_on(self.partition)
        while (writing := self.saver.writing) is not None:
            await asyncio.wait([writing])
            self.saver.go_on(self.partition)

    async def month(self) -> None:
        """A month and a day pass, of which the partition hears, and a checkpoint."""
        Clock.now += RETENTION + DAY
        await self.say(f"other {self.now}", other(self.places.area))
        await self.save()

    async def standing(self) -> dict[str, str]:
        """What stands in the state topic: `state`, or `gone`; its keys without their lives."""
        found: dict[str, str] = {}
        for name, stored in (await newest(self.log, self.places.states)).items():
            if name != CHECKPOINT_KEY and stored.value is not None:
                key = name.partition(b"\0")[0].decode()
                found[key] = "gone" if b'"gone"' in stored.value else "state"
        return found

    async def versions(self, id: str) -> list[int]:
        found: list[int] = []
        async for batch in stretch(self.log, self.places.events):
            for stored in batch:
                if stored.key == id.encode():
                    decision = msgspec.json.decode(stored.value or b"", type=Decision)
                    found += [event.originator_version for event in decode_events(decision, registry.EVENTS)]
        return found

    def known(self, id: str) -> bool:
        return self.partition.states.frozen(id, 0) is not None


def other(area: Area) -> Command:
    """Of another aggregate, that is not over."""
    if area is Area.SESSION:
        return msgspec.structs.replace(start_command(), session_id="other")
    if area is Area.DELIVERY:
        return Want(**{**TO, "object_id": "other"}, tenant="demo", version=1, partition=0, offset=1)
    return msgspec.structs.replace(REQUEST, command_id="other", fingerprint="f")


async def charged(log: SqliteLog, *ends: Command) -> Decider:
    decider = Decider(log, Area.SESSION)
    await decider.begin()
    for number, command in enumerate((start_command(), *ends)):
        await decider.say(f"process|{number}", command, timedelta(0))
    await decider.save()
    return decider


async def delivered(log: SqliteLog) -> Decider:
    decider = Decider(log, Area.DELIVERY)
    await decider.begin()
    wanted = DELIVERY[0]
    for number, command in enumerate((wanted, report(2, "delivered", 1))):
        await decider.say(f"process|{number}", command, timedelta(0))
    await decider.save()
    return decider


REPORTED = ended(7, meter_stop=1700)
BY_HAND = ended(5, by="ann")


async def test_what_is_over_is_remembered_for_a_month_and_then_in_no_memory_and_in_no_topic(
    log: SqliteLog,
) -> None:
    decider = await charged(log, REPORTED)
    Clock.now += RETENTION - DAY
    await decider.say("another", other(Area.SESSION))
    await decider.save()
    assert (decider.known(S1), (await decider.standing())[S1]) == (True, "state")

    await decider.month()
    assert (decider.known(S1), (await decider.standing())[S1]) == (False, "gone")
    await decider.say("and another", EndSession(session_id="other", end=End(at=at(5))))
    await decider.save()
    assert S1 not in await decider.standing()


async def test_a_repeat_within_the_month_is_answered_from_what_is_left(log: SqliteLog) -> None:
    decider = await charged(log, REPORTED)
    Clock.now += RETENTION - DAY
    decision = await decider.say("again", REPORTED, RETENTION - DAY)
    assert (decision.events, decider.looked_up) == ([], [])


async def test_a_correction_that_comes_after_all_is_of_the_charge_as_the_log_has_it(
    log: SqliteLog,
) -> None:
    decider = await charged(log, BY_HAND)
    await decider.month()
    assert not decider.known(S1)

    true_stop = msgspec.structs.replace(REPORTED, after_all=True)
    decision = await decider.say("late", true_stop, timedelta(0))
    made = [type(event).__name__ for event in decode_events(decision, registry.EVENTS)]
    assert made == ["EndCorrected", "CdrIssued", "CdrIssued"]
    assert decider.looked_up == [S1]
    versions = await decider.versions(S1)
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("trust_states", [True, False])
async def test_what_came_back_is_there_after_a_start_whoever_deletes_its_old_key(
    log: SqliteLog, trust_states: bool
) -> None:
    decider = await charged(log, BY_HAND)
    await decider.month()
    await decider.say("late", msgspec.structs.replace(REPORTED, after_all=True), timedelta(0))
    await decider.save()
    # A decider that had marked the key, and lost the partition since, deletes it now.
    await log.append(*decider.places.states, [Record(S1.encode(), None)])
    await decider.begin(trust_states=trust_states)
    assert decider.known(S1)


async def test_what_follows_from_an_old_fact_is_known_by_the_log(log: SqliteLog) -> None:
    decider = await charged(log, REPORTED)
    before = await decider.versions(S1)
    await decider.month()
    for id, command in (("a", start_command()), ("b", ended(8))):
        decision = await decider.say(id, command, RETENTION + DAY)
        assert decision.events == []
    assert decider.looked_up == [S1]
    assert await decider.versions(S1) == before


async def test_what_follows_from_a_young_fact_is_not_looked_up(log: SqliteLog) -> None:
    decider = await charged(log, REPORTED)
    await decider.month()
    fresh = msgspec.structs.replace(start_command(), session_id="s2")
    await decider.say("fresh", fresh, timedelta(minutes=5))
    assert decider.looked_up == []


async def test_a_retry_by_hand_goes_on_where_the_log_stands(log: SqliteLog) -> None:
    decider = await delivered(log)
    await decider.month()
    assert not decider.known(D1)
    await decider.say("by hand", Retry(**TO, by="ann"))
    assert (await decider.versions(D1), decider.looked_up) == ([1, 2, 3, 4, 5], [D1])


async def test_what_never_was_is_looked_up_once_and_refused(log: SqliteLog) -> None:
    decider = Decider(log, Area.DELIVERY)
    await decider.begin()
    assert (await decider.say("1", Retry(**TO, by="ann"))).reply.refusal is Refusal.UNKNOWN
    assert decider.looked_up == [D1]


async def test_a_remote_commands_id_that_comes_again_after_a_month_is_another_command(
    log: SqliteLog,
) -> None:
    decider = Decider(log, Area.REMOTE_COMMAND)
    await decider.begin()
    first = await decider.say("remote|demo|c1|f", REQUEST)
    await decider.say("done", Conclude(**WHO, status="accepted"), timedelta(0))
    await decider.save()
    assert (await decider.say("once more", REQUEST)).events == []

    await decider.month()
    expires_at = decider.now + timedelta(minutes=2)
    again = await decider.say(
        "remote|demo|c1|g", msgspec.structs.replace(REQUEST, fingerprint="g", expires_at=expires_at)
    )
    assert [type(event).__name__ for event in decode_events(again, registry.EVENTS)] == [
        "RemoteCommandRequested"
    ]
    assert again.reply.version > first.reply.version + 1
    await decider.save()
    for trust_states in (True, False):
        partition = await decider.begin(trust_states=trust_states)
        data = partition.states.frozen(C1, 0)
        assert data is not None
        stored = msgspec.json.decode(data)
        assert (stored["version"], stored["state"]["fingerprint"]) == (again.reply.version, "g")
        assert [id for id, _ in stored["recent"]] == ["remote|demo|c1|g"]


async def test_what_changes_while_it_is_marked_as_gone_stays(log: SqliteLog) -> None:
    decider = await delivered(log)
    Clock.now += RETENTION + DAY
    await decider.say("other", other(Area.DELIVERY))
    decider.saver.begin()
    decider.saver.go_on(decider.partition)
    while (await decider.standing()).get(D1) != "gone":
        assert decider.saver.writing is not None
        await asyncio.wait([decider.saver.writing])
        if (await decider.standing()).get(D1) == "gone":
            break
        decider.saver.go_on(decider.partition)
    await decider.say("by hand", Retry(**TO, by="ann"))
    while decider.saver.writing is not None:
        await asyncio.wait([decider.saver.writing])
        decider.saver.go_on(decider.partition)
    assert decider.known(D1)
    await decider.save()
    await decider.save()
    await decider.begin()
    assert decider.known(D1)


async def test_a_mark_that_could_not_be_written_leaves_its_aggregate_in_memory(log: SqliteLog) -> None:
    decider = await delivered(log)
    Clock.now += RETENTION + DAY
    await decider.say("other", other(Area.DELIVERY))
    decider.saver._log = _Refusing(log)  # type: ignore[assignment]
    await decider.save()
    assert decider.known(D1)
    decider.saver._log = log
    await decider.save()
    assert not decider.known(D1)


async def test_a_mark_stays_until_a_decision_stands_behind_it_though_a_later_one_could_not_be_written(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion says not who wrote it: by one that comes late whoever has the partition would lose a state."""
    monkeypatch.setattr(checkpoints, "SAVED_AT_ONCE", 1)
    decider = await charged(log, REPORTED)
    await decider.say("s2", msgspec.structs.replace(start_command(), session_id="s2"), timedelta(0))
    await decider.say("s2 ends", msgspec.structs.replace(REPORTED, session_id="s2"), timedelta(0))
    Clock.now += RETENTION + DAY
    await decider.say("other", other(Area.SESSION))
    await decider.say("a reply that is remembered", REPORTED)
    decider.saver._log = _Refusing(log, taken=1)  # type: ignore[assignment]
    await decider.save()
    assert (decider.known(S1), decider.known("session|s2")) == (False, True)

    decider.saver._log = log
    await decider.save()
    assert (decider.known("session|s2"), (await decider.standing())[S1]) == (False, "gone")


@pytest.mark.parametrize("trust_states", [True, False])
async def test_nothing_is_forgotten_by_the_clock_of_who_claims(log: SqliteLog, trust_states: bool) -> None:
    """On Kafka a claim bears its decider's time, and nothing says that this is right."""
    decider = await charged(log, REPORTED)
    Clock.now += RETENTION + DAY
    await decider.begin(trust_states=trust_states)
    await decider.save()
    assert decider.known(S1)
    await decider.say("other", other(Area.SESSION))
    await decider.save()
    assert not decider.known(S1)


async def test_what_changes_after_its_marks_have_failed_again_and_again_is_there_after_a_start(
    log: SqliteLog,
) -> None:
    """While the log is away nothing is decided, and no number of a life is new by that."""
    decider = await delivered(log)
    Clock.now += RETENTION + DAY
    await decider.say("other", other(Area.DELIVERY))
    decider.saver._log = _Refusing(log)  # type: ignore[assignment]
    await decider.save()
    await decider.save()
    decider.saver._log = log
    await decider.say("by hand", Retry(**TO, by="ann"))
    await decider.save()
    await decider.begin()
    assert decider.known(D1)
    assert decider.partition.states.entry(D1).aggregate.version == 5


class _Refusing:
    """A log that takes no mark of what is gone, or none beyond some."""

    def __init__(self, log: SqliteLog, taken: int = 0) -> None:
        self._log = log
        self._taken = taken

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if any(b'"gone"' in (one.value or b"") for one in records):
            self._taken -= 1
            if self._taken < 0:
                raise LogUnavailableError("it is away")
        return await self._log.append_patiently(topic, partition, records)


async def test_a_mark_of_a_decider_that_had_lost_the_partition_is_not_believed(log: SqliteLog) -> None:
    stale = await delivered(log)
    Clock.now += RETENTION + DAY
    await stale.say("other", other(Area.DELIVERY))

    decider = Decider(log, Area.DELIVERY)
    await decider.begin()
    await decider.say("by hand", Retry(**TO, by="ann"))
    await decider.save()
    await stale.save()
    assert (await decider.standing())[D1] == "gone"

    await decider.begin()
    assert decider.known(D1)
    assert decider.partition.states.entry(D1).aggregate.version == 5


async def test_a_fold_from_the_beginning_keeps_all_until_it_is_through_and_then_forgets(
    log: SqliteLog,
) -> None:
    decider = await charged(log, BY_HAND)
    await decider.month()
    await decider.say("late", msgspec.structs.replace(REPORTED, after_all=True), timedelta(0))
    await decider.month()
    partition = await decider.begin(trust_states=False)
    assert not decider.known(S1)
    assert decider.known("session|other")
    await decider.say("x", other(Area.SESSION))
    await decider.save()
    await decider.say("y", other(Area.SESSION))
    await decider.save()
    assert set(await decider.standing()) == {"session|other"}
    assert partition is decider.partition


def test_commands_and_frames_are_kept_for_as_long_as_what_is_over_is_remembered() -> None:
    month = RETENTION // timedelta(milliseconds=1)
    kept = {
        spec.retention_ms for spec in topics(Layout()) if ".commands." in spec.name or ".frames" in spec.name
    }
    assert kept == {month}
    assert RULES.retention == RETENTION


def test_a_charge_point_and_a_token_never_end() -> None:
    kinds: Iterable[Any] = {route.aggregate for route in registry.ROUTES.values()}
    ending = {"session", "foreign_session", "delivery", "remote_command", "job", "job_items"}
    assert {kind.kind for kind in kinds if kind.ends} == ending
    assert {kind.kind for kind in kinds if kind.recurs} == {"remote_command", "job", "foreign_session"}
