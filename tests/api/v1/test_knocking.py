"""Who was refused at the charge points' door, by tenant and for the platform."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from commands.base import Meta
from commands.knocking import ReportKnocks
from domain.knocking import Knock
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import NOW, World, problem


async def knocked(real: World, tenant: str, id: str, reason: str = "unknown", seconds: float = 0) -> None:
    at = NOW + timedelta(seconds=seconds)
    knock = Knock(id=id, reason=reason, address="192.0.2.7", count=2, first=at, last=at)
    meta = Meta(command_id=f"k {tenant} {id} {seconds}", at=NOW)
    await real.services.bus.ask(ReportKnocks(tenant=tenant, knocks=(knock,), left_out=1), meta)


async def listed(real: World, count: int, query: str = "", **who: Any) -> dict[str, Any]:
    """The list, once it has so many items."""
    for _ in range(500):
        body: dict[str, Any] = (await real.call("GET", f"/chargepoints/knocking{query}", **who)).json()
        if len(body["items"]) >= count:
            return body
    raise AssertionError(body)


async def test_a_tenant_sees_who_knocks_at_its_door_and_the_platform_those_of_nobody(real: World) -> None:
    for id in ("demo", "acme"):
        tenant = {**DEMO, "id": id, "configuration": {}}
        assert (await real.call("POST", "/tenants", tenant, role="platform_admin")).status_code == 201
    await knocked(real, "demo", "CP-9")
    await knocked(real, "acme", "CP-8")
    await knocked(real, "", "/ocpp/nobody/CP-7")

    item = {
        "id": "CP-9",
        "reason": "unknown",
        "address": "192.0.2.7",
        "count": 2,
        "first_at": "2026-05-01T12:00:00Z",
        "last_at": "2026-05-01T12:00:00Z",
    }
    assert await listed(real, 1, role="operator") == {"items": [item], "next_cursor": None, "left_out": 1}
    nobodys = await listed(real, 1, role="platform_admin")
    acmes = await listed(real, 1, "?tenant=acme", role="platform_admin")
    assert [one["id"] for one in nobodys["items"]] == ["/ocpp/nobody/CP-7"]
    assert [one["id"] for one in acmes["items"]] == ["CP-8"]


async def test_the_newest_come_first_and_are_found_by_reason_and_time(real: World) -> None:
    await real.call("POST", "/tenants", DEMO, role="platform_admin")
    await knocked(real, "demo", "A", "unauthorized", 1)
    await knocked(real, "demo", "B", "unknown", 2)
    await knocked(real, "demo", "C", "unauthorized", 3)

    async def ids(query: str) -> list[str]:
        body = (await real.call("GET", f"/chargepoints/knocking{query}")).json()
        return [one["id"] for one in body["items"]]

    await listed(real, 3)
    assert await ids("") == ["C", "B", "A"]
    assert await ids("?reason=unauthorized") == ["C", "A"]
    assert await ids("?from=2026-05-01T12:00:02Z&to=2026-05-01T12:00:03Z") == ["B"]
    assert await ids("?limit=1") == ["C"]
    wrong = await real.call("GET", "/chargepoints/knocking?reason=because")
    assert wrong.status_code == 422
    problem(wrong)


async def test_nobody_knocked_yet(real: World) -> None:
    await real.call("POST", "/tenants", DEMO, role="platform_admin")
    empty: dict[str, Any] = {"items": [], "next_cursor": None, "left_out": 0}
    assert (await real.call("GET", "/chargepoints/knocking")).json() == empty


async def test_no_charge_point_has_the_name_of_the_list(real: World) -> None:
    await real.call("POST", "/tenants", DEMO, role="platform_admin")
    taken = await real.call("POST", "/chargepoints", {**CHARGE_POINT, "id": "knocking"})
    assert taken.status_code == 422
    problem(taken)
