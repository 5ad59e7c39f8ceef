"""Remote commands (`ocpp_{tenant}.commands`): what was asked and what became of it, by command id.

`ocpi` is the command of OCPI by which a partner asked, and the delivery that tells it what became of it.
One that is over goes a fixed time later (`projections.retention`).
"""

from __future__ import annotations

from commands.base import Meta
from commands.remote_command_request import parameters_of
from domain.delivery import COMMANDS, delivery_id
from domain.remote_command import (
    RemoteCommand,
    RemoteCommandConcluded,
    RemoteCommandRequested,
    RemoteCommandSent,
    SessionBegan,
)
from projections.base import Target, View
from projections.moment import utc_text
from projections.retention import KEEP_S, unless_gone
from projections.store import Document, IndexSpec, expiry, index, tenant_database

RemoteEvent = RemoteCommandRequested | RemoteCommandSent | RemoteCommandConcluded | SessionBegan


def target(event: RemoteEvent, meta: Meta) -> Target:
    _, tenant, command_id = event.originator_id.split("|", 2)
    return Target(tenant_database(tenant), command_id)


def evolve(document: Document | None, event: RemoteEvent, meta: Meta) -> Document | None:
    at = utc_text(event.timestamp)
    if isinstance(event, RemoteCommandRequested):
        return {
            "command_id": event.command_id,
            "command_type": event.command_type,
            "charge_point_id": event.charge_point_id,
            "parameters": parameters_of(event.intent),
            "requested_by": event.by,
            "expires_at": utc_text(event.expires_at),
            "warning": event.warning or None,
            "ocpi": _asked(event),
            "status": "pending",
            "reason": None,
            "response": None,
            "session_id": None,
            "correlation_id": meta.correlation_id,
            "created_at": at,
            "updated_at": at,
            "over_at": None,
        }
    there = unless_gone(document, event.timestamp)
    if there is None:
        return None
    out = {**there, "updated_at": at}
    if isinstance(event, RemoteCommandSent):
        out["status"] = "sent"
    elif isinstance(event, RemoteCommandConcluded):
        out |= {"status": event.status, "reason": event.told_reason or None, "response": event.response}
        out["over_at"] = at
    else:
        out["session_id"] = event.session_id
    return out


def _asked(event: RemoteCommandRequested) -> Document | None:
    asker = event.asker
    if asker is None:
        return None
    return {
        "command": asker.command,
        "partner_id": asker.partner_id,
        "party": str(asker.party),
        "of": str(asker.of),
        "delivery": delivery_id(asker.party, COMMANDS, event.command_id).partition("|")[2],
    }


VIEW = View("remote-commands", RemoteCommand.kind, "commands", target, evolve, dense=True)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "commands", "-created_at"),
        index(db, "commands", "charge_point_id", "-created_at"),
        index(db, "commands", "ocpi.partner_id", "-created_at"),
        expiry(db, "commands", "over_at", KEEP_S),
    )
