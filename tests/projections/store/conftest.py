"""The read stores that the contract suite runs against; documents never meet, as every test has its own names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projections.store.port import ReadStore
from projections.store.sqlite import SqliteReadStore


@pytest.fixture(params=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReadStore]:
    made = SqliteReadStore(tmp_path / "read")
    yield made
    await made.close()
