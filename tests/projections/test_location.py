"""Where one can charge: what each charge point says of its site, put together when it is read."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area
from domain.aggregate import Event
from domain.charge_point import (
    ChargePointChanged,
    ChargePointConnected,
    ChargePointRemoved,
    StatusesLapsed,
)
from domain.charge_point.state import STATUSES_LAST
from domain.values import UNASSIGNED, Connector, Coordinates, Evse, Site
from projections.location import VIEW, told_as_locations
from projections.location import indexes as location_indexes
from projections.placement import PLACEMENTS, indexes
from projections.store import HUB, Append, Document, Put, PutPart, Query, ReadStore, gte, has
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from protocols.ocpi import parse_json, v2_3_0
from streams.following.facts import Fact
from streams.log import TopicPartition
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic, topics
from streams.projecting.projector import Projector
from streams.projecting.rebuild import Rebuild
from tests.domain.golden import golden
from tests.projections.facts import (
    EVENTS,
    NOON,
    after,
    connected,
    decision,
    disconnected,
    meta,
    of_charge_point,
    registered,
    status,
    write,
)
from tests.servers import Mongo

SITE = Site(
    id="LOC1",
    name="Yard",
    address="Kai 1",
    city="Kiel",
    country="DEU",
    coordinates=Coordinates(latitude="54.32000", longitude="10.13000"),
    time_zone="Europe/Berlin",
)
LATER = after(7200)
PARTIES = {"demo": "DE*ABC"}


def evse(uid: str, power_type: str = "AC_3_PHASE", standard: str = "IEC_62196_T2") -> Evse:
    connector = Connector(
        id="1",
        standard=standard,
        format="SOCKET",
        power_type=power_type,
        max_voltage=230,
        max_amperage=32,
    )
    return Evse(uid=uid, evse_id=f"DE*ABC*{uid}", connectors=(connector,))


def placed(
    *evses: Evse, id: str = "CP-1", site: Site = SITE, seconds: float = 0.0, version: int = 1
) -> Event:
    event = registered(version, id)
    return msgspec.structs.replace(event, site=site, evses=evses, timestamp=after(seconds))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "read")
    yield store
    await store.close()


async def happens(store: ReadStore, *events: Event) -> None:
    await store.apply([one for event in events for one in PLACEMENTS.writes(event, meta())])


async def documents(store: ReadStore) -> list[Document]:
    return (await store.find(Query(HUB, "placements"))).items


async def told(store: ReadStore, now: datetime = NOON) -> dict[str, Any]:
    return told_as_locations(await documents(store), PARTIES, now)


async def statuses(store: ReadStore, now: datetime = NOON) -> dict[str, str]:
    return {e["uid"]: e["status"] for one in (await told(store, now)).values() for e in one["evses"]}


def test_a_status_of_an_evse_rewrites_nothing_of_its_location() -> None:
    (write,) = PLACEMENTS.writes(status(7, "Charging", 30), meta())
    at = "2026-03-01T12:00:30.000Z"
    expected: Document = {"connector_1": {"status": "CHARGING", "at": at}, "last_updated": at}
    assert write == Append(HUB, "placements", "demo|CP-1", 7, set=expected)


async def test_a_charge_point_is_told_as_a_location_that_ocpi_accepts(store: SqliteReadStore) -> None:
    await happens(store, placed(evse("E1")), status(2, "Available", 30))

    [location] = (await told(store)).values()

    parse_json(v2_3_0.Location, location)
    assert (location["country_code"], location["party_id"], location["id"]) == ("DE", "ABC", "LOC1")
    assert location["coordinates"] == {"latitude": "54.32000", "longitude": "10.13000"}
    assert location["last_updated"] == "2026-03-01T12:00:30.000Z"
    [point] = location["evses"]
    assert (point["uid"], point["evse_id"], point["status"]) == ("E1", "DE*ABC*E1", "AVAILABLE")
    assert point["last_updated"] == "2026-03-01T12:00:30.000Z"
    assert point["connectors"][0]["max_electric_power"] == 3 * 230 * 32


async def test_degrees_that_a_tenant_wrote_shorter_are_told_with_five_decimals(
    store: SqliteReadStore,
) -> None:
    short = msgspec.structs.replace(SITE, coordinates=Coordinates(latitude="54.5", longitude="10"))
    await happens(store, placed(evse("E1"), site=short))
    [location] = (await told(store)).values()
    assert location["coordinates"] == {"latitude": "54.50000", "longitude": "10.00000"}
    parse_json(v2_3_0.Location, location)


async def test_it_can_be_searched_by_place_standard_and_power(store: SqliteReadStore) -> None:
    await happens(store, placed(evse("E1"), evse("E2", "DC", "CHADEMO")))

    [document] = await documents(store)

    assert document["geo"] == {"type": "Point", "coordinates": [10.13, 54.32]}
    assert (document["standards"], document["max_power"]) == (["CHADEMO", "IEC_62196_T2"], 22080)
    assert (document["_id"], document["key"], document["tenant_id"]) == (
        "demo|CP-1",
        "tenant:demo|loc1",
        "demo",
    )


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("Available", "AVAILABLE"),
        ("Preparing", "CHARGING"),
        ("Charging", "CHARGING"),
        ("SuspendedEV", "CHARGING"),
        ("SuspendedEVSE", "CHARGING"),
        ("Finishing", "CHARGING"),
        ("Reserved", "RESERVED"),
        ("Unavailable", "INOPERATIVE"),
        ("Faulted", "OUTOFORDER"),
    ],
)
async def test_each_of_the_nine_statuses_has_its_ocpi_status(
    store: SqliteReadStore, said: str, means: str
) -> None:
    """ST-2."""
    await happens(store, placed(evse("E1")), status(2, said))
    assert await statuses(store) == {"E1": means}


async def test_connector_n_is_the_nth_evse_and_connector_zero_none(store: SqliteReadStore) -> None:
    """ST-1: connector 0 says nothing of the connectors. What was never heard of is UNKNOWN."""
    await happens(
        store,
        placed(evse("E1"), evse("E2"), evse("E3")),
        status(2, "Faulted", connector_id=0),
        status(3, "Charging", connector_id=2),
        status(4, "Available", connector_id=1),
        status(5, "Faulted", connector_id=1, stale=True),
    )
    assert await statuses(store) == {"E1": "AVAILABLE", "E2": "CHARGING", "E3": "UNKNOWN"}


async def test_the_last_status_counts_for_a_while_after_the_connection_ended(store: SqliteReadStore) -> None:
    """ST-4."""
    await happens(store, placed(evse("E1")), connected(2), status(3, "Charging", 5), disconnected(4, 2, 60))
    ended = after(60)

    assert await statuses(store, ended + STATUSES_LAST - timedelta(seconds=1)) == {"E1": "CHARGING"}
    assert await statuses(store, ended + STATUSES_LAST) == {"E1": "UNKNOWN"}
    [location] = (await told(store, LATER)).values()
    assert location["last_updated"] == "2026-03-01T12:16:00.000Z"


async def test_one_that_comes_back_has_its_last_status_and_its_times_never_run_back(
    store: SqliteReadStore,
) -> None:
    await happens(store, placed(evse("E1")), connected(2), status(3, "Charging", 5), disconnected(4, 2, 60))
    gone = [one["last_updated"] for one in (await told(store, LATER)).values()]

    await happens(store, connected(5, 7000))

    assert await statuses(store, LATER) == {"E1": "CHARGING"}
    [location] = (await told(store, LATER)).values()
    assert location["evses"][0]["last_updated"] == "2026-03-01T13:56:40.000Z" > gone[0]


async def test_an_older_connection_that_ends_late_and_one_thought_silent_change_nothing(
    store: SqliteReadStore,
) -> None:
    newer = [connected(2), connected(3, 10), disconnected(4, 2, 20)]
    await happens(store, placed(evse("E1")), *newer, status(5, "Available", 30))
    assert await statuses(store, LATER) == {"E1": "AVAILABLE"}

    resumed = of_charge_point(ChargePointConnected, 7, 100, node="n1", slot=3, boot="b1", resumes=3)
    await happens(store, disconnected(6, 3, 90), resumed)
    assert await statuses(store, LATER) == {"E1": "AVAILABLE"}


async def test_charge_points_at_one_site_are_one_location(store: SqliteReadStore) -> None:
    """The one placed last says what the site is; another tenant's site of the same id is another."""
    renamed = msgspec.structs.replace(SITE, name="Harbour")
    foreign = placed(evse("X"), id="CP-9")
    foreign = msgspec.structs.replace(foreign, originator_id="charge_point|acme|CP-9")
    await happens(store, placed(evse("B"), id="CP-2", site=renamed, seconds=9), placed(evse("A")), foreign)

    found = await told(store)

    assert set(found) == {"tenant:demo|loc1", "tenant:acme|loc1"}
    ours = found["tenant:demo|loc1"]
    assert (ours["name"], [one["uid"] for one in ours["evses"]]) == ("Harbour", ["A", "B"])
    assert "party_id" not in found["tenant:acme|loc1"]


