"""A tenant's charge points are counted: registered, removed, taken over → its part of the fleet → the tenant."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.fleet import CountChargePoint
from commands.tenant import CountPart
from domain.aggregate import Event
from domain.charge_point.events import ChargePointChanged, ChargePointRegistered, ChargePointRemoved
from domain.fleet import ChargePointCounted, Member


def registered(event: ChargePointRegistered, meta: Meta) -> Sequence[Command]:
    return _counted(event, registered=True, automatic=event.automatic)


def changed(event: ChargePointChanged, meta: Meta) -> Sequence[Command]:
    return _counted(event, registered=True) if event.taken_over else ()


def removed(event: ChargePointRemoved, meta: Meta) -> Sequence[Command]:
    return _counted(event)


def _counted(event: Event, *, registered: bool = False, automatic: bool = False) -> Sequence[Command]:
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    member = Member(version=event.originator_version, registered=registered, automatic=automatic)
    return (CountChargePoint(tenant=tenant, charge_point_id=charge_point_id, member=member),)


def counted(event: ChargePointCounted, meta: Meta) -> Sequence[Command]:
    _, tenant, part = event.originator_id.split("|")
    return (CountPart(tenant=tenant, part=int(part), version=event.originator_version, counts=event.counts),)


POLICIES: dict[type[Event], Policy] = {
    ChargePointRegistered: registered,
    ChargePointChanged: changed,
    ChargePointRemoved: removed,
    ChargePointCounted: counted,
}
