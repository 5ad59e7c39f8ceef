"""Locations both ways: CPOs push theirs, eMSPs read those and our own (OCPI 2.3.0 and 2.2.1, chapter 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from commands.base import Area, Command, Meta
from commands.directory import ReleaseParties
from commands.location import NoteSite, PutLocation, RemoveLocation
from commands.partner import Remove
from commands.tenant import CreateTenant
from domain.aggregate import Event
from domain.charge_point import ChargePointRegistered, StatusReported, charge_point_key
from domain.location import Said
from domain.tenant import Configuration, TenantParty
from domain.values import Connector, Coordinates, Evse, PartyId, Site
from projections.moment import utc_text
from projections.placement import PLACEMENTS
from protocols.ocpi import parse_json, v2_2_1, v2_3_0
from protocols.ocpi.envelope import next_link
from streams.log.envelope import raw
from tests.api.ocpi.hub import NOON, Hub, checked, token_header

CPO, MSP, OTHER = token_header("cpo-c"), token_header("msp-c"), token_header("oth-c")
PUSH = "/ocpi/2.3.0/receiver/locations/NL/CPO"
LIST = "/ocpi/2.3.0/sender/locations"


def at(seconds: int) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def connector(id: str = "1", seconds: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "standard": "IEC_62196_T2_COMBO",
        "format": "CABLE",
        "power_type": "DC",
        "max_voltage": 500,
        "max_amperage": 300,
        "last_updated": at(seconds),
        **more,
    }


def evse(uid: str = "E1", seconds: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "status": "AVAILABLE",
        "connectors": [connector(seconds=seconds)],
        "last_updated": at(seconds),
        **more,
    }


def location(id: str = "LOC1", seconds: int = 0, *evses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "id": id,
        "publish": True,
        "address": "Kade 1",
        "city": "Delft",
        "country": "NLD",
        "coordinates": {"latitude": "52.01000", "longitude": "4.36000"},
        "time_zone": "Europe/Amsterdam",
        "evses": list(evses) or [evse(seconds=seconds)],
        "last_updated": at(seconds),
        **more,
    }


@pytest.fixture
async def roaming(hub: Hub) -> Hub:
    """A CPO that pushes, and two eMSPs that read; one of them could receive too."""
    await hub.connect("cpo", "cpo-c", parties=("NL*CPO",), role="CPO")
    await hub.connect("msp", "msp-c", parties=("DE*MSP",), receives=("locations",))
    await hub.connect("oth", "oth-c", parties=("FR*OTH",), version="2.2.1")
    return hub


async def push(hub: Hub, body: dict[str, Any], below: str = "", **headers: str) -> httpx.Response:
    path = below or body["id"]
    return await hub.client.put(f"{PUSH}/{path}", headers={**CPO, **headers}, json=body)


async def patch(hub: Hub, below: str, **changes: Any) -> httpx.Response:
    return await hub.client.patch(f"{PUSH}/{below}", headers=CPO, json=changes)


async def seen(hub: Hub, who: dict[str, str] = MSP, url: str = LIST) -> list[Any]:
    found = checked(await hub.client.get(url, headers=who))
    assert isinstance(found, list)
    return found


async def test_a_location_that_a_cpo_pushes_is_read_back_and_seen_by_every_emsp(roaming: Hub) -> None:
    assert checked(await push(roaming, location()), 201) is None
    assert checked(await roaming.client.get(f"{PUSH}/loc1", headers=CPO)) == location()
    assert checked(await push(roaming, location(seconds=5))) is None
    assert await seen(roaming) == [location(seconds=5)]
    assert await seen(roaming, OTHER, LIST.replace("2.3.0", "2.2.1")) == [location(seconds=5)]


async def test_parts_are_put_patched_and_read_and_lift_what_they_belong_to(roaming: Hub) -> None:
    await push(roaming, location())
    checked(await push(roaming, evse("E2", 3), "LOC1/E2"), 201)
    checked(await push(roaming, connector("2", 4), "LOC1/E2/2"), 201)
    checked(await patch(roaming, "LOC1/E1", status="CHARGING", last_updated=at(9)))
    checked(await patch(roaming, "LOC1/E1/1", max_amperage=200, last_updated=at(11)))
    for url, who in ((PUSH, CPO), (LIST, MSP)):
        whole = checked(await roaming.client.get(f"{url}/LOC1", headers=who))
        first = checked(await roaming.client.get(f"{url}/LOC1/e1", headers=who))
        one = checked(await roaming.client.get(f"{url}/LOC1/E1/1", headers=who))
        assert (first["status"], first["last_updated"], whole["last_updated"]) == (
            "CHARGING",
            at(11),
            at(11),
        )
        assert one == connector("1", 11, max_amperage=200)
        assert [each["uid"] for each in whole["evses"]] == ["E1", "E2"]
        assert [each["id"] for each in whole["evses"][1]["connectors"]] == ["1", "2"]
        assert whole["evses"][0] == first


async def test_what_is_older_is_acknowledged_and_not_applied(roaming: Hub) -> None:
    await push(roaming, location(seconds=9))
    response = await push(roaming, location(seconds=3, name="Old"))
    assert checked(response) is None
    assert "not newer" in response.json()["status_message"]
    checked(await patch(roaming, "LOC1", name="Old", last_updated=at(3)))
    checked(await patch(roaming, "LOC1/E1", status="CHARGING", last_updated=at(3)))
    assert await seen(roaming) == [location(seconds=9)]


async def test_a_patch_whose_put_is_on_its_way_is_no_404(roaming: Hub) -> None:
    """Another process has the PUT; the read model has not seen it: the log's order decides."""
    put = PutLocation(
        owner=PartyId(country_code="NL", party_id="CPO"),
        holder=await roaming.holder("cpo"),
        location_id="LOC1",
        location=location(),
    )

    async def comes_first(command: Command) -> None:
        roaming.bus.meanwhile = None
        await roaming.bus.ask(put, Meta(command_id="elsewhere", at=NOON))

    roaming.bus.meanwhile = comes_first
    checked(await patch(roaming, "LOC1/E1", status="CHARGING", last_updated=at(9)))
    [one] = await seen(roaming)
    assert one["evses"][0]["status"] == "CHARGING"


