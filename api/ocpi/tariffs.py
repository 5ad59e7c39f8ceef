"""The tariffs module as its sender: a partner reads the tariffs of our tenants."""

from __future__ import annotations

from api.ocpi.call import Answer, Call
from api.ocpi.lists import listed
from projections.store import gt, has
from protocols.ocpi import v2_3_0


async def get_list(call: Call) -> Answer:
    # Ranges never match null: tariffs that have a tenant are ours.
    where = (gt("tenant_id", ""), has("versions", call.version))
    return await listed(call, "tariffs", v2_3_0.Tariff, "tariff", where, "created_at")
