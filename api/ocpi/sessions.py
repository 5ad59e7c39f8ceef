"""The sessions module as its sender: an eMSP reads the sessions of its tokens. The standard requires `date_from`
(chapter Sessions, Sender Interface, GET); who leaves it out gets the whole list, as in every other module."""

from __future__ import annotations

from api.ocpi.call import Answer, Call
from api.ocpi.lists import listed, of_partner
from projections.store import is_in
from protocols.ocpi import v2_3_0

TOLD = ("ACTIVE", "COMPLETED", "PENDING", "RESERVATION")
"""A session whose token was not accepted is INVALID: no partner is told of it."""


async def get_list(call: Call) -> Answer:
    where = (*of_partner(call), is_in("status", TOLD))
    return await listed(call, "sessions", v2_3_0.Session, "session", where, "start_date_time", sealed=True)
