"""What a charge point says becomes sessions and CDRs, in whatever order it says it: BOOT-6, START-7, STOP-6."""

from __future__ import annotations

from commands.base import Meta
from commands.charge_point import Boot, Connect
from commands.processes import charging_session
from commands.session import ROUTES
from domain.charge_point import Flag, TransactionStopped
from domain.session import CdrIssued, EndCorrected, Session, SessionEnded, SessionStarted
from tests.commands.charge_point_case import ALICE, BOB, TENANT, Case, after


class Sessions:
    """All sessions that follow from a charge point's events."""

    def __init__(self, case: Case) -> None:
        self.sessions: dict[str, Session] = {}
        self.facts: dict[str, list[object]] = {}
        for number, event in enumerate(case.log):
            policy = charging_session.POLICIES.get(type(event))
            meta = Meta(command_id=str(number), at=event.timestamp, tenant=TENANT)
            for command in policy(event, meta) if policy else ():
                session = self.sessions.setdefault(command.aggregate_id, Session.blank(command.aggregate_id))
                ROUTES[type(command)].handler(session, command, meta)
                id = command.aggregate_id.partition("|")[2]
                self.facts.setdefault(id, []).extend(session.collect_events())

    def cdrs(self, id: str) -> list[CdrIssued]:
        return [fact for fact in self.facts[id] if isinstance(fact, CdrIssued)]

    def kinds(self, id: str) -> list[type]:
        return [type(fact) for fact in self.facts[id]][-3:]


def reboot(case: Case, received: float) -> None:
    case.do(Connect, received, node="gw-1", slot=3, boot="b1")
    case.do(Boot, received, vendor="Acme", model="Box")


def test_a_stop_that_comes_after_the_reboot_ends_its_own_transaction_BOOT_6() -> None:
    case = Case.online()
    id = case.start().session_id
    reboot(case, 100)
    case.stop(1, received=110, timestamp=after(90), reason="PowerLoss")
    assert case.last(TransactionStopped).flags == (Flag.REBOOTED,)
    sessions = Sessions(case)
    (cdr,) = sessions.cdrs(id)
    assert (cdr.cdr_id, cdr.cdr["total_energy"]) == (id, 4)


def test_a_new_start_before_the_old_stop_after_a_reboot_charges_both_rightly_BOOT_6_START_7() -> None:
    case = Case.online()
    first = case.start().session_id
    case.meter(60, 2000, transaction_id=1)
    reboot(case, 100)
    second = case.start(received=120, meter_start=3000, id_tag=BOB).session_id
    provisional = Sessions(case)
    assert [cdr.cdr["total_energy"] for cdr in provisional.cdrs(first)] == [1]

    case.stop(1, received=130, timestamp=after(110), meter_stop=3000)
    assert set(case.last(TransactionStopped).flags) == {Flag.SUPERSEDED, Flag.REBOOTED}
    case.stop(2, received=200, meter_stop=4000)
    sessions = Sessions(case)
    assert sessions.kinds(first) == [EndCorrected, CdrIssued, CdrIssued]
    assert [cdr.cdr["total_energy"] for cdr in sessions.cdrs(first)] == [1, 1, 2]
    assert [bool(cdr.cdr.get("credit")) for cdr in sessions.cdrs(first)] == [False, True, False]
    assert sessions.kinds(second)[-2:] == [SessionEnded, CdrIssued]
    assert [cdr.cdr["total_energy"] for cdr in sessions.cdrs(second)] == [1]


def test_what_was_queued_on_two_connectors_may_come_in_any_order_STOP_6() -> None:
    case = Case.online()
    one = case.start(connector_id=1).session_id
    two = case.start(received=1, connector_id=2, id_tag=BOB).session_id
    reboot(case, 100)
    case.stop(2, received=101, timestamp=after(90), meter_stop=9000)
    case.stop(1, received=102, timestamp=after(80), meter_stop=6000)
    sessions = Sessions(case)
    assert [cdr.cdr["total_energy"] for id in (one, two) for cdr in sessions.cdrs(id)] == [5, 8]


def test_one_tag_charges_at_one_connector_of_a_charge_point_at_a_time() -> None:
    case = Case.online()
    assert case.start(connector_id=1).status == "Accepted"
    assert case.start(received=10, connector_id=2, id_tag=ALICE).status == "ConcurrentTx"
    assert case.start(received=20, connector_id=2, id_tag=BOB).status == "Accepted"


def test_a_start_that_was_answered_ConcurrentTx_is_shown_so() -> None:
    case = Case.online()
    case.start()
    id = case.start(received=10, connector_id=2).session_id
    assert isinstance(started := Sessions(case).facts[id][0], SessionStarted)
    assert (started.authorization.status, started.status) == ("ConcurrentTx", "INVALID")