async def test_what_is_not_there_is_404(roaming: Hub) -> None:
    for below, body in (("LOC1/E1", evse()), ("LOC1/E1/1", connector())):
        checked(await push(roaming, body, below), 404, 2001)
    for below in ("LOC1", "LOC1/E1", "LOC1/E1/1"):
        checked(await patch(roaming, below, last_updated=at(1)), 404, 2001)
        checked(await roaming.client.get(f"{PUSH}/{below}", headers=CPO), 404, 2001)
        checked(await roaming.client.get(f"{LIST}/{below}", headers=MSP), 404, 2001)
    await push(roaming, location())
    for below in ("LOC1/E9", "LOC1/E1/9"):
        checked(await patch(roaming, below, last_updated=at(1)), 404, 2001)
        checked(await roaming.client.get(f"{LIST}/{below}", headers=MSP), 404, 2001)
    response = await roaming.client.delete(f"{PUSH}/LOC1", headers=CPO)
    checked(response, 405, 2000)


@pytest.mark.parametrize(
    ("below", "body"),
    [
        ("LOC1", location("LOC2")),
        ("LOC1", location(party_id="CPX")),
        ("LOC1", {**location(), "coordinates": None}),
        ("LOC1", location("LOC1", 0, evse(), evse("e1"))),
        ("LOC1/E1", evse("E2")),
        ("LOC1/E1/1", connector("2")),
        ("LOC1/E1/1", {**connector(), "max_voltage": None}),
        (f"{'x' * 37}", location("x" * 37)),
    ],
)
async def test_an_object_that_is_wrong_or_not_the_paths_is_2001_and_changes_nothing(
    roaming: Hub, below: str, body: dict[str, Any]
) -> None:
    await push(roaming, location())
    checked(await push(roaming, body, below), 200, 2001)
    assert await seen(roaming) == [location()]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "CHARGING"},
        {"status": None, "last_updated": at(5)},
        {"last_updated": "noon"},
        {"uid": "E2"},
    ],
)
async def test_a_patch_without_last_updated_or_that_breaks_the_object_is_2001(
    roaming: Hub, changes: dict[str, Any]
) -> None:
    await push(roaming, location())
    checked(await patch(roaming, "LOC1/E1", **changes), 200, 2001)
    assert await seen(roaming) == [location()]


