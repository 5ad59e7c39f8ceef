from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projections.store.sqlite import SqliteReadStore
from tests.api.v1.world import World, deciding


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with the tenants demo and acme, whose commands go to a fake bus."""
    store = SqliteReadStore(tmp_path / "read")
    world = World(store)
    await world.add_tenant("demo", ocpi={"country_code": "DE", "party_id": "DEM"})
    await world.add_tenant("acme")
    yield world
    await world.http.aclose()
    await store.close()


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[World]:
    """The API over a decider and a projector on the embedded log; no tenant yet."""
    async with deciding(tmp_path) as world:
        yield world
