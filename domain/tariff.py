"""A tariff of one party, as its owner put it: an OCPI 2.3.0 Tariff object, for all or for one party."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import JSONObject, PartyId


def tariff_aggregate_id(owner: PartyId, tariff_id: str, audience: PartyId | None = None) -> str:
    """Ids of OCPI are compared without case. What an owner says to one party is another tariff than what it says to
    all."""
    place = f"{owner}>{audience}" if audience is not None else str(owner)
    return f"tariff|{place}|{tariff_id.lower()}"


class TariffState(msgspec.Struct, omit_defaults=True):
    tariff: JSONObject | None = None
    holder: str = ""


class Tariff(Aggregate[TariffState]):
    """`tariff|{owner party}|{id}`, `tariff|{owner party}>{audience}|{id}`."""

    kind: ClassVar[str] = "tariff"
    state_type = TariffState


class TariffPut(Event, frozen=True, kw_only=True, tag="tariff.put.v1"):
    """The tariff as a whole. `tenant` is set where the owner is one of ours, else `holder`: the platform that spoke
    for the owner (`domain.partner.holder_text`). `audience` is the party that it is for; None for all."""

    owner: PartyId
    tenant: str = ""
    holder: str = ""
    audience: PartyId | None = None
    tariff: JSONObject

    def apply(self, aggregate: Tariff) -> None:
        aggregate.state.tariff, aggregate.state.holder = self.tariff, self.holder


class TariffRemoved(Event, frozen=True, kw_only=True, tag="tariff.removed.v1"):
    """Its owner does not use it any more; CDRs keep the copy that priced them."""

    def apply(self, aggregate: Tariff) -> None:
        aggregate.state.tariff = None


AGGREGATE_EVENTS = (TariffPut, TariffRemoved)
