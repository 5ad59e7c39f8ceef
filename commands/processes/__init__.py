"""Process managers: what follows from a fact. Events of one aggregate enter, commands for others leave.

Each policy is a pure function; its commands may be sent twice and in any order between aggregates, and have the
same effect. The table of all policies stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from commands.base import Command, Policy, Refusal
from commands.charge_point.models import RequestCall
from commands.processes import (
    charging_session,
    fleet,
    job,
    location,
    partner_command,
    remote_command,
    tag,
    tenant,
)
from domain.aggregate import Event

Policies = Mapping[type[Event], Sequence[tuple[str, Policy]]]


def _together(**tables: Mapping[type[Event], Policy]) -> Policies:
    out: dict[type[Event], list[tuple[str, Policy]]] = {}
    for name, table in tables.items():
        for event, policy in table.items():
            out.setdefault(event, []).append((name, policy))
    return out


POLICIES = _together(
    charging_session=charging_session.POLICIES,
    remote_command=remote_command.POLICIES,
    tenant=tenant.POLICIES,
    tag=tag.POLICIES,
    fleet=fleet.POLICIES,
    job=job.POLICIES,
    partner_command=partner_command.POLICIES,
    location=location.POLICIES,
)
REFUSALS: Mapping[type[Command], Callable[[str, Refusal, str], Sequence[Command]]] = {
    RequestCall: remote_command.call_refused
}
"""What follows when a command that a policy sent is refused."""
