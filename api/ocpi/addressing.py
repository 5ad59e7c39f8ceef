"""Routing headers and roles of a request: whether the partner may make it, and whether it can reach whom it is for.

To the hub, to nobody in particular, or to a party of one of our tenants: it is served here. What CPOs push is `KEPT`
here for another platform's party too, which gets it or reads it. Of other modules the hub routes nothing between
platforms yet: what another one should get is refused, never acknowledged and dropped.
"""

from __future__ import annotations

from typing import Final

from api.ocpi.call import Answer, Call, invalid, not_found, refused
from projections.store import HUB, Query, eq, has
from protocols.ocpi.access import BROADCAST, Rule
from protocols.ocpi.envelope import PartyId, StatusCode

KEPT: Final = frozenset({"locations", "tariffs", "sessions", "cdrs"})
"""Modules whose objects are kept here for whom they are for."""
OF_ONE: Final = frozenset({"sessions", "cdrs"})
"""Modules whose objects concern one party alone: none is for all (chapter Hub, Broadcast Push)."""
ANSWERED_FOR: Final = frozenset({("sender", "tokens")})
"""What the hub answers in the place of other platforms."""


def party_text(party: PartyId) -> str:
    """`CC*PID` in upper case."""
    return "*".join(party.key)


async def wrong_route(call: Call, rule: Rule) -> Answer | None:
    """What is wrong with the routing headers.

    2001: a sender that is not the partner's, a call that is not made to the hub, or a push to all of what concerns
    one. 4001: no such receiver, or a push without one (open routing) that others should get. 4000: a push to all that
    others should get.
    """
    sender, to = call.routing.sender, call.routing.to
    if sender is not None and party_text(sender) not in call.access.parties:
        return invalid(f"OCPI-from: {party_text(sender)} is no party of this platform")
    to_hub = to is not None and party_text(to) == str(call.ports.hub)
    writes = call.method not in ("GET", "HEAD")
    if to_hub and writes == (rule.interface == "sender"):
        return invalid(f"OCPI-to: {call.method} at a {rule.interface} is for one party; the hub is none")
    if to_hub and writes and rule.module in OF_ONE:
        return invalid(f"OCPI-to: {rule.module} are for one party: name it, or nobody")
    if to is None or to_hub:
        if not writes or rule.module in KEPT or not await _others(call, rule):
            return None
        code = StatusCode.HUB_ERROR if to_hub else StatusCode.UNKNOWN_RECEIVER
        message = "the hub does not push to other platforms; name the party that it is for in OCPI-to"
        return Answer(status_code=code, message=message)
    page = await call.ports.store.find(Query(HUB, "tenants", (eq("party", party_text(to)),), limit=1))
    kept = rule.module in KEPT or (rule.interface, rule.module) in ANSWERED_FOR
    if page.items or (kept and await _is_spoken_for(call, party_text(to))):
        return None
    return Answer(
        status_code=StatusCode.UNKNOWN_RECEIVER,
        message=f"{party_text(to)} cannot be reached by this module here",
    )


def wrong_role(call: Call, rule: Rule) -> Answer | None:
    """A party of the partner may play another role than this call is for: 404 for an object of its own (it does not
    exist in that role), else OCPI 2000."""
    allowed, wanted = rule.allowed, " or ".join(sorted(rule.allowed))
    able = {party for role, party in call.access.roles if role in allowed}
    if rule.owned:
        country_code, party_id = call.segments[2:4]
        owner = f"{country_code}*{party_id}".upper()
        if owner in call.access.parties and owner not in able:
            return not_found(f"{owner} is no {wanted} here")
    sender = call.routing.sender
    if sender is not None and party_text(sender) not in able:
        return refused(f"{rule.module}: {party_text(sender)} is no {wanted} here")
    return None if able else refused(f"{rule.module} is for {wanted}; this platform is none")


def only_party(call: Call) -> str | None:
    """The party of ours that was asked; None where it is all of them."""
    to = call.routing.to
    return None if to is None or party_text(to) == str(call.ports.hub) else party_text(to)


async def _is_spoken_for(call: Call, party: str) -> bool:
    page = await call.ports.store.find(Query(HUB, "partners", (has("parties", party),), limit=1))
    return bool(page.items)


async def _others(call: Call, rule: Rule) -> bool:
    """Whether another platform should get what is pushed to all."""
    for role in {role for role, _ in call.access.roles}:
        for receiver in BROADCAST.get((rule.module, role), frozenset()):
            where = (eq("status", "CONNECTED"), has("receives", f"{receiver}|{rule.module}"))
            page = await call.ports.store.find(Query(HUB, "partners", where, limit=2))
            if any(partner["_id"] != call.access.partner_id for partner in page.items):
                return True
    return False
