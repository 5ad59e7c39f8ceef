"""Tenants, charge points and tariffs, read from the read models with a cache of some seconds.

In: ids. Out: what the gateway's ports promise. While the read store is away, what was read before still serves, so
that charge points go on being served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from application.batched_reads import BatchedReads
from application.cache import Cache
from application.ports import Directory, DirectoryUnavailableError, RegisteredChargePoint, Tariffs, Tenant
from domain.charge_point.wanted import mark_of, wishes_of
from domain.location import location_key
from domain.tenant import Configuration
from domain.values import Evse, JSONObject, PartyId
from projections.charge_point import credentials_id
from projections.location import master_of, site_of_master
from projections.store import (
    HUB,
    Document,
    Query,
    ReadStore,
    StoreUnavailableError,
    eq,
    every,
    gt,
    is_in,
    tenant_database,
)
from projections.tariff import tariff_document_id
from projections.tenant import configuration_of

TENANT_TTL, CHARGE_POINT_TTL, TARIFF_TTL = 10.0, 5.0, 10.0
LEARNED_FOR = 30.0
"""How long what this process did itself is believed before the read models must show it."""


_PREFIXES = "prefixes"
_PAGE = 500


class StoreDirectory(Directory):
    """Over `chargesphere.tenants`, `chargesphere.credentials` and `ocpp_{tenant}.charge_points`."""

    def __init__(self, store: ReadStore, hub: PartyId) -> None:
        self._store = store
        self._hub = hub
        self._tenants: Cache[Tenant] = Cache(TENANT_TTL)
        self._reading = BatchedReads(self._read_tenants)
        self._prefixes: Cache[dict[str, str]] = Cache(TENANT_TTL)
        self._charge_points: Cache[RegisteredChargePoint] = Cache(CHARGE_POINT_TTL)
        self._readers: dict[str, BatchedReads[RegisteredChargePoint]] = {}
        self._holders: Cache[tuple[str, ...]] = Cache(CHARGE_POINT_TTL)
        self._holding = BatchedReads(self._read_holders)

    async def tenant(self, id: str) -> Tenant | None:
        return await self._tenants.get(id, lambda: self._reading.get(id))

    async def tenants_of(self, charge_point_id: str) -> Sequence[Tenant]:
        """Who is registered somewhere stays there; only who is nobody's is found by the prefix of its id.

        Of several tenants that know the id it is the prefix's, if that one knew it first: who registers a foreign
        id keeps nobody away.
        """
        holders = await self._holders.get(charge_point_id, lambda: self._holding.get(charge_point_id)) or ()
        if len(holders) != 1:
            owner = await self._owner_of_prefix(charge_point_id)
            if not holders:
                holders = (owner,) if owner else ()
            elif owner in holders and owner == await self._first(holders, charge_point_id):
                holders = (owner,)
        found = [await self.tenant(id) for id in holders]
        return [tenant for tenant in found if tenant is not None]

    async def _owner_of_prefix(self, charge_point_id: str) -> str:
        """No prefix lies within another's, so there is one at most."""
        prefixes = await self._prefixes.get(_PREFIXES, self._read_prefixes) or {}
        lengths = range(len(charge_point_id), 0, -1)
        return next((id for n in lengths if (id := prefixes.get(charge_point_id[:n], ""))), "")

    async def _first(self, holders: Sequence[str], charge_point_id: str) -> str:
        """Which of the tenants knew the id before all others; empty where that cannot be said."""
        try:
            found = await asyncio.gather(
                *(self._store.get(tenant_database(id), "charge_points", charge_point_id) for id in holders)
            )
        except StoreUnavailableError:
            raise DirectoryUnavailableError from None
        since = sorted(
            (str(document["created_at"]), id)
            for id, document in zip(holders, found, strict=True)
            if document is not None
        )
        return since[0][1] if len(since) == len(holders) and since[0][0] < since[1][0] else ""

    async def charge_point(self, tenant: str, charge_point_id: str) -> RegisteredChargePoint | None:
        reader = self._readers.get(tenant)
        if reader is None:

            async def read(ids: Sequence[str]) -> dict[str, RegisteredChargePoint]:
                return await self._read_charge_points(tenant, ids)

            reader = self._readers[tenant] = BatchedReads(read)
        key = credentials_id(tenant, charge_point_id)
        return await self._charge_points.get(key, lambda: reader.get(charge_point_id))

    async def connected_on(self, node: str) -> AsyncIterator[tuple[str, str, int]]:
        try:
            async for tenant in every(self._store, Query(HUB, "tenants", limit=_PAGE)):
                id = str(tenant["_id"])
                connected = Query(
                    tenant_database(id), "charge_points", where=(eq("connected", True),), limit=_PAGE
                )
                async for document in every(self._store, connected):
                    connection = document["connection"]
                    if isinstance(connection, dict) and connection["node"] == node:
                        epoch = connection["epoch"]
                        yield id, str(document["_id"]), epoch if isinstance(epoch, int) else 0
        except StoreUnavailableError:
            raise DirectoryUnavailableError from None

    def learn(self, tenant: str, listed: RegisteredChargePoint) -> None:
        self._charge_points.put(credentials_id(tenant, listed.charge_point_id), listed, LEARNED_FOR)

    async def _read_tenants(self, ids: Sequence[str]) -> dict[str, Tenant]:
        documents = await self._store.get_many(HUB, "tenants", ids)
        return {id: tenant_of_document(document, self._hub) for id, document in documents.items()}

    async def _read_charge_points(self, tenant: str, ids: Sequence[str]) -> dict[str, RegisteredChargePoint]:
        documents, secrets = await asyncio.gather(
            self._store.get_many(tenant_database(tenant), "charge_points", ids),
            self._store.get_many(HUB, "credentials", [credentials_id(tenant, id) for id in ids]),
        )
        keys = {id: location_key(None, tenant, str(one["location_id"])) for id, one in documents.items()}
        locations = await self._store.get_many(HUB, "locations", set(keys.values()))
        # Without its credentials it is not known yet: no password would mean that none is asked for.
        return {
            id: charge_point_of_documents(document, secret, locations.get(keys[id]))
            for id, document in documents.items()
            if (secret := secrets.get(credentials_id(tenant, id))) is not None
        }

    async def _read_holders(self, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The tenants that know each id."""
        found: dict[str, list[str]] = {}
        where = (is_in("charge_point_id", ids),)
        async for document in every(self._store, Query(HUB, "credentials", where=where, limit=_PAGE)):
            found.setdefault(str(document["charge_point_id"]), []).append(str(document["tenant_id"]))
        return {id: tuple(tenants) for id, tenants in found.items()}

    async def _read_prefixes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async for document in every(
            self._store, Query(HUB, "tenants", where=(gt("id_prefix", ""),), limit=_PAGE)
        ):
            found.setdefault(str(document["id_prefix"]), str(document["_id"]))
        return found


class StoreTariffs(Tariffs):
    """Over `chargesphere.tariffs`: the tariffs of the tenant's own party."""

    def __init__(self, store: ReadStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory
        self._tariffs: Cache[JSONObject] = Cache(TARIFF_TTL)

    async def snapshot(self, tenant: str, tariff_ids: Sequence[str]) -> list[JSONObject]:
        """While the store is away: those that were read before."""
        found: list[JSONObject] = []
        for tariff_id in tariff_ids:
            try:
                tariff = await self._tariff(tenant, tariff_id)
            except DirectoryUnavailableError:
                continue
            if tariff is not None:
                found.append(tariff)
        return found

    async def _tariff(self, tenant: str, tariff_id: str) -> JSONObject | None:
        owner = await self._directory.tenant(tenant)
        if owner is None:
            return None
        id = tariff_document_id(owner.settings.party, tariff_id)

        async def read() -> JSONObject | None:
            document = await self._store.get(HUB, "tariffs", id)
            own = document is not None and document["tenant_id"] == tenant
            body = document["tariff"] if document is not None and own else None
            return body if isinstance(body, dict) else None

        return await self._tariffs.get(id, read)


def tenant_of_document(document: Document, hub: PartyId) -> Tenant:
    """A tenant as its document says it is; its version is the revision of its settings."""
    configuration: Configuration = configuration_of(document)
    version = document["version"]
    wishes = wishes_of(configuration.charge_point_configuration)
    return Tenant(
        id=str(document["_id"]),
        settings=configuration.settings(version if isinstance(version, int) else 0, hub),
        active=document.get("status") == "active",
        auto_register=configuration.auto_register,
        default_location=configuration.default_location,
        id_prefix=configuration.id_prefix,
        lenient=configuration.validation == "lenient",
        relay_every=configuration.session_update_seconds,
        heartbeat_interval=configuration.heartbeat_interval,
        wishes=wishes,
        wishes_mark=mark_of(wishes),
        call_timeout=float(configuration.message_timeouts.call_seconds),
        default_tariff_id=configuration.default_tariff_id,
        messages_per_second=float(configuration.ocpp_rate_limit),
        queue_enabled=configuration.queue_enabled,
        worker_pool_size=configuration.worker_pool_size,
    )


def charge_point_of_documents(
    document: Document, secret: Document, location: Document | None = None
) -> RegisteredChargePoint:
    """A charge point as its documents say it is."""
    master = master_of(location) if location is not None else None
    return RegisteredChargePoint(
        charge_point_id=str(document["_id"]),
        password_hash=str(secret.get("password_hash") or ""),
        alternative_hash=str(secret.get("alternative_hash") or ""),
        evses=msgspec.convert(document["evses"], tuple[Evse, ...]),
        automatic=document.get("automatic") is True,
        new=document.get("last_seen") is None,
        site=site_of_master(master) if master is not None else None,
    )
