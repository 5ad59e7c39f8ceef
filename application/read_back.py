"""Reading back what was written: a decision's version enters, and the wait ends when the read store has it."""

from __future__ import annotations

import asyncio

from projections.store import ReadStore, StoreUnavailableError

PATIENCE = 0.3
_STEPS = (0.002, 0.005, 0.01, 0.02)


async def wait_visible(
    store: ReadStore, db: str, collection: str, id: str, version: int, *, patience: float = PATIENCE
) -> bool:
    """Whether the document has reached the version within `patience` seconds; no, too, where the store is away."""
    return await _wait(store, db, collection, id, version, patience)


async def wait_gone(
    store: ReadStore, db: str, collection: str, id: str, *, patience: float = PATIENCE
) -> bool:
    """Whether the document has gone within `patience` seconds."""
    return await _wait(store, db, collection, id, None, patience)


async def _wait(
    store: ReadStore, db: str, collection: str, id: str, version: int | None, patience: float
) -> bool:
    try:
        async with asyncio.timeout(patience):
            step = 0
            while True:
                document = await store.get(db, collection, id)
                if version is None:
                    if document is None:
                        return True
                elif document is not None:
                    known = document.get("version")
                    if isinstance(known, int) and known >= version:
                        return True
                await asyncio.sleep(_STEPS[min(step, len(_STEPS) - 1)])
                step += 1
    except (TimeoutError, StoreUnavailableError):
        return False