async def test_what_grows_beyond_a_record_where_it_is_written_out_is_2001(roaming: Hub) -> None:
    """1E18 has 4 characters in a body and 19 as it is kept."""
    body = msgspec.json.encode(location())[:-1] + b',"x":[' + b",".join([b"1E18"] * 60_000) + b"]}"
    response = await roaming.client.put(f"{PUSH}/LOC1", headers=CPO, content=body)
    checked(response, 200, 2001)
    assert (len(body) < 400_000, "bytes" in response.json()["status_message"]) == (True, True)
    assert not [one for one, _ in roaming.bus.asked if isinstance(one, PutLocation)]


async def test_only_a_cpo_writes_its_own_and_only_emsps_read_all(roaming: Hub) -> None:
    foreign = PUSH.replace("NL/CPO", "DE/MSP")
    checked(await roaming.client.put(f"{foreign}/LOC1", headers=MSP, json=location()), 404, 2001)
    checked(await roaming.client.put(f"{foreign}/LOC1", headers=CPO, json=location()), 404, 2001)
    checked(await roaming.client.get(f"{PUSH}/LOC1", headers=MSP), 200, 2000)
    checked(await roaming.client.get(LIST, headers=CPO), 200, 2000)


async def test_what_is_pushed_to_one_party_is_seen_by_that_one_alone(roaming: Hub) -> None:
    """Beside what the same CPO pushed to all under the same id."""
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "MSP"}
    own = {"OCPI-from-country-code": "NL", "OCPI-from-party-id": "CPO"}
    checked(await push(roaming, location(name="For DE*MSP"), **to, **own), 201)
    assert [one["name"] for one in await seen(roaming)] == ["For DE*MSP"]
    assert await seen(roaming, OTHER) == []
    checked(await push(roaming, location("LOC2")), 201)
    assert [one["id"] for one in await seen(roaming, OTHER)] == ["LOC2"]
    checked(await push(roaming, location("LOC2", name="For DE*MSP"), **to, **own), 201)
    assert [one["name"] for one in await seen(roaming)] == ["For DE*MSP"] * 2
    assert checked(await roaming.client.get(f"{LIST}/LOC2", headers=MSP))["name"] == "For DE*MSP"
    assert "name" not in checked(await roaming.client.get(f"{LIST}/LOC2", headers=OTHER))
    checked(await roaming.client.get(f"{PUSH}/LOC1", headers=CPO), 404, 2001)
    kept = await roaming.client.get(f"{PUSH}/LOC1", headers={**CPO, **to, **own})
    assert checked(kept)["name"] == "For DE*MSP"
    nobody = {"OCPI-to-country-code": "XX", "OCPI-to-party-id": "XXX"}
    checked(await push(roaming, location("LOC3"), **nobody, **own), 200, 4001)


async def test_who_may_see_what_is_not_published_is_kept_nowhere(roaming: Hub) -> None:
    """`publish_allowed_to` holds uids of persons; what is not published nobody sees."""
    allowed = [{"uid": "012345678", "type": "RFID"}]
    checked(await push(roaming, location(publish=False, publish_allowed_to=allowed)), 201)
    checked(await patch(roaming, "LOC1", publish_allowed_to=allowed, last_updated=at(5)))
    assert await seen(roaming) == []
    kept = checked(await roaming.client.get(f"{PUSH}/LOC1", headers=CPO))
    assert (kept["publish"], "publish_allowed_to" in kept) == (False, False)
    assert not any(b"012345678" in bytes(raw(command)) for command, _ in roaming.bus.asked)
    checked(await patch(roaming, "LOC1", publish=True, last_updated=at(6)))
    checked(await patch(roaming, "LOC1", publish=False, last_updated=at(7)))
    assert [one["publish"] for one in await seen(roaming)] == [False]


