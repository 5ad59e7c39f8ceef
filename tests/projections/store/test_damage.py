"""The embedded read store answers nothing from what is damaged, and its line says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from projections.store import (
    HUB,
    JSON,
    Append,
    PositionKey,
    Put,
    PutPart,
    Query,
    Sort,
    StoreDamagedError,
    each_index,
    geo_index,
    index,
    sqlite_databases,
    tenant_database,
)
from projections.store.sqlite import SqliteReadStore
from projections.store.sqlite_sql import each_table
from tests.simulation.disk.vfs import Unheard, can_record, under_sqlite

TENANT = tenant_database("demo")
KEYS = "chargesphere_keys"
EACH = each_index(TENANT, "things", "tags")
REBUILD = "; stop, remove {path}* and run `chargesphere projections rebuild`"
RESTORE = "; no rebuild can make it anew: restore it from a backup"


def put(db: str, number: int) -> Put:
    geo: dict[str, JSON] = {"type": "Point", "coordinates": [number / 10, 0.0]}
    tags: list[JSON] = ["all", f"tag{number}"]
    return Put(db, "things", f"t{number}", 1, {"number": number, "geo": geo, "tags": tags})


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    """No fsync: nothing here depends on one."""
    with under_sqlite(Unheard()) if can_record() else contextlib.nullcontext():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty documents with indexes, a position, and twenty keys; ended."""
    folder = tmp_path / "read"

    async def write() -> None:
        store = SqliteReadStore(folder)
        await store.ensure(
            [
                index(TENANT, "things", "number"),
                geo_index(TENANT, "things"),
                EACH,
            ]
        )
        for db in (TENANT, KEYS):
            await store.apply([put(db, number) for number in range(20)])
        await store.set_positions({PositionKey("p", "t", 0): 7})
        await store.close()

    asyncio.run(write())
    return folder


