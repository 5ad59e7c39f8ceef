"""Remote commands (`ocpp_{tenant}.commands`): what was asked and what became of it, by command id.

One that is over goes a fixed time later (`projections.retention`).
"""

from __future__ import annotations

from commands.base import Meta
from commands.remote_command_request import parameters_of
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


VIEW = View("remote-commands", RemoteCommand.kind, "commands", target, evolve, dense=True)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "commands", "-created_at"),
        index(db, "commands", "charge_point_id", "-created_at"),
        expiry(db, "commands", "over_at", KEEP_S),
    )
