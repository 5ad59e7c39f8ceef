"""A tariff of one party, as its owner put it: an OCPI 2.3.0 Tariff object."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import JSONObject, PartyId


def tariff_aggregate_id(owner: PartyId, tariff_id: str) -> str:
    """Ids of OCPI are compared without case."""
    return f"tariff|{owner}|{tariff_id.lower()}"


class TariffState(msgspec.Struct, omit_defaults=True):
    tariff: JSONObject | None = None


class Tariff(Aggregate[TariffState]):
    """`tariff|{owner party}|{id}`."""

    kind: ClassVar[str] = "tariff"
    state_type = TariffState


class TariffPut(Event, frozen=True, kw_only=True, tag="tariff.put.v1"):
    """The tariff as a whole. `tenant` is set where the owner is one of ours."""

    owner: PartyId
    tenant: str = ""
    tariff: JSONObject

    def apply(self, aggregate: Tariff) -> None:
        aggregate.state.tariff = self.tariff


class TariffRemoved(Event, frozen=True, kw_only=True, tag="tariff.removed.v1"):
    """Its owner does not use it any more; CDRs keep the copy that priced them."""

    def apply(self, aggregate: Tariff) -> None:
        aggregate.state.tariff = None


AGGREGATE_EVENTS = (TariffPut, TariffRemoved)
