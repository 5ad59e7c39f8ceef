"""Tenants' documents as the read store has them; while it is away, as this process read them last.

So a key can be revoked, and whatever else asks the log alone, while nothing can be read.
"""

from __future__ import annotations

from projections.store import HUB, Document, ReadStore, StoreUnavailableError


class TenantDocuments:
    """Of each tenant that was ever asked for here one document is kept."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store
        self._last: dict[str, Document] = {}

    async def get(self, id: str) -> Document | None:
        """Raises StoreUnavailableError where the store is away and was never asked for this tenant."""
        try:
            document = await self._store.get(HUB, "tenants", id)
        except StoreUnavailableError:
            if id in self._last:
                return self._last[id]
            raise
        if document is None:
            self._last.pop(id, None)
        else:
            self._last[id] = document
        return document
