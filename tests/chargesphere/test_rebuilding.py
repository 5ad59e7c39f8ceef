"""`chargesphere projections rebuild` beside processes that decide and project, on Kafka and MongoDB and embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient

from chargesphere import rebuilding
from chargesphere.backbone import Backbone, open_backbone
from chargesphere.settings import read_settings
from projections.store import HUB, Query
from projections.store.generations import place
from tests.chargesphere.installation import documents as installed
from tests.chargesphere.installation import live, open_installation
from tests.chargesphere.test_two_runtimes import DATABASE, documents, play, scenario, settled
from tests.servers import Kafka, Mongo
from tests.streams.harness import until

KEPT_S = 3.0
COLLECTIONS = [
    *(
        f"{HUB}.{name}"
        for name in ("tenants", "partners", "tariffs", "tokens", "sessions", "cdrs", "deliveries")
    ),
    *(f"{HUB}.{name}" for name in ("locations", "charge_point_ids", "dead_letters")),
    *(f"{DATABASE}.{name}" for name in ("charge_points", "sessions", "samples", "commands", "credentials")),
]


async def databases(mongo: Mongo, prefix: str) -> set[str]:
    """Of this installation, those that hold read models."""
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(mongo.url)
    try:
        held = [name for name in await client.list_database_names() if name.startswith(prefix)]
        return {
            name.removeprefix(prefix)
            for name in held
            if any(not c.startswith("_") for c in await client[name].list_collection_names())
        }
    finally:
        await client.close()


async def is_known(backbone: Backbone) -> bool:
    return await backbone.store.count(Query(HUB, "sessions")) > 0


@pytest.mark.long(50)
async def test_beside_running_processes_it_leaves_the_documents_that_the_log_folds_to(
    tmp_path: Path,
    own_kafka: Kafka,
    mongo: Mongo,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(rebuilding, "KEPT", KEPT_S)
    steps, prefix = scenario(), f"{unique('reb')[-12:]}-"
    settings = read_settings(
        {"CHARGESPHERE_KAFKA_BOOTSTRAP": own_kafka.bootstrap, "CHARGESPHERE_MONGO_URL": mongo.url}
    )
    wide = await open_backbone(settings, "wide", tmp_path / "wide", store_prefix=prefix)
    beside = await open_backbone(settings, "operations", tmp_path / "wide", store_prefix=prefix)
    try:
        playing = asyncio.create_task(play(wide, steps))
        await until(lambda: is_known(wide), 60)
        for _ in range(2):
            assert await rebuilding.rebuild(beside) == 0
        await playing
        # What is asked now is projected into what was built: the positions say so.
        await settled(wide)
        assert (await wide.store.current()).number == 2
        built = await documents(wide, COLLECTIONS)
        held = await databases(mongo, prefix)
    finally:
        await beside.close()
        await wide.close()
    small = await open_backbone(read_settings({}), "small", tmp_path / "small")
    try:
        await play(small, steps)
        expected = await documents(small, COLLECTIONS)
    finally:
        await small.close()

    for name in COLLECTIONS:
        assert built[name] == expected[name], name
    assert expected[f"{HUB}.cdrs"]
    assert {db for db in held if db.startswith((HUB, "ocpp_")) and not db.startswith(f"{HUB}_")} == {
        place(HUB, 2),
        place(DATABASE, 2),
    }
    assert capsys.readouterr().out.count("they are read now") == 2


def test_an_embedded_installation_goes_on_in_what_was_built(tmp_path: Path) -> None:
    """`serve` that begins after a rebuild projects into it, what was decided before and since."""

    async def run() -> None:
        await live(tmp_path)
        before = await installed(tmp_path)
        backbone = await open_backbone(read_settings({}), "operations", tmp_path)
        try:
            assert await rebuilding.rebuild(backbone) == 0
        finally:
            await backbone.close()
        assert await installed(tmp_path) == before
        files = {path.stem for path in (tmp_path / "read").glob("*.db")}
        assert {place(HUB, 1), place("ocpp_demo", 1)} <= files
        assert "ocpp_demo" not in files
        serving = await open_installation(tmp_path)
        try:
            await settled(serving)
            assert (await serving.store.current()).number == 1
        finally:
            await serving.close()
        assert await installed(tmp_path) == before

    asyncio.run(run())
