"""The locations module, both ways: partners read the Locations of our tenants and of the CPOs that push theirs here,
and CPOs push theirs, in whole or in part.

As a sender: what is published, of the party in OCPI-to or of all; what was pushed to one party is that one's alone. A
window is about when something of a Location, or of what stands there, changed by our clock: what a CPO pushes late is
in the next window all the same. As a receiver: `{country_code}/{party_id}` must be a CPO party of the partner, else
the Location does not exist for it (404). All is kept as 2.3.0, but for `publish_allowed_to`, which names persons and
is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.ocpi.addressing import only_party
from api.ocpi.call import Answer, Call, invalid, not_found
from api.ocpi.lists import as_object, paged
from api.ocpi.objects import addressed
from application.locations import pushers, whole
from application.read_back import wait_visible
from commands.base import Command, Refusal
from commands.location import (
    LocationReply,
    PatchConnector,
    PatchEvse,
    PatchLocation,
    PutConnector,
    PutEvse,
    PutLocation,
)
from commands.location_rules import too_large
from domain.location import location_key
from domain.values import JSONObject, PartyId, plain_json
from projections.location import listed_to, pushed_location
from projections.store import HUB, Document, Query, eq, every, gt, is_in
from protocols.ocpi import OcpiInvalidError, decode, dump_json, parse, v2_2_1, v2_3_0
from protocols.ocpi.bridging import upgrade
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.types import JSON, OcpiModel, to_date_time

MODELS: Final[tuple[type[OcpiModel], ...]] = (v2_3_0.Location, v2_3_0.EVSE, v2_3_0.Connector)
OLDER: Final[tuple[type[OcpiModel], ...]] = (v2_2_1.Location, v2_2_1.EVSE, v2_2_1.Connector)
"""What one, two or three segments name."""
NOT_NEWER: Final = "not newer than what is known"
LONGEST_ID: Final = 36
MOST_NAMESAKES: Final = 10


# --- as a sender -----------------------------------------------------------------------------------------


async def get_list(call: Call) -> Answer:
    async def show(page: Sequence[Document]) -> list[OcpiModel]:
        documents = await _for_it_first(call, page)
        found = await whole(call.ports.store, documents, call.at)
        shown: list[OcpiModel] = []
        for one in documents:
            await asyncio.sleep(0)  # one may have a thousand EVSEs: others have their turn in between
            value = _object(call, v2_3_0.Location, found.get(str(one["_id"])), one)
            if value is not None:
                shown.append(value)
        return shown

    where = (is_in("listed_to", await _seen_by(call)),)
    return await paged(call, "locations", where, "created_at", "touched.at", show)


async def get(call: Call) -> Answer:
    """One Location, EVSE or connector. Ids are a CPO's own: where several have one, OCPI-to must say whose it is."""
    location_id, *rest = _ids(call.segments[2:])
    where = (eq("id_key", location_id.lower()), is_in("listed_to", await _seen_by(call)))
    page = await call.ports.store.find(Query(HUB, "locations", where, limit=MOST_NAMESAKES))
    seen = await _for_it_first(call, page.items)
    found = await whole(call.ports.store, seen, call.at)
    documents = [one for one in seen if str(one["_id"]) in found]
    if len(documents) > 1:
        return invalid(f"several parties have a location {location_id}: name one of them in OCPI-to")
    if not documents:
        return not_found(f"there is no location {location_id}")
    [document] = documents
    return _part_of(call, found[str(document["_id"])], rest, document)


async def _seen_by(call: Call) -> list[str]:
    """What may stand in `listed_to` of what the partner sees: it changes with who speaks for which party."""
    store, party = call.ports.store, only_party(call)
    of_party = gt("party", "") if party is None else eq("party", party)
    seen = [
        f"tenant:{one['_id']}" async for one in every(store, Query(HUB, "tenants", (of_party,), limit=500))
    ]
    audiences = [None, *sorted(call.access.parties)]
    async for partner, owner in pushers(store):
        if partner["_id"] != call.access.partner_id and party in (None, owner):
            seen += [listed_to(str(partner["holder"]), owner, audience) for audience in audiences]
    return seen


async def _for_it_first(call: Call, documents: Sequence[Document]) -> list[Document]:
    """Without what was pushed to all where the same CPO pushed one of the same id to a party of the partner."""
    own: dict[str, list[str]] = {
        str(one["_id"]): [f"{one['owner']}>{party}|{one['id_key']}" for party in sorted(call.access.parties)]
        for one in documents
        if one["tenant_id"] is None and one["audience"] is None
    }
    keys = {key for found in own.values() for key in found}
    to_it = await call.ports.store.get_many(HUB, "locations", keys) if keys else {}

    def is_replaced(document: Document) -> bool:
        others = [to_it[key] for key in own.get(str(document["_id"]), ()) if key in to_it]
        return any(one["holder"] == document["holder"] and one["listed_to"] is not None for one in others)

    return [one for one in documents if not is_replaced(one)]


# --- as a receiver ---------------------------------------------------------------------------------------


async def get_pushed(call: Call) -> Answer:
    """What the partner pushed, as it is kept."""
    named = _named(call)
    if named is None:
        return _foreign(call)
    document = await call.ports.store.get(HUB, "locations", named.key)
    if document is None or document["holder"] != call.access.holder:
        return not_found(f"there is no location {named.location_id}")
    return _part_of(call, pushed_location(document), named.rest, document)


