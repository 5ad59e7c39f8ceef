"""What only the MongoDB adapter promises: bounded waiting, no credentials in errors, indexes, dates for expiry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient

from projections.store import (
    ABSENT,
    HUB,
    Append,
    Applied,
    Condition,
    Insert,
    Put,
    Query,
    Sort,
    StoreRejectedError,
    StoreUnavailableError,
    UniqueViolationError,
    eq,
    expiry,
    gte,
    index,
    mongo_query,
    prefix,
    tenant_database,
)
from projections.store.mongo import MongoReadStore, without_credentials
from tests.servers import Mongo, ports

TENANT = tenant_database("demo")


@pytest.fixture
def databases() -> str:
    return f"t{uuid.uuid4().hex[:10]}_"


@pytest.fixture
async def store(mongo: Mongo, databases: str) -> AsyncIterator[MongoReadStore]:
    made = MongoReadStore(mongo.url, database_prefix=databases)
    yield made
    await made.close()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:secret@db.example:27017/?authSource=admin",
        "mongodb://user:sec@ret@db.example:27017",
        "mongodb://db.example:27017/?tlsCertificateKeyFilePassword=secret",
    ],
)
def test_a_url_is_named_without_its_credentials(url: str) -> None:
    assert without_credentials(url) == "mongodb://db.example:27017"


async def test_a_server_that_is_away_is_unavailable_soon_and_named_without_credentials() -> None:
    lock = ports.take()
    port = lock.port
    store = MongoReadStore(f"mongodb://user:secret@127.0.0.1:{port}/", timeout_s=0.3)
    begun = time.monotonic()
    for attempt in (store.ping(), store.get(HUB, "x", "1"), store.apply([Put(HUB, "x", "1", 1, {})])):
        with pytest.raises(StoreUnavailableError) as caught:
            await attempt
        assert caught.value.url == f"mongodb://127.0.0.1:{port}"
        assert "secret" not in str(caught.value)
    assert time.monotonic() - begun < 5
    await store.close()
    lock.release()


@pytest.mark.parametrize("url", ["mongodb://user:p/ss@host:1/", "http://host", "mongodb://host:port"])
def test_what_is_no_url_of_mongodb_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreRejectedError) as caught:
        MongoReadStore(url)
    assert "p/ss" not in str(caught.value)


async def test_a_server_that_goes_away_and_comes_back_is_used_again(own_mongo: Mongo, databases: str) -> None:
    store = MongoReadStore(own_mongo.url, database_prefix=databases, timeout_s=0.5)
    await store.apply([Put(HUB, "x", "1", 1, {})])
    own_mongo.kill()
    with pytest.raises(StoreUnavailableError):
        await store.apply([Put(HUB, "x", "1", 2, {})])
    own_mongo.start()
    async with asyncio.timeout(20):
        while True:
            try:
                await store.apply([Put(HUB, "x", "1", 2, {})])
                break
            except StoreUnavailableError:
                continue
    assert await store.get(HUB, "x", "1") == {"_id": "1", "version": 2}
    await store.close()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
async def test_a_number_that_bson_cannot_hold_is_refused(store: MongoReadStore, number: int) -> None:
    with pytest.raises(StoreRejectedError):
        await store.apply([Put(HUB, "x", "1", 1, {"n": number})])


@pytest.mark.parametrize(
    ("where", "sort"),
    [
        ((eq("state", "active"),), (Sort("at", True),)),
        ((eq("state", "active"), gte("at", "2026-01-01T00:00:00Z")), (Sort("at", True),)),
        ((eq("serial", "04A1"),), ()),
        ((prefix("uid", "04A"),), (Sort("uid"),)),
        ((), (Sort("state"), Sort("at", True))),
    ],
)
async def test_a_declared_index_serves_the_list_without_sorting(
    store: MongoReadStore,
    mongo: Mongo,
    databases: str,
    where: tuple[Condition, ...],
    sort: tuple[Sort, ...],
) -> None:
    await store.ensure(
        [
            index(TENANT, "sessions", "state", "-at"),
            index(TENANT, "sessions", "serial", unique=True),
            index(TENANT, "sessions", "uid"),
        ]
    )
    query = Query(TENANT, "sessions", where, sort)
    with MongoClient[dict[str, object]](mongo.url) as client:
        found = client[databases + TENANT]["sessions"].find(
            mongo_query.visible(query.where), sort=mongo_query.order(query)
        )
        plan = json.dumps(found.explain()["queryPlanner"], default=str).partition('"rejectedPlans"')[0]
    assert "IXSCAN" in plan
    assert '"stage": "SORT"' not in plan or not sort


@contextlib.contextmanager
def watched(mongo: Mongo, database: str) -> Iterator[Callable[[], list[tuple[str, int]]]]:
    """What the server itself notes: each operation that writes to the collection x, and how many documents it met."""
    with MongoClient[dict[str, Any]](mongo.url) as client:
        client[database].command("profile", 2)

        def noted() -> list[tuple[str, int]]:
            found = client[database]["system.profile"].find(
                {"ns": f"{database}.x", "op": {"$in": ["insert", "update"]}}, sort=[("ts", 1)]
            )
            return [(one["op"], one.get("ninserted", 0) + one.get("nMatched", 0)) for one in found]

        yield noted
        client[database].command("profile", 0)


async def test_new_documents_are_one_insert_and_changes_one_update(
    store: MongoReadStore, mongo: Mongo, databases: str
) -> None:
    inserts = [Insert(HUB, "x", f"i{n}", {"n": n}) for n in range(50)]
    new = [Put(HUB, "x", f"p{n}", 1, {"n": n, "m": 0}, (), ABSENT) for n in range(50)]
    changes = [Put(HUB, "x", f"p{n}", 2, {"n": n, "m": 1}, (), 1, {"m": 1}) for n in range(50)]
    deltas = [Append(HUB, "x", f"i{n}", 1, {"n": 0}) for n in range(50)]
    with watched(mongo, databases + HUB) as noted:
        await store.apply([*inserts, *new])
        assert await store.apply([*changes, *deltas]) == Applied(100, 0)
        assert noted() == [("insert", 100), ("update", 100)]


async def test_only_what_was_there_already_is_written_once_more(
    store: MongoReadStore, mongo: Mongo, databases: str
) -> None:
    await store.apply([Insert(HUB, "x", f"i{n}", {"n": n}) for n in range(3)])
    with watched(mongo, databases + HUB) as noted:
        assert await store.apply([Insert(HUB, "x", f"i{n}", {"n": 0}) for n in range(50)]) == Applied(47, 3)
        assert [one for one in noted() if one[0] == "update"] == [("update", 1)] * 3


async def test_a_new_document_that_breaks_another_unique_index_is_refused(store: MongoReadStore) -> None:
    await store.ensure([index(HUB, "x", "uid", unique=True)])
    await store.apply([Insert(HUB, "x", "a", {"uid": "U"})])
    with pytest.raises(UniqueViolationError):
        await store.apply([Insert(HUB, "x", "b", {"uid": "U"}), Insert(HUB, "x", "a", {"uid": "U"})])
    with pytest.raises(UniqueViolationError):
        await store.apply([Put(HUB, "x", "b", 1, {"uid": "U"}, (), ABSENT)])


async def test_expiry_is_left_to_the_server_by_a_date_that_readers_do_not_see(
    store: MongoReadStore, mongo: Mongo, databases: str
) -> None:
    await store.ensure([expiry(TENANT, "frames", "at", 3600), expiry(TENANT, "sessions", "end", 60)])
    await store.apply(
        [
            Insert(TENANT, "frames", "f", {"at": "2126-01-01T10:00:00.250Z"}),
            Put(TENANT, "sessions", "s", 1, {"state": "active"}),
            Append(TENANT, "sessions", "s", 2, {"end": "2126-01-01T10:00:00Z"}, {"list": [1]}),
            Put(TENANT, "sessions", "t", 1, {"end": None}),
        ]
    )
    await store.apply(
        [
            Put(
                TENANT,
                "sessions",
                "t",
                2,
                {"end": "2126-01-01T11:00:00Z"},
                (),
                1,
                {"end": "2126-01-01T11:00:00Z"},
            )
        ]
    )
    assert await store.get(TENANT, "frames", "f") == {
        "_id": "f",
        "version": 0,
        "at": "2126-01-01T10:00:00.250Z",
    }
    assert await store.purge(datetime(2200, 1, 1, tzinfo=UTC)) == 0
    with MongoClient[dict[str, object]](mongo.url, tz_aware=True) as client:
        frames, sessions = client[databases + TENANT]["frames"], client[databases + TENANT]["sessions"]
        at = datetime(2126, 1, 1, 10, 0, 0, 250_000, tzinfo=UTC)
        assert (frames.find_one() or {})[mongo_query.EXPIRES] == at
        assert (sessions.find_one("s") or {})[mongo_query.EXPIRES] == at.replace(microsecond=0)
        assert (sessions.find_one("t") or {})[mongo_query.EXPIRES] == at.replace(microsecond=0, hour=11)
        assert frames.index_information()["expiry:3600"]["expireAfterSeconds"] == 3600


async def test_a_document_whose_time_is_taken_back_stays(
    store: MongoReadStore, mongo: Mongo, databases: str
) -> None:
    await store.ensure([expiry(TENANT, "commands", "over_at", 3600)])
    over, back = {"over_at": "2126-01-01T10:00:00Z"}, {"over_at": None}
    await store.apply([Put(TENANT, "commands", "c", 1, over)])
    await store.apply([Put(TENANT, "commands", "c", 2, back, (), 1, back)])
    with MongoClient[dict[str, object]](mongo.url) as client:
        found = client[databases + TENANT]["commands"].find_one("c")
    assert found == {"_id": "c", "version": 2, "over_at": None}


async def test_the_server_takes_expired_documents_away(
    store: MongoReadStore, mongo: Mongo, databases: str
) -> None:
    await store.ensure([expiry(TENANT, "frames", "at", 3600)])
    async with (
        AsyncMongoClient[dict[str, object]](mongo.url) as client,
        await client[databases + TENANT].watch([{"$match": {"operationType": "delete"}}]) as deletes,
    ):
        await store.apply(
            [
                Insert(TENANT, "frames", "old", {"at": "2020-01-01T00:00:00Z"}),
                Insert(TENANT, "frames", "new", {"at": "2126-01-01T00:00:00Z"}),
            ]
        )
        async with asyncio.timeout(20):
            assert (await deletes.next())["documentKey"] == {"_id": "old"}
    assert await store.get(TENANT, "frames", "new") is not None


async def test_a_cancellation_in_the_moment_of_the_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pymongo waits, Python 3.11 loses it, and whoever had cancelled would wait for ever."""
    store = MongoReadStore("mongodb://127.0.0.1:1")
    answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def list_database_names() -> list[str]:
        return await asyncio.wait_for(answer, 10)

    monkeypatch.setattr(store._client, "list_database_names", list_database_names, raising=False)
    asking = asyncio.create_task(store.databases())
    await asyncio.sleep(0)
    answer.set_result([])
    asking.cancel()
    await asyncio.wait([asking])
    await store.close()

    assert asking.cancelled()
