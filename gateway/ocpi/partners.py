"""Which platform speaks for a party, and how it is spoken to: read from the read model, kept for two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from application.ports import Opener, Vault
from domain.values import PartyId
from gateway.ocpi.client import Peer
from projections.store import HUB, Document, Query, ReadStore, eq, has

KEPT_FOR = 2.0


async def opened(vault: Opener, sealed: object) -> str:
    """The text of a sealed field of a document; empty where there is none or its key was destroyed."""
    return (await vault.open(sealed) or b"").decode() if isinstance(sealed, str) and sealed else ""


@dataclass(frozen=True, slots=True)
class Contact:
    """A connected partner: its token with us, its OCPI version and its endpoints by (module, role)."""

    partner_id: str
    holder: str
    version: str
    peer: Peer
    endpoints: dict[tuple[str, str], str]

    def endpoint(self, module: str, role: str) -> str | None:
        """The URL of an endpoint without its trailing slash."""
        url = self.endpoints.get((module, role))
        return url.rstrip("/") if url else None


class PartnerBook:
    """Raises StoreUnavailableError while the read store is away and nothing was kept."""

    def __init__(self, store: ReadStore, vault: Vault, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._kept: dict[str, tuple[float, Contact | None]] = {}

    async def by_id(self, partner_id: str) -> Contact | None:
        """A partner that is registered; always read anew."""
        document = await self._store.get(HUB, "partners", partner_id)
        return await self._contact(document) if document else None

    async def of_party(self, party: PartyId) -> Contact | None:
        """The connected platform of a party; None where there is none, or it is suspended."""
        name = str(party)
        kept = self._kept.get(name)
        now = self._clock()
        if kept is not None and now - kept[0] < KEPT_FOR:
            return kept[1]
        query = Query(HUB, "partners", (has("parties", name), eq("status", "CONNECTED")), limit=1)
        found = (await self._store.find(query)).items
        contact = await self._contact(found[0]) if found else None
        self._kept[name] = (now, contact)
        return contact

    async def _contact(self, document: Document) -> Contact | None:
        token = await opened(self._vault, document.get("sealed_b"))
        if not token:
            return None
        endpoints: dict[tuple[str, str], str] = {}
        listed: Any = document.get("endpoints") or []
        for endpoint in listed:
            endpoints[(str(endpoint["identifier"]), str(endpoint["role"]))] = str(endpoint["url"])
            if endpoint["identifier"] == "credentials":
                # Its role says nothing (chapter Versions): a partner may name either.
                endpoints.setdefault(("credentials", "SENDER"), str(endpoint["url"]))
        return Contact(
            partner_id=str(document["_id"]),
            holder=str(document["holder"]),
            version=str(document.get("ocpi_version") or "2.3.0"),
            peer=Peer(token, bool(document.get("token_raw"))),
            endpoints=endpoints,
        )