async def test_unknown_fields_and_values_are_kept(roaming: Hub) -> None:
    more = location("LOC1", 0, evse(x_colour="red"), x_lights={"on": True}, facilities=["HELIPAD"])
    await push(roaming, more)
    assert await seen(roaming) == [more]
    assert await seen(roaming, OTHER, LIST.replace("2.3.0", "2.2.1")) == [more]


async def test_an_older_peer_pushes_and_a_newer_one_reads(roaming: Hub) -> None:
    url = PUSH.replace("2.3.0", "2.2.1")
    checked(await roaming.client.put(f"{url}/LOC1", headers=CPO, json=location()), 201)
    changes = {"status": "CHARGING", "last_updated": at(9)}
    checked(await roaming.client.patch(f"{url}/LOC1/E1", headers=CPO, json=changes))
    [one] = await seen(roaming)
    assert (one["evses"][0]["status"], one["last_updated"]) == ("CHARGING", at(9))
    newer = location("LOC2", help_phone="+31 1", parking_places=[parking()])
    checked(await push(roaming, newer), 201)
    found = await seen(roaming, OTHER, LIST.replace("2.3.0", "2.2.1"))
    assert [sorted({"help_phone", "parking_places"} & one.keys()) for one in found] == [[], []]
    for one in found:
        parse_json(v2_2_1.Location, msgspec.json.decode(msgspec.json.encode(one)))


def parking() -> dict[str, Any]:
    return {
        "id": "P1",
        "vehicle_types": ["PERSONAL_VEHICLE"],
        "restricted_to_type": False,
        "reservation_required": False,
    }


async def test_who_takes_a_party_over_neither_has_nor_shows_what_the_one_before_pushed(roaming: Hub) -> None:
    await push(roaming, location())
    await roaming.do(Remove(partner_id="cpo"))
    await roaming.do(ReleaseParties(owner="cpo"))
    assert await seen(roaming) == []
    roaming.later(60)
    await roaming.connect("new", "new-c", parties=("NL*CPO",), role="CPO")
    assert await seen(roaming) == []
    new = token_header("new-c")
    checked(await roaming.client.get(f"{PUSH}/LOC1", headers=new), 404, 2001)
    checked(await roaming.client.put(f"{PUSH}/LOC1", headers=new, json=location(seconds=-90)), 201)
    assert await seen(roaming) == [location(seconds=-90)]


async def test_the_same_request_again_is_decided_once(roaming: Hub) -> None:
    headers = {"X-Request-ID": "r-1"}
    checked(await push(roaming, location(), **headers), 201)
    checked(await push(roaming, location(), **headers), 201)
    events = {reply.version for reply in roaming.bus._replies.values() if "location|" in reply.aggregate}
    assert events == {1}


async def test_a_window_is_about_when_it_came_to_be_known_here(roaming: Hub) -> None:
    """What reached the hub late has an old last_updated, and is in the next window all the same."""
    await push(roaming, location("LOC1", -9000))
    roaming.later(600)
    await push(roaming, location("LOC2", -8000))
    checked(await patch(roaming, "LOC1/E1", status="CHARGING", last_updated=at(-100)))
    roaming.later(600)
    await push(roaming, location("LOC3", -7000))
    since, until = at(300), at(900)
    assert [one["id"] for one in await seen(roaming, url=f"{LIST}?date_from={since}")] == [
        "LOC1",
        "LOC2",
        "LOC3",
    ]
    inside = await seen(roaming, url=f"{LIST}?date_from={since}&date_to={until}")
    assert [one["id"] for one in inside] == ["LOC1", "LOC2"]
    assert {area for area, _ in roaming.readable.waited} == {Area.LOCATION, Area.CHARGE_POINT}