async def test_evses_that_are_there_no_more_are_told_as_removed(store: SqliteReadStore) -> None:
    """There is no DELETE (8.2.2): who has them learns it so, until another one has the uid."""
    site = msgspec.structs.replace(SITE, id="LOC2")
    fewer = of_charge_point(ChargePointChanged, 2, 60, site=SITE, evses=(evse("E1"),), gone=(evse("E2"),))
    moved = of_charge_point(
        ChargePointChanged, 3, 90, site=site, evses=(evse("E1"),), moved_from="LOC1", gone=(evse("E1"),)
    )
    await happens(store, placed(evse("E1"), evse("E2")), placed(evse("B"), id="CP-2"), fewer)
    assert await statuses(store) == {"B": "UNKNOWN", "E1": "UNKNOWN", "E2": "REMOVED"}
    await happens(store, moved, moved)
    found = await told(store)
    here = {one["uid"]: one["status"] for one in found["tenant:demo|loc1"]["evses"]}
    assert here == {"B": "UNKNOWN", "E1": "REMOVED", "E2": "REMOVED"}
    assert (found["tenant:demo|loc1"]["name"], found["tenant:demo|loc1"]["last_updated"]) == (
        "Yard",
        "2026-03-01T12:01:30.000Z",
    )
    assert [one["status"] for one in found["tenant:demo|loc2"]["evses"]] == ["UNKNOWN"]
    await happens(store, placed(evse("e2"), id="CP-3", seconds=100))
    here = {one["uid"]: one["status"] for one in (await told(store))["tenant:demo|loc1"]["evses"]}
    assert here == {"B": "UNKNOWN", "E1": "REMOVED", "e2": "UNKNOWN"}


