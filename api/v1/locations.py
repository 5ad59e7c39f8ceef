"""`/locations`: a tenant's master data of where one can charge, as OCPI 2.3.0 Locations without party and EVSEs, and
the search near a point. EVSEs and their statuses are those of the charge points that stand there."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import quote
from zoneinfo import available_timezones

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response

from api.problems import ProblemRoute, invalid, not_found
from api.v1.caller import Caller, Operator, Viewer, result_of
from api.v1.lists import Page, answer, empty, oldest_first
from application.locations import Wanted, near, whole
from commands.base import Meta
from commands.location import LocationReply, PatchLocation, PutLocation, RemoveLocation
from commands.location_rules import too_large
from domain.location import location_key
from domain.values import UNASSIGNED, JSONObject, plain_json
from projections import store
from projections.location import MOST_WATTS, master_of
from projections.moment import utc_text
from projections.store import HUB, Document, eq
from protocols.ocpi import OcpiInvalidError, dump_json, parse_json, v2_3_0
from protocols.ocpi.v2_3_0.enums import ConnectorType

routes = APIRouter(route_class=ProblemRoute, tags=["locations"])

MOST: Final = 500
SEARCH: Final = "search"
NO_PLACES: Final = frozenset({SEARCH, UNASSIGNED, ".", ".."})
"""What would be an id, but has a meaning of its own, here or in a URL."""
_ID: Final = r"^[!-.0-~]+$"
"""What one part of a URL can carry as it is: printable ASCII without a slash."""
Id = Annotated[str, Path(min_length=1, max_length=36, pattern=_ID)]
_NOT_OURS: Final = {
    "country_code": "is the tenant's party: leave it out",
    "party_id": "is the tenant's party: leave it out",
    "evses": "are those of the charge points that stand there: leave them out",
    "publish_allowed_to": "names persons, whom nothing here may name: leave it out",
}
_NOBODY: Final = {"country_code": "ZZ", "party_id": "ZZZ"}
_ZONES: Final = frozenset(available_timezones())
_JSON: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def _body(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "description": description}}}
    return {"requestBody": {"required": True, "content": content}}


_LOCATION: Final = _body("OCPI 2.3.0 Location without country_code, party_id and evses")
_CHANGES: Final = _body("what changes of the OCPI 2.3.0 Location; null takes an optional field away")


@routes.get(f"/locations/{SEARCH}")
async def search(
    caller: Viewer,
    latitude: Annotated[float, Query(ge=-90, le=90)],
    longitude: Annotated[float, Query(ge=-180, le=180)],
    radius: Annotated[float, Query(gt=0, le=200_000, description="metres")] = 5_000,
    standard: Annotated[ConnectorType | None, Query(description="OCPI ConnectorType")] = None,
    min_power: Annotated[int, Query(ge=0, le=MOST_WATTS, description="watts")] = 0,
    available: Annotated[bool, Query(description="only what is free now")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Response:
    """Locations with an EVSE that fits, and only such EVSEs in them. `distance_m` in metres.

    The tenant's own, and those that roaming partners pushed to all or to its party; a platform admin who names no
    tenant searches those of all tenants. The 500 nearest of each that have what is asked for are looked at.
    """
    wanted = Wanted(
        latitude=latitude,
        longitude=longitude,
        radius_m=radius,
        tenant=caller.tenant,
        standard=standard.value if standard is not None else None,
        min_power=min_power,
        available=available,
    )
    found = await near(caller.services.store, wanted, caller.services.clock())
    return answer({"items": found[:limit], "next_cursor": None})


@routes.post("/locations", status_code=201, openapi_extra=_LOCATION)
async def create(request: Request, caller: Operator) -> Response:
    """409 where there are master data of a location with this id."""
    body = _decoded(await request.body())
    id = body.get("id")
    if not isinstance(id, str) or not re.fullmatch(_ID, id) or len(id) > 36:
        raise invalid("body", "id", "must have 1 to 36 printable ASCII characters without /")
    return await _put(caller, id, body, new=True)


@routes.put("/locations/{location_id}", openapi_extra=_LOCATION)
async def put(location_id: Id, request: Request, caller: Operator) -> Response:
    """201 where there were no master data, else 200. They win over what charge points say of their site."""
    body = _decoded(await request.body())
    if str(body.get("id", location_id)).lower() != location_id.lower():
        raise invalid("body", "id", "is not that of the path")
    return await _put(caller, location_id, body)


@routes.patch("/locations/{location_id}", openapi_extra=_CHANGES)
async def change(location_id: Id, request: Request, caller: Operator) -> Response:
    """What is given replaces what is known: objects field by field, lists as a whole, null takes away."""
    body = _decoded(await request.body())
    if "id" in body:
        raise invalid("body", "id", "cannot change: leave it out")
    if "time_zone" in body:
        _check_zone(body["time_zone"])
    meta = await caller.meta()
    patch = _plain({**body, "last_updated": utc_text(meta.at)})
    command = PatchLocation(tenant=caller.own_tenant, location_id=location_id, patch=patch)
    reply = await caller.ask(command, meta)
    document = await caller.visible(HUB, "locations", _key(caller, location_id), reply)
    return answer(await _shown(caller, document) if document is not None else {"id": location_id})


@routes.get("/locations")
async def list_locations(caller: Viewer, page: Page) -> Response:
    """`managed`: whether there are master data; without them, charge points say what their site is."""
    where = (eq("tenant_id", caller.own_tenant), *page.within("created_at"))
    query = store.Query(HUB, "locations", where, oldest_first("created_at"), page.limit, page.cursor)
    found = await caller.services.store.find(query)
    items = await _all_shown(caller, found.items)
    return answer({"items": items, "next_cursor": found.next_cursor})


@routes.get("/locations/{location_id}")
async def get(location_id: Id, caller: Viewer) -> Response:
    """An OCPI 2.3.0 Location with the EVSEs of its charge points and their statuses as they are now."""
    document = await caller.services.store.get(HUB, "locations", _key(caller, location_id))
    shown = await _shown(caller, document) if document is not None else None
    if shown is None:
        raise not_found(f"location {location_id}")
    return answer(shown)


@routes.delete("/locations/{location_id}", status_code=204)
async def remove(location_id: Id, caller: Operator) -> Response:
    """Its master data go. While charge points stand there, what they say of their site counts again."""
    command = RemoveLocation(tenant=caller.own_tenant, location_id=location_id)
    reply = await caller.ask(command, await caller.meta())
    await caller.visible(HUB, "locations", _key(caller, location_id), reply)
    return empty()


async def _put(caller: Caller, id: str, body: JSONObject, *, new: bool = False) -> Response:
    meta = await caller.meta()
    command = PutLocation(
        tenant=caller.own_tenant, location_id=id, location=_location(id, body, meta), new=new
    )
    reply = await caller.ask(command, meta)
    document = await caller.visible(HUB, "locations", _key(caller, id), reply)
    fallback: Document = {**command.location, "evses": [], "managed": True}
    shown = await _shown(caller, document) if document is not None else fallback
    created = result_of(reply, LocationReply).created
    headers = {"Location": f"/api/v1/locations/{quote(id)}"} if created else None
    return answer(shown, 201 if created else 200, headers)


def _location(id: str, body: JSONObject, meta: Meta) -> JSONObject:
    """The master data, checked as the Location that they make."""
    if id.lower() in NO_PLACES:
        raise invalid("body", "id", f"{id} is no id: it has a meaning of its own")
    _check_zone(body.get("time_zone"))
    given = {"publish": True, **body, "last_updated": utc_text(meta.at), "id": id, **_NOBODY}
    try:
        location = parse_json(v2_3_0.Location, given)
    except OcpiInvalidError as error:
        raise invalid("body", error.path or "body", error.message) from None
    dumped = dump_json(location)
    return _plain({name: value for name, value in dumped.items() if name not in _NOT_OURS})


def _decoded(raw: bytes) -> JSONObject:
    try:
        body = _JSON.decode(raw)
    except (msgspec.DecodeError, ArithmeticError):
        raise invalid("body", "body", "must be a JSON object") from None
    for name, wrong in _NOT_OURS.items():
        if name in body:
            raise invalid("body", name, wrong)
    return body


def _check_zone(zone: object) -> None:
    """By it tariffs hold."""
    if not isinstance(zone, str) or zone not in _ZONES:
        raise invalid("body", "time_zone", "must be an IANA name such as Europe/Berlin")


def _plain(value: JSONObject) -> JSONObject:
    try:
        plain: JSONObject = plain_json(value)
    except ValueError as error:
        raise invalid("body", "body", str(error)) from None
    if (large := too_large(plain)) is not None:
        raise invalid("body", "body", large.message)
    return plain


def _key(caller: Caller, location_id: str) -> str:
    return location_key(None, caller.own_tenant, location_id)


async def _shown(caller: Caller, document: Document) -> Document | None:
    shown = await _all_shown(caller, [document])
    return shown[0] if shown else None


async def _all_shown(caller: Caller, documents: list[Document]) -> list[Document]:
    """Those without master data, at which no charge point stands, are left out."""
    found = await whole(caller.services.store, documents, caller.services.clock())
    return [
        {**found[id], "managed": managed}
        for one in documents
        if (id := str(one["_id"])) in found
        and ((managed := master_of(one) is not None) or found[id]["publish"] is True)
    ]
