"""A write waits until it can be read, and no longer than it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from application.read_back import wait_gone, wait_visible
from projections.store import HUB, Put, Remove
from projections.store.sqlite import SqliteReadStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path)
    yield store
    await store.close()


async def test_the_wait_ends_with_the_version_or_a_newer_one(store: SqliteReadStore) -> None:
    await store.apply([Put(HUB, "things", "a", 2, {})])
    waiting = asyncio.create_task(wait_visible(store, HUB, "things", "a", 3, patience=5))
    await asyncio.sleep(0)
    assert not waiting.done()

    await store.apply([Put(HUB, "things", "a", 4, {})])

    assert await waiting is True


async def test_what_is_not_projected_in_time_is_not_waited_for(store: SqliteReadStore) -> None:
    await store.apply([Put(HUB, "things", "a", 2, {})])

    assert await wait_visible(store, HUB, "things", "a", 3, patience=0.02) is False
    assert await wait_visible(store, HUB, "things", "b", 1, patience=0.02) is False


async def test_a_removal_is_waited_for_too(store: SqliteReadStore) -> None:
    await store.apply([Put(HUB, "things", "a", 2, {})])

    assert await wait_gone(store, HUB, "things", "a", patience=0.02) is False
    await store.apply([Remove(HUB, "things", "a", 3)])
    assert await wait_gone(store, HUB, "things", "a", patience=5) is True


async def test_a_store_that_is_away_only_means_that_it_is_not_visible(store: SqliteReadStore) -> None:
    await store.close()

    assert await wait_visible(store, HUB, "things", "a", 1) is False