async def test_one_that_moves_to_and_fro_leaves_its_evses_once(store: SqliteReadStore) -> None:
    elsewhere = msgspec.structs.replace(SITE, id="LOC2")
    moves = []
    for version, site in enumerate((elsewhere, SITE, elsewhere, SITE, elsewhere), start=2):
        left = "LOC1" if site is elsewhere else "LOC2"
        fields: dict[str, Any] = {
            "site": site,
            "evses": (evse("E1"),),
            "moved_from": left,
            "gone": (evse("E1"),),
        }
        moves.append(of_charge_point(ChargePointChanged, version, 60 * version, **fields))
    await happens(store, placed(evse("E1")), *moves)
    found = await told(store)
    here, there = found["tenant:demo|loc1"], found["tenant:demo|loc2"]
    assert [(one["uid"], one["status"]) for one in here["evses"]] == [("E1", "REMOVED")]
    assert here["evses"][0]["last_updated"] == here["last_updated"] == "2026-03-01T12:06:00.000Z"
    assert [(one["uid"], one["status"]) for one in there["evses"]] == [("E1", "UNKNOWN")]
    assert (here["publish"], there["publish"]) == (False, True)


async def test_what_was_removed_and_comes_back_elsewhere_stays_removed_where_it_was(
    store: SqliteReadStore,
) -> None:
    again = msgspec.structs.replace(
        placed(evse("E1"), site=msgspec.structs.replace(SITE, id="LOC2"), version=4, seconds=90),
        moved_from="LOC1",
        gone=(evse("E1"),),
    )
    await happens(store, placed(evse("E1")), of_charge_point(ChargePointRemoved, 3, 60), again)
    found = await told(store)
    [left] = found["tenant:demo|loc1"]["evses"]
    assert (left["uid"], left["status"], left["last_updated"]) == (
        "E1",
        "REMOVED",
        "2026-03-01T12:01:30.000Z",
    )
    assert [one["status"] for one in found["tenant:demo|loc2"]["evses"]] == ["UNKNOWN"]
    touched = [one.id for one in PLACEMENTS.writes(again, meta()) if isinstance(one, PutPart)]
    assert touched == ["tenant:demo|loc2", "tenant:demo|loc1"]


