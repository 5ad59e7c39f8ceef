"""The audit (`ocpp_{tenant}.audit`): who asked for what, and what was decided; the platform's own in `chargesphere`.

What enters: one decision, refused or not. What leaves: one insert where somebody asked for it through an API. It
holds no content of commands, so no personal data.
"""

from __future__ import annotations

import msgspec

from domain.access import ROLES
from projections.moment import utc_text
from projections.store import HUB, IndexSpec, Insert, index, tenant_database
from projections.story import DecisionInLog

CALLERS = frozenset((*ROLES, "key"))
"""Who asks through an API is `role:subject`, or `key:id`, in a command's principal; gateways, partners and processes
are named otherwise."""


class _Typed(msgspec.Struct):
    type: str


_typed = msgspec.json.Decoder(_Typed)


def audit_writes(fact: DecisionInLog) -> list[Insert]:
    """None for repeats, which were asked for before."""
    decision = fact.decision
    meta, reply = decision.meta, decision.reply
    caller, colon, _ = meta.principal.partition(":")
    if decision.repeat or not colon or caller not in CALLERS:
        return []
    document = {
        "at": utc_text(fact.written_at),
        "principal": meta.principal,
        "command": decision.command,
        "command_id": meta.command_id,
        "correlation_id": meta.correlation_id or None,
        "aggregate": reply.aggregate,
        "events": [_typed.decode(event).type for event in decision.events],
        "refusal": str(reply.refusal) if reply.refusal is not None else None,
        "message": reply.message or None,
    }
    db = tenant_database(meta.tenant) if meta.tenant else HUB
    place = f"{fact.place.topic}|{fact.place.partition}|{fact.offset}"
    return [Insert(db, "audit", place, msgspec.to_builtins(document))]


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (index(db, "audit", "-at"), index(db, "audit", "principal", "-at"))
