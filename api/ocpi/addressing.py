"""Routing headers of a request: who sends it must be a party of the partner, and who shall get it one that is here.

To the hub, to nobody in particular, or to a party of one of our tenants: it is served here.
"""

from __future__ import annotations

from api.ocpi.call import Answer, Call, invalid
from projections.store import HUB, Query, eq
from protocols.ocpi.envelope import PartyId, StatusCode


def party_text(party: PartyId) -> str:
    """`CC*PID` in upper case."""
    return "*".join(party.key)


async def wrong_route(call: Call) -> Answer | None:
    """What is wrong with the routing headers: 2001 for a sender that is not the partner's, 4001 for no receiver."""
    sender, to = call.routing.sender, call.routing.to
    if sender is not None and party_text(sender) not in call.access.parties:
        return invalid(f"OCPI-from: {party_text(sender)} is no party of this platform")
    if to is None or party_text(to) == str(call.ports.hub):
        return None
    page = await call.ports.store.find(Query(HUB, "tenants", (eq("party", party_text(to)),), limit=1))
    if page.items:
        return None
    return Answer(
        status_code=StatusCode.UNKNOWN_RECEIVER,
        message=f"{party_text(to)} cannot be reached by this module here",
    )


def only_party(call: Call) -> str | None:
    """The party of ours that was asked; None where it is all of them."""
    to = call.routing.to
    return None if to is None or party_text(to) == str(call.ports.hub) else party_text(to)
