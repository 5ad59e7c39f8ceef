"""A command of a partner: its first outcome becomes one delivery, tried for five minutes; nobody else's cable is let
go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from commands.base import Accepted, Command, Meta, Refusal, TimerDue
from commands.charge_point import ConcludeCall, NoteCallSent, RequestCall
from commands.delivery import ROUTES as DELIVERY_ROUTES
from commands.delivery import TIMER as DELIVERY_TIMER
from commands.delivery import ReportAttempt, Want
from commands.processes import POLICIES, REFUSALS
from commands.remote_command import ROUTES, TIMER, Conclude, RequestRemoteCommand
from domain.aggregate import Event
from domain.charge_point import CallConcluded
from domain.delivery import AGGREGATE_EVENTS as DELIVERY_EVENTS
from domain.delivery import AttemptDue, Delivery, GivenUp
from domain.intents import RemoteStart, Unlock
from domain.partner_command import Asker
from domain.remote_command import AGGREGATE_EVENTS, RemoteCommand
from domain.values import Authorization, PartyId
from tests.commands.charge_point_case import ALICE, Case, after, known
from tests.commands.decide import NOON, Decide

TNM, ABC = PartyId(country_code="NL", party_id="TNM"), PartyId(country_code="DE", party_id="ABC")
ASKER = Asker(
    partner_id="tnm",
    holder="tnm@1",
    party=TNM,
    of=ABC,
    command="START_SESSION",
    response_url="s1.partner-tnm.x",
)
WHO: dict[str, Any] = {"tenant": "demo", "command_id": "c1"}
ROAMING: dict[str, Any] = {"owner": TNM, "holder": "tnm@1", "token_id": "token|NL*TNM|k1"}


def asked(asker: Asker | None = ASKER, authorization: Authorization | None = None) -> Decide:
    command = RequestRemoteCommand(
        **WHO,
        charge_point_id="CP-1",
        command_type="remote_start",
        intent=RemoteStart(connector_id=1, id_tag="s1.x.y"),
        id_tag=ALICE,
        authorization=authorization,
        fingerprint="f",
        by="partner:tnm",
        expires_at=NOON + timedelta(seconds=60),
        asker=asker,
    )
    return Decide(RemoteCommand, AGGREGATE_EVENTS, ROUTES).do(command)


def follows(events: Sequence[Event], kind: type[Command]) -> list[Any]:
    """What the processes say to these facts."""
    meta = Meta(command_id="m", at=NOON, tenant="demo")
    said = [
        one for event in events for _, policy in POLICIES.get(type(event), ()) for one in policy(event, meta)
    ]
    return [one for one in said if isinstance(one, kind)]


def conclude(case: Decide, status: str, **more: Any) -> list[Any]:
    return follows(case.do(Conclude(**WHO, status=status, **more), 100).new, Want)


def test_the_outcome_is_one_delivery_to_the_party_that_asked() -> None:
    [want] = conclude(asked(), "rejected", reason="Rejected", obstacle="occupied")
    assert (want.to, want.module, want.object_id, want.tenant) == (TNM, "commands", "c1", "demo")
    assert (want.result.status, want.result.obstacle, want.result.asker) == ("rejected", "occupied", ASKER)


def test_nobody_hears_of_a_command_that_no_partner_asked_for() -> None:
    assert conclude(asked(None), "accepted") == []


def test_of_a_command_of_which_nothing_was_heard_a_timeout_is_told_and_no_later_word() -> None:
    """The charge point may have begun all the same: that is told by its session."""
    case = asked()
    aggregate = case.aggregate
    assert isinstance(aggregate, RemoteCommand)
    due = aggregate.next_due()
    assert due is not None
    TIMER(aggregate, TimerDue(aggregate=aggregate.id, due=due), Meta(command_id="t", at=due))
    events: list[Any] = list(aggregate.collect_events())
    case.history += events
    [want] = follows(events, Want)
    assert want.result.status == "expired"
    assert conclude(case, "accepted") == []


@pytest.mark.parametrize(
    ("refusal", "status", "obstacle", "unreached"),
    [
        (Refusal.NOT_ALLOWED, "failed", "refused", False),
        (Refusal.NOT_CONNECTED, "failed", "", True),
        (Refusal.EXPIRED, "expired", "", False),
    ],
)
def test_why_a_call_was_not_made_is_told_apart(
    refusal: Refusal, status: str, obstacle: str, unreached: bool
) -> None:
    [said] = REFUSALS[RequestCall]("process|remote_command|demo|c1|1|0", refusal, "no")
    assert isinstance(said, Conclude)
    assert (said.status, said.obstacle, said.unreached) == (status, obstacle, unreached)


def test_it_is_tried_for_five_minutes_and_not_for_a_day() -> None:
    [want] = conclude(asked(), "accepted")
    case = Decide(Delivery, DELIVERY_EVENTS, DELIVERY_ROUTES).do(want)
    tried = 0
    delivery = case.aggregate
    assert isinstance(delivery, Delivery)
    now = NOON
    while delivery.state.phase != "failed":
        state = delivery.state
        if state.phase == "in_flight":
            tried += 1
            assert state.result == want.result
            offline = "offline" if tried % 2 else "refused"
            command: Any = ReportAttempt(
                to=TNM,
                module="commands",
                object_id="c1",
                attempt=state.attempt,
                begun=state.begun,
                outcome=offline,
            )
            DELIVERY_ROUTES[ReportAttempt].handler(delivery, command, Meta(command_id=str(tried), at=now))
        else:
            assert state.due is not None
            now = state.due
            DELIVERY_TIMER(delivery, TimerDue(aggregate=delivery.id, due=now), Meta(command_id="t", at=now))
    events = list(delivery.collect_events())
    assert isinstance(events[-1], GivenUp)
    assert (tried, now - NOON) == (6, timedelta(seconds=5 + 10 + 20 + 40 + 80))
    assert all(one.result == want.result for one in events if isinstance(one, AttemptDue))


def unlock(case: Case, holder: str, received: float = 60) -> None:
    case.do(
        RequestCall,
        received,
        command_id="u1",
        intent=Unlock(connector_id=1),
        expires_at=after(received + 30),
        holder=holder,
    )


@pytest.mark.parametrize("holder", ["oth@1", "tnm@0"])
def test_a_partner_lets_go_of_no_cable_of_somebody_elses_charge(holder: str) -> None:
    case = Case.online()
    case.start(10, authorization=known(**ROAMING))
    unlock(case, holder)
    assert case.refusal is Refusal.NOT_ALLOWED


@pytest.mark.parametrize(
    ("holder", "then", "may"),
    [
        ("oth@1", "Finishing", False),
        ("oth@1", "Faulted", False),
        ("oth@1", "Available", True),
        ("tnm@1", "Finishing", True),
        ("", "Finishing", True),
    ],
)
def test_nor_of_one_that_is_still_plugged_in_after_its_charge(holder: str, then: str, may: bool) -> None:
    """OCPP 1.6, 4.9: Finishing is a charge that is over and a connector that is not free yet."""
    case = Case.online()
    number = case.start(10, authorization=known(**ROAMING)).transaction_id
    case.status(20, "Charging")
    case.stop(number, 50)
    case.status(52, then)
    unlock(case, holder)
    assert isinstance(case.outcome, Accepted) is may


def test_a_partner_unlocks_where_its_own_token_charges_or_nobody_does_and_an_operator_anywhere() -> None:
    for holder, charging in (("tnm@1", True), ("tnm@1", False), ("", True)):
        case = Case.online()
        if charging:
            case.start(10, authorization=known(**ROAMING))
        unlock(case, holder)
        assert case.reply is not None


@pytest.mark.parametrize(
    ("before", "obstacle"), [("Charging", "occupied"), ("Faulted", "inoperative"), ("Available", "")]
)
def test_a_start_that_is_refused_says_what_was_in_its_way_as_far_as_we_know(
    before: str, obstacle: str
) -> None:
    case = Case.online()
    case.status(1, before)
    start = RemoteStart(connector_id=1, id_tag="s1.x.y")
    case.do(RequestCall, 2, command_id="r1", intent=start, expires_at=after(60), id_tag=ALICE, holder="tnm@1")
    case.do(NoteCallSent, 3, command_id="r1", answer_by=after(33))
    case.do(ConcludeCall, 4, command_id="r1", status="rejected", reason="Rejected", answered=True)
    assert case.last(CallConcluded).obstacle == obstacle


def test_a_start_is_sent_once_whatever_is_said_again() -> None:
    """Killed before the answer: what is said again makes no second call, and nothing is told but a timeout."""
    case = Case.online()
    call: dict[str, Any] = {
        "command_id": "r1",
        "intent": RemoteStart(connector_id=1, id_tag="s1.x.y"),
        "expires_at": after(60),
        "id_tag": ALICE,
    }
    downlinks: list[Any] = []
    for received in (2, 3, 59):
        case.do(RequestCall, received, **call)
        downlinks += case.outcome.downlinks  # type: ignore[union-attr]
    assert len(downlinks) == 1
