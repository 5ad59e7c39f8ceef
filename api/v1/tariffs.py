"""`/tariffs`: what the tenant's charges cost, as OCPI 2.3.0 Tariff objects without their owner."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response

from api.problems import ProblemError, ProblemRoute, invalid, not_found
from api.v1.caller import Caller, TenantAdmin, Viewer, result_of
from api.v1.lists import Page, answer, empty, listed, oldest_first
from commands.tariff import PutReply, RemoveTariff, put_tariff
from domain.values import PartyId
from projections.moment import utc_text
from projections.store import HUB, JSON, Document, eq
from projections.tariff import tariff_document_id
from protocols.ocpi import OcpiInvalidError, parse_json, v2_3_0

routes = APIRouter(route_class=ProblemRoute, tags=["tariffs"])

Id = Annotated[str, Path(min_length=1, max_length=36)]
_OWNED: Final = ("country_code", "party_id", "id")
_JSON = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "OCPI 2.3.0 Tariff"}}},
    }
}


@routes.put("/tariffs/{tariff_id}", openapi_extra=_BODY)
async def put(tariff_id: Id, request: Request, caller: TenantAdmin) -> Response:
    """201 where the tariff is new, else 200. Charges that run keep the tariff that they began with."""
    owner = _owner(caller)
    meta = await caller.meta()
    body = _body(await request.body())
    whole = {
        "last_updated": utc_text(meta.at),
        **body,
        "country_code": owner.country_code,
        "party_id": owner.party_id,
        "id": tariff_id,
    }
    try:
        command = put_tariff(parse_json(v2_3_0.Tariff, whole), caller.own_tenant)
    except OcpiInvalidError as error:
        raise invalid("body", error.path or "body", error.message) from None
    except ValueError as error:
        raise invalid("body", "body", str(error)) from None
    reply = await caller.ask(command, meta)
    document = await caller.visible(HUB, "tariffs", tariff_document_id(owner, tariff_id), reply)
    created = result_of(reply, PutReply).created
    return answer(_shown(document) if document is not None else command.tariff, 201 if created else 200)


@routes.get("/tariffs")
async def list_tariffs(caller: Viewer, page: Page) -> Response:
    async def show(document: Document) -> JSON:
        return _shown(document)

    where = (eq("tenant_id", caller.own_tenant), *page.within("created_at"))
    return await listed(caller, HUB, "tariffs", page, where=where, sort=oldest_first("created_at"), show=show)


@routes.get("/tariffs/{tariff_id}")
async def get(tariff_id: Id, caller: Viewer) -> Response:
    document = None
    if caller.settings.ocpi is not None:
        id = tariff_document_id(_owner(caller), tariff_id)
        document = await caller.services.store.get(HUB, "tariffs", id)
    if document is None or document["tenant_id"] != caller.own_tenant:
        raise not_found(f"tariff {tariff_id}")
    return answer(_shown(document))


@routes.delete("/tariffs/{tariff_id}", status_code=204)
async def remove(tariff_id: Id, caller: TenantAdmin) -> Response:
    if caller.settings.ocpi is None:
        raise not_found(f"tariff {tariff_id}")
    owner = _owner(caller)
    await caller.ask(RemoveTariff(owner=owner, tariff_id=tariff_id), await caller.meta())
    await caller.gone(HUB, "tariffs", tariff_document_id(owner, tariff_id))
    return empty()


def _owner(caller: Caller) -> PartyId:
    party = caller.settings.ocpi
    if party is None:
        detail = "a tariff belongs to a party: set ocpi.country_code and ocpi.party_id in the configuration"
        raise ProblemError(409, detail, code="not_allowed")
    return party.id


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = _JSON.decode(raw)
    except (msgspec.DecodeError, ArithmeticError):
        raise invalid("body", "body", "must be a JSON object") from None
    for name in _OWNED:
        if name in body:
            raise invalid("body", name, "comes from the tenant and the path: leave it out")
    return body


def _shown(document: Document) -> JSON:
    return document["tariff"]
