"""Every route: that it is there, that it needs a token, and the lowest role that may use it."""

from __future__ import annotations

from fastapi.routing import APIRoute

from api.v1 import NOUNS
from domain.access import ROLES
from tests.api.v1.world import World, problem

LOWEST = {
    "POST /tenants": "platform_admin",
    "GET /tenants": "viewer",
    "GET /tenants/{tenant_id}": "viewer",
    "PUT /tenants/{tenant_id}/config": "tenant_admin",
    "GET /chargepoints/knocking": "operator",
    "POST /chargepoints": "tenant_admin",
    "GET /chargepoints": "viewer",
    "GET /chargepoints/{charge_point_id}": "viewer",
    "PATCH /chargepoints/{charge_point_id}": "tenant_admin",
    "DELETE /chargepoints/{charge_point_id}": "tenant_admin",
    "POST /chargepoints/{charge_point_id}/credentials": "tenant_admin",
    "GET /chargepoints/{charge_point_id}/configuration": "viewer",
    "PATCH /chargepoints/{charge_point_id}/configuration": "operator",
    "PUT /chargepoints/{charge_point_id}/configuration/{key}": "operator",
    "DELETE /chargepoints/{charge_point_id}/configuration/{key}": "operator",
    "GET /chargepoints/{charge_point_id}/availability": "viewer",
    "PUT /chargepoints/{charge_point_id}/availability/{connector_id}": "operator",
    "DELETE /chargepoints/{charge_point_id}/availability/{connector_id}": "operator",
    "GET /chargepoints/{charge_point_id}/messages": "operator",
    "POST /chargepoints/{charge_point_id}/commands": "operator",
    "GET /commands": "viewer",
    "GET /commands/{command_id:path}": "viewer",
    "POST /jobs": "operator",
    "GET /jobs": "viewer",
    "GET /jobs/{job_id}": "viewer",
    "GET /jobs/{job_id}/items": "viewer",
    "POST /jobs/{job_id}/cancel": "operator",
    "POST /jobs/{job_id}/pause": "operator",
    "POST /jobs/{job_id}/resume": "operator",
    "POST /jobs/{job_id}/retry": "operator",
    "GET /sessions": "viewer",
    "GET /sessions/{session_id}": "viewer",
    "POST /sessions/{session_id}/stop": "operator",
    "POST /sessions/{session_id}/end": "operator",
    "POST /sessions/{session_id}/cdr": "tenant_admin",
    "GET /sessions/{session_id}/readings": "viewer",
    "GET /chargepoints/{charge_point_id}/readings": "viewer",
    "GET /sessions/orphans": "viewer",
    "GET /sessions/orphans/{orphan_id}": "viewer",
    "POST /sessions/orphans/{orphan_id}/settle": "operator",
    "POST /reservations": "operator",
    "GET /reservations": "viewer",
    "GET /reservations/{reservation_id}": "viewer",
    "DELETE /reservations/{reservation_id}": "operator",
    "PUT /tokens/{uid}": "operator",
    "GET /tokens": "viewer",
    "GET /tokens/{uid}": "operator",
    "DELETE /tokens/{uid}": "operator",
    "DELETE /tokens/{uid}/personal-data": "tenant_admin",
    "PUT /tariffs/{tariff_id}": "tenant_admin",
    "POST /quotes": "viewer",
    "GET /tariffs": "viewer",
    "GET /tariffs/{tariff_id}": "viewer",
    "DELETE /tariffs/{tariff_id}": "tenant_admin",
    "POST /partners": "platform_admin",
    "GET /partners": "platform_admin",
    "GET /partners/{partner_id}": "platform_admin",
    "POST /partners/{partner_id}/token": "platform_admin",
    "POST /partners/{partner_id}/register": "platform_admin",
    "POST /partners/{partner_id}/roles/grant": "platform_admin",
    "POST /partners/{partner_id}/roles/refuse": "platform_admin",
    "POST /partners/{partner_id}/rotate": "platform_admin",
    "POST /partners/{partner_id}/test": "platform_admin",
    "POST /partners/{partner_id}/unregister": "platform_admin",
    "POST /partners/{partner_id}/suspend": "platform_admin",
    "POST /partners/{partner_id}/resume": "platform_admin",
    "DELETE /partners/{partner_id}": "platform_admin",
    "GET /locations/search": "viewer",
    "POST /locations": "operator",
    "GET /locations": "viewer",
    "GET /locations/{location_id}": "viewer",
    "PUT /locations/{location_id}": "operator",
    "PATCH /locations/{location_id}": "operator",
    "DELETE /locations/{location_id}": "operator",
    "GET /sessions/received": "viewer",
    "GET /sessions/received/{session_id:path}": "viewer",
    "GET /cdrs/received": "viewer",
    "GET /cdrs/received/{cdr_id:path}": "viewer",
    "GET /cdrs": "viewer",
    "GET /cdrs/{cdr_id}": "viewer",
    "POST /cdrs/{cdr_id}/retry": "operator",
    "GET /deliveries": "viewer",
    "POST /deliveries/{delivery_id:path}/retry": "operator",
    "GET /events": "viewer",
    "GET /audit": "tenant_admin",
    "GET /stories/{correlation_id:path}": "viewer",
    "POST /keys": "tenant_admin",
    "GET /keys": "tenant_admin",
    "GET /keys/{key_id}": "tenant_admin",
    "POST /keys/{key_id}/rotate": "tenant_admin",
    "DELETE /keys/{key_id}": "tenant_admin",
    "POST /keys/revoke-subject": "tenant_admin",
}


def test_these_are_all_routes() -> None:
    found = {
        f"{method} {route.path}"
        for noun in NOUNS
        for route in noun.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert found == set(LOWEST)


async def test_every_route_needs_a_token(world: World) -> None:
    for route in LOWEST:
        method, path = route.split(" ")
        response = await world.http.request(method, path)
        assert response.status_code == 401, route
        problem(response)


async def test_every_route_is_closed_below_its_role_and_open_from_it_on(world: World) -> None:
    for route, lowest in LOWEST.items():
        method, path = route.split(" ")
        for role in ("viewer", "operator", "tenant_admin", "platform_admin"):
            response = await world.call(method, path, role=role)
            closed = response.status_code == 403
            assert closed == (ROLES[role] < ROLES[lowest]), f"{route} {role}: {response.status_code}"
            if closed:
                problem(response)


async def test_what_belongs_to_another_tenant_cannot_be_named(world: World) -> None:
    for route in LOWEST:
        method, path = route.split(" ")
        response = await world.call(method, f"{path}?tenant=acme", {}, tenant="demo")
        assert response.status_code == 404, route
    assert world.bus.asked == []
