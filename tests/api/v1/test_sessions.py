"""Sessions that are ended by hand, from the request to the CDR; and what happens to those that cannot be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from commands.base import Meta
from commands.charge_point import RecordMeterValues, StartTransaction, StopTransaction
from commands.session import StartSession
from domain.values import Authorization, PartyId, RegisterSample, Settings, Site, TagRef
from projections.moment import utc_text
from projections.store import HUB, Document, Query, eq
from streams.log.envelope import Reply
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import World, problem

TARIFF = {
    "currency": "EUR",
    "tax_included": "NO",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
}

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
"""When the charges here began: the log has a time of its own."""

OURS = {"country_code": "DE", "party_id": "DEM", "id": "T1", "last_updated": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def demo(real: World) -> World:
    """With the tenant demo, its charge point CP1 and its tariff T1; its clock stands two hours after NOW."""
    real.now = NOW + timedelta(hours=2)
    for method, path, body, role in (
        ("POST", "/tenants", DEMO, "platform_admin"),
        ("PUT", "/tariffs/T1", TARIFF, "tenant_admin"),
        ("POST", "/chargepoints", CHARGE_POINT, "tenant_admin"),
    ):
        response = await real.call(method, path, body, role=role)
        assert response.status_code == 201, response.text
    return real


def of_cp1(command: type[Any], **values: Any) -> Any:
    return command(tenant="demo", charge_point_id="CP1", **values)


async def asked(world: World, command: Any, id: str) -> Reply:
    meta = Meta(command_id=id, at=world.now, tenant="demo")
    reply: Reply = await world.services.bus.ask(command, meta)
    assert reply.refusal is None, reply.message
    return reply


async def eventually(world: World, path: str, wanted: dict[str, Any]) -> Document:
    """What is shown under this path once it shows this."""
    async with asyncio.timeout(60):
        while True:
            response = await world.call("GET", path, role="operator")
            found: Document = response.json()
            if response.status_code == 200 and wanted.items() <= found.items():
                return found
            await asyncio.sleep(0.01)


async def audited(world: World, command: str) -> Document:
    """The audit's line of this command, once it is there."""
    query = Query("ocpp_demo", "audit", (eq("command", command),))
    async with asyncio.timeout(60):
        while True:
            found = await world.store.find(query)
            if found.items:
                return found.items[0]
            await asyncio.sleep(0.01)


async def charging(world: World) -> str:
    """CP1 charges since NOW with meter 1000, and said 3000 at 10 minutes; the session's id."""
    start = of_cp1(
        StartTransaction,
        connector_id=1,
        id_tag=TagRef(key="k"),
        meter_start=1000,
        timestamp=NOW,
        authorization=Authorization(status="Accepted", source="tag", as_of=NOW),
        settings=Settings(party=PartyId(country_code="DE", party_id="DEM")),
        tariffs=({**TARIFF, **OURS},),
    )
    reply = await asked(world, start, "start")
    at = NOW + timedelta(minutes=10)
    values = [
        {
            "timestamp": utc_text(at),
            "sampledValue": [
                {"value": "3", "unit": "kWh"},
                {"value": "11000", "measurand": "Power.Active.Import", "unit": "W"},
                {"value": "55", "measurand": "SoC", "unit": "Percent"},
            ],
        }
    ]
    readings = of_cp1(
        RecordMeterValues,
        connector_id=1,
        transaction_id=1,
        values=msgspec.Raw(msgspec.json.encode(values)),
        samples=(RegisterSample(at=at, energy_wh=Decimal(3000)),),
        timestamp=at,
    )
    await asked(world, readings, "values")
    id: str = msgspec.json.decode(reply.result)["session_id"]
    await eventually(world, f"/sessions/{id}", {"energy_wh": 2000})
    return id


async def cdrs_of(world: World, session_id: str, count: int = 1) -> list[Any]:
    """The session's CDRs once there are so many."""
    query = Query(HUB, "cdrs", (eq("cdr.session_id", session_id),))
    async with asyncio.timeout(60):
        while True:
            page = await world.store.find(query)
            if len(page.items) >= count:
                return [document["cdr"] for document in page.items]
            await asyncio.sleep(0.01)