async def test_pages_name_the_whole_and_lead_on(roaming: Hub) -> None:
    for number in range(5):
        roaming.later(1)
        await push(roaming, location(f"LOC{number}"))
    url: str | None = f"{LIST}?limit=2"
    pages = []
    while url is not None:
        response = await roaming.client.get(url, headers=MSP)
        pages.append([one["id"] for one in checked(response)])
        assert (response.headers["X-Total-Count"], response.headers["X-Limit"]) == ("5", "100")
        url = next_link(response.headers.get("Link"))
    assert pages == [["LOC0", "LOC1"], ["LOC2", "LOC3"], ["LOC4"]]


# --- our own ---------------------------------------------------------------------------------------------

MASTER: dict[str, Any] = {
    name: value
    for name, value in location("YARD").items()
    if name not in ("country_code", "party_id", "evses")
}
SITE = Site(
    id="YARD",
    name="Said",
    address="Weg 9",
    city="Kiel",
    country="DEU",
    coordinates=Coordinates(latitude="54.40000", longitude="10.40000"),
    time_zone="Europe/Berlin",
)
TYPE2 = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
)
EVSES = (Evse(uid="A", connectors=(TYPE2,)), Evse(uid="B", connectors=(TYPE2,)))


async def with_tenants(hub: Hub) -> None:
    for id, party in (("demo", "DEM"), ("acme", "ACM"), ("dark", "")):
        ocpi = TenantParty(country_code="DE", party_id=party) if party else None
        await hub.do(CreateTenant(tenant=id, name=id, configuration=Configuration(ocpi=ocpi)))


async def put_master(hub: Hub, tenant: str = "demo", **more: Any) -> None:
    body = {**MASTER, **more, "last_updated": utc_text(hub.now)}
    await hub.do(PutLocation(tenant=tenant, location_id="YARD", location=body))


async def stands(hub: Hub, *statuses: str) -> None:
    """A charge point of demo with two EVSEs at YARD, what it says of its site, and its statuses one by one."""
    key = charge_point_key("demo", "CP1")
    registered: Event = ChargePointRegistered(
        originator_id=key,
        originator_version=1,
        timestamp=hub.now,
        tenant="demo",
        charge_point_id="CP1",
        site=SITE,
        evses=EVSES,
    )
    events = [registered]
    said = Said(charge_point_id="CP1", at=hub.now, site=SITE)
    await hub.do(NoteSite(tenant="demo", location_id="YARD", said=said))
    for version, status in enumerate(statuses, start=2):
        hub.later(60)
        events.append(
            StatusReported(
                originator_id=key,
                originator_version=version,
                timestamp=hub.now,
                connector_id=1,
                status=status,
                location_id="YARD",
            )
        )
    meta = Meta(command_id="c", at=hub.now, tenant="demo")
    await hub.store.apply([write for event in events for write in PLACEMENTS.writes(event, meta)])


async def test_our_locations_are_read_with_their_evses_and_what_is_free_now(hub: Hub) -> None:
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await with_tenants(hub)
    await stands(hub, "Available", "Charging")
    [said] = await seen(hub)
    assert (said["country_code"], said["party_id"], said["id"]) == ("DE", "DEM", "YARD")
    assert (said["name"], said["address"]) == ("Said", "Weg 9")
    parse_json(v2_3_0.Location, msgspec.json.decode(msgspec.json.encode(said)))
    await put_master(hub, name="Yard", help_phone="+49 1")
    [managed] = await seen(hub)
    assert (managed["name"], managed["address"], managed["help_phone"]) == ("Yard", "Kade 1", "+49 1")
    assert [(one["uid"], one["status"]) for one in managed["evses"]] == [("A", "CHARGING"), ("B", "UNKNOWN")]
    assert managed["last_updated"] == at(120)
    one = checked(await hub.client.get(f"{LIST}/yard/a", headers=MSP))
    assert (one["status"], one["last_updated"]) == ("CHARGING", at(120))
    assert checked(await hub.client.get(f"{LIST}/YARD/A/1", headers=MSP))["standard"] == "IEC_62196_T2"


