"""Sessions that CPOs pushed, among those that OCPI shows (`chargesphere.sessions`), `_id` = `CC*PID|id`.

`owner` and `holder` are of the token, as of our own sessions; `party` is the CPO, `source` the platform that pushed
it, `receiver_tenant` one of ours whose token it is. `last_updated` is when the change came here, so that who pulls
what is new since the last time gets what was late; the object's own stands in it, untouched.
"""

from __future__ import annotations

from typing import Final

from commands.base import Meta
from domain.bearer import Bearer
from domain.foreign_session import (
    ForeignSession,
    ForeignSessionBegun,
    ForeignSessionEnded,
    ForeignSessionPatched,
    ForeignSessionPut,
    merged,
)
from domain.values import PartyId
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, Document, IndexSpec, index

ForeignSessionEvent = ForeignSessionBegun | ForeignSessionPut | ForeignSessionPatched | ForeignSessionEnded

DECLARED_INVALID: Final = "DECLARED_INVALID"
"""How an INVALID session of others is found: its eMSP was told that it ran. One of ours never ran for it."""


def foreign_document_id(owner: PartyId, id: str) -> str:
    """Where a session or CDR of others stands."""
    return f"{owner}|{id.lower()}"


def target(event: ForeignSessionEvent, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: ForeignSessionEvent, meta: Meta) -> Document | None:
    """`session` is an OCPI 2.3.0 Session without `cdr_token`, which stands sealed beside it."""
    at = utc_text(event.timestamp)
    if isinstance(event, ForeignSessionBegun | ForeignSessionPut):
        created = document["start_date_time"] if document and not event.begins else at
        return {
            "tenant_id": None,
            "party": event.originator_id.split("|")[1],
            "source": event.source,
            **_told(event.bearer),
            "status": _found_by(event.session["status"]),
            "start_date_time": created,
            "last_updated": at,
            "session": event.session,
        }
    if document is None or isinstance(event, ForeignSessionEnded):
        return document
    before = document["session"]
    session = merged(before if isinstance(before, dict) else {}, event)
    return {
        **document,
        **(_told(event.bearer) if event.bearer is not None else {}),
        "status": _found_by(session["status"]),
        "last_updated": at,
        "session": session,
    }


def _found_by(status: str) -> str:
    return DECLARED_INVALID if status == "INVALID" else status


def _told(bearer: Bearer) -> Document:
    return {
        "owner": str(bearer.owner),
        "holder": bearer.holder or None,
        "receiver_tenant": bearer.tenant or None,
        "cdr_token": bearer.sealed,
    }


VIEW = View(
    "foreign-sessions",
    ForeignSession.kind,
    "sessions",
    target,
    evolve,
    dense=True,
    last=(ForeignSessionEnded,),
)


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "sessions", "receiver_tenant", "-last_updated"),
        index(HUB, "sessions", "source", "-last_updated"),
    )