async def test_a_stuck_session_is_ended_by_hand_and_gets_one_cdr(demo: World) -> None:
    id = await charging(demo)
    body = {"reason": "the charge point was replaced"}
    response = await demo.call("POST", f"/sessions/{id}/end", body, role="operator")
    assert response.status_code == 202, response.text
    assert response.json() == {
        "session_id": id,
        "charge_point_id": "CP1",
        "transaction_id": 1,
        "reason": "the charge point was replaced",
        "by": "operator:ann",
    }
    wanted = {"status": "completed", "provisional": True, "cdr_id": id}
    session = await eventually(demo, f"/sessions/{id}", wanted)
    assert (session["ended_by"], session["end_note"]) == ("operator:ann", body["reason"])
    assert (session["stop_time"], session["energy_wh"]) == (utc_text(NOW + timedelta(minutes=10)), 2000)
    assert session["flags"] == ["late", "not_registered", "by_hand"]
    again = await demo.call("POST", f"/sessions/{id}/end", body, role="operator")
    assert again.status_code == 409
    [cdr] = await cdrs_of(demo, id)
    assert (cdr["total_energy"], cdr["total_cost"]["before_taxes"]) == (2, 0.5)


async def test_a_charge_point_with_a_stuck_session_can_be_removed_after_that(demo: World) -> None:
    id = await charging(demo)
    assert (await demo.call("DELETE", "/chargepoints/CP1")).status_code == 409
    await demo.call("POST", f"/sessions/{id}/end", {"reason": "gone"}, role="operator")
    assert (await demo.call("DELETE", "/chargepoints/CP1")).status_code == 204


async def test_a_real_stop_that_comes_later_corrects_the_forced_end(demo: World) -> None:
    id = await charging(demo)
    await demo.call("POST", f"/sessions/{id}/end", {"reason": "gone"}, role="operator")
    await eventually(demo, f"/sessions/{id}", {"cdr_id": id})
    stop = of_cp1(StopTransaction, transaction_id=1, meter_stop=5000, timestamp=NOW + timedelta(minutes=20))
    await asked(demo, stop, "stop")
    session = await eventually(demo, f"/sessions/{id}", {"provisional": False, "energy_wh": 4000})
    assert session["cdr_id"] != id
    costs = sorted(cdr["total_cost"]["before_taxes"] for cdr in await cdrs_of(demo, id, 3))
    assert costs == [-0.5, 0.5, 1]


async def test_a_charge_whose_charge_point_never_returns_ends_by_itself_under_its_tenant_BOOT_6(
    demo: World,
) -> None:
    id = await charging(demo)
    demo.now += timedelta(hours=73)
    session = await eventually(demo, f"/sessions/{id}", {"provisional": True, "cdr_id": id})
    assert (session["stop_time"], session["ended_by"]) == (utc_text(NOW + timedelta(minutes=10)), None)
    assert session["flags"] == ["late", "not_registered", "abandoned"]
    [cdr] = (await demo.call("GET", "/cdrs", role="operator")).json()["items"]
    assert cdr["tenant_id"] == "demo"


async def test_a_session_whose_transaction_is_not_known_any_more_is_ended_too(demo: World) -> None:
    """Its charge point's end never reached it."""
    start = StartSession(
        session_id="s-1",
        tenant="demo",
        charge_point_id="CP1",
        connector_id=1,
        transaction_id=77,
        evse_uid="E1",
        site=Site(id="LOC1"),
        id_tag=TagRef(key="k"),
        authorization=Authorization(status="Accepted", source="tag", as_of=NOW),
        status="Accepted",
        start=NOW,
        meter_start=0,
        settings=Settings(party=PartyId(country_code="DE", party_id="DEM")),
    )
    await asked(demo, start, "start")
    await eventually(demo, "/sessions/s-1", {"status": "active"})
    response = await demo.call("POST", "/sessions/s-1/end", {"reason": "lost"}, role="operator")
    assert response.status_code == 202, response.text
    session = await eventually(demo, "/sessions/s-1", {"provisional": True, "cdr_id": "s-1"})
    assert (session["ended_by"], session["end_note"]) == ("operator:ann", "lost")


async def test_who_ended_it_and_why_stands_in_the_audits_events(demo: World) -> None:
    id = await charging(demo)
    await demo.call("POST", f"/sessions/{id}/end", {"reason": "gone"}, role="operator")
    line = await audited(demo, "charge_point.end_transaction.v1")
    assert (line["principal"], line["events"]) == ("operator:ann", ["charge_point.transaction_closed.v1"])


async def test_a_forced_end_needs_a_reason_and_a_session(world: World) -> None:
    await world.keep("ocpp_demo", "sessions", "s1", {"stop_time": None})
    for body in ({}, {"reason": ""}, {"reason": "r" * 501}, {"reason": "r", "at": "now"}):
        response = await world.call("POST", "/sessions/s1/end", body, role="operator")
        assert response.status_code == 422
        problem(response)
    unknown = await world.call("POST", "/sessions/s2/end", {"reason": "r"}, role="operator")
    assert unknown.status_code == 404
    foreign = await world.call("POST", "/sessions/s1/end", {"reason": "r"}, role="operator", tenant="acme")
    assert foreign.status_code == 404
    assert world.bus.asked == []


