"""`/reservations`: from the request to the end, and what is refused at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from application.read_back import wait_visible
from commands.base import Meta, Refusal
from commands.charge_point import Boot, ConcludeCall, Connect
from projections.store import Document, Put
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import NOW, World, deciding, problem

FAR = (NOW + timedelta(days=36_500)).isoformat()
BODY: dict[str, Any] = {"charge_point": "CP1", "connector": 1, "id_tag": "ALICE", "expires_at": FAR}


async def do(world: World, command: Any, id: str) -> Any:
    reply = await world.services.bus.ask(command, Meta(command_id=id, at=NOW, tenant="demo"), 10)
    assert reply.refusal is None, reply.message
    return reply


async def test_a_connector_is_held_for_a_tag_and_given_up_TC_046_TC_051(tmp_path: Path) -> None:
    async with deciding(tmp_path) as world:
        await world.call("POST", "/tenants", DEMO, role="platform_admin")
        await world.call("POST", "/chargepoints", CHARGE_POINT)
        whose: dict[str, Any] = {"tenant": "demo", "charge_point_id": "CP1"}
        away = await world.call("POST", "/reservations", BODY, role="operator")
        assert (away.status_code, problem(away)["code"]) == (409, "not_connected")

        await do(world, Connect(**whose, node="n", slot=1, boot="b", quiet_s=10**6), "connect")
        await do(world, Boot(**whose, vendor="v", model="m"), "boot")
        key = {"Idempotency-Key": "r1"}
        asked = await world.call("POST", "/reservations", BODY, role="operator", headers=key)
        again = await world.call("POST", "/reservations", BODY, role="operator", headers=key)
        assert asked.status_code == 202, asked.text
        assert again.json() == asked.json()
        id = asked.json()["id"]
        assert asked.headers["location"] == f"/api/v1/reservations/{id}"
        assert (asked.json()["number"], asked.json()["status"]) == (1, "pending")

        taken = await world.call("POST", "/reservations", {**BODY, "id_tag": "BOB"}, role="operator")
        assert taken.status_code == 409

        shown = await world.call("GET", f"/reservations/{id}", role="operator")
        assert (shown.json()["status"], shown.json()["id_tag"]) == ("pending", "ALICE")
        masked = await world.call("GET", f"/reservations/{id}", role="viewer")
        assert masked.json()["id_tag"] == "***"

        told = ConcludeCall(**whose, command_id=f"reserve-{id}", status="accepted", answered=True)
        reply = await do(world, told, "answer")
        assert await wait_visible(world.store, "ocpp_demo", "reservations", id, reply.version, patience=20)
        listed = await world.call("GET", "/reservations?status=active&charge_point_id=CP1", role="viewer")
        assert [one["id"] for one in listed.json()["items"]] == [id]
        cancelled = await world.call("DELETE", f"/reservations/{id}", role="operator")
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelling")
        assert (await world.call("GET", f"/reservations/{id}", role="viewer")).json()[
            "status"
        ] == "cancelling"


async def test_what_is_wrong_is_named(world: World) -> None:
    past = {**BODY, "expires_at": (NOW - timedelta(hours=1)).isoformat()}
    for body, path in (
        (past, "expires_at"),
        ({**BODY, "id_tag": "x" * 21}, "id_tag"),
        ({**BODY, "parent": "x" * 21}, "parent"),
        ({**BODY, "connector": -1}, "connector"),
    ):
        response = await world.call("POST", "/reservations", body, role="operator")
        assert response.status_code == 422, response.text
        [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
        assert error["path"] == path
    assert world.bus.asked == []


async def test_what_nobody_knows_is_not_found(world: World) -> None:
    world.bus.refuses(Refusal.UNKNOWN, "charge point CP1 is not known")
    assert (await world.call("POST", "/reservations", BODY, role="operator")).status_code == 404
    assert (await world.call("GET", "/reservations/x", role="viewer")).status_code == 404
    assert (await world.call("DELETE", "/reservations/x", role="operator")).status_code == 404


async def test_one_that_is_over_stays_as_it_ended_though_its_charge_point_has_forgotten_it(
    world: World,
) -> None:
    over: Document = {
        "charge_point_id": "CP1",
        "number": 7,
        "status": "used",
        "over_at": "2026-01-01T00:00:00Z",
    }
    await world.store.apply([Put("ocpp_demo", "reservations", "r-1", 1, over)])
    response = await world.call("DELETE", "/reservations/r-1", role="operator")
    assert (response.status_code, response.json()["status"]) == (202, "used")
    assert world.bus.asked == []
