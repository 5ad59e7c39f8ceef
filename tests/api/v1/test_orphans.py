"""Stops that belong to no transaction: listed, joined by a late start, or charged by an operator's word."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from api.v1.orphans import OrphanPage
from commands.charge_point import StartTransaction, StopTransaction
from domain.values import Authorization, PartyId, Settings
from projections.moment import utc_text
from projections.store import HUB, Query
from tests.api.v1.test_sessions import NOW, asked, audited, cdrs_of, demo, eventually, of_cp1
from tests.api.v1.world import World, problem

__all__ = ["demo"]

START = {"connector_id": 1, "timestamp": utc_text(NOW), "meter_start": 1000}
WHY = {"reason": "the driver showed the display"}


async def orphan(world: World, tag: str | None = "TAG1") -> str:
    """A stop with transaction id -1, meter 5000, an hour after NOW; its id in the list."""
    known: dict[str, Any] = {}
    if tag is not None:
        reference, authorization = await world.services.authorizer.resolve("demo", "CP1", tag, False)
        known = {"id_tag": reference, "authorization": authorization}
    stop = of_cp1(
        StopTransaction, transaction_id=-1, meter_stop=5000, timestamp=NOW + timedelta(hours=1), **known
    )
    await asked(world, stop, "stop")
    async with asyncio.timeout(60):
        while True:
            response = await world.call("GET", "/sessions/orphans?state=open", role="operator")
            page = OrphanPage.model_validate(response.json())
            if page.items:
                assert (page.items[0].transaction_id, page.items[0].id_tag) == (-1, tag)
                return page.items[0].id
            await asyncio.sleep(0.01)


async def test_a_lost_charge_is_charged_by_an_operators_word(demo: World) -> None:
    id = await orphan(demo)
    response = await demo.call(
        "POST", f"/sessions/orphans/{id}/settle", {**WHY, "start": START}, role="operator"
    )
    assert response.status_code == 201, response.text
    session_id = response.json()["session_id"]
    assert response.headers["location"] == f"/api/v1/sessions/{session_id}"
    session = await eventually(demo, f"/sessions/{session_id}", {"cdr_id": session_id})
    assert (session["energy_wh"], session["id_tag"], session["provisional"]) == (4000, "TAG1", True)
    [cdr] = await cdrs_of(demo, session_id)
    assert (cdr["total_energy"], cdr["total_cost"]["before_taxes"]) == (4, 1)
    settled = await eventually(demo, f"/sessions/orphans/{id}", {"state": "settled"})
    assert (settled["settled_by"], settled["settled_reason"]) == ("operator:ann", WHY["reason"])
    assert "key" not in settled
    again = await demo.call(
        "POST", f"/sessions/orphans/{id}/settle", {**WHY, "start": START}, role="operator"
    )
    assert again.status_code == 409
    assert len((await demo.store.find(Query(HUB, "cdrs"))).items) == 1


async def test_a_stop_is_put_to_a_running_transaction_by_hand(demo: World) -> None:
    start = of_cp1(
        StartTransaction,
        connector_id=1,
        id_tag=(await demo.services.authorizer.resolve("demo", "CP1", "TAG1", True))[0],
        meter_start=1000,
        timestamp=NOW,
        authorization=Authorization(status="Accepted", source="tag", as_of=NOW),
        settings=Settings(party=PartyId(country_code="DE", party_id="DEM")),
    )
    await asked(demo, start, "start")
    id = await orphan(demo)
    response = await demo.call(
        "POST", f"/sessions/orphans/{id}/settle", {**WHY, "transaction_id": 1}, role="operator"
    )
    assert response.status_code == 201, response.text
    line = await audited(demo, "charge_point.settle_stop.v1")
    assert line["principal"] == "operator:ann"
    await eventually(demo, f"/sessions/{response.json()['session_id']}", {"energy_wh": 4000})


async def test_a_late_start_joins_its_stop_and_the_list_says_so(demo: World) -> None:
    id = await orphan(demo)
    start = of_cp1(
        StartTransaction,
        connector_id=1,
        id_tag=(await demo.services.authorizer.resolve("demo", "CP1", "TAG1", True))[0],
        meter_start=1000,
        timestamp=NOW,
        authorization=Authorization(status="Accepted", source="tag", as_of=NOW),
        settings=Settings(party=PartyId(country_code="DE", party_id="DEM")),
    )
    await asked(demo, start, "start")
    settled = await eventually(demo, f"/sessions/orphans/{id}", {"state": "settled"})
    assert settled["settled_by"] is None
    await eventually(demo, f"/sessions/{settled['session_id']}", {"energy_wh": 4000, "status": "completed"})


async def test_what_a_settlement_needs_is_422_by_its_path(demo: World) -> None:
    id = await orphan(demo, tag=None)
    for body in (
        WHY,
        {**WHY, "transaction_id": 1, "start": START},
        {"start": START},
        {**WHY, "start": {**START, "meter_start": 5001}},
        {**WHY, "start": {**START, "timestamp": "2026-05-01T12:00:00"}},
        {**WHY, "start": START},
    ):
        response = await demo.call("POST", f"/sessions/orphans/{id}/settle", body, role="operator")
        assert response.status_code == 422, body
        problem(response)
    with_tag = {**WHY, "start": {**START, "id_tag": "TAG2"}}
    response = await demo.call("POST", f"/sessions/orphans/{id}/settle", with_tag, role="operator")
    assert response.status_code == 201, response.text


async def test_a_foreign_orphan_looks_like_an_unknown_one(world: World) -> None:
    for method, path, body in (
        ("GET", "/sessions/orphans/none", None),
        ("POST", "/sessions/orphans/none/settle", {**WHY, "start": START}),
    ):
        response = await world.call(method, path, body, role="operator")
        assert response.status_code == 404
        problem(response)
