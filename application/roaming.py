"""What a roaming authorization needs from the read models beside the token: who speaks for its owner, which eMSP a
tenant prefers, and where the driver stands. It decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from application.batched_reads import BatchedReads
from domain.tenant import Configuration
from domain.values import PartyId
from projections.store import HUB, Document, Query, ReadStore, StoreUnavailableError, every, tenant_database
from projections.tenant import configuration_of

KEPT_FOR: Final = 2.0
PAGE: Final = 500


class Place(NamedTuple):
    """Where a token was shown: the tenant's party (None: it has none), the location and its EVSEs."""

    party: PartyId | None = None
    location_id: str = ""
    evse_uids: tuple[str, ...] = ()


class Holders:
    """Which platform speaks for each party now, kept for two seconds."""

    def __init__(self, store: ReadStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._reads = BatchedReads(self._read)
        self._kept: Mapping[str, str] = {}
        self._until = 0.0

    async def now(self) -> Mapping[str, str]:
        """Party → holder (`domain.partner.holder_text`). Raises StoreUnavailableError where it has to be read."""
        if self._clock() < self._until:
            return self._kept
        return await self._reads.get("") or {}

    async def _read(self, asked: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        """The partners, once for all who ask while it is read."""
        if self._clock() >= self._until:
            found: dict[str, str] = {}
            async for partner in every(self._store, Query(HUB, "partners", limit=PAGE)):
                parties = partner["parties"]
                for party in parties if isinstance(parties, list) else ():
                    found[str(party)] = str(partner["holder"])
            self._kept, self._until = found, self._clock() + KEPT_FOR
        return dict.fromkeys(asked, self._kept)


class Tenants:
    """Settings and charge points, read when a token's owner is asked or contested; those of a herd together."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self._known: dict[str, Configuration] = {}
        self._documents = BatchedReads(lambda ids: store.get_many(HUB, "tenants", ids))
        self._charge_points: dict[str, BatchedReads[Document]] = {}

    async def order(self, tenant: str) -> Sequence[str]:
        """The eMSPs that the tenant prefers; while the store is away, as they were last seen."""
        configuration = await self._configuration(tenant)
        return configuration.roaming_owners if configuration is not None else ()

    async def place(self, tenant: str, charge_point_id: str) -> Place:
        """Where the charge point stands; what cannot be read now is left out."""
        configuration, document = await asyncio.gather(
            self._configuration(tenant), self._charge_point(tenant, charge_point_id)
        )
        party = configuration.ocpi.id if configuration is not None and configuration.ocpi else None
        if document is None:
            return Place(party)
        evses = document.get("evses")
        uids = (
            [str(evse["uid"]) for evse in evses if isinstance(evse, dict)] if isinstance(evses, list) else []
        )
        return Place(party, str(document.get("location_id") or ""), tuple(uids))

    async def _charge_point(self, tenant: str, charge_point_id: str) -> Document | None:
        reads = self._charge_points.get(tenant)
        if reads is None:
            database = tenant_database(tenant)
            reads = BatchedReads(lambda ids: self._store.get_many(database, "charge_points", ids))
            self._charge_points[tenant] = reads
        try:
            return await reads.get(charge_point_id)
        except StoreUnavailableError:
            return None

    async def _configuration(self, tenant: str) -> Configuration | None:
        try:
            document = await self._documents.get(tenant)
        except StoreUnavailableError:
            return self._known.get(tenant)
        if document is not None:
            self._known[tenant] = configuration_of(document)
        return self._known.get(tenant)
