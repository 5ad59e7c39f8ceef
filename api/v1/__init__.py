"""The REST API of operators, tenant admins and viewers.

What enters: HTTP requests with a JSON Web Token. What leaves: documents of the read models, and commands to the log.
It never decides anything, and never shows one tenant to another.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute

from api.problems import ProblemError, ProblemRoute
from api.services import Services
from api.v1 import (
    audit,
    availability,
    cdrs,
    chargepoints,
    commands,
    configuration,
    deliveries,
    events,
    jobs,
    keys,
    knocking,
    locations,
    orphans,
    partners,
    quotes,
    readings,
    received,
    reservations,
    sessions,
    stories,
    tariffs,
    tenants,
    tokens,
)
from api.v1.caller import indexes

__all__ = ["indexes", "v1_router"]

NOUNS: Final = (
    tenants.routes,
    knocking.routes,  # before `/chargepoints/{id}`
    chargepoints.routes,
    configuration.routes,
    availability.routes,
    commands.routes,
    jobs.routes,
    orphans.routes,
    reservations.routes,
    received.sessions,  # before `/sessions/{id}`
    sessions.routes,
    readings.routes,
    tokens.routes,
    tariffs.routes,
    quotes.routes,
    partners.routes,
    received.cdrs,  # before `/cdrs/{id}`
    cdrs.routes,
    deliveries.routes,
    locations.routes,
    events.routes,
    audit.routes,
    stories.routes,
    keys.routes,
)
PREFIX: Final = "/api/v1"
METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def v1_router(services: Services) -> APIRouter:
    """Every route under `/api/v1`, errors as problem details included."""

    async def bind(request: Request) -> None:
        request.state.services = services

    router = APIRouter(prefix=PREFIX, route_class=ProblemRoute, dependencies=[Depends(bind)])
    for noun in NOUNS:
        router.include_router(noun)
    for rest in ("", "/{path:path}"):
        router.add_api_route(rest, _nothing, methods=METHODS, include_in_schema=False)
    return router


async def _nothing(request: Request, path: str = "") -> Response:
    """404, or 405 with what is allowed where the path exists with other methods."""
    allowed = {
        method
        for noun in NOUNS
        for route in noun.routes
        if isinstance(route, APIRoute) and route.path_regex.match(f"/{path}")
        for method in route.methods or ()
    }
    if allowed:
        listed = ", ".join(sorted(allowed))
        raise ProblemError(
            405, f"{request.method} is not possible here, only {listed}", headers={"Allow": listed}
        )
    raise ProblemError(404, f"there is nothing at {request.url.path}", code="unknown")
