"""Readings by REST: every measurand of a session by time, in base units, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from api.v1.readings import ReadingsPage
from projections.sample import entry
from projections.store import Query
from tests.api.v1.world import World, problem
from tests.projections.blocks import blocks_of


def message(second: int, *values: dict[str, str], **fields: Any) -> dict[str, Any]:
    at = f"2026-05-01T12:00:{second:02d}.000Z"
    moment = datetime.fromisoformat(at)
    wire = [{"timestamp": at.replace(".000", ""), "sampledValue": list(values)}]
    return {
        "connector_id": 1,
        "transaction_id": 7,
        "session_id": "s1",
        "at": moment,
        "reported_at": moment,
        "received_at": moment,
        "clock_offset_s": 0,
        "values": msgspec.Raw(msgspec.json.encode(wire)),
        "flags": (),
        **fields,
    }


async def keep(world: World, tenant: str, *messages: dict[str, Any]) -> None:
    """The messages of CP1, in the order of the log, behind those that were kept before."""
    begin = len((await world.store.find(Query(f"ocpp_{tenant}", "samples"))).items) * 100
    found = [
        (begin + number, entry(tenant, "CP1", f"p-{begin + number}", **one))
        for number, one in enumerate(messages)
    ]
    await world.store.apply(
        blocks_of([(offset, one) for offset, one in found if one is not None], f"p{begin}-1")
    )


REGISTER = {"value": "1.5", "unit": "kWh"}
POWER = {"value": "11", "measurand": "Power.Active.Import", "unit": "kW"}
SOC = {"value": "55", "measurand": "SoC", "unit": "Percent"}
SIGNED = {"value": "abcdef", "format": "SignedData"}


@pytest.fixture
async def measured(world: World) -> World:
    await world.add_charge_point("CP1")
    for id, tenant in (("s1", "demo"), ("s2", "demo"), ("s1", "acme")):
        await world.keep(f"ocpp_{tenant}", "sessions", id, {"stop_time": None})
    kept = [
        message(3, SIGNED),
        message(1, REGISTER, POWER, SOC),
        message(2, POWER),
        message(4, POWER, session_id="s2"),
        message(5, REGISTER, session_id="", transaction_id=-1, flags=["orphan"]),
        message(6, REGISTER, session_id="", transaction_id=0, connector_id=0),
    ]
    await keep(world, "demo", *kept)
    await keep(world, "acme", message(1, SOC))
    return world


async def listed(world: World, path: str, **more: Any) -> list[Any]:
    response = await world.call("GET", path, role="viewer", **more)
    assert response.status_code == 200, response.text
    page = ReadingsPage.model_validate(response.json())
    assert page.next_cursor is None
    return [one.model_dump(mode="json") for one in page.items]


async def test_all_measurands_of_a_session_are_shown_by_time_in_base_units(measured: World) -> None:
    items = await listed(measured, "/sessions/s1/readings")
    assert [one["timestamp"] for one in items] == [f"2026-05-01T12:00:0{i}Z" for i in (1, 2, 3)]
    assert [(one["measurand"], one["value"], one["unit"]) for one in items[0]["readings"]] == [
        ("Energy.Active.Import.Register", 1500, "Wh"),
        ("Power.Active.Import", 11_000, "W"),
        ("SoC", 55, "Percent"),
    ]
    assert (items[2]["readings"][0]["value"], items[2]["readings"][0]["signed"]) == (None, "abcdef")


async def test_one_measurand_can_be_asked_for(measured: World) -> None:
    items = await listed(measured, "/sessions/s1/readings?measurand=Power.Active.Import")
    assert [[one["value"] for one in item["readings"]] for item in items] == [[11_000], [11_000], []]


async def test_readings_come_in_pages_and_spans(measured: World) -> None:
    first = (await measured.call("GET", "/sessions/s1/readings?limit=2", role="viewer")).json()
    rest = await listed(measured, f"/sessions/s1/readings?limit=2&cursor={first['next_cursor']}")
    assert [len(first["items"]), len(rest)] == [2, 1]
    span = "from=2026-05-01T12:00:02Z&to=2026-05-01T12:00:03Z"
    assert [one["timestamp"] for one in await listed(measured, f"/sessions/s1/readings?{span}")] == [
        "2026-05-01T12:00:02Z"
    ]


async def test_readings_of_an_unknown_transaction_are_found_at_their_charge_point_MV_4(
    measured: World,
) -> None:
    [orphan] = await listed(measured, "/chargepoints/CP1/readings?unmatched=true")
    assert (orphan["transaction_id"], orphan["session_id"], orphan["flags"]) == (-1, None, ["orphan"])
    assert len(await listed(measured, "/chargepoints/CP1/readings")) == 6
    assert len(await listed(measured, "/chargepoints/CP1/readings?unmatched=false")) == 5


async def test_times_are_by_our_clock_with_the_charge_points_beside(measured: World) -> None:
    """The charge point's clock runs an hour ahead."""
    ours = datetime.fromisoformat("2026-05-01T11:00:07Z")
    await keep(measured, "demo", message(7, SOC, session_id="s2", clock_offset_s=3600, at=ours))
    one = (await listed(measured, "/sessions/s2/readings"))[0]
    assert (one["timestamp"], one["reported_at"]) == ("2026-05-01T11:00:07Z", "2026-05-01T12:00:07Z")
    assert one["readings"][0]["timestamp"] == "2026-05-01T11:00:07Z"


async def test_a_tenant_reads_its_own(measured: World) -> None:
    [mine] = await listed(measured, "/sessions/s1/readings", tenant="acme")
    assert [one["measurand"] for one in mine["readings"]] == ["SoC"]
    for path in ("/sessions/s2/readings", "/chargepoints/CP1/readings"):
        response = await measured.call("GET", path, role="viewer", tenant="acme")
        assert response.status_code == 404
        problem(response)
