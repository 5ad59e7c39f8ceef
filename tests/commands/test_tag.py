"""A tag that charges at one charge point of its tenant at a time: OCPP 1.6's ConcurrentTx."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from commands.base import Accepted, Command, Meta, TimerDue
from commands.charge_point import Connect
from commands.charge_point.models import EndTransaction
from commands.processes import tag as tag_process
from commands.tag import ROUTES, ClaimTag, FreeTag, HoldTag, TagClaimReply
from domain.aggregate import Event
from domain.charge_point import TagReleased
from domain.tag import AGGREGATE_EVENTS, CLAIM, HELD_MOST, TOLD_MOST, Tag
from domain.values import PartyId, Settings
from tests.commands.charge_point_case import ALICE, BOB, CP, SETTINGS, TENANT, Case, after, known
from tests.commands.decide import Decide

ONCE = Settings(party=PartyId(country_code="DE", party_id="ABC"), concurrent_transactions=False)
FREE, ELSEWHERE = TagClaimReply(), TagClaimReply(elsewhere=True)


def tag() -> Decide:
    return Decide(Tag, AGGREGATE_EVENTS, ROUTES)


def claim(charge_point: str) -> ClaimTag:
    return ClaimTag(tenant="demo", key="k-alice", charge_point_id=charge_point)


def hold(charge_point: str, session: str, told: int) -> HoldTag:
    return HoldTag(tenant="demo", key="k-alice", charge_point_id=charge_point, session_id=session, told=told)


def free(charge_point: str, session: str, told: int) -> FreeTag:
    return FreeTag(tenant="demo", key="k-alice", charge_point_id=charge_point, session_id=session, told=told)


def reply(case: Decide) -> object:
    assert isinstance(case.outcome, Accepted)
    return case.outcome.reply


def following(events: Sequence[Event]) -> list[Command]:
    """What the process makes of a charge point's events."""
    meta = Meta(command_id="c", at=after(0), tenant=TENANT)
    policies = tag_process.POLICIES
    return [
        command
        for event in events
        if type(event) in policies
        for command in policies[type(event)](event, meta)
    ]


def test_the_first_of_two_starts_has_the_tag() -> None:
    case = tag()
    assert reply(case.do(claim("CP-1"))) == FREE
    assert reply(case.do(claim("CP-2"), 1)) == ELSEWHERE
    assert case.new == []


def test_a_claim_said_again_is_no_event() -> None:
    case = tag().do(claim("CP-1"))
    assert reply(case.do(claim("CP-1"), 5)) == FREE
    assert case.new == []


def test_a_claim_of_which_no_transaction_came_lapses() -> None:
    case = tag().do(claim("CP-1"))
    assert reply(case.do(claim("CP-2"), CLAIM.total_seconds() - 1)) == ELSEWHERE
    assert reply(case.do(claim("CP-2"), CLAIM.total_seconds())) == FREE
    assert reply(case.do(claim("CP-1"), CLAIM.total_seconds() + 1)) == ELSEWHERE


def test_a_transaction_has_its_tag_until_it_is_over() -> None:
    case = tag().do(claim("CP-1")).do(hold("CP-1", "s1", 7), 1)
    assert reply(case.do(claim("CP-2"), 86_400)) == ELSEWHERE
    case.do(free("CP-1", "s1", 9), 86_401)
    assert reply(case.do(claim("CP-2"), 86_402)) == FREE


def test_its_own_charge_point_is_never_elsewhere() -> None:
    """Between its connectors it decides itself."""
    case = tag().do(hold("CP-1", "s1", 7))
    assert reply(case.do(claim("CP-1"), 10)) == FREE


def test_what_a_charge_point_said_before_changes_nothing_when_it_is_said_again() -> None:
    case = tag().do(hold("CP-1", "s1", 7)).do(free("CP-1", "s1", 9), 1)
    for again in (hold("CP-1", "s1", 7), free("CP-1", "s1", 9)):
        assert case.do(again, 2).new == []
    assert reply(case.do(claim("CP-2"), 3)) == FREE


def test_an_end_that_comes_before_its_beginning_leaves_nobody_with_the_tag() -> None:
    """Where the end of a commands topic was lost, what went into it comes again behind later ones."""
    case = tag().do(free("CP-1", "s1", 9)).do(hold("CP-1", "s1", 7), 1)
    assert reply(case.do(claim("CP-2"), 2)) == FREE


