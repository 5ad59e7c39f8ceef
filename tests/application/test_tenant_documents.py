"""A tenant's document while the read store is there, and while it is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from application.tenant_documents import TenantDocuments
from projections.store import HUB, Put, Remove, StoreUnavailableError
from projections.store.sqlite import SqliteReadStore


async def test_what_was_read_last_serves_while_the_store_is_away(tmp_path: Path) -> None:
    store = SqliteReadStore(tmp_path)
    documents = TenantDocuments(store)
    assert await documents.get("demo") is None
    await store.apply([Put(HUB, "tenants", "demo", 1, {"status": "active"})])
    await store.apply([Put(HUB, "tenants", "gone", 1, {"status": "active"})])
    assert (await documents.get("demo") or {})["status"] == "active"
    assert await documents.get("gone") is not None
    await store.apply(
        [Put(HUB, "tenants", "demo", 2, {"status": "suspended"}), Remove(HUB, "tenants", "gone", 2)]
    )
    assert (await documents.get("demo") or {})["status"] == "suspended"
    assert await documents.get("gone") is None
    await store.close()
    assert (await documents.get("demo") or {})["status"] == "suspended"
    for unknown in ("gone", "other"):
        with pytest.raises(StoreUnavailableError):
            await documents.get(unknown)
