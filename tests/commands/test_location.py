"""Locations, EVSEs and connectors: PUT, PATCH and what is older, in whatever order (OCPI 2.3.0, chapter 8)."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargesphere.registry import EVENTS, ROUTES
from commands.base import Accepted, Command, Meta, Outcome, Refusal, Rejected
from commands.location import (
    LocationReply,
    NoteSite,
    PatchConnector,
    PatchEvse,
    PatchLocation,
    PutConnector,
    PutEvse,
    PutLocation,
    RemoveLocation,
)
from commands.location_rules import LARGEST, LARGEST_WHOLE
from commands.processes.location import placed
from domain.aggregate import Event
from domain.charge_point import ChargePointRegistered
from domain.location import EvseStatusChanged, Location, Said, location_key
from domain.values import UNASSIGNED, Coordinates, PartyId, Site
from projections.location import VIEW, pushed_location
from projections.store import Document
from streams.log.envelope import CommandRegistry, raw

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CPO = PartyId(country_code="NL", party_id="CPO")
COMMANDS = CommandRegistry(ROUTES)
_NUMBERS = itertools.count(1)


def at(seconds: int) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def connector(id: str = "1", seconds: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "last_updated": at(seconds),
        **more,
    }


def evse(uid: str = "E1", seconds: int = 0, **more: Any) -> dict[str, Any]:
    connectors = more.pop("connectors", None) or [connector(seconds=seconds)]
    return {
        "uid": uid,
        "status": "AVAILABLE",
        "connectors": connectors,
        "last_updated": at(seconds),
        **more,
    }


def location(seconds: int = 0, *evses: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {
        "country_code": "NL",
        "party_id": "CPO",
        "id": "LOC1",
        "publish": True,
        "address": "Kade 1",
        "city": "Delft",
        "country": "NLD",
        "coordinates": {"latitude": "52.01000", "longitude": "4.36000"},
        "time_zone": "Europe/Amsterdam",
        "last_updated": at(seconds),
        **more,
    }
    return {**whole, "evses": list(evses)} if evses else whole


NAMED: dict[str, Any] = {"owner": CPO, "holder": "cpo@1", "location_id": "LOC1"}


class Log:
    """One Location, decided and projected through the forms of the log."""

    def __init__(self) -> None:
        self.aggregate = Location.blank(f"location|{location_key(CPO, '', 'LOC1')}")
        self.document: Document | None = None
        self.events: list[Event] = []

    def say(self, command: Command) -> Outcome:
        again = COMMANDS.decode(raw(command))
        meta = Meta(command_id=f"c-{next(_NUMBERS)}", at=NOON)
        outcome: Outcome = ROUTES[type(again)].handler(self.aggregate, again, meta)
        for made in self.aggregate.collect_events():
            event = EVENTS.decode(msgspec.json.encode(made))
            self.events.append(event)
            self.document = VIEW.evolve(self.document, event, meta)
        return outcome

    def accept(self, command: Command) -> LocationReply:
        outcome = self.say(command)
        assert isinstance(outcome, Accepted), outcome
        reply = outcome.reply
        assert isinstance(reply, LocationReply)
        return reply

    def refuse(self, command: Command) -> tuple[Refusal, str]:
        outcome = self.say(command)
        assert isinstance(outcome, Rejected)
        return outcome.refusal, outcome.message

    def listed_to(self) -> object:
        return (self.document or {}).get("listed_to")

    @property
    def now(self) -> dict[str, Any]:
        """As it is read; the state that decides says the same."""
        assert self.document is not None
        shown: dict[str, Any] = pushed_location(self.document)
        state = self.aggregate.state
        folded = msgspec.json.decode(state.core)
        if state.evses:
            folded["evses"] = [msgspec.json.decode(text) for text in state.evses.values()]
        assert shown == folded
        refolded = Location.blank(self.aggregate.id)
        for event in self.events:
            event.mutate(refolded)
        assert refolded.state == state
        return shown


@pytest.fixture
def log() -> Log:
    return Log()


def put(seconds: int = 0, *evses: dict[str, Any], **more: Any) -> PutLocation:
    return PutLocation(**NAMED, location=location(seconds, *evses, **more))


def test_a_location_that_was_not_there_is_created_and_an_equal_one_changes_nothing(log: Log) -> None:
    assert log.accept(put(0, evse())) == LocationReply(created=True)
    assert log.accept(put(0, evse())) == LocationReply()
    assert len(log.events) == 1
    assert log.now == location(0, evse())


def test_a_put_replaces_the_whole_and_an_older_one_is_acknowledged_and_not_applied(log: Log) -> None:
    log.accept(put(10, evse(seconds=10), name="Kade"))
    assert log.accept(put(20, evse("E2", 20))) == LocationReply()
    assert log.now == location(20, evse("E2", 20))
    assert log.accept(put(5, evse(), name="Old")) == LocationReply(applied=False)
    assert log.now == location(20, evse("E2", 20))


def test_a_patch_of_what_is_not_there_is_refused_as_unknown(log: Log) -> None:
    for command in (
        PatchLocation(**NAMED, patch={"name": "x", "last_updated": at(1)}),
        PatchEvse(**NAMED, evse_uid="E1", patch={"status": "CHARGING", "last_updated": at(1)}),
        PatchConnector(
            **NAMED, evse_uid="E1", connector_id="1", patch={"max_amperage": 16, "last_updated": at(1)}
        ),
        PutEvse(**NAMED, evse=evse()),
        PutConnector(**NAMED, evse_uid="E1", connector=connector()),
        RemoveLocation(**NAMED),
    ):
        assert log.refuse(command)[0] is Refusal.UNKNOWN
    assert log.events == []


def test_a_patch_changes_what_it_names_and_null_takes_away(log: Log) -> None:
    log.accept(put(0, evse(), name="Kade", opening_times={"twentyfourseven": True}))
    patch = {"name": None, "city": "Den Haag", "opening_times": None, "last_updated": at(9), "x_lights": 3}
    assert log.accept(PatchLocation(**NAMED, patch=patch)) == LocationReply()
    assert log.now == location(9, evse(), city="Den Haag", x_lights=3)


@pytest.mark.parametrize("none", [None, []])
def test_a_list_of_evses_replaces_those_that_are_no_newer(log: Log, none: object) -> None:
    log.accept(put(0, evse(), evse("E2")))
    log.accept(PatchEvse(**NAMED, evse_uid="E2", patch={"status": "CHARGING", "last_updated": at(9)}))
    log.accept(PatchLocation(**NAMED, patch={"evses": [evse("E3", 5)], "last_updated": at(5)}))
    assert [one["uid"] for one in log.now["evses"]] == ["E3", "E2"]
    log.accept(PatchLocation(**NAMED, patch={"evses": none, "last_updated": at(20)}))
    assert log.now == location(20) | {"last_updated": at(20)}


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        ({"city": None}, "city: "),
        ({"coordinates": {"latitude": "north"}}, "coordinates.latitude"),
        ({"id": "LOC2"}, "id: "),
        ({"country_code": "BE"}, "country_code: "),
    ],
)
def test_a_patch_that_would_leave_no_location_changes_nothing(
    log: Log, patch: dict[str, Any], wrong: str
) -> None:
    log.accept(put(0, evse()))
    refusal, message = log.refuse(PatchLocation(**NAMED, patch={**patch, "last_updated": at(9)}))
    assert refusal is Refusal.INVALID
    assert message.startswith(wrong)
    assert log.now == location(0, evse())


def test_a_status_is_an_event_of_its_own_and_lifts_its_location(log: Log) -> None:
    """8.2.2.3: the receiver sets last_updated of EVSE and Location to the value in the body."""
    log.accept(put(0, evse(), evse("E2")))
    log.accept(PatchEvse(**NAMED, evse_uid="e1", patch={"status": "CHARGING", "last_updated": at(9)}))
    assert isinstance(log.events[-1], EvseStatusChanged)
    changed = {**evse(), "status": "CHARGING", "last_updated": at(9)}
    assert log.now == {**location(0, changed, evse("E2")), "last_updated": at(9)}


def test_a_connector_lifts_its_evse_and_its_location(log: Log) -> None:
    log.accept(put(0, evse()))
    assert log.accept(PutConnector(**NAMED, evse_uid="E1", connector=connector("2", 7))).created
    patch = {"max_amperage": 16, "last_updated": at(9)}
    log.accept(PatchConnector(**NAMED, evse_uid="E1", connector_id="1", patch=patch))
    connectors = [connector(seconds=9, max_amperage=16), connector("2", 7)]
    lifted = {**evse(connectors=connectors), "last_updated": at(9)}
    assert log.now == {**location(0, lifted), "last_updated": at(9)}


def test_what_only_a_child_made_newer_still_takes_its_own_change(log: Log) -> None:
    log.accept(put(0, evse()))
    log.accept(PutConnector(**NAMED, evse_uid="E1", connector=connector("1", 30)))
    log.accept(PatchEvse(**NAMED, evse_uid="E1", patch={"status": "BLOCKED", "last_updated": at(20)}))
    log.accept(PatchEvse(**NAMED, evse_uid="E1", patch={"floor_level": "-1", "last_updated": at(21)}))
    stale = PatchEvse(**NAMED, evse_uid="E1", patch={"status": "CHARGING", "last_updated": at(19)})
    assert log.accept(stale) == LocationReply(applied=False)
    assert log.accept(put(10, evse(seconds=10), name="Kade")) == LocationReply()
    [one] = log.now["evses"]
    assert (one["status"], one["floor_level"], one["last_updated"]) == ("BLOCKED", "-1", at(30))
    assert (log.now["name"], log.now["last_updated"]) == ("Kade", at(30))


def test_a_patch_that_lists_connectors_leaves_those_that_are_newer(log: Log) -> None:
    log.accept(put(0, evse(connectors=[connector(), connector("2")])))
    log.accept(PutConnector(**NAMED, evse_uid="E1", connector=connector("1", 30, max_amperage=16)))
    listed = {"connectors": [connector("1", 20), connector("3", 20)], "last_updated": at(20)}
    log.accept(PatchEvse(**NAMED, evse_uid="E1", patch=listed))
    [one] = log.now["evses"]
    assert one["connectors"] == [connector("1", 30, max_amperage=16), connector("3", 20)]
    assert (one["last_updated"], log.now["last_updated"]) == (at(30), at(30))
    twice = {"connectors": [connector("1", 40), connector("1", 40)], "last_updated": at(40)}
    assert log.refuse(PatchEvse(**NAMED, evse_uid="E1", patch=twice))[0] is Refusal.INVALID


def test_a_location_of_another_life_of_the_partner_is_new(log: Log) -> None:
    log.accept(put(50, evse(), name="Old"))
    later = {**NAMED, "holder": "cpo@2"}
    status = PatchEvse(**later, evse_uid="E1", patch={"status": "CHARGING", "last_updated": at(60)})
    assert log.refuse(status)[0] is Refusal.UNKNOWN
    assert log.accept(PutLocation(**later, location=location(1))).created
    assert log.now == location(1)


def test_what_is_too_large_for_one_record_is_refused_and_its_evses_come_by_themselves(log: Log) -> None:
    many = [evse(f"E{n}", directions=[{"language": "nl", "text": "x" * 500}]) for n in range(1_200)]
    refusal, message = log.refuse(put(0, *many))
    assert (refusal, str(LARGEST) in message) == (Refusal.INVALID, True)
    log.accept(put(0, *many[:800]))
    for one in many[800:1_000]:
        log.accept(PutEvse(**NAMED, evse=one))
    assert log.now["evses"] == many[:1_000]


def test_the_ages_that_stand_beside_a_location_count_too(log: Log) -> None:
    """A decision is one record: what a connector lifted has its own age beside it."""
    lifted = [evse(f"{n:036}", connectors=[connector(seconds=1)]) for n in range(1_999)]
    room = LARGEST - len(msgspec.json.encode(location(0, *lifted))) - 1_000
    whole = location(0, *lifted, x_text="x" * room)
    refusal, message = log.refuse(PutLocation(**NAMED, location=whole))
    assert (refusal, str(LARGEST) in message) == (Refusal.INVALID, True)


def test_a_location_grows_no_larger_than_its_state_may_be(log: Log) -> None:
    log.accept(put(0, evse()))
    long = [{"language": "nl", "text": "\u00e9" * 250}] * 400
    for number in range(4):
        log.accept(PutEvse(**NAMED, evse=evse(f"N{number}", directions=long)))
    refusal, message = log.refuse(PutEvse(**NAMED, evse=evse("N4", directions=long)))
    assert (refusal, str(LARGEST_WHOLE) in message) == (Refusal.INVALID, True)
    log.accept(PatchEvse(**NAMED, evse_uid="N3", patch={"status": "CHARGING", "last_updated": at(5)}))


def test_a_connector_of_any_number_of_watts_is_found_by_what_a_read_model_can_hold(log: Log) -> None:
    log.accept(put(0, evse(connectors=[connector(max_voltage=2**62, max_amperage=2**62)])))
    assert (log.document or {})["max_power"] == 2**63 - 1


def test_of_master_data_the_logs_order_counts_whatever_clocks_say(log: Log) -> None:
    """Two of our processes, of which one's clock is behind by a second: no change of an operator is lost."""
    log.accept(PutLocation(**OURS, location={**MASTER, "last_updated": at(10)}))
    behind = PatchLocation(**OURS, patch={"city": "Leiden", "last_updated": at(9)})
    assert log.accept(behind) == LocationReply()
    assert log.now["city"] == "Leiden"
    assert log.accept(PutLocation(**OURS, location={**MASTER, "last_updated": at(8)})) == LocationReply()
    assert log.now["city"] == "Delft"


