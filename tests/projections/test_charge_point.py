"""Charge points as their tenant sees them, their credentials and their samples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from commands.base import Meta
from commands.charge_point import (
    Boot,
    ConcludeCall,
    RequestCall,
    WantAvailability,
    WantDefaults,
    WantVariables,
)
from domain.aggregate import Event
from domain.charge_point import (
    CallConcluded,
    CallRequested,
    ChargePointBooted,
    ChargePointChanged,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointRemoved,
    ChargePointSeen,
    ClockOffsetNoted,
    CredentialsSet,
    DefaultsWanted,
    StatusReported,
    VariablesCompared,
    VariablesWanted,
)
from domain.charge_point.availability import AvailabilityWish
from domain.charge_point.wanted import Compared, VariableState, Wanted, Wish
from domain.intents import Availability, kind_of
from domain.values import Connector, Coordinates, Evse, Site
from projections.base import Target
from projections.charge_point import CREDENTIALS, VIEW, availability_of, wanted_of
from projections.store import HUB, Document, Put, Remove
from tests.commands.charge_point_case import Case, after
from tests.commands.test_charge_point_reserving import answer, ours, ready
from tests.commands.v16_calls import intent, learned

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
META = Meta(command_id="c", at=START, tenant="demo")
SITE = Site(
    id="LOC1",
    address="Hauptstr. 1",
    city="Berlin",
    country="DEU",
    coordinates=Coordinates(latitude="52.52000", longitude="13.40495"),
)


def evse(uid: str, power_type: str = "AC_3_PHASE") -> Evse:
    connector = Connector(
        id="1",
        standard="IEC_62196_T2",
        format="SOCKET",
        power_type=power_type,
        max_voltage=230,
        max_amperage=32,
    )
    return Evse(uid=uid, connectors=(connector,))


class History:
    """The events of one charge point, a minute apart."""

    def __init__(self) -> None:
        self.version = 0

    def happens(self, kind: type[Event], /, **fields: Any) -> Event:
        self.version += 1
        return kind(
            originator_id="charge_point|demo|CP|1",
            originator_version=self.version,
            timestamp=START + timedelta(minutes=self.version),
            **fields,
        )

    def registered(self, *evses: Evse, automatic: bool = False) -> Event:
        return self.happens(
            ChargePointRegistered,
            tenant="demo",
            charge_point_id="CP|1",
            site=SITE,
            evses=evses,
            automatic=automatic,
        )


def fold(*events: Event) -> Document | None:
    document: Document | None = None
    for event in events:
        document = VIEW.evolve(document, event, META)
    return document


def known(*events: Event) -> dict[str, Any]:
    document = fold(*events)
    assert document is not None
    msgspec.json.encode(document)
    return document


def test_it_stands_in_its_tenants_database_under_its_id() -> None:
    assert VIEW.target(History().registered(), META) == Target("ocpp_demo", "CP|1")


def test_a_new_charge_point_has_its_place_and_connectors_and_has_not_been_seen() -> None:
    document = known(History().registered(evse("E1"), evse("E2", "DC")))

    assert (document["tenant_id"], document["created_at"]) == ("demo", "2026-05-01T12:01:00.000Z")
    assert (document["connected"], document["last_seen"]) == (False, None)
    assert document["location"]["coordinates"] == {"latitude": "52.52000", "longitude": "13.40495"}
    powers = [
        (c["id"], c["evse_uid"], c["type"], c["max_power"], c["status"]) for c in document["connectors"]
    ]
    assert powers == [(1, "E1", "IEC_62196_T2", 22080, None), (2, "E2", "IEC_62196_T2", 7360, None)]


def test_it_is_connected_until_its_current_connection_ends() -> None:
    history = History()
    first = [history.registered(), history.happens(ChargePointConnected, node="a", slot=1, boot="x")]
    newer = history.happens(ChargePointConnected, node="b", slot=2, boot="y")

    late = known(*first, newer, history.happens(ChargePointDisconnected, epoch=2))
    ended = known(*first, newer, history.happens(ChargePointDisconnected, epoch=3))

    assert late["connected"] is True
    assert late["connection"] == {"since": "2026-05-01T12:03:00.000Z", "node": "b", "epoch": 3}
    assert (ended["connected"], ended["connection"]) == (False, None)
    assert ended["last_seen"] == "2026-05-01T12:03:00.000Z"


def test_its_boot_says_what_it_is() -> None:
    history = History()
    boot = {"vendor": "V", "model": "M", "charge_point_serial_number": "S1", "firmware_version": "1.0"}

    document = known(
        history.registered(), history.happens(ChargePointBooted, **boot, status="Accepted", interval=300)
    )

    names = ("vendor", "model", "serial_number", "firmware_version")
    assert [document[name] for name in names] == ["V", "M", "S1", "1.0"]
    assert document["registration"] == {
        "status": "Accepted",
        "interval": 300,
        "at": "2026-05-01T12:02:00.000Z",
    }
    assert document["configuration"]["heartbeat_interval"] == 300


def test_statuses_move_their_connector_except_stale_ones() -> None:
    """ST-3: the newest by the charge point's time is the present; connector 0 is the charge point itself."""
    history = History()
    document = known(
        history.registered(evse("E1")),
        history.happens(StatusReported, connector_id=1, status="Charging"),
        history.happens(StatusReported, connector_id=1, status="Available", stale=True),
        history.happens(StatusReported, connector_id=0, status="Available"),
        history.happens(
            StatusReported, connector_id=2, status="Faulted", error_code="GroundFailure", info="x"
        ),
    )

    assert [(c["id"], c["status"]) for c in document["connectors"]] == [(1, "Charging"), (2, "Faulted")]
    assert document["connectors"][0]["max_power"] == 22080
    assert (document["connectors"][1]["error_code"], document["connectors"][1]["info"]) == (
        "GroundFailure",
        "x",
    )
    assert document["status"] == "Available"


