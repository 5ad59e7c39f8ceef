"""A reservation's document: from its request to how it ended, once."""

from __future__ import annotations

from commands.base import Meta
from commands.charge_point import ConcludeCall
from domain.charge_point import ReservationConfirmed
from projections.reservation import reservations
from projections.store import Append, Document, Put
from tests.commands.charge_point_case import NOON, TENANT, Case
from tests.commands.test_charge_point_reserving import active, answer, give_up, ours, ready, reserve

META = Meta(command_id="c", at=NOON, tenant=TENANT, correlation_id="story")


def documents(case: Case) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for event in case.log:
        for write in reservations(event, META):
            assert isinstance(write, Put | Append)
            assert (write.db, write.collection, write.version) == (
                "ocpp_demo",
                "reservations",
                event.originator_version,
            )
            if isinstance(write, Put):
                found[write.id] = dict(write.document)
            else:
                found[write.id] |= write.set
    return found


def test_it_is_shown_as_it_stands_and_as_it_ended() -> None:
    case = active()
    (document,) = documents(case).values()
    assert (document["status"], document["number"], document["evse_uid"]) == ("active", 1, "E1")
    assert (document["expires_at"], document["over_at"]) == ("2026-03-01T13:00:00.000Z", None)
    give_up(case, 20)
    assert next(iter(documents(case).values()))["status"] == "cancelling"
    ours(case, 30)
    answer(case, 31, "accepted")
    (document,) = documents(case).values()
    assert (document["status"], document["over_at"]) == ("cancelled", "2026-03-01T12:00:31.000Z")


def test_the_charge_that_used_it_is_named() -> None:
    case = active()
    session = case.start(20, reservation_id=1).session_id
    (document,) = documents(case).values()
    assert (document["status"], document["session_id"]) == ("used", session)


def test_what_is_confirmed_after_its_end_stays_ended() -> None:
    case = ready()
    reserve(case)
    (id,) = case.state.calls
    answer(case, 40, "timed_out", reason="no answer in time")
    case.do(ConcludeCall, 50, command_id=id, status="accepted", answered=True)
    assert case.last(ReservationConfirmed).late
    (document,) = documents(case).values()
    assert (document["status"], document["reason"]) == ("unanswered", "no answer in time")


def test_what_is_taken_after_it_was_given_up_is_shown_as_on_its_way_to_its_end() -> None:
    case = ready()
    reserve(case)
    give_up(case, 12)
    answer(case, 13, "accepted")
    assert next(iter(documents(case).values()))["status"] == "cancelling"
    ours(case, 100)
    answer(case, 101, "accepted")
    assert next(iter(documents(case).values()))["status"] == "cancelled"
