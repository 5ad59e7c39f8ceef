"""Which platform speaks for a party, and how it is spoken to: read from the read model, kept for two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from domain.values import PartyId
from gateway.ocpi.client import Peer
from projections.store import HUB, Document, Query, ReadStore, eq, has

KEPT_FOR = 2.0


class Opener(Protocol):
    """Opens sealed texts; `streams.vault.Vault`."""

    async def open(self, sealed: str) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Platform:
    """A connected partner: its token with us, its OCPI version and its endpoints by (module, role)."""

    partner_id: str
    version: str
    peer: Peer
    endpoints: dict[tuple[str, str], str]

    def endpoint(self, module: str, role: str) -> str | None:
        """The URL of an endpoint without its trailing slash."""
        url = self.endpoints.get((module, role))
        return url.rstrip("/") if url else None


class Partners:
    """Raises StoreUnavailable while the read store is away and nothing was kept."""

    def __init__(self, store: ReadStore, vault: Opener, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._kept: dict[str, tuple[float, Platform | None]] = {}

    async def of_party(self, party: PartyId) -> Platform | None:
        """The connected platform of a party; None where there is none, or it is suspended."""
        name = str(party)
        kept = self._kept.get(name)
        now = self._clock()
        if kept is not None and now - kept[0] < KEPT_FOR:
            return kept[1]
        query = Query(HUB, "partners", (has("parties", name), eq("status", "CONNECTED")), limit=1)
        found = (await self._store.find(query)).items
        platform = await self._platform(found[0]) if found else None
        self._kept[name] = (now, platform)
        return platform

    async def _platform(self, document: Document) -> Platform | None:
        token = await self._vault.open(str(document.get("sealed_b") or ""))
        if token is None:
            return None
        endpoints: dict[tuple[str, str], str] = {}
        listed: Any = document.get("endpoints") or []
        for endpoint in listed:
            endpoints[(str(endpoint["identifier"]), str(endpoint["role"]))] = str(endpoint["url"])
        return Platform(
            partner_id=str(document["_id"]),
            version=str(document.get("ocpi_version") or "2.3.0"),
            peer=Peer(token.decode(), bool(document.get("token_raw"))),
            endpoints=endpoints,
        )