def test_an_id_that_stands_twice_is_refused(log: Log) -> None:
    assert log.refuse(put(0, evse(), evse("e1")))[0] is Refusal.INVALID
    twice = evse(connectors=[connector(), connector()])
    assert log.refuse(put(0, twice))[0] is Refusal.INVALID


MOMENTS = st.permutations(range(1, 7))


@given(MOMENTS)
def test_whatever_order_they_come_in_the_newest_of_each_stands(order: list[int]) -> None:
    """A Location, two EVSEs and a connector, each put twice by processes that overtake one another."""
    said: dict[int, Command] = {
        1: put(1, evse("E1", 1), evse("E2", 1), name="first"),
        2: put(2, evse("E1", 2), evse("E2", 1), name="second"),
        3: PutEvse(**NAMED, evse=evse("E1", 3, status="CHARGING")),
        4: PutEvse(**NAMED, evse=evse("E2", 4, status="RESERVED")),
        5: PutConnector(**NAMED, evse_uid="E1", connector=connector("1", 5, max_amperage=16)),
        6: PutEvse(**NAMED, evse=evse("E1", 6, status="BLOCKED", connectors=[connector("1", 2)])),
    }
    log = Log()
    log.accept(put(0, evse("E1", 0), evse("E2", 0)))
    for number in order:
        log.accept(said[number])
    now = log.now
    e1, e2 = now["evses"]
    assert (now["name"], now["last_updated"]) == ("second", at(6))
    assert (e1["status"], e1["last_updated"], e1["connectors"][0]["max_amperage"]) == ("BLOCKED", at(6), 16)
    assert (e2["status"], e2["last_updated"]) == ("RESERVED", at(4))


