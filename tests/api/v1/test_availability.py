"""`/chargepoints/{id}/availability`: what is wanted of connectors beside what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from application.read_back import wait_visible
from commands.base import Meta, Refusal
from commands.charge_point import Boot, Connect, ReportStatus
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import NOW, World, deciding

PATH = "/chargepoints/CP1/availability"


async def do(world: World, command: Any, id: str) -> Any:
    reply = await world.services.bus.ask(command, Meta(command_id=id, at=NOW, tenant="demo"), 10)
    assert reply.refusal is None, reply.message
    return reply


async def test_a_connector_that_shall_not_be_used_is_shown_with_what_it_says(tmp_path: Path) -> None:
    async with deciding(tmp_path) as world:
        await world.call("POST", "/tenants", DEMO, role="platform_admin")
        await world.call("POST", "/chargepoints", CHARGE_POINT)
        whose: dict[str, Any] = {"tenant": "demo", "charge_point_id": "CP1"}
        await do(world, Connect(**whose, node="n", slot=1, boot="b", quiet_s=10**6), "connect")
        await do(world, Boot(**whose, vendor="v", model="m"), "boot")
        said = await do(world, ReportStatus(**whose, connector_id=1, status="Available"), "status")
        assert await wait_visible(world.store, "ocpp_demo", "charge_points", "CP1", said.version, patience=20)

        body = {"availability": "Inoperative"}
        wished = await world.call("PUT", f"{PATH}/1", body, role="operator")
        assert wished.json() == {
            "connector_id": 1,
            "status": "Available",
            "wanted": "Inoperative",
            "state": "pending",
            "reason": None,
            "pushes": 0,
        }
        listed = await world.call("GET", PATH, role="viewer")
        assert [(one["connector_id"], one["wanted"]) for one in listed.json()["items"]] == [
            (0, None),
            (1, "Inoperative"),
        ]
        pending = await world.call("GET", "/chargepoints?availability=pending", role="viewer")
        assert [one["id"] for one in pending.json()["items"]] == ["CP1"]
        assert (await world.call("DELETE", f"{PATH}/1", role="operator")).status_code == 204
        left = await world.call("GET", PATH, role="viewer")
        assert [one["state"] for one in left.json()["items"]] == [None, None]


async def test_what_is_shown_of_one_that_says_otherwise(world: World) -> None:
    wanted = {
        "connector_id": 0,
        "availability": "Inoperative",
        "state": "drift",
        "pushes": 3,
        "reason": "Available",
    }
    await world.add_charge_point(availability=[wanted], status="Available")
    response = await world.call("GET", PATH, role="viewer")
    assert response.json()["items"] == [
        {
            "connector_id": 0,
            "status": "Available",
            "wanted": "Inoperative",
            "state": "drift",
            "reason": "Available",
            "pushes": 3,
        }
    ]


async def test_what_cannot_be_and_what_nobody_knows_is_refused(world: World) -> None:
    wrong = await world.call("PUT", f"{PATH}/1", {"availability": "Broken"}, role="operator")
    below = await world.call("PUT", f"{PATH}/-1", {"availability": "Operative"}, role="operator")
    assert (wrong.status_code, below.status_code) == (422, 422)
    assert (await world.call("GET", PATH, role="viewer")).status_code == 404
    world.bus.refuses(Refusal.UNKNOWN, "charge point CP1 is not known")
    unknown = await world.call("PUT", f"{PATH}/1", {"availability": "Operative"}, role="operator")
    assert unknown.status_code == 404
