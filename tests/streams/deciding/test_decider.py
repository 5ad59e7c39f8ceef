"""The decider on the embedded log: one decision for a command, replies only from what was read back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.base import Meta, Refusal
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.checkpoints import CHECKPOINT_KEY, Checkpoint
from streams.log import Log, LogUnavailableError, Position, Record, Stored, TopicPartition
from streams.log.envelope import Claim, Decision, Reply, ReplyTo, decode_events, encode
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import commands_topic, events_topic, state_topic
from tests.laws import tried
from tests.streams.counter import EVENTS, RULES, Add, Rang, SetAlarm, ring
from tests.streams.damaged import damage, opened
from tests.streams.harness import (
    AREA_TOPICS,
    CHARGE_POINT,
    FlakyLog,
    InHaste,
    Node,
    agree,
    claims,
    decisions,
    insist,
    now,
    place_of,
    records,
    result,
    totals,
    until,
)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(AREA_TOPICS)
    yield log
    await log.close()


async def test_a_command_is_answered_with_its_decision(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=3), "1")

    assert (reply.refusal, msgspec.json.decode(reply.result), reply.version) == (None, 3, 1)
    [decision] = await decisions(log, "counter|a")
    assert decision.meta.command_id == "1"
    assert decision.reply == reply


async def test_a_repeat_gets_the_stored_reply_and_makes_no_event(log: SqliteLog) -> None:
    async with Node(log) as node:
        first = await node.ask(Add(counter="a", amount=3), "1")
        await node.ask(Add(counter="a", amount=4), "2")
        again = await node.ask(Add(counter="a", amount=3), "1")

    assert again == first
    events = [e for d in await decisions(log, "counter|a") for e in decode_events(d, EVENTS)]
    assert [e.originator_version for e in events] == [1, 2]


async def test_a_repeat_is_recognised_after_a_restart(log: SqliteLog) -> None:
    async with Node(log) as node:
        first = await node.ask(Add(counter="a", amount=3), "1")
    async with Node(log) as node:
        again = await node.ask(Add(counter="a", amount=3), "1")
        more = await node.ask(Add(counter="a", amount=4), "2")

    assert again == first
    assert msgspec.json.decode(more.result) == 7


async def test_a_refusal_is_a_decision_without_events(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=0), "1")

    assert (reply.refusal, reply.message) == (Refusal.INVALID, "amount 0 adds nothing")
    [decision] = await decisions(log, "counter|a")
    assert decision.events == []


async def test_a_command_past_its_deadline_is_refused_as_expired(log: SqliteLog) -> None:
    async with Node(log) as node:
        meta = Meta(command_id="1", at=now(), deadline=now() - timedelta(seconds=3))
        reply = await node.bus.ask(Add(counter="a", amount=3), meta)

    assert reply.refusal is Refusal.EXPIRED


async def test_a_handler_that_raises_is_a_failed_decision_and_the_key_goes_on(log: SqliteLog) -> None:
    async with Node(log) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        failed = await node.ask(Add(counter="a", amount=13), "2")
        after = await node.ask(Add(counter="a", amount=1), "3")

    assert failed.refusal is Refusal.FAILED
    assert "ValueError" in failed.message
    assert (msgspec.json.decode(after.result), after.version) == (2, 2)


async def test_states_are_a_cache_and_recovery_from_them_equals_a_fold(log: SqliteLog) -> None:
    async with Node(log, checkpoint_every=0.0) as node:
        for i in range(50):
            await node.ask(Add(counter=f"c{i % 7}", amount=1), str(i))
    async with Node(log) as node:
        replies = [await node.ask(Add(counter=f"c{i}", amount=100), f"x{i}") for i in range(7)]

    expected = [len([i for i in range(50) if i % 7 == n]) + 100 for n in range(7)]
    assert [msgspec.json.decode(reply.result) for reply in replies] == expected


async def test_a_state_that_is_damaged_in_the_log_is_folded_from_the_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "other.db"
    async with opened(path) as log, Node(log, checkpoint_every=0.0) as node:
        await node.ask(Add(counter="a", amount=2), "1")
        await until(lambda: states_of(log, "counter|a"))
        [state] = [s for s in await states_of(log, "counter|a") if s.key == b"counter|a"]
    damage(path, state.place, state.offset)
    async with opened(path) as log, Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=3), "2")
        halted = dict(node.decider.halted)

    assert (result(reply), reply.version) == (5, 2)
    assert halted == {}
    [said] = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert (
        f"{path} is damaged at {state.topic}[{state.partition}]: the record at offset {state.offset}" in said
    )


async def test_states_that_take_long_to_write_delay_no_decision_and_what_is_decided_meanwhile_is_kept(
    tmp_path: Path,
) -> None:
    """A checkpoint of 450 states takes three appends; the second and third freeze what was decided since."""
    log = SlowStates(tmp_path / "log.db")
    await log.start()
    await log.ensure(AREA_TOPICS)
    ids = [f"c{n}" for n in range(20_000) if Layout().partition_of(f"counter|c{n}") == 0][:450]
    states = TopicPartition(state_topic(CHARGE_POINT), 0)
    async with Node(log) as node:
        await asyncio.gather(*(node.ask(Add(counter=id, amount=1), id) for id in ids))
        node.decider.checkpoint()
        await until(log.asked.is_set)
        for round in range(2):
            await asyncio.gather(*(node.ask(Add(counter=id, amount=1), f"{id}|{round}") for id in ids))
        assert (await log.ends([states]))[states] == 0
        log.open.set()
        await until(lambda: checkpointed(log, states))
    async with Node(log) as node:
        replies = await asyncio.gather(*(node.ask(Add(counter=id, amount=1), f"{id}|last") for id in ids))
    await log.close()

    assert {(result(reply), reply.version) for reply in replies} == {(4, 4)}


class SlowStates(InHaste, SqliteLog):
    """States are appended once `open` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if topic == state_topic(CHARGE_POINT):
            self.asked.set()
            await self.open.wait()
        return await super().append(topic, partition, records)


