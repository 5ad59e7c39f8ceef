"""A charge point says where it stands → the Location of that site hears it."""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Command, Meta, Policy
from commands.location import NoteSite
from domain.aggregate import Event
from domain.charge_point.events import ChargePointChanged, ChargePointRegistered
from domain.location import Said, is_place


def placed(event: ChargePointRegistered | ChargePointChanged, meta: Meta) -> Sequence[Command]:
    """What is not enough for a Location makes none."""
    if not is_place(event.site):
        return ()
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    said = Said(charge_point_id=charge_point_id, at=event.timestamp, site=event.site)
    return (NoteSite(tenant=tenant, location_id=event.site.id, said=said),)


POLICIES: dict[type[Event], Policy] = {ChargePointRegistered: placed, ChargePointChanged: placed}
