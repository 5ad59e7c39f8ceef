"""Provisioning, connections, boots, statuses, authorizations: BOOT-*, AUTH-*, ST-*, J-20, J-21."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from commands.base import Command, Refusal, Route, TimerDue
from commands.charge_point import (
    ROUTES,
    Authorize,
    Boot,
    BootReply,
    Change,
    ConcludeCall,
    Connect,
    ConnectedReply,
    Disconnect,
    Find,
    Found,
    Notify,
    OfferCredentials,
    Register,
    Remove,
    RequestCall,
    See,
    SetCredentials,
    TagReply,
    TransferData,
)
from domain.aggregate import Event
from domain.charge_point import (
    CallConcluded,
    ChargePoint,
    ChargePointBooted,
    ChargePointChanged,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointRemoved,
    ChargePointSeen,
    CredentialsSet,
    DataTransferred,
    Flag,
    NotificationReceived,
    StatusesLapsed,
    StatusReported,
    TagAuthorized,
    TransactionStarted,
)
from streams.log.envelope import CommandRegistry
from tests.commands.charge_point_case import ALICE, CP, EVSES, SITE, TENANT, Case, after, known
from tests.commands.v16_calls import intent, learned


def test_a_charge_point_is_registered_once() -> None:
    case = Case()
    events = case.do(Register, site=SITE, evses=EVSES, password_hash="scrypt$x")
    assert [type(event) for event in events] == [ChargePointRegistered, CredentialsSet]
    case.do(Register, site=SITE)
    assert case.refusal is Refusal.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("command", "values"),
    [
        (Change, {"site": SITE}),
        (Remove, {}),
        (Find, {}),
        (SetCredentials, {"password_hash": "x"}),
        (OfferCredentials, {"password_hash": "x"}),
        (Connect, {"node": "n", "slot": 1, "boot": "b"}),
        (Boot, {"vendor": "v", "model": "m"}),
        (Notify, {"action": "FirmwareStatusNotification", "content": {}}),
        (TransferData, {"vendor_id": "v", "status": "UnknownVendorId"}),
        (Authorize, {"id_tag": ALICE, "authorization": known()}),
    ],
)
def test_an_unknown_charge_point_can_do_nothing(command: Any, values: dict[str, Any]) -> None:
    case = Case()
    case.do(command, **values)
    assert case.refusal is Refusal.UNKNOWN


def test_the_log_itself_is_asked_for_a_charge_point_and_its_sessions_and_decides_nothing() -> None:
    case = Case.registered()
    assert not case.do(Find)
    assert case.reply == Found()
    ended, running = case.start(), case.start(10, connector_id=2)
    case.stop(ended.transaction_id, 20)
    for one in (ended, running):
        assert not case.do(Find, session_id=one.session_id)
        assert case.reply == Found(transaction_id=one.transaction_id)
    case.do(Find, session_id="elsewhere")
    assert case.refusal is Refusal.UNKNOWN


def test_a_change_that_changes_nothing_is_no_event() -> None:
    case = Case.registered()
    assert not case.do(Change, site=SITE, evses=EVSES)
    (event,) = case.do(Change, evses=EVSES[:1])
    assert isinstance(event, ChargePointChanged)
    assert (event.site, event.evses) == (SITE, EVSES[:1])


def test_what_a_charge_point_has_no_more_and_where_it_stood_are_in_the_fact_that_says_so() -> None:
    case = Case.registered()
    (fewer,) = case.do(Change, evses=EVSES[:1])
    assert isinstance(fewer, ChargePointChanged)
    assert (fewer.gone, fewer.moved_from) == (EVSES[1:], "")
    (same,) = case.do(Change, site=msgspec.structs.replace(SITE, name="Renamed", id=SITE.id.upper()))
    assert isinstance(same, ChargePointChanged)
    assert (same.gone, same.moved_from) == ((), "")
    (moved,) = case.do(Change, site=msgspec.structs.replace(SITE, id="elsewhere"))
    assert isinstance(moved, ChargePointChanged)
    assert (moved.gone, moved.moved_from) == (EVSES[:1], SITE.id.upper())


def test_one_that_was_removed_and_comes_back_says_what_it_left_behind() -> None:
    """By an operator, and by a handshake of its own: then it has no EVSEs yet."""
    elsewhere = msgspec.structs.replace(SITE, id="elsewhere")
    for command, fields in (
        (Register, {"site": elsewhere, "evses": EVSES}),
        (Connect, {"site": elsewhere, "node": "gw-1", "slot": 3, "boot": "b1", "address": "10.0.0.1"}),
    ):
        case = Case.registered()
        assert case.last(ChargePointRegistered).gone == ()
        case.do(Remove)
        case.do(command, 60, **fields)
        again = case.last(ChargePointRegistered)
        assert (again.gone, again.moved_from) == (EVSES, SITE.id)


def test_a_charge_point_with_a_running_transaction_is_not_removed() -> None:
    case = Case.online()
    case.start()
    case.do(Remove)
    assert case.refusal is Refusal.NOT_ALLOWED
    case.stop(1, received=60)
    case.do(Remove, 70)
    assert isinstance(case.log[-1], ChargePointRemoved)


def test_transaction_ids_go_on_after_a_removal_START_3() -> None:
    case = Case.online()
    case.start()
    case.stop(1, received=60)
    case.do(Remove, 70)
    case.do(Register, 80, site=SITE, evses=EVSES)
    assert case.start(received=90).transaction_id == 2


def test_the_epoch_of_a_connection_is_the_version_of_its_event() -> None:
    case = Case.registered()
    case.do(Connect, node="gw-1", slot=3, boot="b1", address="10.0.0.1")
    assert case.reply == ConnectedReply(epoch=case.last(ChargePointConnected).originator_version)


def test_a_reconnect_needs_no_boot_J_21() -> None:
    case = Case.online()
    case.do(Connect, 5, node="gw-2", slot=4, boot="b2")
    assert isinstance(case.reply, ConnectedReply)
    assert (case.reply.registration, case.reply.interval) == ("Accepted", 300)


def test_the_newest_connection_wins_and_the_late_end_of_the_old_changes_nothing_J_20() -> None:
    case = Case.online()
    old = case.state.connection
    assert old is not None
    request(case, "r1")
    case.do(Connect, 5, node="gw-2", slot=4, boot="b2")
    event = case.last(CallConcluded)
    assert (event.command_id, event.status, event.reason) == ("r1", "failed", "replaced")
    assert not case.do(Disconnect, 6, epoch=old.epoch, reason="closed 1000")
    assert case.state.connection is not None
    assert case.state.connection.node == "gw-2"


def shake_hands(case: Case, asked: float, taken: float, node: str = "gw-1") -> Sequence[Event]:
    """A handshake that its gateway waits four seconds for, taken by the log at `taken`."""
    values: dict[str, Any] = {"node": node, "slot": 3, "boot": f"boot of {node}", "asked_at": after(asked)}
    return case.decide(Connect(tenant=TENANT, charge_point_id=CP, **values), taken, deadline=asked + 4)


@pytest.mark.parametrize("other", ["gw-1", "gw-2"])
def test_a_handshake_that_was_given_up_and_comes_late_takes_no_connection_over_J_20(other: str) -> None:
    case = Case.registered()
    shake_hands(case, asked=2.5, taken=2.5)
    held = case.state.connection
    assert not shake_hands(case, asked=0, taken=3, node=other)
    assert (case.refusal, case.state.connection) == (Refusal.CONFLICT, held)


def test_a_handshake_that_was_given_up_and_comes_after_the_end_of_a_newer_one_connects_nobody_J_20() -> None:
    case = Case.registered()
    shake_hands(case, asked=2.5, taken=2.5)
    case.do(Disconnect, 2.8, epoch=case.last(ChargePointConnected).epoch, reason="closed 1000")
    shake_hands(case, asked=0, taken=3)
    assert (case.refusal, case.state.connection) == (Refusal.CONFLICT, None)


def test_a_gateway_whose_clock_is_ahead_locks_no_charge_point_out_of_another() -> None:
    case = Case.registered()
    shake_hands(case, asked=3600, taken=3600, node="ahead")
    shake_hands(case, asked=10, taken=10, node="right")
    assert case.state.connection is not None
    assert case.state.connection.node == "right"


def test_the_end_of_the_connection_fails_what_was_asked_over_it_J_10() -> None:
    case = Case.online()
    request(case, "r1")
    assert case.state.connection is not None
    case.do(Disconnect, 6, epoch=case.state.connection.epoch, reason="closed 1006")
    assert case.last(ChargePointDisconnected).reason == "closed 1006"
    assert (case.last(CallConcluded).status, case.last(CallConcluded).reason) == ("failed", "disconnected")
    assert case.state.connection is None


def request(case: Case, command_id: str) -> None:
    case.do(RequestCall, command_id=command_id, intent=intent("ClearCache"), expires_at=after(60))


def test_a_boot_is_answered_as_the_settings_want_BOOT_1() -> None:
    case = Case.registered()
    case.do(Boot, vendor="Acme", model="Box", status="Pending", interval=60, firmware_version="1.2")
    assert case.reply == BootReply(status="Pending", interval=60)
    event = case.last(ChargePointBooted)
    assert (event.vendor, event.firmware_version, event.status) == ("Acme", "1.2", "Pending")


def test_a_sign_of_life_is_a_fact_once_a_minute_and_not_when_anything_else_was() -> None:
    case = Case.online()
    assert not case.do(See, 59)
    assert [type(event) for event in case.do(See, 60)] == [ChargePointSeen]
    case.status(100, "Available")
    assert not case.do(See, 130)


def test_the_newest_status_by_the_charge_points_time_is_the_present_ST_3() -> None:
    case = Case.online()
    case.status(100, "Charging")
    case.status(110, "Preparing", timestamp=after(90))
    assert case.last(StatusReported).stale
    assert case.state.connectors[1].status == "Charging"
    case.status(120, "Finishing")
    assert not case.last(StatusReported).stale
    assert case.state.connectors[1].status == "Finishing"


def test_a_status_without_a_time_happened_when_it_was_received_ST_2() -> None:
    case = Case.online()
    case.status(100, "Charging")
    case.status(110, "Available", timestamp=None)
    event = case.last(StatusReported)
    assert (event.stale, event.occurred_at, event.happened_at) == (False, None, after(110))


def test_the_same_status_three_times_over_is_three_facts() -> None:
    case = Case.online()
    for second, status in ((1, "Available"), (2, "Preparing"), (3, "Available")):
        case.status(second, status)
    assert len(case.all(StatusReported)) == 3


def test_a_clock_ahead_does_not_make_the_present_stale_ST_3() -> None:
    case = Case.online()
    case.status(0, "Charging", timestamp=after(3600))
    case.status(10, "Finishing", timestamp=None)
    assert not case.last(StatusReported).stale


def test_any_transition_is_taken_and_odd_ones_are_flagged_ST_1_ST_3() -> None:
    case = Case.online()
    case.status(1, "Charging", connector_id=0)
    assert case.last(StatusReported).flags == (Flag.CONNECTOR_ZERO_STATUS,)
    case.status(2, "Charging", connector_id=7)
    assert case.last(StatusReported).flags == (Flag.UNKNOWN_CONNECTOR,)


def test_statuses_open_and_close_no_transactions_ST_4() -> None:
    case = Case.online()
    case.status(1, "Charging")
    assert not case.state.open
    case.start(received=2)
    case.status(60, "Available")
    assert set(case.state.open) == {1}


def test_a_status_names_the_session_that_runs_on_its_connector() -> None:
    case = Case.online()
    id = case.start().session_id
    case.status(5, "SuspendedEV")
    assert case.last(StatusReported).session_id == id
    case.status(6, "Available", connector_id=2)
    assert case.last(StatusReported).session_id == ""
    case.stop(1, received=60)
    case.status(61, "Finishing")
    assert case.last(StatusReported).session_id == ""


def test_a_status_before_the_boot_was_accepted_is_taken_and_flagged_BOOT_4() -> None:
    case = Case.registered()
    case.do(Boot, vendor="v", model="m", status="Pending", interval=60)
    case.status(1, "Available")
    assert case.last(StatusReported).flags == (Flag.NOT_REGISTERED,)


@pytest.mark.parametrize("status", ["Accepted", "Blocked", "Expired", "Invalid"])
def test_authorize_answers_what_is_known_of_the_tag_AUTH_1(status: str) -> None:
    case = Case.online()
    case.do(Authorize, id_tag=ALICE, authorization=known(status, expires_at=after(9), parent_sealed="s1.p"))
    assert case.reply == TagReply(status=status, expires_at=after(9), parent_sealed="s1.p")
    assert case.last(TagAuthorized).id_tag == ALICE


def test_authorize_never_answers_concurrent_AUTH_1() -> None:
    case = Case.online()
    case.start()
    case.do(Authorize, 5, id_tag=ALICE, authorization=known("ConcurrentTx"))
    assert case.reply == TagReply(status="Accepted")


def test_a_tag_that_a_remote_start_named_is_accepted_although_nobody_knows_it() -> None:
    case = Case.online()
    case.do(
        RequestCall,
        command_id="r1",
        intent=intent("RemoteStartTransaction", {"idTag": "s1.k.text", "connectorId": 2}),
        expires_at=after(30),
        id_tag=ALICE,
        authorization=known(source="remote"),
    )
    case.do(Authorize, 5, id_tag=ALICE, authorization=known("Invalid", "unknown"))
    assert case.reply == TagReply(status="Accepted")
    case.do(Authorize, 200, id_tag=ALICE, authorization=known("Invalid", "unknown"))
    assert case.reply == TagReply(status="Invalid")


def test_notifications_and_data_transfers_are_noted() -> None:
    case = Case.online()
    case.do(Notify, action="FirmwareStatusNotification", content={"status": "Installed"})
    assert case.last(NotificationReceived).content == {"status": "Installed"}
    case.do(TransferData, vendor_id="v", message_id="m", status="UnknownVendorId", size=12)
    assert case.last(DataTransferred).size == 12


def test_every_command_has_a_route_and_a_name_of_its_own() -> None:
    CommandRegistry(ROUTES)
    assert all(isinstance(route, Route) and route.aggregate is ChargePoint for route in ROUTES.values())
    assert all(issubclass(command, Command) for command in ROUTES)


def silence(case: Case, seconds: float) -> Sequence[Event]:
    """The timer that was due then is told a second later."""
    return case.decide(TimerDue(aggregate=case.charge_point.id, due=after(seconds)), seconds + 1)


@pytest.mark.parametrize(
    ("interval", "minutes"), [(300, 15), (60, 3), (10, 3), (0, 15), (10**9, 3 * 24 * 60)]
)
def test_a_connection_is_due_after_three_heartbeat_intervals_J_19(interval: int, minutes: int) -> None:
    case = Case.registered()
    case.do(Connect, node="gw-1", slot=3, boot="b1", quiet_s=10**6)
    case.do(Boot, vendor="Acme", model="Box", interval=interval)
    assert case.charge_point.next_due() == after(60 * minutes)


def test_the_heartbeat_interval_that_was_read_counts_too() -> None:
    case = Case.online()
    case.do(RequestCall, command_id="r1", intent=intent("GetConfiguration"), expires_at=after(30))
    keys = [{"key": "HeartbeatInterval", "readonly": False, "value": "900"}]
    taught = learned("GetConfiguration", {"configurationKey": keys})
    case.do(ConcludeCall, command_id="r1", status="accepted", learned=taught)
    assert case.charge_point.next_due() == after(2700)


def test_the_deadline_is_a_whole_minute_so_that_it_moves_once_a_minute() -> None:
    case = Case.online()
    dues = set()
    for seconds in range(1, 121):
        case.status(seconds, "Available" if seconds % 2 else "Preparing")
        dues.add(case.charge_point.next_due())
    assert dues == {after(16 * 60), after(17 * 60)}


def test_a_connection_without_a_sign_of_life_is_over_and_so_are_its_calls() -> None:
    case = Case.online()
    epoch = case.charge_point.version - 1
    case.do(RequestCall, command_id="r1", intent=intent("ClearCache"), expires_at=after(5000))
    events = silence(case, 900)
    assert [type(event) for event in events] == [ChargePointDisconnected, CallConcluded]
    assert (case.last(ChargePointDisconnected).epoch, case.last(ChargePointDisconnected).reason) == (
        epoch,
        "silent",
    )
    assert case.last(CallConcluded).reason == "disconnected"
    assert case.charge_point.next_due() is None


def test_a_heartbeat_in_time_keeps_the_connection() -> None:
    case = Case.online()
    case.do(See, 600)
    assert not silence(case, 900)
    assert case.charge_point.next_due() == after(1500)
    assert [type(event) for event in silence(case, 1500)] == [ChargePointDisconnected]


def test_a_charge_point_that_is_away_for_15_minutes_says_nothing_by_its_last_statuses_ST_4() -> None:
    """Once for each time that it is away, and not while it is connected, or has never said any."""
    case = Case.online()
    epoch = case.charge_point.version - 1
    case.do(Disconnect, 10, epoch=epoch, reason="closed 1006")
    assert case.charge_point.next_due() is None
    case.do(Connect, 20, node="gw-1", slot=3, boot="b1")
    case.status(30, "Available")
    case.do(Disconnect, 40, epoch=case.last(ChargePointConnected).epoch, reason="closed 1006")
    assert case.charge_point.next_due() == after(40 + 900)
    assert not silence(case, 939)
    [lapsed] = silence(case, 940)
    assert isinstance(lapsed, StatusesLapsed)
    assert (lapsed.location_id, case.charge_point.next_due()) == (case.state.location_id, None)
    case.do(Connect, 2000, node="gw-1", slot=3, boot="b1")
    case.do(Disconnect, 2010, epoch=case.last(ChargePointConnected).epoch, reason="closed 1006")
    assert case.charge_point.next_due() == after(2010 + 900)


def test_a_call_that_times_out_late_does_not_keep_a_silent_connection() -> None:
    case = Case.online()
    case.do(RequestCall, command_id="r1", intent=intent("ClearCache"), expires_at=after(890))
    assert case.charge_point.next_due() == after(895)
    assert [type(event) for event in silence(case, 900)] == [CallConcluded, ChargePointDisconnected]


def test_a_sign_of_life_on_a_connection_that_was_thought_silent_brings_it_back() -> None:
    case = Case.online()
    before = case.state.connection
    assert before is not None
    silence(case, 900)
    case.do(See, 950, epoch=before.epoch)
    assert case.last(ChargePointConnected).resumes == before.epoch
    now = case.state.connection
    assert now is not None
    assert (now.epoch, now.node, now.slot, now.boot) == (before.epoch, "gw-1", 3, "b1")
    case.do(Disconnect, 960, epoch=before.epoch, reason="closed 1006")
    assert case.state.connection is None


@pytest.mark.parametrize("reason", ["closed 1006", "gateway lost"])
def test_a_late_sign_of_life_brings_no_closed_connection_back(reason: str) -> None:
    case = Case.online()
    epoch = case.charge_point.version - 1
    case.do(Disconnect, 1, epoch=epoch, reason=reason)
    case.do(See, 100, epoch=epoch)
    assert case.state.connection is None


def test_a_new_process_ends_the_connections_of_the_one_before_it_and_not_its_own() -> None:
    case = Case.online()
    epoch = case.charge_point.version - 1
    assert not case.do(Disconnect, 1, epoch=epoch, reason="gateway lost", except_boot="b1")
    (event,) = case.do(Disconnect, 2, epoch=epoch, reason="gateway lost", except_boot="b2")
    assert isinstance(event, ChargePointDisconnected)


def automatic() -> Case:
    """Taken in at its first handshake: nobody said what it has."""
    case = Case()
    case.do(Register, site=SITE, automatic=True)
    case.do(Connect, node="gw-1", slot=3, boot="b1")
    case.do(Boot, vendor="Acme", model="Box")
    return case


def test_the_first_handshake_takes_in_and_connects_in_one_decision() -> None:
    case = Case()
    events = case.do(Connect, site=SITE, password_hash="scrypt$x", node="gw-1", slot=3, boot="b1")
    assert [type(event) for event in events] == [ChargePointRegistered, CredentialsSet, ChargePointConnected]
    assert case.reply == ConnectedReply(epoch=3)
    assert (case.last(ChargePointRegistered).automatic, case.last(ChargePointRegistered).site) == (True, SITE)
    assert (case.state.password_hash, case.state.connection.epoch) == ("scrypt$x", 3)  # type: ignore[union-attr]


def test_one_that_was_taken_in_meanwhile_is_not_connected_by_another_first_handshake() -> None:
    case = Case()
    case.do(Register, site=SITE, password_hash="scrypt$x")
    case.do(Connect, site=SITE, password_hash="scrypt$y", node="gw-1", slot=3, boot="b1")
    assert case.refusal is Refusal.ALREADY_EXISTS
    assert (case.state.password_hash, case.state.connection) == ("scrypt$x", None)


def test_a_password_that_comes_with_a_connection_is_the_only_one_from_then_on_SEC_03() -> None:
    case = Case()
    case.do(Register, site=SITE, password_hash="old")
    case.do(OfferCredentials, 1, password_hash="new")
    events = case.do(Connect, 2, password_hash="new", node="gw-1", slot=3, boot="b1")
    assert [type(event) for event in events] == [CredentialsSet, ChargePointConnected]
    assert (case.state.password_hash, case.state.alternative_hash) == ("new", "")


def test_a_first_password_is_kept_while_a_charge_point_was_never_connected() -> None:
    case = Case()
    case.do(Register, site=SITE, automatic=True)
    case.do(Connect, 1, password_hash="scrypt$x", node="gw-1", slot=3, boot="b1")
    assert case.state.password_hash == "scrypt$x"


def test_no_handshake_sets_the_password_of_one_that_was_connected_without() -> None:
    case = Case()
    case.do(Connect, site=SITE, node="gw-1", slot=3, boot="b1")
    assert not case.do(Connect, 1, password_hash="stolen", node="gw-1", slot=3, boot="b1")
    assert (case.refusal, case.state.password_hash) == (Refusal.CONFLICT, "")


def test_a_handshake_with_a_password_that_was_replaced_meanwhile_does_not_bring_it_back() -> None:
    case = Case()
    case.do(Register, site=SITE, password_hash="old")
    case.do(OfferCredentials, 1, password_hash="new")
    case.do(SetCredentials, 2, password_hash="operators")
    case.do(Connect, 3, password_hash="new", node="gw-1", slot=3, boot="b1")
    assert (case.refusal, case.state.password_hash) == (Refusal.CONFLICT, "operators")


def test_one_that_was_removed_and_comes_back_is_new() -> None:
    case = Case()
    case.do(Connect, site=SITE, node="gw-1", slot=3, boot="b1")
    case.do(Remove, 1)
    case.do(Register, 2, site=SITE, automatic=True)
    case.do(Connect, 3, password_hash="scrypt$x", node="gw-1", slot=3, boot="b1")
    assert case.state.password_hash == "scrypt$x"


def test_an_automatic_charge_point_has_the_evses_that_it_names() -> None:
    case = automatic()
    events = case.status(1, "Available", connector_id=2)
    assert [type(event) for event in events] == [ChargePointChanged, StatusReported]
    assert (case.last(ChargePointChanged).site, case.last(StatusReported).flags) == (SITE, ())
    assert [evse.uid for evse in case.state.evses] == ["CP-1-1", "CP-1-2"]
    (connector,) = case.state.evses[1].connectors
    assert (connector.id, connector.standard, connector.format) == ("1", "IEC_62196_T2", "SOCKET")
    assert (connector.power_type, connector.max_voltage, connector.max_amperage) == ("AC_3_PHASE", 230, 32)
    assert [type(event) for event in case.status(2, "Available", connector_id=1)] == [StatusReported]
    case.status(3, "Available", connector_id=0)
    assert len(case.all(ChargePointChanged)) == 1


def test_a_start_on_an_unknown_connector_of_an_automatic_charge_point_has_its_evse() -> None:
    case = automatic()
    case.start(connector_id=1)
    started = case.last(TransactionStarted)
    assert (started.evse_uid, started.flags) == ("CP-1-1", ())
    assert started.ocpi_connector is not None


def test_a_nonsensical_connector_of_an_automatic_charge_point_is_flagged_only() -> None:
    case = automatic()
    case.status(1, "Available", connector_id=5000)
    assert not case.all(ChargePointChanged)
    assert case.last(StatusReported).flags == (Flag.UNKNOWN_CONNECTOR,)


def test_once_an_operator_said_what_it_has_nothing_is_added() -> None:
    case = automatic()
    case.status(1, "Available", connector_id=1)
    case.do(Change, 2, evses=EVSES)
    case.status(3, "Available", connector_id=3)
    assert case.last(StatusReported).flags == (Flag.UNKNOWN_CONNECTOR,)
    assert case.state.evses == EVSES


def test_a_new_place_does_not_end_the_learning() -> None:
    case = automatic()
    case.status(1, "Available", connector_id=1)
    case.do(Change, 2, site=msgspec.structs.replace(SITE, name="Elsewhere"))
    case.status(3, "Available", connector_id=2)
    assert len(case.state.evses) == 2


def test_a_password_that_is_offered_stands_beside_the_old_one_until_one_is_set_SEC_03() -> None:
    case = Case()
    case.do(Register, site=SITE, password_hash="old")
    case.do(OfferCredentials, 1, password_hash="new")
    assert (case.state.password_hash, case.state.alternative_hash) == ("old", "new")
    assert not case.do(OfferCredentials, 2, password_hash="new")
    case.do(SetCredentials, 3, password_hash="new")
    assert (case.state.password_hash, case.state.alternative_hash) == ("new", "")


def test_a_password_that_was_refused_is_forgotten_SEC_03() -> None:
    case = Case()
    case.do(Register, site=SITE, password_hash="old")
    case.do(OfferCredentials, 1, password_hash="new")
    case.do(OfferCredentials, 2)
    assert (case.state.password_hash, case.state.alternative_hash) == ("old", "")
    assert not case.do(OfferCredentials, 3)