def change(path: Path, *statements: str) -> None:
    """Behind the store's back."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def refused(folder: Path, ask: Callable[[SqliteReadStore], object]) -> str:
    store = SqliteReadStore(folder)
    try:
        with pytest.raises(StoreDamagedError) as caught:
            await ask(store)  # type: ignore[misc]
    finally:
        await store.close()
    return str(caught.value)


READS: dict[str, Callable[[SqliteReadStore], object]] = {
    "get": lambda store: store.get(TENANT, "things", "t3"),
    "versions": lambda store: store.versions(TENANT, "things", ["t3"]),
    "find": lambda store: store.find(Query(TENANT, "things", sort=(Sort("number"),))),
    "near": lambda store: store.near(TENANT, "things", lon=0.3, lat=0, radius_m=1000),
    "a part of it": lambda store: store.apply([PutPart(TENANT, "things", "t3", "part", 1, {"x": 1})]),
    "an addition": lambda store: store.apply([Append(TENANT, "things", "t3", 2, {"x": 1})]),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "field", ["version = 5", "body = replace(body, '\"t3\"', '\"t4\"')", "sum = sum + 1"]
)
async def test_a_damaged_document_is_named_whoever_reads_it(folder: Path, read: str, field: str) -> None:
    path = folder / f"{TENANT}.db"
    change(path, f"UPDATE c_things SET {field} WHERE id = 't3'")  # noqa: S608
    said = await refused(folder, READS[read])
    assert said == (
        f"read store sqlite:{folder} is unavailable: {path} is damaged: the document 't3' of things "
        "is not what was written" + REBUILD.format(path=path)
    )


async def test_the_other_documents_are_answered(folder: Path) -> None:
    change(folder / f"{TENANT}.db", "UPDATE c_things SET version = 5 WHERE id = 't3'")
    store = SqliteReadStore(folder)
    found = await store.get(TENANT, "things", "t4")
    assert found is not None
    assert found["number"] == 4
    await store.close()


async def test_a_key_that_is_damaged_is_no_missing_key(folder: Path) -> None:
    """A vault that found none would make a new one, and nothing sealed before could be opened any more."""
    path = folder / f"{KEYS}.db"
    change(path, "UPDATE c_things SET body = replace(body, '3', '4') WHERE id = 't3'")
    said = await refused(folder, lambda store: store.get(KEYS, "things", "t3"))
    assert said.endswith(f"{path} is damaged: the document 't3' of things is not what was written{RESTORE}")


async def test_a_position_that_is_damaged_is_named(folder: Path) -> None:
    change(folder / f"{HUB}.db", "UPDATE positions SET place = 8")
    said = await refused(folder, lambda store: store.positions("p"))
    assert "the position ['p', 't', 0, 8] is not what was written; stop, remove" in said


@pytest.mark.parametrize(
    "statements",
    [
        # The index holds another order than it was made for: what it is asked for, it does not find.
        [
            "UPDATE sqlite_master SET sql = replace(sql, '\"number\"', '\"nomber\"') WHERE name LIKE 'i_things%'"
        ],
        ["DROP TABLE c_things"],
        ["UPDATE tally SET commits = 1"],
        ["DELETE FROM g_things WHERE k = 3"],
        ["UPDATE g_things SET minx = 50, maxx = 50 WHERE k = 3"],
        ["DELETE FROM {each} WHERE v = 'tag3'"],
        ["UPDATE {each} SET id = 't4' WHERE v = 'tag3'"],
        ["UPDATE {each} SET v = 'tag4' WHERE v = 'tag3'"],
    ],
)
async def test_what_hides_documents_is_found_before_the_first_answer(
    folder: Path, statements: list[str]
) -> None:
    path = folder / f"{TENANT}.db"
    change(path, *(statement.replace("{each}", each_table(EACH)) for statement in statements))
    said = await refused(folder, READS["find"])
    assert said.startswith(f"read store sqlite:{folder} is unavailable: {path} is damaged")
    assert said.endswith(REBUILD.format(path=path))
    assert "\n" not in said


async def test_a_file_in_a_format_that_sqlite_does_not_know_is_damaged(folder: Path) -> None:
    path = folder / f"{TENANT}.db"
    data = path.read_bytes()
    path.write_bytes(data[:47] + bytes([data[47] ^ 16]) + data[48:])
    said = await refused(folder, READS["get"])
    assert said.endswith(f"{path} is damaged: unsupported file format" + REBUILD.format(path=path))


async def test_a_file_too_large_to_be_checked_at_once_is_checked_beside_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_databases, "AT_ONCE", 0)
    path = folder / f"{TENANT}.db"
    change(path, "DELETE FROM g_things WHERE k = 3")
    store = SqliteReadStore(folder)
    with pytest.raises(StoreDamagedError, match="g_things differs from c_things"):
        async with asyncio.timeout(20):
            while True:
                await store.get(TENANT, "things", "t3")
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    await store.close()
    # Keys are checked before the first answer, however many there are.
    change(folder / f"{KEYS}.db", "DROP TABLE c_things")
    assert RESTORE in await refused(folder, lambda store: store.get(KEYS, "things", "t3"))


async def test_commits_that_are_missing_from_a_write_ahead_log_are_missed(
    folder: Path, tmp_path: Path
) -> None:
    store = SqliteReadStore(folder)
    await store.apply([put(TENANT, 30)])
    copy = tmp_path / "copy"
    await asyncio.to_thread(shutil.copytree, folder, copy, ignore=shutil.ignore_patterns(f"{TENANT}.db-*"))
    await store.close()
    said = await refused(copy, lambda store: store.get(TENANT, "things", "t30"))
    path = copy / f"{TENANT}.db"
    assert said == (
        f"read store sqlite:{copy} is unavailable: {path} lacks the newest of its commits (1), which were "
        "acknowledged: its -wal is damaged or gone" + REBUILD.format(path=path)
    )


async def test_a_file_that_was_removed_with_what_is_beside_it_is_made_anew(folder: Path) -> None:
    for name in (f"{TENANT}.db", f"{TENANT}.db.commits"):
        (folder / name).unlink()
    store = SqliteReadStore(folder)
    assert await store.get(TENANT, "things", "t3") is None
    await store.apply([put(TENANT, 3)])
    assert await store.get(TENANT, "things", "t3") is not None
    await store.close()
