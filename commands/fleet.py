"""What a process asks of a part of a tenant's fleet: to count what became of a charge point, once."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Route
from domain.fleet import ChargePointCounted, Fleet, Member, fleet_aggregate_id, part_of


class CountChargePoint(Command, frozen=True, kw_only=True, tag="fleet.count_charge_point.v1"):
    """This is so of the charge point since the fact with the member's version; an older fact changes nothing."""

    area: ClassVar[Area] = Area.PARTY
    recognised: ClassVar[bool] = True
    tenant: str
    charge_point_id: str
    member: Member

    @property
    def aggregate_id(self) -> str:
        return fleet_aggregate_id(self.tenant, part_of(self.charge_point_id))


def count(fleet: Fleet, command: CountChargePoint, meta: Meta) -> Outcome:
    known = fleet.state.members.get(command.charge_point_id)
    if known is None or known.version < command.member.version:
        fleet.trigger(
            ChargePointCounted,
            meta.at,
            charge_point_id=command.charge_point_id,
            member=command.member,
            counts=fleet.state.counts_with(command.charge_point_id, command.member),
        )
    return Accepted()


ROUTES: dict[type[Command], Route] = {CountChargePoint: Route(Fleet, count)}