def said(name: str, seconds: int, id: str = "CP-1") -> NoteSite:
    site = Site(
        id="Yard",
        name=name,
        address="Kai 1",
        city="Kiel",
        country="DEU",
        coordinates=Coordinates(latitude="54.32", longitude="10.13"),
    )
    word = Said(charge_point_id=id, at=NOON + timedelta(seconds=seconds), site=site)
    return NoteSite(tenant="demo", location_id="Yard", said=word)


def test_the_newest_word_of_a_charge_point_counts_and_the_same_again_is_known(log: Log) -> None:
    for word in (said("b", 5), said("a", 3, "CP-2"), said("b", 5), said("c", 9, "CP-2")):
        log.say(word)
    assert log.aggregate.state.said == said("c", 9, "CP-2").said
    assert len(log.events) == 2


OURS: dict[str, Any] = {"tenant": "demo", "location_id": "LOC1"}
MASTER = {
    name: value for name, value in location().items() if name not in ("country_code", "party_id", "evses")
}


def test_master_data_are_patched_without_a_party(log: Log) -> None:
    log.accept(PutLocation(**OURS, location=MASTER, new=True))
    assert log.refuse(PutLocation(**OURS, location=MASTER, new=True))[0] is Refusal.ALREADY_EXISTS
    log.accept(PatchLocation(**OURS, patch={"help_phone": "+31 70 1", "last_updated": at(5)}))
    assert log.now == {**MASTER, "help_phone": "+31 70 1", "last_updated": at(5)}


