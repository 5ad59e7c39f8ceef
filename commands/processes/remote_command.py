"""A remote command: asked → the charge point is called → answered, refused, lost or too late.

requested → the charge point's group decides whether and where to call · call_sent → sent · call_concluded → the
outcome, and once more where its answer came late · a transaction that the command asked for → its session.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy, Refusal
from commands.charge_point import RequestCall
from commands.remote_command import Conclude, MarkSent, NoteSession
from domain.aggregate import Event
from domain.charge_point.events import CallConcluded, CallSent, TransactionStarted
from domain.remote_command import RemoteCommand, RemoteCommandRequested


def requested(event: RemoteCommandRequested, meta: Meta) -> Sequence[Command]:
    return (
        RequestCall(
            tenant=event.tenant,
            charge_point_id=event.charge_point_id,
            command_id=event.command_id,
            intent=event.intent,
            expires_at=event.expires_at,
            id_tag=event.id_tag,
            authorization=event.authorization,
            override=event.override,
            holder=event.asker.holder if event.asker else "",
        ),
    )


def sent(event: CallSent, meta: Meta) -> Sequence[Command]:
    return (MarkSent(tenant=meta.tenant, command_id=event.command_id, answer_by=event.answer_by),)


def concluded(event: CallConcluded, meta: Meta) -> Sequence[Command]:
    if event.own:
        return ()
    return (
        Conclude(
            tenant=meta.tenant,
            command_id=event.command_id,
            status=event.status,
            reason=event.reason,
            response=event.response,
            obstacle=event.obstacle,
        ),
    )


def call_refused(command_id: str, refusal: Refusal, message: str) -> Sequence[Command]:
    """The charge point's group refused the call; `command_id` is the one that `requested` gave its command."""
    kind, _, name = command_id.partition("|")[2].rpartition("|")[0].rpartition("|")[0].partition("|")
    if kind != RemoteCommand.kind:
        return ()  # nobody's remote command
    tenant, _, id = name.partition("|")
    status = "expired" if refusal is Refusal.EXPIRED else "failed"
    unreached = refusal is Refusal.NOT_CONNECTED
    return (
        Conclude(
            tenant=tenant,
            command_id=id,
            status=status,
            reason=message,
            unreached=unreached,
            obstacle="" if unreached or status == "expired" else "refused",
        ),
    )


def session_began(event: TransactionStarted, meta: Meta) -> Sequence[Command]:
    if not event.remote_command_id:
        return ()
    return (
        NoteSession(tenant=event.tenant, command_id=event.remote_command_id, session_id=event.session_id),
    )


POLICIES: dict[type[Event], Policy] = {
    RemoteCommandRequested: requested,
    CallSent: sent,
    CallConcluded: concluded,
    TransactionStarted: session_began,
}