async def test_a_status_brings_its_location_into_the_window(hub: Hub) -> None:
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await with_tenants(hub)
    await put_master(hub)
    assert await seen(hub, url=f"{LIST}?date_from={at(30)}") == []
    await stands(hub, "Available")
    [one] = await seen(hub, url=f"{LIST}?date_from={at(30)}")
    assert one["last_updated"] == at(60)
    assert await seen(hub, url=f"{LIST}?date_from={at(61)}") == []


async def test_what_is_not_published_and_what_has_no_party_is_seen_by_nobody(hub: Hub) -> None:
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await with_tenants(hub)
    await put_master(hub, "dark")
    await put_master(hub, publish=False)
    assert await seen(hub) == []
    checked(await hub.client.get(f"{LIST}/YARD", headers=MSP), 404, 2001)


async def test_what_partners_know_and_is_withdrawn_is_told_as_not_to_be_published(hub: Hub) -> None:
    """There is no DELETE: who has it would show it for ever."""
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await with_tenants(hub)
    await put_master(hub)
    hub.later(60)
    await put_master(hub, publish=False)
    [one] = await seen(hub, url=f"{LIST}?date_from={at(30)}")
    assert one["publish"] is False
    hub.later(60)
    await hub.do(RemoveLocation(tenant="demo", location_id="YARD"))
    [one] = await seen(hub, url=f"{LIST}?date_from={at(90)}")
    assert (one["id"], one["publish"]) == ("YARD", False)


async def test_a_withdrawn_location_is_told_so_though_who_stands_there_says_not_where_that_is(
    hub: Hub,
) -> None:
    """The site of an automatic charge point may be an id alone, which is no Location of OCPI (8.3.1)."""
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await with_tenants(hub)
    await put_master(hub)
    key, meta = charge_point_key("demo", "CP1"), Meta(command_id="c", at=hub.now, tenant="demo")
    registered = ChargePointRegistered(
        originator_id=key,
        originator_version=1,
        timestamp=hub.now,
        tenant="demo",
        charge_point_id="CP1",
        site=Site(id="YARD"),
        evses=EVSES,
    )
    await hub.store.apply(PLACEMENTS.writes(registered, meta))
    assert [one["publish"] for one in await seen(hub)] == [True]
    await hub.do(RemoveLocation(tenant="demo", location_id="YARD"))
    assert [(one["id"], one["publish"]) for one in await seen(hub)] == [("YARD", False)]


async def test_ids_are_a_partys_own_and_who_asks_names_it(hub: Hub) -> None:
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    await hub.connect("cpo", "cpo-c", parties=("NL*CPO",), role="CPO")
    await with_tenants(hub)
    await put_master(hub, name="Demo")
    await put_master(hub, "acme", name="Acme")
    checked(await push(hub, location("YARD", name="Foreign")), 201)
    checked(await hub.client.get(f"{LIST}/YARD", headers=MSP), 200, 2001)
    for party, name in (("DEM", "Demo"), ("ACM", "Acme"), ("CPO", "Foreign")):
        to = {
            "OCPI-to-country-code": "NL" if party == "CPO" else "DE",
            "OCPI-to-party-id": party,
            "OCPI-from-country-code": "DE",
            "OCPI-from-party-id": "MSP",
        }
        assert checked(await hub.client.get(f"{LIST}/YARD", headers={**MSP, **to}))["name"] == name
        listed = checked(await hub.client.get(LIST, headers={**MSP, **to}))
        assert [one["name"] for one in listed] == [name]


async def test_the_version_details_name_the_module_in_both_roles(hub: Hub) -> None:
    await hub.connect("msp", "msp-c", parties=("DE*MSP",))
    for version in ("2.3.0", "2.2.1"):
        details = checked(await hub.client.get(f"/ocpi/{version}", headers=MSP))
        named = {
            (one["role"], one["url"]) for one in details["endpoints"] if one["identifier"] == "locations"
        }
        base = f"http://hub.test/ocpi/{version}"
        assert named == {
            ("SENDER", f"{base}/sender/locations"),
            ("RECEIVER", f"{base}/receiver/locations"),
        }
