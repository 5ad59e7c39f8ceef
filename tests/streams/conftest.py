"""A log and a read store of their own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projections.store.sqlite import SqliteReadStore
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


@pytest.fixture
async def read_store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "read")
    yield store
    await store.close()
