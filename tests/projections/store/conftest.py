"""The read stores that the contract suite runs against; documents never meet, as every test has its own names."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projections.store.generations import GenerationStore
from projections.store.mongo import MongoReadStore
from projections.store.port import ReadStore
from projections.store.sqlite import SqliteReadStore
from tests.servers import Mongo
from tests.simulation.store import Shelf, SimReadStore


@pytest.fixture(
    params=[
        "sqlite",
        "simulated",
        pytest.param("mongo", marks=pytest.mark.mongo),
        "sqlite, a later generation",
        pytest.param("mongo, a later generation", marks=pytest.mark.mongo),
    ]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReadStore]:
    made: ReadStore
    if request.param.startswith("sqlite"):
        made = SqliteReadStore(tmp_path / "read")
    elif request.param == "simulated":
        made = SimReadStore(Shelf())
    else:
        mongo: Mongo = request.getfixturevalue("mongo")
        made = MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_")
    if request.param.endswith("generation"):
        made = GenerationStore(made)
        await made.switch(await made.begin())
    yield made
    await made.close()
