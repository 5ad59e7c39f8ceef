"""CDRs that CPOs posted, among those of ours (`chargesphere.cdrs`), `_id` = `CC*PID|id`, kept for ever.

`owner`, `holder`, `party`, `source`, `receiver_tenant` and `last_updated` as of their sessions; `check` is what the
CDR comes to by our pricing.
"""

from __future__ import annotations

from commands.base import Meta
from domain.foreign_cdr import CdrCheck, ForeignCdr, ForeignCdrChecked, ForeignCdrPosted
from projections.base import Target, View
from projections.moment import utc_text
from projections.readings import number
from projections.store import HUB, Document, IndexSpec, index

ForeignCdrEvent = ForeignCdrPosted | ForeignCdrChecked


def target(event: ForeignCdrEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: ForeignCdrEvent, meta: Meta) -> Document | None:
    """`cdr` is an OCPI 2.3.0 CDR without `cdr_token` and what stands sealed in `private`."""
    if isinstance(event, ForeignCdrPosted):
        bearer = event.bearer
        return {
            "tenant_id": None,
            "receiver_tenant": bearer.tenant or None,
            "source": event.source,
            "owner": str(bearer.owner),
            "holder": bearer.holder or None,
            "party": event.originator_id.split("|")[1],
            "session_id": event.session_id or None,
            "last_updated": utc_text(event.timestamp),
            "cdr_token": bearer.sealed,
            "private": event.private,
            "cdr": event.cdr,
            "explanation": [],
            "warnings": [],
            "check": None,
        }
    if document is None:
        return None
    check = event.check
    return {
        **document,
        "explanation": list(check.explanation),
        "warnings": list(check.warnings),
        "check": _check(check),
    }


def _check(check: CdrCheck) -> Document:
    return {
        "outcome": check.outcome,
        "total_cost": check.total_cost,
        "differences": [
            {
                "path": one.path,
                "stated": None if one.stated is None else number(one.stated),
                "expected": None if one.expected is None else number(one.expected),
                "why": one.why,
            }
            for one in check.differences
        ],
    }


VIEW = View(
    "foreign-cdrs",
    ForeignCdr.kind,
    "cdrs",
    target,
    evolve,
    keep=("delivery",),
    dense=True,
    last=(ForeignCdrChecked,),
)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "cdrs", "receiver_tenant", "-last_updated"),
        index(HUB, "cdrs", "source", "-last_updated"),
    )
