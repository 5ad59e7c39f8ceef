"""The CDRs module as its sender: an eMSP reads the CDRs of its tokens."""

from __future__ import annotations

from api.ocpi.call import Answer, Call
from api.ocpi.lists import listed, of_partner
from protocols.ocpi import v2_3_0


async def get_list(call: Call) -> Answer:
    return await listed(call, "cdrs", v2_3_0.CDR, "cdr", of_partner(call), "last_updated", sealed=True)
