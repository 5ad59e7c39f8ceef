"""A command of a partner: asked → its token needs no other word of its owner · over → the partner is told.

requested → the token that it names, where we know it, is authorized at that charge point, by the request itself ·
concluded → the CommandResult is to be delivered. What a late answer corrects is told by the session alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.delivery import Want
from commands.token import NoteAuthorization
from domain.aggregate import Event
from domain.delivery import COMMANDS
from domain.partner_command import CommandOutcome
from domain.remote_command import RemoteCommandConcluded, RemoteCommandRequested


def requested(event: RemoteCommandRequested, meta: Meta) -> Sequence[Command]:
    known = event.authorization
    if event.asker is None or known is None or known.owner is None or not known.token_version:
        return ()
    return (
        NoteAuthorization(
            owner=known.owner,
            key=known.token_id.rpartition("|")[2],
            allowed="ALLOWED",
            authorization_reference=known.authorization_reference,
            for_tenant=event.tenant,
            charge_point_id=event.charge_point_id,
            commanded=True,
        ),
    )


def concluded(event: RemoteCommandConcluded, meta: Meta) -> Sequence[Command]:
    if event.asker is None or event.late:
        return ()
    _, tenant, command_id = event.originator_id.split("|", 2)
    return (
        Want(
            to=event.asker.party,
            module=COMMANDS,
            object_id=command_id,
            tenant=tenant,
            version=event.originator_version,
            outcome=CommandOutcome(
                asker=event.asker,
                status=event.status,
                reason=event.reason,
                unreached=event.unreached,
                obstacle=event.obstacle,
            ),
        ),
    )


POLICIES: dict[type[Event], Policy] = {
    RemoteCommandRequested: requested,
    RemoteCommandConcluded: concluded,
}