def test_the_time_of_a_status_is_corrected_by_the_clocks_offset() -> None:
    history = History()
    document = known(
        history.registered(evse("E1")),
        history.happens(ClockOffsetNoted, seconds=3600),
        history.happens(
            StatusReported,
            connector_id=1,
            status="Available",
            occurred_at=START + timedelta(hours=1),
            clock_offset_s=3600,
        ),
    )

    assert document["connectors"][0]["last_update"] == "2026-05-01T12:00:00.000Z"


def test_one_that_took_itself_in_is_the_operators_once_the_operator_says_what_it_has() -> None:
    history = History()
    registered = history.registered(automatic=True)
    learned = history.happens(ChargePointChanged, site=SITE, evses=(evse("CP-1-1"),))
    moved = history.happens(ChargePointChanged, site=SITE, evses=(evse("CP-1-1"),))
    said = history.happens(ChargePointChanged, site=SITE, evses=(evse("E1"),), taken_over=True)

    assert known(registered, learned, moved)["automatic"] is True
    assert known(registered, learned, moved, said)["automatic"] is False


def test_new_evses_keep_what_their_connectors_last_said() -> None:
    history = History()
    document = known(
        history.registered(evse("E1")),
        history.happens(StatusReported, connector_id=1, status="Charging"),
        history.happens(ChargePointChanged, site=SITE, evses=(evse("E9"), evse("E2"))),
    )

    assert [(c["evse_uid"], c["status"]) for c in document["connectors"]] == [
        ("E9", "Charging"),
        ("E2", None),
    ]


def requested(history: History, id: str, action: str, payload: dict[str, Any], *, own: bool = False) -> Event:
    """A call of ours."""
    wanted = intent(action, payload)
    return history.happens(
        CallRequested, command_id=id, intent=wanted, epoch=1, slot=1, boot="x", expires_at=START, own=own
    )


def answered(
    history: History,
    id: str,
    action: str,
    payload: dict[str, Any],
    said: dict[str, Any],
    status: str = "accepted",
    **more: Any,
) -> Event:
    """What the charge point said to it."""
    kind, taught = kind_of(intent(action, payload)), learned(action, said, payload)
    return history.happens(CallConcluded, command_id=id, kind=kind, status=status, learned=taught, **more)