async def test_one_that_moved_is_told_at_its_new_site_with_its_statuses(store: SqliteReadStore) -> None:
    elsewhere = msgspec.structs.replace(SITE, id="LOC2")
    moved = of_charge_point(ChargePointChanged, 3, 60, site=elsewhere, evses=(evse("E1"), evse("E2")))
    await happens(store, placed(evse("E1")), status(2, "Charging"), moved)

    found = await told(store)

    assert list(found) == ["tenant:demo|loc2"]
    assert await statuses(store) == {"E1": "CHARGING", "E2": "UNKNOWN"}


async def test_the_evses_of_one_that_was_removed_say_so_and_are_nowhere_near(store: SqliteReadStore) -> None:
    await happens(
        store, placed(evse("E1")), status(2, "Available"), of_charge_point(ChargePointRemoved, 3, 60)
    )
    [document] = await documents(store)
    [location] = (await told(store)).values()

    assert document["geo"] is None
    assert location["evses"][0]["status"] == "REMOVED"
    assert location["evses"][0]["last_updated"] == location["last_updated"] == "2026-03-01T12:01:00.000Z"

    await happens(store, placed(evse("E1"), version=4, seconds=120))
    assert await statuses(store) == {"E1": "UNKNOWN"}


@pytest.mark.mongo
async def test_mongodb_finds_it_too_until_it_is_removed(mongo: Mongo) -> None:
    store = MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_")
    try:
        await store.ensure(indexes())
        await happens(store, placed(evse("E1")), connected(2), status(3, "Available"), status(4, "Charging"))

        async def near() -> list[Document]:
            wanted = (has("standards", "IEC_62196_T2"), gte("max_power", 22080))
            return await store.near(HUB, "placements", lon=10.13, lat=54.32, radius_m=50, where=wanted)

        [location] = told_as_locations(await near(), PARTIES, NOON).values()
        parse_json(v2_3_0.Location, location)
        assert await statuses(store) == {"E1": "CHARGING"}
        await happens(store, of_charge_point(ChargePointRemoved, 5, 60))
        assert await near() == []
    finally:
        await store.drop_all([HUB])
        await store.close()


def of_location(name: str, version: int, seconds: float) -> Event:
    event = registry.EVENTS.decode(golden("location", f"location.{name}.v1"))
    return msgspec.structs.replace(event, originator_version=version, timestamp=after(seconds))


PUSHED = [
    of_location(name, version, 60 * version)
    for version, name in enumerate(("put", "changed", "evse_put", "evse_status_changed"), start=1)
]
OURS = [of_location("site_said", 1, 0), of_location("removed", 2, 90)]


async def written(store: ReadStore, *order: Event) -> list[Document]:
    """The documents of Locations, each event handed over by itself."""
    projector = Projector(store, registry.EVENTS, [VIEW], [PLACEMENTS])
    for offset, event in enumerate(order):
        area = Area.LOCATION if event.originator_id.startswith("location|") else Area.CHARGE_POINT
        place = TopicPartition(events_topic(area), Layout().partition_of(event.originator_id))
        await projector.handle(place, [Fact(place, offset, NOON, decision(event, meta=meta()))])
    return (await store.find(Query(HUB, "locations"))).items


async def test_a_location_is_the_same_in_whatever_order_what_stands_there_is_told(
    store: SqliteReadStore, tmp_path: Path
) -> None:
    """Charge points of other partitions may be ahead of the Location, or behind it."""
    first = msgspec.structs.replace(status(2, "Charging", 500), location_id="LOC1")
    second = msgspec.structs.replace(status(2, "Available", 40, id="CP-2"), location_id="LOC1")
    points = [placed(evse("E1")), placed(evse("E2"), id="CP-2")]
    ahead = await written(store, *points, first, second, *OURS, *PUSHED)
    other = SqliteReadStore(tmp_path / "other")
    behind = await written(other, *PUSHED, *OURS, *reversed(points), second, first)
    await other.close()
    assert ahead == behind
    assert {one["_id"]: one["touched"]["at"] for one in ahead} == {  # type: ignore[index,call-overload]
        "NL*CPO>DE*MSP|loc1": "2026-03-01T12:04:00.000Z",
        "tenant:demo|loc1": "2026-03-01T12:08:20.000Z",
    }