async def withheld(world: World) -> str:
    """A charge whose stop says a register that no meter holds; its session's id."""
    id = await charging(world)
    at = NOW + timedelta(minutes=20)
    await asked(world, of_cp1(StopTransaction, transaction_id=1, meter_stop=10**15, timestamp=at), "stop")
    await eventually(world, f"/sessions/{id}", {"status": "completed", "cdr": "withheld"})
    return id


async def test_a_withheld_cdr_is_listed_with_what_stands_in_its_way(demo: World) -> None:
    id = await withheld(demo)
    listed = (await demo.call("GET", "/sessions?cdr=withheld", role="viewer")).json()["items"]
    assert [one["id"] for one in listed] == [id]
    assert listed[0]["cdr_withheld"] == {
        "field": "meter_stop",
        "value": "1000000000000000",
        "reason": "no meter holds so many Wh",
    }
    assert (listed[0]["cdr_id"], listed[0]["energy_wh"]) == (None, 2000)
    assert (await demo.call("GET", "/sessions?cdr=issued", role="viewer")).json()["items"] == []
    assert (await demo.call("GET", "/sessions?cdr=lost", role="viewer")).status_code == 422


async def test_a_withheld_cdr_is_issued_once_a_person_says_its_energy(demo: World) -> None:
    id = await withheld(demo)
    path, body = f"/sessions/{id}/cdr", {"reason": "read at its display"}

    refused = await demo.call("POST", path, body)
    assert refused.status_code == 409
    assert problem(refused)["code"] == "withheld"
    assert problem(refused)["errors"] == [
        {"in": "cdr", "path": "meter_stop", "message": "no meter holds so many Wh"}
    ]

    both = await asyncio.gather(*(demo.call("POST", path, {**body, "energy_wh": 4000}) for _ in range(2)))
    for response in both:
        assert (response.status_code, response.json()) == (200, {"session_id": id, "cdr_id": id})
    again = await demo.call("POST", path, {**body, "energy_wh": 9000})
    assert again.json() == {"session_id": id, "cdr_id": id}
    session = await eventually(demo, f"/sessions/{id}", {"cdr": "issued", "cdr_id": id})
    assert (session["energy_wh"], session["cdr_withheld"]) == (4000, None)
    [cdr] = await cdrs_of(demo, id)
    assert (cdr["total_energy"], cdr["total_cost"]["before_taxes"]) == (4, 1)
    line = await audited(demo, "session.issue_cdr.v1")
    assert line["principal"] == "tenant_admin:ann"


async def test_a_withheld_cdr_is_issued_by_the_tariffs_as_they_are_now(demo: World) -> None:
    id = await withheld(demo)
    dearer = {
        **TARIFF,
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.5, "step_size": 1}]}],
    }
    assert (await demo.call("PUT", "/tariffs/T1", dearer)).status_code == 200
    body = {"reason": "read at its display", "energy_wh": 4000}
    assert (await demo.call("POST", f"/sessions/{id}/cdr", body)).status_code == 200
    [cdr] = await cdrs_of(demo, id)
    assert cdr["total_cost"]["before_taxes"] == 2
    assert cdr["cdr_location"]["evse_id"] == "DE*DEM*E1"


async def test_a_withheld_cdr_is_issued_though_its_charge_point_is_gone(demo: World) -> None:
    id = await withheld(demo)
    assert (await demo.call("DELETE", "/chargepoints/CP1")).status_code == 204
    body = {
        "reason": "read at its display",
        "energy_wh": 4000,
        "end_date_time": utc_text(NOW + timedelta(hours=1)),
    }
    assert (await demo.call("POST", f"/sessions/{id}/cdr", body)).status_code == 200
    [cdr] = await cdrs_of(demo, id)
    assert cdr["total_cost"]["before_taxes"] == 1
    assert datetime.fromisoformat(cdr["end_date_time"]) == NOW + timedelta(hours=1)


async def test_only_a_withheld_cdr_can_be_issued(demo: World) -> None:
    id = await charging(demo)
    response = await demo.call("POST", f"/sessions/{id}/cdr", {"reason": "now"})
    assert (response.status_code, problem(response)["code"]) == (409, "not_allowed")
    assert (await demo.call("POST", "/sessions/none/cdr", {"reason": "now"})).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "r", "energy_wh": -1},
        {"reason": "r", "energy_wh": 10**12},
        {"reason": "r", "end_date_time": "2026-03-01T12:00:00"},
        {"reason": "r", "price": 1},
    ],
)
async def test_what_is_said_by_hand_has_bounds(world: World, body: dict[str, Any]) -> None:
    await world.keep("ocpp_demo", "sessions", "s1", {"connector_id": 1, "charge_point_id": "CP1"})
    response = await world.call("POST", "/sessions/s1/cdr", body)
    assert response.status_code == 422
    problem(response)
    assert world.bus.asked == []