async def checkpointed(log: Log, place: TopicPartition) -> bool:
    return any(stored.key == b"\x00checkpoint" for stored in await records(log, place))


async def test_a_timer_is_decided_when_its_time_has_come(log: SqliteLog) -> None:
    async with Node(log) as node:
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=50)), "1")
        await until(lambda: decided(log, "timer.due.v1"))

    names = [d.command for d in await decisions(log, "counter|a")]
    assert names == ["counter.set_alarm.v1", "timer.due.v1"]


async def test_a_timer_is_decided_under_its_aggregates_tenant(log: SqliteLog) -> None:
    """What follows from it belongs to the tenant too: its session, its CDR, its story."""
    async with Node(log) as node:
        alarm = SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=50))
        await node.bus.ask(alarm, Meta(command_id="1", at=now(), tenant="demo"), 10)
        await until(lambda: decided(log, "timer.due.v1"))

    assert [d.meta.tenant for d in await decisions(log, "counter|a")] == ["demo", "demo"]


async def test_a_timer_whose_handler_raises_is_told_again_and_hides_no_later_one(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is mended meanwhile, by an upgrade say."""
    monkeypatch.setattr("streams.deciding.partition.TIMER_AGAIN", 0.1)
    asked: list[str] = []

    def raising(counter: Any, command: Any, meta: Any) -> Any:
        asked.append(meta.command_id)
        if len(asked) < 3:
            raise ValueError("not yet")
        return ring(counter, command, meta)

    monkeypatch.setitem(RULES.timers, "counter", raising)
    async with Node(log) as node:
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=50)), "1")
        await until(lambda: rang(log, 1))
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=50)), "2")
        await until(lambda: rang(log, 2))

    assert len(asked) == len(set(asked)) == 4


async def rang(log: SqliteLog, count: int) -> bool:
    events = [e for d in await decisions(log, "counter|a") for e in decode_events(d, EVENTS)]
    return sum(isinstance(event, Rang) for event in events) == count


async def test_a_timer_due_while_nobody_ran_fires_once_after_the_restart(log: SqliteLog) -> None:
    async with Node(log, checkpoint_every=0.0) as node:
        await node.ask(SetAlarm(counter="a", alarm=now() + timedelta(milliseconds=100)), "1")
        await node.ask(Add(counter="a", amount=1), "2")
    async with Node(log):
        await until(lambda: decided(log, "timer.due.v1"))

    events = [e for d in await decisions(log, "counter|a") for e in decode_events(d, EVENTS)]
    assert [type(e).__name__ for e in events].count("Rang") == 1


async def test_decisions_larger_than_16_kb_stay_whole(log: SqliteLog) -> None:
    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=5, padding=100_000), "1")

    assert msgspec.json.decode(reply.result) == 5
    [decision] = await decisions(log, "counter|a")
    assert len(decision.events) == 1


async def test_a_decider_whose_partition_was_claimed_by_another_never_contradicts_the_log(
    log: SqliteLog,
) -> None:
    """A stopped and resumed decider: the log holds a later claim that it has not seen."""
    async with Node(log) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        place = place_of("counter|a")
        await log.append(place.topic, place.partition, [Record(None, encode(Claim(owner="other")))])
        reply = await node.ask(Add(counter="a", amount=1), "2")

    valid = {d.meta.command_id: d.reply for d in await decisions(log, "counter|a")}
    assert valid["2"] == reply
    assert msgspec.json.decode(reply.result) == 2


async def test_a_decider_that_was_stopped_leaves_stale_states_that_the_next_one_does_not_believe(
    log: SqliteLog,
) -> None:
    """The state topic is a cache: what a decider wrote there after it had lost the partition is thrown away."""
    async with Node(log, checkpoint_every=0.0) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        await until(lambda: states_of(log, "counter|a"))
        [old] = [s for s in await states_of(log, "counter|a") if s.key == b"counter|a"]
    async with Node(log, checkpoint_every=0.0) as node:
        await node.ask(Add(counter="a", amount=1), "2")
        await until(lambda: newer(log, "counter|a", old.offset))
    await log.append(old.topic, old.partition, [Record(old.key, old.value)])

    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=1), "3")

    assert (result(reply), reply.version) == (3, 3)
    agree(await decisions(log, "counter|a"), {"3": reply})


async def test_commands_decided_but_not_committed_get_their_stored_reply_after_a_restart(
    log: SqliteLog,
) -> None:
    async with Node(log) as node:
        first = await node.ask(Add(counter="a", amount=3), "1")
    commands = TopicPartition(commands_topic(CHARGE_POINT), Layout().partition_of("counter|a"))
    await log.commit("decider", {commands: Position(0)})

    channel = Recorder("two")
    async with Node(log, "two", channel=channel):
        await until(lambda: channel.replies)

    assert channel.replies == [first]
    assert len(await decisions(log, "counter|a")) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_decider_whose_append_fails_claims_again_and_answers_what_the_log_says(
    log: SqliteLog, when: str
) -> None:
    """Whether the failed append happened or not: the command is decided once."""
    flaky = FlakyLog(log, events_topic(CHARGE_POINT))
    (flaky.before if when == "before" else flaky.after).update({0, 2, 3})
    async with Node(flaky) as node:
        replies = {str(i): await node.ask(Add(counter="a", amount=1), str(i)) for i in range(4)}

    valid = await decisions(log, "counter|a")
    agree(valid, replies)
    assert [result(reply) for reply in replies.values()] == [1, 2, 3, 4]
    assert totals(valid) == {"counter|a": 4}
    assert await claims(log, "counter|a") == 4


async def test_a_decision_that_stands_behind_a_claim_of_another_is_not_answered_and_does_not_count(
    log: SqliteLog,
) -> None:
    async with Node(log) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        await until(lambda: node.decider.held == Layout().partitions and node.decider.ready)
        await log.append(*place_of("counter|a"), [Record(None, encode(Claim(owner="another")))])
        reply = await node.ask(Add(counter="a", amount=1), "2")

    valid = await decisions(log, "counter|a")
    agree(valid, {"2": reply})
    assert result(reply) == 2
    written = [
        msgspec.json.decode(stored.value or b"") for stored in await records(log, place_of("counter|a"))
    ]
    assert [w["meta"]["command_id"] for w in written if w["kind"] == "decision"] == ["1", "2", "2"]
    assert totals(valid) == {"counter|a": 2}


async def test_what_a_decider_wrote_that_had_lost_the_partition_is_passed_over_and_read_first(
    log: SqliteLog,
) -> None:
    """While it cannot be read, nobody knows whether a claim stands there too: nothing is answered."""
    place = place_of("counter|a")
    flaky = FlakyLog(log, events_topic(CHARGE_POINT))
    async with Node(flaky) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        first = (await records(log, place))[-1]
    async with Node(flaky) as node:
        await node.ask(Add(counter="a", amount=1), "2")
        await until(lambda: node.decider.held == Layout().partitions and node.decider.ready)
        before = node.decider.claims
        await log.append(*place, [Record(first.key, first.value, first.headers)])
        flaky.hearing.clear()
        asked = asyncio.create_task(node.ask(Add(counter="a", amount=1), "3"))
        await until(lambda: decided(log, "3"))
        assert not asked.done()
        flaky.hearing.set()
        reply = await asked
        assert node.decider.claims == before

    valid = await decisions(log, "counter|a")
    agree(valid, {"3": reply})
    assert result(reply) == 3
    assert totals(valid) == {"counter|a": 3}


async def test_a_log_that_takes_decisions_at_an_earlier_offset_has_lost_its_end(log: SqliteLog) -> None:
    """Nothing that was decided on what is gone is answered."""

    class Shorter(FlakyLog):
        lower = False

        async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
            offsets = await super().append(topic, partition, records)
            if self.lower and topic == events_topic(CHARGE_POINT):
                self.lower = False
                return [offset - 1 for offset in offsets]
            return offsets

    shorter = Shorter(log, "")
    async with Node(shorter) as node:
        await node.ask(Add(counter="a", amount=1), "1")
        await until(lambda: node.decider.held == Layout().partitions and node.decider.ready)
        before, shorter.lower = node.decider.claims, True
        reply = await node.ask(Add(counter="a", amount=1), "2")
        assert node.decider.claims == before + 1

    assert result(reply) == 2


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b'{"aggregate":"nobody|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},'
        b'"command":{"type":"counter.add.v1","counter":"a","amount":1}}',
        b'{"aggregate":"counter|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},'
        b'"command":{"type":"counter.add.v1","counter":"a","amount":"many"}}',
    ],
    ids=["damaged", "unknown aggregate", "wrong type"],
)
async def test_a_command_that_cannot_be_read_is_failed_and_those_behind_it_go_on(
    log: SqliteLog, value: bytes
) -> None:
    async with Node(log) as node:
        await log.append(
            commands_topic(CHARGE_POINT), Layout().partition_of("counter|a"), [Record(b"x", value)]
        )
        reply = await node.ask(Add(counter="a", amount=2), "1")

    unreadable, after = await decisions(log, "counter|a")
    assert (unreadable.command, unreadable.reply.refusal, unreadable.events) == (
        "unreadable",
        Refusal.FAILED,
        [],
    )
    assert after.reply == reply
    assert result(reply) == 2


@pytest.mark.parametrize(
    "value",
    [
        b'{"aggregate":"counter|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},'
        b'"command":{"type":"counter.unheard_of.v1"}}',
        b'{"v":2,"aggregate":"counter|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},'
        b'"command":{"type":"counter.add.v1","counter":"a","amount":1}}',
        b'{"v":2,"what":["nobody","knows"]}',
        b'{"aggregate":"gauge|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},'
        b'"command":{"type":"timer.due.v1","aggregate":"gauge|a","due":"2026-01-01T00:00:00Z"}}',
    ],
    ids=["unknown command", "newer record", "newer record of another form", "timer of an unknown noun"],
)
async def test_a_command_of_a_newer_release_halts_its_lane_and_is_decided_by_nobody(
    log: SqliteLog, caplog: pytest.LogCaptureFixture, value: bytes
) -> None:
    other = next(f"c{i}" for i in itertools.count() if place_of(f"counter|c{i}") != place_of("counter|a"))
    async with Node(log) as node:
        await log.append(
            commands_topic(CHARGE_POINT), Layout().partition_of("counter|a"), [Record(b"x", value)]
        )
        await until(lambda: node.decider.halted)
        assert result(await node.ask(Add(counter=other, amount=2), "1")) == 2
        [why] = node.decider.halted.values()

    assert "newer release" in why
    assert await decisions(log, "counter|a") == []
    assert len([r for r in caplog.records if "halts" in r.message]) == 1


async def test_what_stands_before_a_command_of_a_newer_release_is_decided_though_it_came_with_it(
    log: SqliteLog,
) -> None:
    def stored(id: str, command: bytes) -> Record:
        meta = b'{"command_id":"%b","at":"2026-01-01T00:00:00Z"}' % id.encode()
        return Record(b"x", b'{"aggregate":"counter|a","meta":%b,"command":%b}' % (meta, command))

    known = b'{"type":"counter.add.v1","counter":"a","amount":2}'
    batch = [stored("1", known), stored("2", b'{"type":"counter.unheard_of.v1"}'), stored("3", known)]
    await log.append(commands_topic(CHARGE_POINT), Layout().partition_of("counter|a"), batch)
    async with Node(log) as node:
        await until(lambda: node.decider.halted)

    assert [decision.meta.command_id for decision in await decisions(log, "counter|a")] == ["1"]


@pytest.mark.parametrize("other", [{"v": 2}, {"release": "of other folds"}])
async def test_a_checkpoint_of_another_release_is_not_trusted(log: SqliteLog, other: dict[str, Any]) -> None:
    """Its folds may be others; one that folds alike may still keep its checkpoints otherwise."""
    async with Node(log, checkpoint_every=0.05) as node:
        await node.ask(Add(counter="a", amount=2), "1")
        await until(lambda: mark_of(log, "counter|a"))
    place = TopicPartition(state_topic(CHARGE_POINT), Layout().partition_of("counter|a"))
    [mark] = await mark_of(log, "counter|a")
    newer = msgspec.structs.replace(msgspec.json.decode(mark.value or b"", type=Checkpoint), **other)
    await log.append(*place, [Record(b"counter|a", None), Record(CHECKPOINT_KEY, encode(newer))])

    async with Node(log) as node:
        reply = await node.ask(Add(counter="a", amount=3), "2")
    assert result(reply) == 5


async def test_an_unknown_event_halts_its_partition_with_one_line_and_the_others_go_on(
    log: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    other = next(f"c{i}" for i in itertools.count() if place_of(f"counter|c{i}") != place_of("counter|a"))
    event = b'{"type":"counter.rewound.v9","aggregate":"counter|a","version":1,"received_at":"2026-01-01T00:00:00Z"}'
    decision = Decision(
        command="counter.rewind.v9",
        command_offset=0,
        epoch=0,
        meta=Meta(command_id="9", at=now()),
        reply=Reply(aggregate="counter|a", version=1),
        events=[msgspec.Raw(event)],
    )
    place = place_of("counter|a")
    await log.append(place.topic, place.partition, [Record(None, encode(decision))])

    async with Node(log, patience=0.3) as node:
        reply = await node.ask(Add(counter=other, amount=2), "1")
        with pytest.raises(LogUnavailableError):
            await node.ask(Add(counter="a", amount=2), "2")
        halted = dict(node.decider.halted)

    assert result(reply) == 2
    [why] = halted.values()
    assert "counter.rewound.v9" in why
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        f"{place.topic}[{place.partition}] halts: {why}"
    ]


async def test_a_partition_whose_decisions_are_damaged_decides_nothing_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = next(f"c{i}" for i in itertools.count() if place_of(f"counter|c{i}") != place_of("counter|a"))
    path, place = tmp_path / "other.db", place_of("counter|a")
    async with opened(path) as log, Node(log) as node:
        await node.ask(Add(counter="a", amount=2), "1")
        await node.ask(Add(counter=other, amount=2), "2")
    damage(path, place, 1)
    async with opened(path) as log, Node(log, patience=0.3) as node:
        reply = await node.ask(Add(counter=other, amount=3), "3")
        with pytest.raises(LogUnavailableError):
            await node.ask(Add(counter="a", amount=2), "4")
        halted = dict(node.decider.halted)

    assert result(reply) == 5
    [why] = halted.values()
    assert f"{path} is damaged at {place.topic}[{place.partition}]: the record at offset 1" in why
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == [
        f"{place.topic}[{place.partition}] halts: {why}"
    ]


async def test_a_batch_that_is_too_large_for_one_append_is_appended_in_portions(log: SqliteLog) -> None:
    """Twenty decisions of 100 kB are over what the log takes at once."""
    node = Node(log)
    pending = [
        asyncio.create_task(node.ask(Add(counter="a", amount=1, padding=100_000), str(i))) for i in range(20)
    ]
    await until(lambda: waiting(log, 20))
    async with node:
        replies = dict(zip(map(str, range(20)), await asyncio.gather(*pending), strict=True))

    valid = await decisions(log, "counter|a")
    agree(valid, replies)
    assert totals(valid) == {"counter|a": 20}


async def test_a_decision_too_large_for_the_log_is_failed_and_changes_nothing(log: SqliteLog) -> None:
    async with Node(log) as node:
        failed = await node.ask(Add(counter="a", amount=1, padding=2_000_000), "1")
        after = await node.ask(Add(counter="a", amount=1), "2")

    assert failed.refusal is Refusal.FAILED
    assert (result(after), after.version) == (1, 1)


async def test_aggregates_at_rest_are_bytes_and_come_back_as_they_were(log: SqliteLog) -> None:
    """With room for two, forty counters still equal a fold of the log, before and after a restart."""
    names = [f"c{i}" for i in range(40)]
    async with Node(log, hot=2, checkpoint_every=0.0) as node:
        for turn in range(3):
            await asyncio.gather(*(node.ask(Add(counter=n, amount=1), f"{turn}{n}") for n in names))
    async with Node(log, hot=2) as node:
        replies = await asyncio.gather(*(node.ask(Add(counter=n, amount=10), f"x{n}") for n in names))

    assert [result(reply) for reply in replies] == [13] * 40
    assert totals(await decisions(log, *(f"counter|{n}" for n in names))) == {
        f"counter|{n}": 13 for n in names
    }


async def test_two_deciders_share_the_partitions_and_hand_them_over_under_traffic(log: SqliteLog) -> None:
    """A second decider comes, the first goes and comes back: each command is decided once, as it was answered."""
    channel = LocalChannel("edge")
    bus = CommandBus(log, channel, patience=1.0)
    replies: dict[str, Reply] = {}
    going = True

    async def ask_on(counter: str) -> None:
        number = itertools.count()
        while going:
            id = f"{counter}-{next(number)}"
            replies[id] = await insist(bus, Add(counter=counter, amount=1), id)

    names = [f"c{i}" for i in range(12)]
    async with Node(log, "two", channel=channel, checkpoint_every=0.1) as second:
        async with Node(log, "one", channel=channel, checkpoint_every=0.1) as first:
            asking = [asyncio.create_task(ask_on(name)) for name in names]
            await until(lambda: first.decider.held == second.decider.held == Layout().partitions // 2)
            await until(lambda: len(replies) > 200)
        await until(lambda: second.decider.held == Layout().partitions)
        seen = len(replies)
        await until(lambda: len(replies) > seen + 200)
        async with Node(log, "one", channel=channel, checkpoint_every=0.1) as first:
            await until(lambda: first.decider.held == Layout().partitions // 2)
            seen = len(replies)
            await until(lambda: len(replies) > seen + 200)
            going = False
            await asyncio.gather(*asking)

    valid = await decisions(log, *(f"counter|{n}" for n in names))
    agree(valid, replies)
    assert totals(valid) == {f"counter|{n}": sum(id.startswith(f"{n}-") for id in replies) for n in names}


class Step(NamedTuple):
    """One thing that happens: a command, a repeat of an earlier one, or a restart."""

    what: str
    number: int
    amount: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["add", "add", "repeat", "restart", "checkpointed restart"]),
        st.integers(0, 3),
        st.sampled_from([0, 1, 2, 13]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=tried(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_commands_repeats_and_restarts_leaves_what_a_fold_of_the_log_says(
    steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_law(steps, tmp_path_factory.mktemp("law")))


async def _law(steps: list[Step], folder: Path) -> None:
    log = SqliteLog(folder / "log.db")
    await log.start()
    await log.ensure(AREA_TOPICS)
    replies: dict[str, Reply] = {}
    asked: list[Add] = []
    node = await Node(log, hot=1).__aenter__()
    for step in steps:
        if step.what == "add":
            command = Add(counter=f"c{step.number}", amount=step.amount)
            replies[str(len(asked))] = await node.ask(command, str(len(asked)))
            asked.append(command)
        elif step.what == "repeat" and asked:
            index = step.number % len(asked)
            assert await node.ask(asked[index], str(index)) == replies[str(index)]
        elif "restart" in step.what:
            await node.__aexit__()
            node = await Node(
                log, hot=1, checkpoint_every=0.0 if step.what != "restart" else 30.0
            ).__aenter__()
    names = [f"c{i}" for i in range(4)]
    ends = {n: await node.ask(Add(counter=n, amount=100), f"end-{n}") for n in names}
    await node.__aexit__()
    valid = await decisions(log, *(f"counter|{n}" for n in names))
    agree(valid, replies)
    expected = {n: sum(c.amount for c in asked if c.counter == n and c.amount != 13) + 100 for n in names}
    assert totals(valid) == {f"counter|{n}": expected[n] for n in names}
    assert {n: result(reply) for n, reply in ends.items()} == expected
    await log.close()


class Recorder(LocalChannel):
    """Keeps what it is given to send."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.replies: list[Reply] = []

    def reply(self, to: ReplyTo, reply: Reply) -> None:
        self.replies.append(reply)


async def states_of(log: Log, key: str) -> list[Stored]:
    return await records(log, TopicPartition(state_topic(CHARGE_POINT), Layout().partition_of(key)))


async def mark_of(log: Log, key: str) -> list[Stored]:
    """The newest checkpoint of this aggregate's partition, if there is one."""
    place = TopicPartition(state_topic(CHARGE_POINT), Layout().partition_of(key))
    return [stored for stored in await records(log, place) if stored.key == CHECKPOINT_KEY][-1:]


async def newer(log: Log, key: str, offset: int) -> bool:
    return any(s.key == key.encode() and s.offset > offset for s in await states_of(log, key))


async def waiting(log: Log, count: int) -> bool:
    place = TopicPartition(commands_topic(CHARGE_POINT), Layout().partition_of("counter|a"))
    return (await log.ends([place]))[place] == count


async def decided(log: Log, id: str) -> bool:
    return any(id in (d.command, d.meta.command_id) for d in await decisions(log, "counter|a"))