def test_an_end_that_comes_behind_a_later_beginning_frees_its_own_transaction_and_no_other() -> None:
    """The end was lost with its topic's end, and the next start was told before it came again."""
    case = tag().do(hold("CP-1", "s1", 7)).do(hold("CP-1", "s2", 11), 1)
    case.do(free("CP-1", "s1", 9), 2)
    assert reply(case.do(claim("CP-2"), 3)) == ELSEWHERE
    assert case.do(hold("CP-1", "s2", 11), 4).new == []
    assert case.do(hold("CP-1", "s1", 7), 5).new == []
    case.do(free("CP-1", "s2", 13), 6)
    assert reply(case.do(claim("CP-2"), 7)) == FREE


def test_what_is_remembered_of_a_tag_is_bounded() -> None:
    case = tag()
    for number in range(2 * HELD_MOST):
        case.do(hold(f"CP-{number}", f"s{number}", 7), number)
    assert case.aggregate is not None
    assert len(case.aggregate.state.holding) == HELD_MOST
    assert len(case.aggregate.state.told) == TOLD_MOST


def test_a_start_while_its_tag_charges_elsewhere_is_ConcurrentTx() -> None:
    case = Case.online()
    answer = case.start(received=600, settings=ONCE, charges_elsewhere=True)
    assert (answer.status, answer.transaction_id) == ("ConcurrentTx", 1)
    assert following(case.log) == []


@pytest.mark.parametrize("began", [-30, 59, 300])
def test_a_start_that_may_have_been_kept_while_offline_is_never_refused(began: float) -> None:
    """It began before its connection, or as far as can be told; or it comes later than it would if it were online."""
    case = Case.online()
    answer = case.start(received=600, timestamp=after(began), settings=ONCE, charges_elsewhere=True)
    assert answer.status == "Accepted"


def test_of_a_charge_point_that_is_not_connected_every_start_was_kept() -> None:
    case = Case.registered()
    assert case.start(received=600, settings=ONCE, charges_elsewhere=True).status == "Accepted"


def test_a_blocked_tag_stays_blocked_wherever_it_charges() -> None:
    case = Case.online()
    answer = case.start(600, settings=ONCE, charges_elsewhere=True, authorization=known("Blocked"))
    assert answer.status == "Blocked"


def test_an_accepted_transaction_holds_its_tag_and_its_stop_frees_it() -> None:
    case = Case.online()
    session = case.start(settings=ONCE).session_id
    (held,) = following(case.log)
    assert held == HoldTag(tenant=TENANT, key=ALICE.key, charge_point_id=CP, session_id=session, told=4)
    case.stop(1, received=60)
    assert following(case.log)[1:] == [
        FreeTag(tenant=TENANT, key=ALICE.key, charge_point_id=CP, session_id=session, told=6)
    ]


def stopped(case: Case) -> None:
    case.stop(1, received=60)


def free_again(case: Case) -> None:
    case.status(60, "Available")


def superseded(case: Case) -> None:
    case.start(received=60, id_tag=BOB, meter_start=2000)


def ended_by_hand(case: Case) -> None:
    case.do(EndTransaction, 60, transaction_id=1, reason="it is gone")


def abandoned(case: Case) -> None:
    due = case.charge_point.next_due()
    while not case.all(TagReleased):
        assert due is not None
        case.decide(TimerDue(aggregate=case.charge_point.id, due=due), (due - after(0)).total_seconds() + 1)
        due = case.charge_point.next_due()


@pytest.mark.parametrize("end", [stopped, free_again, superseded, ended_by_hand, abandoned])
def test_whatever_ends_a_transaction_frees_its_tag_once(end: object) -> None:
    assert callable(end)
    case = Case.online()
    session = case.start(settings=ONCE).session_id
    end(case)
    (released,) = case.all(TagReleased)
    assert (released.session_id, released.tag) == (session, ALICE.key)
    assert session not in case.state.held_tags


def test_a_connection_that_breaks_frees_no_tag() -> None:
    case = Case.online()
    case.start(settings=ONCE)
    case.do(Connect, 60, node="gw-1", slot=3, boot="b2", quiet_s=10**6)
    assert not case.all(TagReleased)


def test_where_several_are_allowed_nothing_is_held() -> None:
    case = Case.online()
    case.start(settings=SETTINGS)
    case.stop(1, received=60)
    assert following(case.log) == []
    assert not case.all(TagReleased)


def test_a_repeated_start_gets_the_first_answer_wherever_its_tag_charges_by_then_START_6() -> None:
    case = Case.online()
    first = case.start(received=600, settings=ONCE)
    again = case.start(received=610, timestamp=after(600), settings=ONCE, charges_elsewhere=True)
    assert again == first
