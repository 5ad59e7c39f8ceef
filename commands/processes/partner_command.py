"""A command of a partner is over → the partner is told.

concluded → its CommandResult is to be delivered. What a late answer corrects knows no asker any more, and is told by
the session alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.delivery import Want
from domain.aggregate import Event
from domain.delivery import COMMANDS
from domain.partner_command import CommandOutcome
from domain.remote_command import RemoteCommandConcluded


def concluded(event: RemoteCommandConcluded, meta: Meta) -> Sequence[Command]:
    if event.asker is None:
        return ()
    _, tenant, command_id = event.originator_id.split("|", 2)
    return (
        Want(
            to=event.asker.party,
            module=COMMANDS,
            object_id=command_id,
            tenant=tenant,
            version=event.originator_version,
            result=CommandOutcome(
                asker=event.asker,
                status=event.status,
                reason=event.reason,
                unreached=event.unreached,
                obstacle=event.obstacle,
            ),
        ),
    )


POLICIES: dict[type[Event], Policy] = {RemoteCommandConcluded: concluded}