@pytest.mark.mongo
async def test_mongodb_keeps_locations_as_the_embedded_store_does(
    mongo: Mongo, store: SqliteReadStore
) -> None:
    there = MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_")
    early = msgspec.structs.replace(status(2, "Charging", 500), location_id="LOC1")
    try:
        await there.ensure((*location_indexes(), *indexes()))
        events = [placed(evse("E1")), early, *OURS, *PUSHED]
        assert await written(there, *events) == await written(store, *events)
        seen = Query(HUB, "locations", (gte("touched.at", "2026-03-01T12:05"),))
        assert [one["_id"] for one in (await there.find(seen)).items] == ["tenant:demo|loc1"]
        assert await there.near(HUB, "locations", lon=4.36, lat=52.01, radius_m=10) != []
    finally:
        await there.drop_all([HUB])
        await there.close()


async def test_repeats_and_late_writes_change_nothing(store: SqliteReadStore) -> None:
    events = [placed(evse("E1")), connected(2), status(3, "Charging"), status(4, "Available", 9)]
    await happens(store, *events)
    before = await documents(store)

    await happens(store, *reversed(events))
    await happens(store, *events)

    assert await documents(store) == before


async def test_a_rebuild_gives_the_same_documents(store: SqliteReadStore, tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    events = [
        *(placed(evse(f"E{n}"), id=f"CP-{n}") for n in range(6)),
        *(status(2, "Charging", n, id=f"CP-{n}") for n in range(6)),
        connected(3, id="CP-1"),
        disconnected(4, 3, 50, id="CP-1"),
        of_charge_point(ChargePointRemoved, 3, 60, id="CP-2"),
    ]
    await happens(store, *events)
    live = await documents(store)
    await write(log, *events, meta=meta())
    await store.drop_all([HUB])

    await Rebuild(log, Projector(store, EVENTS, [], [PLACEMENTS])).go_on()

    assert await documents(store) == live
    await log.close()


def test_what_changes_at_a_location_and_when_that_was_is_beside_its_document() -> None:
    """A status, a connection, a removal, a move from one to another, and the end of what statuses say (ST-4)."""
    moved = ChargePointChanged(
        originator_id="charge_point|demo|CP-1",
        originator_version=9,
        timestamp=after(60),
        site=msgspec.structs.replace(SITE, id="LOC2"),
        moved_from="LOC1",
    )
    common: dict[str, Any] = {"originator_id": "charge_point|demo|CP-1", "timestamp": after(60)}
    told: list[tuple[Event, list[str]]] = [
        (moved, ["loc2", "loc1"]),
        (msgspec.structs.replace(status(7, "Charging", 60), location_id="LOC1"), ["loc1"]),
        (StatusesLapsed(**common, originator_version=8, location_id="LOC1"), ["loc1"]),
        (ChargePointRemoved(**common, originator_version=8, location_id="LOC1"), ["loc1"]),
        (ChargePointRemoved(**common, originator_version=8, location_id=UNASSIGNED), []),
        (disconnected(8, 2, 60), []),
    ]
    for event, ids in told:
        parts = [one for one in PLACEMENTS.writes(event, meta()) if isinstance(one, PutPart)]
        assert [(one.id, one.part) for one in parts] == [(f"tenant:demo|{id}", "touched") for id in ids]
        assert all(one.value == {"at": "2026-03-01T12:01:00.000Z"} for one in parts)


def test_a_charge_point_without_a_place_is_published_to_nobody() -> None:
    def told(site: Site) -> Document:
        event = registered()
        write, *_ = PLACEMENTS.writes(msgspec.structs.replace(event, site=site), meta())
        assert isinstance(write, Put)
        (location,) = told_as_locations([dict(write.document)], PARTIES, NOON).values()
        return location

    assert told(Site(id=UNASSIGNED))["publish"] is False
    assert told(SITE)["publish"] is True
