"""Which scope each route needs: every one has one, of the list that there is, and no other key gets in."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute

from api.openapi import described
from api.v1 import NOUNS
from api.v1.scopes import scope_of
from application.principal import Principal
from domain.access import SCOPES, Grant
from tests.api.v1.test_routes import LOWEST
from tests.api.v1.world import World, problem

ROUTES = {
    f"{method} {route.path}": scope_of(route.tags, method)
    for noun in NOUNS
    for route in noun.routes
    if isinstance(route, APIRoute)
    for method in route.methods or ()
}


def test_every_route_has_a_scope_and_every_scope_opens_a_route() -> None:
    assert set(ROUTES) == set(LOWEST)
    assert set(ROUTES.values()) == set(SCOPES)


@pytest.mark.parametrize(
    ("route", "scope"),
    [
        ("GET /chargepoints/knocking", "chargepoints:read"),
        ("POST /chargepoints/{charge_point_id}/commands", "commands:write"),
        ("GET /cdrs", "cdrs:read"),
        ("PUT /tariffs/{tariff_id}", "tariffs:write"),
        ("DELETE /keys/{key_id}", "keys:write"),
    ],
)
def test_a_routes_scope_is_its_resource_and_whether_it_changes_anything(route: str, scope: str) -> None:
    assert ROUTES[route] == scope


async def test_every_route_is_open_to_its_scope_and_closed_to_all_others(world: World) -> None:
    for scope in SCOPES:
        grant = Grant(role="platform_admin", scopes=(scope,))
        world.known.keys[f"chsp_{scope}"] = Principal(subject=scope, tenant=None, grant=grant)
    for route, needed in ROUTES.items():
        method, path = route.split(" ")
        for scope in SCOPES if route in ("GET /cdrs", "POST /keys") else (needed, "audit:read"):
            response = await world.call(method, path, key=f"chsp_{scope}")
            closed = response.status_code == 403 and problem(response)["code"] == "scope"
            assert closed == (scope != needed), f"{route} {scope}: {response.status_code}"
            if closed:
                assert needed in str(problem(response)["detail"])


def test_the_description_names_the_scope_of_each_route(world: World) -> None:
    whole: dict[str, Any] = described(world.app)
    for route, scope in ROUTES.items():
        method, path = route.split(" ")
        operation = whole["paths"][f"/api/v1{path}".replace(":path}", "}")][method.lower()]
        assert operation["security"] == [{"HTTPBearer": [scope]}], route
