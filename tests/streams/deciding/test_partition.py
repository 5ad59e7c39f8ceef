"""What a partition remembers: replies that somebody waits for, and nothing that its aggregates know by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargesphere import registry
from commands.base import Command, Meta, Refusal, TimerDue
from commands.delivery import ReportAttempt, Retry, Want
from commands.remote_command import Conclude, MarkSent, NoteSession, RequestRemoteCommand
from commands.session import EndSession, RecordConnector, RecordUsage
from domain.clock import CLOCKS_APART
from domain.delivery import AttemptDue, delivery_id
from domain.intents import RemoteStart
from domain.session import End
from domain.values import PartyId, RegisterSample
from streams.deciding.partition import Partition
from streams.log import Stored
from streams.log.envelope import CommandRecord, Decision, Reply, ReplyTo, encode, raw
from tests.commands.test_session import at, start_command
from tests.laws import tried

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MSP = PartyId(country_code="NL", party_id="MSP")
TO: dict[str, Any] = {"to": MSP, "module": "sessions", "object_id": "s1"}
WHO: dict[str, Any] = {"tenant": "demo", "command_id": "c1"}
Said = tuple[str, Command]
PATIENCE = timedelta(seconds=0.4)


class Deciding:
    """A partition that decides one command after another, a minute apart, and repeats at once."""

    def __init__(self) -> None:
        self.partition = Partition(registry.RULES)
        self.decisions: list[Decision] = []
        self.said: set[str] = set()

    def say(self, id: str, command: Command, *, asked: bool = False) -> Decision:
        self.said.add(id)
        now = NOW + timedelta(minutes=len(self.said) - 1)
        value = CommandRecord(
            aggregate=command.aggregate_id,
            meta=Meta(command_id=id, at=now),
            reply_to=ReplyTo(1, "boot", 1) if asked else None,
            command=raw(command),
        )
        offset = len(self.decisions)
        stored = Stored("commands", 0, offset, int(now.timestamp() * 1000), b"", encode(value))
        decision = self.partition.decide(stored, now)
        assert decision is not None
        self.decisions.append(decision)
        return decision

    def remembered(self, id: str) -> list[tuple[str, Reply]]:
        data = self.partition.states.frozen(id, 0)
        assert data is not None
        return [(name, reply) for name, reply in msgspec.json.decode(data).get("recent", ())]

    @property
    def events(self) -> list[str]:
        """What happened, in order, whenever it was."""
        found = []
        for decision in self.decisions:
            for event in decision.events:
                fields = msgspec.json.decode(event)
                found.append(f"{fields['aggregate']} {fields['version']} {fields['type']}")
        return found


def reading(minutes: int) -> RecordUsage:
    sample = RegisterSample(at=at(minutes), energy_wh=Decimal(1000 + 100 * minutes))
    return RecordUsage(session_id="s1", samples=(sample,))


def ended(minutes: int, **said: Any) -> EndSession:
    return EndSession(session_id="s1", end=End(at=at(minutes), **said))


def report(begun: int, outcome: str, sent: int = 0) -> ReportAttempt:
    return ReportAttempt(**TO, attempt=1, begun=begun, outcome=outcome, sent=sent)


CHARGE: tuple[Command, ...] = (
    reading(1),
    start_command(),
    RecordConnector(session_id="s1", at=at(1), status="Charging"),
    reading(2),
    RecordConnector(session_id="s1", at=at(2), status="SuspendedEV"),
    RecordConnector(session_id="s1", at=at(3), status="Charging"),
    reading(4),
    ended(5),
    ended(6, meter_stop=1600, assumed=True),
    ended(7, meter_stop=1700),
    ended(8),
)
DELIVERY: tuple[Command, ...] = (
    Want(**TO, tenant="demo", version=1, partition=0, offset=1),
    report(2, "delivered", 1),
    Want(**TO, tenant="demo", version=2, partition=0, offset=2),
    report(5, "refused"),
    TimerDue(aggregate=delivery_id(MSP, "sessions", "s1"), due=NOW + timedelta(minutes=3, seconds=5)),
    Want(**TO, tenant="demo", version=3, partition=0, offset=3),
    report(7, "delivered", 2),
)
REMOTE: tuple[Command, ...] = (
    MarkSent(**WHO, answer_by=NOW + timedelta(minutes=1)),
    Conclude(**WHO, status="timed_out"),
    NoteSession(**WHO, session_id="s1"),
    Conclude(**WHO, status="accepted"),
    Conclude(**WHO, status="rejected"),
)
REQUEST = RequestRemoteCommand(
    **WHO,
    charge_point_id="CP1",
    command_type="remote_start",
    intent=RemoteStart(id_tag="s1.k.a"),
    fingerprint="f",
    by="operator:ann",
    expires_at=NOW + timedelta(minutes=2),
)


def named(commands: Sequence[Command]) -> list[Said]:
    return [(f"process|{number}", command) for number, command in enumerate(commands)]


@pytest.mark.parametrize("commands", [CHARGE, DELIVERY, REMOTE], ids=["charge", "delivery", "remote command"])
@settings(max_examples=tried(50), deadline=None)
@given(data=st.data())
def test_a_process_that_begins_anew_anywhere_changes_nothing_though_no_reply_is_remembered(
    commands: Sequence[Command], data: st.DataObject
) -> None:
    """What it had sent comes again, in its order, behind anything that it has sent since; and once more."""
    once, again = Deciding(), Deciding()
    said = named(commands)
    for deciding in (once, again):
        if commands is REMOTE:
            deciding.say("remote|demo|c1|f", REQUEST, asked=True)
    for id, command in said:
        once.say(id, command)
    until = 0
    while until < len(said):
        since = data.draw(st.integers(0, until), "from")
        until = data.draw(st.integers(until + 1, len(said)), "to")
        for id, command in said[since:until]:
            again.say(id, command)
    for id, command in said:
        again.say(id, command)

    assert again.events == once.events
    asked = ["remote|demo|c1|f"] if commands is REMOTE else []
    assert [name for name, _ in again.remembered(commands[0].aggregate_id)] == asked


def test_a_reply_that_somebody_waits_for_is_the_answer_to_a_repeat_too() -> None:
    deciding = Deciding()
    deciding.say("1", start_command())
    first = deciding.say("by hand", ended(5), asked=True)
    deciding.say("2", ended(6, meter_stop=1600))
    again = deciding.say("by hand", ended(5), asked=True)

    assert again.repeat
    assert again.reply == first.reply
    assert [name for name, _ in deciding.remembered("session|s1")] == ["by hand"]


def state(deciding: Deciding, id: str) -> dict[str, Any]:
    data = deciding.partition.states.frozen(id, 0)
    assert data is not None
    found: dict[str, Any] = msgspec.json.decode(data)["state"]
    return found


def test_what_is_left_of_a_charge_that_nothing_can_correct_is_how_it_ended() -> None:
    deciding = Deciding()
    for id, command in named(CHARGE[:8]):
        deciding.say(id, command)
    assert state(deciding, "session|s1").keys() >= {"samples", "tariffs", "cdr", "provisional"}

    deciding.say("reported", ended(7, meter_stop=1700))
    left = state(deciding, "session|s1")
    assert (set(left), left["status"]) == ({"started", "tenant", "status", "ended_at", "cdr_id"}, "COMPLETED")
    before = deciding.events
    for id, command in named(CHARGE):
        deciding.say(f"again {id}", command)
    assert deciding.events == before


def test_what_is_left_of_an_invalid_charge_is_how_it_ended() -> None:
    deciding = Deciding()
    deciding.say("1", start_command("Blocked"))
    deciding.say("2", reading(2))
    deciding.say("3", ended(7, meter_stop=1700))
    left = state(deciding, "session|s1")
    assert (set(left), left["status"]) == ({"started", "tenant", "status", "ended_at"}, "INVALID")


def test_what_is_left_of_a_remote_command_answers_its_repeat_and_takes_a_late_answer() -> None:
    deciding = Deciding()
    deciding.say("remote|demo|c1|f", REQUEST, asked=True)
    for id, command in named(REMOTE[:3]):
        deciding.say(id, command)
    assert state(deciding, "remote_command|demo|c1") == {
        "fingerprint": "f",
        "status": "timed_out",
        "session_id": "s1",
    }
    again = deciding.say("another id", REQUEST, asked=True)
    assert msgspec.json.decode(again.reply.result)["status"] == "timed_out"
    other = msgspec.structs.replace(REQUEST, fingerprint="g")
    assert deciding.say("remote|demo|c1|g", other, asked=True).reply.refusal is Refusal.CONFLICT
    deciding.say("late", Conclude(**WHO, status="accepted"))
    assert deciding.events[-1].endswith("remote_command.concluded.v1")


def test_what_is_left_of_a_delivery_is_what_was_sent_and_it_goes_on_by_hand() -> None:
    deciding = Deciding()
    deciding.say("1", DELIVERY[0])
    deciding.say("2", report(2, "delivered", 1))
    assert state(deciding, delivery_id(MSP, "sessions", "s1")).keys() == {
        "tenant",
        "wanted",
        "sent",
        "begun",
        "offset",
    }
    made = deciding.say("3", Retry(**TO, by="operator:ann"), asked=True).events
    due = registry.EVENTS.decode(made[-1])
    assert isinstance(due, AttemptDue)
    assert (due.to, due.module, due.object_id, due.tenant, due.wanted) == (MSP, "sessions", "s1", "demo", 1)


def test_only_a_command_that_creates_makes_the_first_event_of_an_aggregate() -> None:
    deciding = Deciding()
    late = deciding.say("report", report(2, "delivered", 1), asked=True)
    assert (late.reply.refusal, late.reply.version, late.events) == (Refusal.UNKNOWN, 0, [])
    made = [deciding.say(id, command) for id, command in named(DELIVERY[:2])]
    assert deciding.events[:2] == [
        "delivery|NL*MSP|sessions|s1 1 delivery.wanted.v1",
        "delivery|NL*MSP|sessions|s1 2 delivery.attempt_due.v1",
    ]
    assert [decision.reply.refusal for decision in made] == [None, None]


def test_each_kind_of_aggregate_has_a_command_that_creates_it() -> None:
    creating = {registry.ROUTES[command].aggregate.kind for command in registry.RULES.creating}
    assert creating == {route.aggregate.kind for route in registry.ROUTES.values()}


def asked(now: datetime, log_took_it: datetime) -> Refusal | None:
    """What a decider's answer is at this time of its own clock; the edge asked at `NOW`, and waits for 0.4 s."""
    value = CommandRecord(
        aggregate=REQUEST.aggregate_id,
        meta=Meta(command_id="c1", at=NOW, deadline=NOW + PATIENCE),
        reply_to=ReplyTo(1, "boot", 1),
        command=raw(REQUEST),
    )
    stored = Stored("commands", 0, 0, int(log_took_it.timestamp() * 1000), b"", encode(value))
    decision = Partition(registry.RULES).decide(stored, now)
    assert decision is not None
    return decision.reply.refusal


@pytest.mark.parametrize(
    "log", [-CLOCKS_APART, timedelta(), CLOCKS_APART], ids=["behind", "with us", "ahead"]
)
@pytest.mark.parametrize(
    "decider", [-CLOCKS_APART, timedelta(), CLOCKS_APART], ids=["behind", "ours", "ahead"]
)
def test_what_is_waited_for_is_decided_though_clocks_differ(decider: timedelta, log: timedelta) -> None:
    """Whoever decides it, the first or who takes over, and whoever has written the record's time."""
    assert asked(NOW + PATIENCE + decider, NOW + log) is None


def test_what_nobody_waits_for_by_any_clock_is_refused_as_expired() -> None:
    late = NOW + PATIENCE + CLOCKS_APART + timedelta(milliseconds=1)

    assert asked(late, NOW) is Refusal.EXPIRED
    assert asked(late, late) is Refusal.EXPIRED
