"""Partners that are registered, by REST: tested, given new tokens, and let go."""

from __future__ import annotations

from typing import Any

import pytest

from projections.store import HUB
from tests.api.v1.world import Step, World, problem

PARTNER = {
    "name": "P",
    "status": "CONNECTED",
    "suspended": False,
    "roles": [],
    "granted_roles": [],
    "requested_roles": [],
    "parties": ["NL*TNM"],
    "versions_url": "https://p.example/versions",
    "ocpi_version": "2.3.0",
    "hub_party_id": None,
    "endpoints": [],
    "registered_at": "2026-01-02T00:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-02T00:00:00Z",
    "handshake_error": None,
    "digest_c": "c" * 64,
}
DELIVERY = {
    "to": "NL*TNM",
    "module": "cdrs",
    "object_id": "s1",
    "tenant_id": "demo",
    "state": "waiting",
    "attempts": 2,
    "last_error": "unreachable: no route",
    "updated_at": "2026-01-03T00:00:00Z",
}
ADMIN = {"role": "platform_admin"}


@pytest.fixture
async def connected(world: World) -> World:
    await world.keep(HUB, "partners", "p1", PARTNER)  # type: ignore[arg-type]
    await world.keep(HUB, "partners", "planned", {**PARTNER, "status": "PLANNED", "digest_c": None})  # type: ignore[dict-item]
    return world


async def post(world: World, path: str) -> tuple[int, str]:
    response = await world.call("POST", path, role="platform_admin")
    return response.status_code, response.text


async def test_a_test_says_what_was_asked_what_came_and_what_could_not_be_told(connected: World) -> None:
    await connected.keep(HUB, "deliveries", "NL*TNM|cdrs|s1", DELIVERY)  # type: ignore[arg-type]
    await connected.keep(HUB, "deliveries", "NL*TNM|cdrs|s2", {**DELIVERY, "attempts": 0})  # type: ignore[dict-item]
    url = "https://p.example/versions"
    refused = Step("tokens SENDER", url, "refused", 503, 0, message="HTTP 503, no OCPI envelope")
    connected.prober.steps = [
        Step("versions", url, "ok"),
        refused,
        Step("cdrs RECEIVER", url, "not_called", 0, 0),
    ]
    response = await connected.call("POST", "/partners/p1/test", role="platform_admin")
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["partner_id"], body["ok"], body["handshake_error"]) == ("p1", False, None)
    assert [(one["name"], one["verdict"], one["http_status"]) for one in body["steps"]] == [
        ("versions", "ok", 200),
        ("tokens SENDER", "refused", 503),
        ("cdrs RECEIVER", "not_called", 0),
    ]
    [failing] = body["failing_deliveries"]
    assert (failing["id"], failing["last_error"]) == ("NL*TNM|cdrs|s1", "unreachable: no route")
    connected.prober.steps = [Step("versions", url, "ok"), Step("cdrs RECEIVER", url, "not_called", 0, 0)]
    assert (await connected.call("POST", "/partners/p1/test", role="platform_admin")).json()["ok"] is True


async def test_a_partner_is_not_tested_in_a_storm(connected: World) -> None:
    connected.limiter.empty.add("partner-test|p1")
    response = await connected.call("POST", "/partners/p1/test", role="platform_admin")
    assert (response.status_code, "six times a minute" in str(problem(response))) == (429, True)


async def test_new_tokens_go_both_ways_or_all_is_as_before(connected: World) -> None:
    status, _ = await post(connected, "/partners/p1/rotate")
    assert (status, connected.registrar.rotated) == (200, ["p1"])
    connected.registrar.failure = "credentials: HTTP 200, OCPI 3000"
    status, text = await post(connected, "/partners/p1/rotate")
    assert (status, "OCPI 3000" in text) == (502, True)


async def test_a_registration_is_ended_from_our_side(connected: World) -> None:
    status, _ = await post(connected, "/partners/p1/unregister")
    assert (status, connected.registrar.unregistered) == (200, ["p1"])
    connected.registrar.failure = "the log has it otherwise"
    assert (await post(connected, "/partners/p1/unregister"))[0] == 502


@pytest.mark.parametrize("verb", ["rotate", "unregister", "test"])
async def test_who_is_not_registered_has_nothing_of_it(connected: World, verb: str) -> None:
    assert (await post(connected, f"/partners/planned/{verb}"))[0] == 409
    assert (await post(connected, f"/partners/nobody/{verb}"))[0] == 404
    assert connected.registrar.rotated == connected.registrar.unregistered == []


async def test_what_no_read_model_can_keep_is_422(world: World) -> None:
    role = {"role": "EMSP", "country_code": "NL", "party_id": "TNM", "business_details": {"x": 10**30}}
    body: Any = {"id": "tnm", "name": "TNM", "roles": [role]}
    response = await world.call("POST", "/partners", body, role="platform_admin")
    assert response.status_code == 422
    errors: Any = problem(response)["errors"]
    assert [error["path"] for error in errors] == ["roles.0.business_details"]
    assert world.bus.asked == []
