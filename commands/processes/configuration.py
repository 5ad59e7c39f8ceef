"""A charge point's configuration: after an accepted boot, and at a connection of one that never told it, it is asked.

booted, connected → GetConfiguration of everything, whatever feature profiles it is known to have. The charge point's
group calls it at most once an hour, so that one that boots over and over is not asked each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from commands.base import Command, Meta, Policy
from commands.charge_point import RequestCall
from domain.aggregate import Event
from domain.charge_point.events import Booted, Connected

PATIENCE = timedelta(minutes=2)


def booted(event: Booted, meta: Meta) -> Sequence[Command]:
    return (_ask(event),) if event.status == "Accepted" else ()


def connected(event: Connected, meta: Meta) -> Sequence[Command]:
    return (_ask(event),) if event.unconfigured else ()


def _ask(event: Event) -> RequestCall:
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    return RequestCall(
        tenant=tenant,
        charge_point_id=charge_point_id,
        command_id=f"configuration-{event.originator_version}",
        action="GetConfiguration",
        payload={},
        expires_at=event.timestamp + PATIENCE,
        override=True,
        own=True,
    )


POLICIES: dict[type[Event], Policy] = {Booted: booted, Connected: connected}
