"""The hub client info module as its sender: which parties stand behind the hub, and whether they can be reached.

The parties of our tenants, and those of other partners in the roles that count. It is no functional module: nothing
is routed. `last_updated` is when a party's status or role changed; pages are in the order in which platforms came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice

from api.ocpi.call import Answer, Call
from projections.moment import utc_text
from projections.store import HUB, Query, Sort, every, objects
from protocols.ocpi import parse_json, v2_2_1, v2_3_0
from protocols.ocpi.envelope import page_headers, read_page
from protocols.ocpi.types import JSON, OcpiModel
from protocols.ocpi.v2_2_1.enums import Role as OldRole
from protocols.ocpi.v2_3_0.enums import Role as NewRole

_ALL = 500
"""Platforms that are read at once."""
_ROLES = frozenset(role.value for role in NewRole)
_OLD_ROLES = frozenset(role.value for role in OldRole)


async def get_list(call: Call) -> Answer:
    ports = call.ports
    page = read_page(call.query, max_limit=ports.max_page)
    begin, end = utc_text(page.date_from), utc_text(page.date_to)
    found = [
        body
        async for body in _parties(call)
        if (begin is None or str(body["last_updated"]) >= begin)
        and (end is None or str(body["last_updated"]) < end)
    ]
    shown = [_object(call.version, body) for body in islice(found, page.offset, page.offset + page.limit)]
    headers = page_headers(
        f"{ports.public_url}{call.path}", call.query, page, total=len(found), max_limit=ports.max_page
    )
    return Answer(shown, headers=headers)


async def _parties(call: Call) -> AsyncIterator[dict[str, JSON]]:
    store = call.ports.store
    async for tenant in every(store, Query(HUB, "tenants", (), (Sort("created_at"),), _ALL)):
        if isinstance(tenant["party"], str):
            yield _info(tenant["party"], "CPO", "CONNECTED", tenant["updated_at"])
    async for partner in every(store, Query(HUB, "partners", (), (Sort("created_at"),), _ALL)):
        if partner["_id"] == call.access.partner_id:
            continue
        for role in objects(partner["roles"]):
            party = f"{role['country_code']}*{role['party_id']}"
            yield _info(party, str(role["role"]), str(partner["status"]), partner["status_at"])


def _info(party: str, role: str, status: str, since: object) -> dict[str, JSON]:
    country_code, _, party_id = party.partition("*")
    return {
        "party_id": party_id,
        "country_code": country_code,
        "role": role,
        "status": status,
        "last_updated": str(since),
    }


def _object(version: str, body: dict[str, JSON]) -> OcpiModel:
    """A role that the version does not have is OTHER in it."""
    model, roles = (v2_2_1.ClientInfo, _OLD_ROLES) if version == "2.2.1" else (v2_3_0.ClientInfo, _ROLES)
    return parse_json(model, body if body["role"] in roles else {**body, "role": "OTHER"})