def test_what_partners_were_told_of_stays_listed_and_what_they_never_saw_does_not(log: Log) -> None:
    hidden = {**MASTER, "publish": False}
    log.accept(PutLocation(**OURS, location=hidden))
    assert log.listed_to() is None
    log.accept(PatchLocation(**OURS, patch={"publish": True, "last_updated": at(5)}))
    assert log.listed_to() == "tenant:demo"
    log.accept(PutLocation(**OURS, location={**hidden, "last_updated": at(9)}))
    assert log.listed_to() == "tenant:demo"


def registered_at(site: Site) -> ChargePointRegistered:
    return ChargePointRegistered(
        originator_id="charge_point|demo|CP-1",
        originator_version=1,
        timestamp=NOON + timedelta(seconds=3),
        tenant="demo",
        charge_point_id="CP-1",
        site=site,
    )


def test_a_charge_point_that_says_enough_of_its_site_tells_its_location_and_no_other_one_does() -> None:
    word = said("Yard", 3)
    site = word.said.site
    meta = Meta(command_id="c", at=NOON)
    assert placed(registered_at(site), meta) == (word,)
    for lacking in ({"coordinates": None}, {"address": ""}, {"country": ""}, {"id": UNASSIGNED}):
        assert placed(registered_at(msgspec.structs.replace(site, **lacking)), meta) == ()
