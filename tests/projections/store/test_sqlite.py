# ruff: noqa: S608 - the statement is our own
"""What only the embedded adapter promises: files, group commit, indexes that are used, expiry by `purge`."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from projections.store import (
    HUB,
    JSON,
    Applied,
    Condition,
    Insert,
    PositionKey,
    Put,
    Query,
    Sort,
    StoreRejectedError,
    StoreUnavailableError,
    UniqueViolationError,
    Write,
    eq,
    expiry,
    geo_index,
    gte,
    index,
    prefix,
    sqlite_sql,
    tenant_database,
)
from projections.store.sqlite import SqliteReadStore

TENANT = tenant_database("demo")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    made = SqliteReadStore(tmp_path / "read")
    yield made
    await made.close()


def put(id: str, version: int = 1, **document: str | int) -> Put:
    return Put(TENANT, "sessions", id, version, document)


async def test_each_database_is_one_file_and_reads_make_none(store: SqliteReadStore, tmp_path: Path) -> None:
    assert await store.get(TENANT, "sessions", "s1") is None
    assert not (tmp_path / "read").exists()
    await store.apply([put("s1"), Put(HUB, "tokens", "t1", 1, {})])
    assert sorted(path.name for path in (tmp_path / "read").glob("*.db")) == [
        "chargesphere.db",
        "ocpp_demo.db",
    ]


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    key = PositionKey("sweeper", "events.session", 0)
    first = SqliteReadStore(tmp_path)
    await first.ensure([index(TENANT, "sessions", "at", unique=True)])
    await first.apply([put("s1", 7, at="x")], {key: 12})
    await first.close()
    second = SqliteReadStore(tmp_path)
    assert await second.get(TENANT, "sessions", "s1") == {"_id": "s1", "version": 7, "at": "x"}
    assert await second.positions("sweeper") == {key: 12}
    with pytest.raises(UniqueViolationError):
        await second.apply([put("s2", at="x")])
    await second.close()


@pytest.mark.kill
def test_after_a_kill_no_position_is_ahead_of_its_data(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\n"
        "from projections.store import Insert, PositionKey\n"
        "from projections.store.sqlite import SqliteReadStore\n"
        "async def main():\n"
        "    store = SqliteReadStore(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(10**9):\n"
        "        key = PositionKey('p', 't', 0)\n"
        "        await store.apply([Insert(d, 'frames', str(n), {}) for d in ('ocpp_a', 'ocpp_b')], {key: n})\n"
        "        print(n, flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as child:
        assert child.stdout is not None
        acknowledged = 0
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged >= 40:
                break
        os.kill(child.pid, signal.SIGKILL)

    async def check() -> None:
        store = SqliteReadStore(tmp_path)
        place = (await store.positions("p"))[PositionKey("p", "t", 0)]
        assert place >= acknowledged
        for db in ("ocpp_a", "ocpp_b"):
            assert await store.count(Query(db, "frames")) >= place + 1
        await store.close()

    asyncio.run(check())


async def test_a_refused_batch_leaves_nothing_and_its_neighbours_in_the_queue_go_on(
    store: SqliteReadStore,
) -> None:
    await store.ensure([index(TENANT, "sessions", "uid", unique=True)])
    await store.apply([put("owner", uid="U")])
    bad: list[Write] = [put("before", uid="B"), Insert(TENANT, "frames", "f", {}), put("second", uid="U")]
    done = await asyncio.gather(
        store.apply([put("x")]), store.apply(bad), store.apply([put("y")]), return_exceptions=True
    )
    assert [type(one) for one in done] == [Applied, UniqueViolationError, Applied]
    found = (await store.find(Query(TENANT, "sessions"))).items
    assert [item["_id"] for item in found] == ["owner", "x", "y"]
    assert await store.count(Query(TENANT, "frames")) == 0
    assert await store.apply([Insert(TENANT, "frames", "f", {})]) == Applied(1, 0)


async def test_a_document_that_cannot_be_encoded_is_refused_alone(store: SqliteReadStore) -> None:
    good, bad = await asyncio.gather(
        store.apply([put("x")]), store.apply([put("y", text="\ud800")]), return_exceptions=True
    )
    assert good == Applied(1, 0)
    assert isinstance(bad, StoreRejectedError)


async def test_a_caller_that_gave_up_harms_no_other(store: SqliteReadStore) -> None:
    waiting = [asyncio.create_task(store.apply([put(str(n))])) for n in range(20)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(one == Applied(1, 0) for one in done[1::2])


async def test_a_folder_that_cannot_be_made_is_unavailable_and_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteReadStore(tmp_path / "file" / "read")
    with pytest.raises(StoreUnavailableError, match="file/read"):
        await store.apply([put("s1")])
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    await store.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "ocpp_demo.db").write_text("this is no database at all, whatever its name may say" * 40)
    store = SqliteReadStore(tmp_path)
    with pytest.raises(StoreUnavailableError):
        await store.apply([put("s1")])
    with pytest.raises(StoreUnavailableError):
        await store.get(TENANT, "sessions", "s1")
    await store.close()


@pytest.mark.parametrize(
    ("where", "sort"),
    [
        ((eq("state", "active"),), (Sort("at", True),)),
        ((eq("state", "active"), gte("at", "2026-01-01T00:00:00Z")), (Sort("at", True),)),
        ((prefix("uid", "04A"),), (Sort("uid"),)),
        ((eq("serial", "04A1"),), ()),
        ((), (Sort("uid"),)),
        ((), (Sort("uid", True),)),
    ],
)
async def test_a_declared_index_serves_the_list_without_sorting(
    store: SqliteReadStore, tmp_path: Path, where: tuple[Condition, ...], sort: tuple[Sort, ...]
) -> None:
    await store.ensure(
        [
            index(TENANT, "sessions", "state", "-at"),
            index(TENANT, "sessions", "serial", unique=True),
            index(TENANT, "sessions", "uid"),
        ]
    )
    query = Query(TENANT, "sessions", where, sort)
    clause = sqlite_sql.where(query.where)
    connection = sqlite3.connect(tmp_path / "read" / "ocpp_demo.db")
    plan = connection.execute(
        f"EXPLAIN QUERY PLAN SELECT body FROM c_sessions WHERE {clause.text} ORDER BY {sqlite_sql.order(query)}",
        clause.values,
    ).fetchall()
    connection.close()
    told = " | ".join(row[3] for row in plan)
    assert "USING INDEX i_sessions_" in told
    assert not sort or "TEMP B-TREE" not in told, told


async def test_purge_takes_what_has_expired_away_and_leaves_the_rest(store: SqliteReadStore) -> None:
    await store.ensure([expiry(TENANT, "frames", "at", 3600)])
    await store.apply(
        [
            Insert(TENANT, "frames", "old", {"at": "2026-01-01T10:59:58Z"}),
            Insert(TENANT, "frames", "new", {"at": "2026-01-01T11:00:01.500Z"}),
            Insert(TENANT, "frames", "never", {}),
        ]
    )
    assert await store.purge(datetime(2026, 1, 1, 12, 0, tzinfo=UTC)) == 1
    left = (await store.find(Query(TENANT, "frames"))).items
    assert [item["_id"] for item in left] == ["never", "new"]


async def test_a_new_expiry_takes_the_place_of_the_one_before(store: SqliteReadStore) -> None:
    await store.ensure([expiry(TENANT, "samples", "at", 60)])
    await store.ensure([expiry(TENANT, "samples", "at", 7200), expiry(TENANT, "frames", "at", 60)])
    document = {"at": "2026-01-01T11:00:00Z"}
    await store.apply([Insert(TENANT, "samples", "s", document), Insert(TENANT, "frames", "f", document)])
    assert await store.purge(datetime(2026, 1, 1, 12, 0, tzinfo=UTC)) == 1
    assert await store.get(TENANT, "samples", "s") is not None
    assert await store.purge(datetime(2026, 1, 1, 13, 0, 1, tzinfo=UTC)) == 1


async def test_the_box_is_only_a_first_sieve(store: SqliteReadStore) -> None:
    await store.ensure([geo_index(HUB, "locations")])
    corner: dict[str, JSON] = {"type": "Point", "coordinates": [0.0089, 0.0089]}
    await store.apply([Put(HUB, "locations", "corner", 1, {"geo": corner})])
    assert await store.near(HUB, "locations", lon=0, lat=0, radius_m=1_000) == []
    assert len(await store.near(HUB, "locations", lon=0, lat=0, radius_m=1_500)) == 1
