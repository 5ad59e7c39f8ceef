"""What can be asked of a tariff: to be what its owner says, and to go.

Each tariff is decided by itself: one owner with many is no single lane. `put_tariff` makes the command from the typed
object.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.tariff import Tariff, TariffPut, TariffRemoved, tariff_aggregate_id
from domain.values import JSONObject, PartyId, plain_json
from protocols.ocpi import dump_json, v2_3_0
from protocols.ocpi.types import to_date_time


class _OfTariff(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.PARTY
    owner: PartyId
    tariff_id: str
    holder: str = ""
    audience: PartyId | None = None

    @property
    def aggregate_id(self) -> str:
        return tariff_aggregate_id(self.owner, self.tariff_id, self.audience)


class PutTariff(_OfTariff, frozen=True, kw_only=True, tag="tariff.put.v1"):
    """The tariff as a whole: an OCPI 2.3.0 Tariff, validated at the edge. `tenant` where the owner is ours, else
    `holder`, the platform that speaks for the owner now: what another one put before counts for nothing. `audience`
    is the party that it is for; None for all."""

    tenant: str = ""
    tariff: JSONObject


class RemoveTariff(_OfTariff, frozen=True, kw_only=True, tag="tariff.remove.v1"):
    """The tariff is not used any more."""


class PutReply(msgspec.Struct, frozen=True):
    """Whether the tariff is new: HTTP 201 instead of 200."""

    created: bool


def put_tariff(
    tariff: v2_3_0.Tariff, tenant: str = "", *, holder: str = "", audience: PartyId | None = None
) -> PutTariff:
    """The command to put this object. Raises ValueError for a number of more than 15 significant digits."""
    return PutTariff(
        owner=PartyId(country_code=tariff.country_code.upper(), party_id=tariff.party_id.upper()),
        tariff_id=tariff.id,
        tenant=tenant,
        holder=holder,
        audience=audience,
        tariff=plain_json(dump_json(tariff)),
    )


def put(tariff: Tariff, command: PutTariff, meta: Meta) -> Outcome:
    """An older object than the one that stands is refused as STALE, which a partner is not told."""
    body, state = command.tariff, tariff.state
    stored = state.tariff if state.holder == command.holder else None
    owner = f"{body.get('country_code', '')}*{body.get('party_id', '')}".upper()
    if owner != str(command.owner) or str(body.get("id", "")).lower() != command.tariff_id.lower():
        return Rejected(
            Refusal.INVALID, f"the tariff's owner and id are not {command.owner} and {command.tariff_id}"
        )
    try:
        last_updated = to_date_time(body.get("last_updated"))
    except ValueError as error:
        return Rejected(Refusal.INVALID, f"last_updated: {error}")
    if stored is not None:
        if last_updated < to_date_time(stored["last_updated"]):
            return Rejected(Refusal.STALE, f"the tariff is known as of {stored['last_updated']}")
        if stored == body:
            return Accepted(PutReply(created=False))
    tariff.trigger(
        TariffPut,
        meta.at,
        owner=command.owner,
        tenant=command.tenant,
        holder=command.holder,
        audience=command.audience,
        tariff=body,
    )
    return Accepted(PutReply(created=stored is None))


def remove(tariff: Tariff, command: RemoveTariff, meta: Meta) -> Outcome:
    if tariff.state.tariff is None or tariff.state.holder != command.holder:
        return Rejected(Refusal.UNKNOWN, f"{command.owner} has no tariff {command.tariff_id[:40]}")
    tariff.trigger(TariffRemoved, meta.at)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    PutTariff: Route(Tariff, put),
    RemoveTariff: Route(Tariff, remove),
}