async def put(call: Call) -> Answer:
    """201 where it is new, else 200. An older one than what is known is acknowledged and not applied. 404 for an EVSE
    of a Location, or a connector of an EVSE, that is not known."""
    named = _named(call)
    if named is None:
        return _foreign(call)
    value = _plain(dump_json(_parsed(call, len(named.rest))))
    _check(value, named)
    about = named.about
    command: Command
    match named.rest:
        case []:
            command = PutLocation(**about, location=value)
        case [_]:
            command = PutEvse(**about, evse=value)
        case [uid, *_]:
            command = PutConnector(**about, evse_uid=uid, connector=value)
    return await _answer(call, command, named)


async def patch(call: Call) -> Answer:
    """Merged by the log into what it has. last_updated must be given (8.2.2.3, PATCH)."""
    named = _named(call)
    if named is None:
        return _foreign(call)
    changes = decode(call.body)
    if not isinstance(changes, dict):
        raise OcpiInvalidError("", "must be an object")
    if changes.get("last_updated") is None:
        raise OcpiInvalidError("last_updated", "is required in a PATCH")
    try:
        to_date_time(changes["last_updated"])
    except ValueError as error:
        raise OcpiInvalidError("last_updated", str(error)) from None
    about, value = named.about, _plain(changes)
    command: Command
    match named.rest:
        case []:
            command = PatchLocation(**about, patch=value)
        case [uid]:
            command = PatchEvse(**about, evse_uid=uid, patch=value)
        case [uid, id, *_]:
            command = PatchConnector(**about, evse_uid=uid, connector_id=id, patch=value)
    return await _answer(call, command, named)


@dataclass(frozen=True, slots=True)
class _Named:
    """What the path of a receiver names; `rest` are the EVSE's uid and the connector's id."""

    owner: PartyId
    audience: PartyId | None
    holder: str
    location_id: str
    rest: list[str]

    @property
    def key(self) -> str:
        return location_key(self.owner, "", self.location_id, self.audience)

    @property
    def about(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "audience": self.audience,
            "holder": self.holder,
            "location_id": self.location_id,
        }


def _named(call: Call) -> _Named | None:
    """None where the owner is no party of the partner."""
    country_code, party_id, *ids = call.segments[2:]
    owner = PartyId(country_code=country_code.upper(), party_id=party_id.upper())
    location_id, *rest = _ids(ids)
    if str(owner) not in call.access.parties:
        return None
    return _Named(owner, addressed(call), call.access.holder, location_id, rest)


def _ids(ids: Sequence[str]) -> list[str]:
    for name, id in zip(("location_id", "evse_uid", "connector_id"), ids, strict=False):
        if len(id) > LONGEST_ID:
            raise OcpiInvalidError(name, f"must have at most {LONGEST_ID} characters, got {len(id)}")
    return list(ids)


def _foreign(call: Call) -> Answer:
    country_code, party_id = call.segments[2:4]
    return not_found(f"{country_code[:2]}*{party_id[:3]} is no party of this platform")


def _parsed(call: Call, depth: int) -> OcpiModel:
    """The object in the body, as 2.3.0 has it."""
    if call.version != "2.2.1":
        return parse(MODELS[depth], call.body)
    bridged = upgrade("locations", parse(OLDER[depth], call.body))
    if bridged.value is None:
        raise OcpiInvalidError("", bridged.lost[-1].why)
    return bridged.value


def _check(value: JSONObject, named: _Named) -> None:
    """Raises OcpiInvalidError where the object says otherwise than the path."""
    if not named.rest:
        party = f"{value['country_code']}*{value['party_id']}".upper()
        if party != str(named.owner):
            raise OcpiInvalidError("country_code, party_id", "are not those of the path")
    name, id = ("uid" if len(named.rest) == 1 else "id"), [named.location_id, *named.rest][-1]
    if str(value[name]).lower() != id.lower():
        raise OcpiInvalidError(name, "is not that of the path")


def _plain(value: dict[str, JSON]) -> JSONObject:
    """As it is kept, without what names persons. Written out it may be longer than the body was."""
    try:
        plain: JSONObject = plain_json(
            {name: item for name, item in value.items() if name != "publish_allowed_to"}
        )
    except ValueError as error:
        raise OcpiInvalidError("", str(error)) from None
    if (large := too_large(plain)) is not None:
        raise OcpiInvalidError("", large.message)
    return plain


async def _answer(call: Call, command: Command, named: _Named) -> Answer:
    reply = await call.ports.bus.ask(command, call.meta())
    if reply.refusal is Refusal.UNKNOWN:
        return not_found(reply.message)
    if reply.refusal is Refusal.INVALID:
        return invalid(reply.message)
    if reply.refusal is not None:
        return Answer(status_code=StatusCode.SERVER_ERROR, message="it cannot be kept here")
    said = msgspec.json.decode(reply.result, type=LocationReply)
    patience = call.ports.visible_within
    await wait_visible(call.ports.store, HUB, "locations", named.key, reply.version, patience=patience)
    return Answer(http=201 if said.created else 200, message=None if said.applied else NOT_NEWER)


# --- both ------------------------------------------------------------------------------------------------


def _part_of(call: Call, location: Document, rest: Sequence[str], document: Document) -> Answer:
    part: Document | None = location
    for place, name, id in zip(("evses", "connectors"), ("uid", "id"), rest, strict=False):
        held = part.get(place) if part is not None else None
        parts = held if isinstance(held, list) else []
        part = next(
            (one for one in parts if isinstance(one, dict) and str(one[name]).lower() == id.lower()), None
        )
    value = _object(call, MODELS[len(rest)], part, document)
    if value is None:
        return not_found(
            f"location {document['location_id']} has no {'/'.join(rest) or 'form in OCPI'}"[:200]
        )
    return Answer(value)


def _object(
    call: Call, model: type[OcpiModel], part: Document | None, document: Document
) -> OcpiModel | None:
    if part is None:
        return None
    return as_object(call, "locations", model, decode(msgspec.json.encode(part)), str(document["_id"]))