def test_configuration_that_was_accepted_or_read_is_known_and_secrets_are_not() -> None:
    history = History()

    def call(id: str, action: str, payload: dict[str, Any], status: str, response: Any = None) -> list[Event]:
        said = {"status": status.capitalize()} if response is None else response
        return [requested(history, id, action, payload), answered(history, id, action, payload, said, status)]

    keys = [
        {"key": "HeartbeatInterval", "readonly": False, "value": "60"},
        {"key": "AuthorizationKey", "readonly": False, "value": "secret"},
        {"key": "Foo.Bar", "readonly": True},
    ]
    document = known(
        history.registered(),
        *call("1", "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "30"}, "accepted"),
        *call("2", "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "99"}, "rejected"),
        *call("3", "ChangeConfiguration", {"key": "AuthorizationKey", "value": "s1.k.x"}, "accepted"),
        *call("4", "GetConfiguration", {}, "accepted", {"configurationKey": keys}),
    )

    configuration = document["configuration"]
    assert (configuration["heartbeat_interval"], configuration["meter_values_interval"]) == (60, 30)
    assert configuration["keys"] == [
        {"key": "Foo.Bar", "value": "", "readonly": True, "after_reboot": None},
        {"key": "HeartbeatInterval", "value": "60", "readonly": False, "after_reboot": None},
        {"key": "MeterValueSampleInterval", "value": "30", "readonly": None, "after_reboot": None},
    ]
    assert document["changing"] == []


def test_a_value_for_after_the_reboot_is_shown_as_such_until_it_is_told() -> None:
    history = History()

    def call(id: str, action: str, payload: dict[str, Any], said: dict[str, Any]) -> list[Event]:
        return [requested(history, id, action, payload), answered(history, id, action, payload, said)]

    def telling(id: str, value: str) -> list[Event]:
        keys = [{"key": "HeartbeatInterval", "readonly": False, "value": value}]
        return call(id, "GetConfiguration", {}, {"configurationKey": keys})

    change = {"key": "HeartbeatInterval", "value": "600"}
    asked = [
        history.registered(),
        *telling("1", "60"),
        *call("2", "ChangeConfiguration", change, {"status": "RebootRequired"}),
    ]
    told_old = [*asked, *telling("3", "60")]
    told_new = [*told_old, *telling("4", "600")]

    states = [known(*events)["configuration"] for events in (asked, told_old, told_new)]
    assert [one["heartbeat_interval"] for one in states] == [60, 60, 600]
    assert [(one["keys"][0]["value"], one["keys"][0]["after_reboot"]) for one in states] == [
        ("60", "600"),
        ("60", "600"),
        ("600", None),
    ]
    assert states[0]["keys"][0]["readonly"] is False


def test_what_is_wanted_stands_beside_with_the_worst_that_there_is_to_say() -> None:
    history = History()
    wishes = (Wish(key="MeterValueSampleInterval", value="60"), Wish(key="Colour", value="red"))
    asked = [
        history.registered(),
        history.happens(DefaultsWanted, wishes=(Wish(key="Colour", value="blue"),), revision=2, mark="m"),
        history.happens(VariablesWanted, wishes=wishes),
    ]
    push = requested(history, "1", "ChangeConfiguration", {"key": "Colour", "value": "red"}, own=True)
    found = (
        Compared(key="Colour", state=VariableState.DRIFT, told="blue", reason="Accepted"),
        Compared(key="MeterValueSampleInterval", state=VariableState.IN_SYNC, told="60"),
    )
    compared = history.happens(VariablesCompared, found=found)
    withdrawn = history.happens(VariablesWanted, wishes=(Wish(key="COLOUR"),))

    before, after, last = (
        known(*e) for e in (asked, [*asked, push, compared], [*asked, push, compared, withdrawn])
    )
    assert [one["configuration_state"] for one in (before, after, last)] == ["pending", "drift", "pending"]
    colour = wanted_of(after)["colour"]
    assert (colour.value, colour.default, colour.told, colour.pushes) == ("red", "blue", "blue", 1)
    assert (wanted_of(last)["colour"].value, wanted_of(last)["colour"].pushes) == ("blue", 0)


def test_the_document_wants_what_the_aggregate_wants() -> None:
    case = Case.online()
    case.do(WantDefaults, wishes=(Wish(key="Colour", value="blue"),), revision=2, mark="m")
    case.do(WantVariables, wishes=(Wish(key="Key", value="1"), Wish(key="Colour", value="red")))
    case.do(WantVariables, wishes=(Wish(key="Colour"),))
    case.do(Boot, vendor="Acme", model="Box", firmware_version="2")
    said = {"configurationKey": [{"key": "Key", "readonly": True, "value": "2"}], "unknownKey": ["Colour"]}
    get = intent("GetConfiguration")
    case.do(RequestCall, command_id="r", intent=get, expires_at=after(60))
    case.do(ConcludeCall, command_id="r", status="accepted", learned=learned("GetConfiguration", said))
    document = known(*case.log)

    def shown(wanted: dict[str, Wanted]) -> object:
        return {
            key: (one.value, one.state, one.told, one.pushes, one.readonly) for key, one in wanted.items()
        }

    assert shown(wanted_of(document)) == shown(case.state.wanted)
    assert document["configuration_state"] == "refused"


def test_the_document_shows_the_availability_that_the_aggregate_wants() -> None:
    case = ready()
    for connector, availability in ((0, Availability.OPERATIVE), (1, Availability.INOPERATIVE)):
        wish = AvailabilityWish(connector_id=connector, availability=availability)
        case.do(WantAvailability, 10, wish=wish)
    for said in ("accepted", "rejected"):
        ours(case, 60)
        answer(case, 60, said, reason="Rejected")
    document = known(*case.log)
    assert availability_of(document) == case.state.availability
    assert document["availability_state"] == "refused"
    case.status(70, "Available", connector_id=0)
    assert availability_of(known(*case.log)) == case.state.availability


def test_a_change_that_is_accepted_after_its_time_is_known() -> None:
    history = History()
    change = ("1", "ChangeConfiguration", {"key": "HeartbeatInterval", "value": "600"})
    document = known(
        history.registered(),
        requested(history, *change),
        history.happens(CallConcluded, command_id="1", kind="set_variable", status="timed_out"),
        answered(history, *change, {"status": "Accepted"}, late=True),
    )

    assert (document["configuration"]["heartbeat_interval"], document["changing"]) == (600, [])


def test_a_sign_of_life_moves_last_seen_and_what_we_do_does_not() -> None:
    history = History()
    seen = [history.registered(), history.happens(ChargePointSeen)]

    after = known(
        *seen,
        history.happens(ChargePointChanged, site=SITE),
        history.happens(CredentialsSet, password_hash="h"),
    )

    assert after["last_seen"] == known(*seen)["last_seen"] == "2026-05-01T12:02:00.000Z"


def test_one_that_was_removed_is_gone_and_comes_back_blank() -> None:
    history = History()
    gone = [history.registered(evse("E1")), history.happens(ChargePointConnected, node="a", slot=1, boot="x")]
    gone.append(history.happens(ChargePointRemoved))

    assert fold(*gone) is None
    assert known(*gone, history.registered())["connected"] is False


def test_credentials_stand_apart_under_tenant_and_charge_point() -> None:
    history = History()
    events = (
        history.registered(),
        history.happens(CredentialsSet, password_hash="scrypt$…"),
        history.happens(ChargePointSeen),
        history.happens(ChargePointRemoved),
    )

    first, second, *others, last = [write for event in events for write in CREDENTIALS.writes(event, META)]

    assert isinstance(first, Put)
    assert isinstance(second, Put)
    assert (first.db, first.collection, first.id, first.version) == (HUB, "credentials", "demo|CP|1", 1)
    assert (first.document["password_hash"], second.document["password_hash"]) == ("", "scrypt$…")
    assert (second.document["tenant_id"], second.document["charge_point_id"]) == ("demo", "CP|1")
    assert others == []
    assert last == Remove(HUB, "credentials", "demo|CP|1", 4)
