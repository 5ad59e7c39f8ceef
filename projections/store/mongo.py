"""The read store on MongoDB 6.0 or newer: one MongoDB database a database, documents as they are.

Writes enter as bulks, one a collection (`mongo_bulk`), positions follow when all of them are acknowledged by the
majority: after a crash in between the same writes come again and change nothing. It uses no transactions, and nothing
of pymongo leaves: connection troubles are `StoreUnavailableError`, within a few seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.errors import BSONError
from bson.int64 import Int64
from pymongo import AsyncMongoClient, IndexModel, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from projections.store import mongo_query as mql
from projections.store.mongo_bulk import DUPLICATE_KEY, Collection, write_group
from projections.store.port import (
    HUB,
    JSON,
    Applied,
    Condition,
    Document,
    IndexSpec,
    Page,
    PositionKey,
    Query,
    ReadStore,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
    UniqueViolationError,
    Write,
    declared,
)
from projections.store.shapes import (
    check_circle,
    check_limit,
    check_path,
    check_place,
    check_write,
    is_database,
    make_cursor,
)

_ATTEMPT_S = 0.1
_NO_COLLECTION = 26
_NO_INDEX = {27, 291}
_RETRY = {13, 18, 50, 91, 189, 10107, 11600, 11602, 13435, 13436}
_POSITIONS = "_positions"


class _WholeNumbers(TypeDecoder):
    """Numbers beyond 32 bits come back as what they were, not as BSON's own class, which no encoder of ours takes."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        return int(value)


_OPTIONS: Final[CodecOptions[dict[str, JSON]]] = CodecOptions(type_registry=TypeRegistry([_WholeNumbers()]))


class MongoReadStore(ReadStore):
    """Read models at `url`; `database_prefix` goes before each database name, so that several can share it."""

    def __init__(self, url: str, *, database_prefix: str = "", timeout_s: float = 2.0) -> None:
        self._url = without_credentials(url)
        self._prefix = database_prefix
        wait = int(timeout_s * 1000)
        try:
            self._client: AsyncMongoClient[dict[str, JSON]] = AsyncMongoClient(
                url,
                appname="chargesphere",
                serverSelectionTimeoutMS=wait,
                connectTimeoutMS=wait,
                socketTimeoutMS=5 * wait,
                waitQueueTimeoutMS=5 * wait,
            )
        except (PyMongoError, ValueError) as error:
            raise StoreRejectedError(
                f"{self._url} is no MongoDB URL: use mongodb://user:password@host:port/, both percent-encoded"
            ) from error
        self._lost = False
        self._declared: dict[IndexSpec, None] = {}
        self._expires_by: dict[tuple[str, str], str] = {}

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        places: defaultdict[tuple[str, str], list[Write]] = defaultdict(list)
        for write in writes:
            check_write(write)
            places[write.db, write.collection].append(write)
        applied = 0
        async with self._translating():
            for (db, collection), group in places.items():
                expires_by = self._expires_by.get((db, collection))
                applied += await write_group(self._collection(db, collection), group, expires_by)
        await self.set_positions(positions or {})
        return Applied(applied, len(writes) - applied)

    async def positions(self, projector: str) -> dict[PositionKey, int]:
        async with self._translating():
            rows = await self._collection(HUB, _POSITIONS).find({"projector": projector}).to_list()
        return {
            PositionKey(projector, str(row["topic"]), int(str(row["partition"]))): int(str(row["offset"]))
            for row in rows
        }

    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        updates = [
            UpdateOne(
                {"_id": f"{key.projector}/{key.topic}/{key.partition}"},
                {
                    "$set": {
                        "projector": key.projector,
                        "topic": key.topic,
                        "partition": key.partition,
                        "offset": offset,
                    }
                },
                upsert=True,
            )
            for key, offset in positions.items()
        ]
        if updates:
            async with self._translating():
                await self._collection(HUB, _POSITIONS).bulk_write(updates, ordered=False)

    async def forget_positions(self, projector: str) -> None:
        async with self._translating():
            await self._collection(HUB, _POSITIONS).delete_many({"projector": projector})

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        return (await self.get_many(db, collection, (id,))).get(id)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        check_place(db, collection)
        wanted = mql.visible((), {"_id": {"$in": list(ids)}})
        async with self._translating():
            found = await self._collection(db, collection).find(wanted).to_list()
        return {str(row["_id"]): mql.shown(row) for row in found}

    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        check_place(db, collection)
        wanted = mql.visible((), {"_id": {"$in": list(ids)}})
        async with self._translating():
            found = await self._collection(db, collection).find(wanted, {"version": 1}).to_list()
        return {str(row["_id"]): int(str(row["version"])) for row in found}

    async def find(self, query: Query) -> Page:
        limit = check_limit(query.limit)
        items = await self._select(query, mql.visible(query.where, *mql.behind(query)), limit + 1, 0)
        more = len(items) > limit
        del items[limit:]
        return Page(items, make_cursor(query, items[-1]) if more else None)

    async def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        items = await self._select(query, mql.visible(query.where), check_limit(limit), max(0, offset))
        return items, await self.count(query)

    async def count(self, query: Query) -> int:
        check_place(query.db, query.collection)
        async with self._translating():
            return await self._collection(query.db, query.collection).count_documents(
                mql.visible(query.where)
            )

    async def near(
        self,
        db: str,
        collection: str,
        *,
        lon: float,
        lat: float,
        radius_m: float,
        where: tuple[Condition, ...] = (),
        limit: int = 50,
    ) -> list[Document]:
        check_place(db, collection)
        around = {
            "near": {"type": "Point", "coordinates": [lon, lat]},
            "maxDistance": check_circle(lon, lat, radius_m),
            "spherical": True,
            "key": "geo",
            "query": mql.visible(where),
            "distanceField": "distance_m",
        }
        stages: list[dict[str, object]] = [
            {"$geoNear": around},
            {"$sort": {"distance_m": 1, "_id": 1}},
            {"$limit": check_limit(limit)},
        ]
        async with self._translating():
            try:
                found = await (await self._collection(db, collection).aggregate(stages)).to_list()
            except OperationFailure as error:
                if error.code == _NO_COLLECTION:
                    return []
                if error.code in _NO_INDEX:
                    raise StoreRejectedError(
                        f"{db}.{collection} has no geo index: declare one with geo_index()"
                    ) from error
                raise
        return [{**mql.shown(row), "distance_m": round(float(str(row["distance_m"])), 1)} for row in found]

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        places: defaultdict[tuple[str, str], list[IndexSpec]] = defaultdict(list)
        wanted = list(specs)
        self._declared = declared(self._declared, wanted)
        for spec in wanted:
            check_place(spec.db, spec.collection)
            places[spec.db, spec.collection].append(spec)
            if spec.expire_after is not None:
                self._expires_by[spec.db, spec.collection] = spec.fields[0].field
        async with self._translating():
            for (db, collection), group in places.items():
                await _make_indexes(self._collection(db, collection), group)

    async def purge(self, now: datetime) -> int:
        return 0

    async def drop_all(self, databases: Iterable[str]) -> None:
        names = set(databases)
        async with self._translating():
            for db in names:
                for collection in await self._read_models(db):
                    await self._database(db).drop_collection(collection)
        await self.ensure([spec for spec in self._declared if spec.db in names])

    async def discard(self, databases: Iterable[str]) -> None:
        names = set(databases)
        self._declared = {spec: None for spec in self._declared if spec.db not in names}
        await self.drop_all(names)

    async def databases(self) -> list[str]:
        async with self._translating():
            held = await self._client.list_database_names()
            names = (name.removeprefix(self._prefix) for name in held if name.startswith(self._prefix))
            return [name for name in sorted(names) if is_database(name) and await self._read_models(name)]

    async def ping(self) -> None:
        async with self._translating():
            await self._client.admin.command("ping")

    async def close(self) -> None:
        if self._lost:
            # The driver looks for a lost server in step with the failures it reports, and forgets to close the
            # socket of a connection attempt that closing the client cancels: let the attempt end first.
            await asyncio.sleep(_ATTEMPT_S)
        await self._client.close()

    async def _select(self, query: Query, where: dict[str, object], limit: int, skip: int) -> list[Document]:
        check_place(query.db, query.collection)
        async with self._translating():
            found = self._collection(query.db, query.collection).find(
                where, sort=mql.order(query), limit=limit, skip=skip
            )
            return [mql.shown(row) for row in await found.to_list()]

    async def _read_models(self, db: str) -> list[str]:
        return [name for name in await self._database(db).list_collection_names() if name != _POSITIONS]

    def _database(self, db: str) -> AsyncDatabase[dict[str, JSON]]:
        return self._client.get_database(self._prefix + db, codec_options=_OPTIONS)

    def _collection(self, db: str, collection: str) -> Collection:
        return self._database(db)[collection]

    @asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        """Errors of pymongo as the port has them, and a cancellation that came meanwhile as what it is.

        pymongo waits by `asyncio.wait_for`, which on Python 3.11 loses a cancellation that comes in the moment of the
        answer: whoever had sent it would wait for ever.
        """
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        try:
            yield
            if task is not None and task.cancelling() > before:
                raise asyncio.CancelledError
            self._lost = False
        except (PyMongoError, BSONError, TypeError, ValueError, OverflowError) as error:
            self._lost = isinstance(error, ConnectionFailure)
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StoreError:
        cause = str(error).split(", Timeout:")[0].split(", full error:")[0][:300]
        match error:
            case BulkWriteError():
                codes = {wrong["code"] for wrong in error.details["writeErrors"]}
                if not codes - _RETRY:
                    return StoreUnavailableError(self._url, cause)
                kind = UniqueViolationError if DUPLICATE_KEY in codes else StoreRejectedError
                told = error.details["writeErrors"][0]["errmsg"][:300]
                return kind(f"read store {self._url}: {told}")
            case DuplicateKeyError():
                return UniqueViolationError(f"read store {self._url}: {cause}")
            case ConnectionFailure() | ExecutionTimeout() | WriteConcernError() | InvalidOperation():
                return StoreUnavailableError(self._url, cause)
            case OperationFailure() if error.code in _RETRY or error.has_error_label("RetryableWriteError"):
                return StoreUnavailableError(self._url, cause)
            case _:
                return StoreRejectedError(f"read store {self._url}: {cause}")


def without_credentials(url: str) -> str:
    """The scheme and the hosts of a URL: no user, no password, no options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0].rstrip('/')}"


async def _make_indexes(collection: Collection, specs: list[IndexSpec]) -> None:
    held = await collection.index_information()
    missing = {name: model for name, model in map(_index, specs) if name not in held}
    for name in held:
        for wanted in missing:
            if name.split(":")[0] == wanted.split(":")[0]:
                await collection.drop_index(name)
    if missing:
        await collection.create_indexes(list(missing.values()))


def _index(spec: IndexSpec) -> tuple[str, IndexModel]:
    """The index under a name of two parts: what it orders, and with which options."""
    keys = [(check_path(key.field), -1 if key.descending else 1) for key in spec.fields]
    path = "_".join(f"{field}_{direction}" for field, direction in keys)
    if spec.geo:
        return "geo:2dsphere", IndexModel([("geo", "2dsphere")], name="geo:2dsphere")
    if spec.expire_after is not None:
        name = f"expiry:{spec.expire_after}"
        return name, IndexModel([(mql.EXPIRES, 1)], name=name, expireAfterSeconds=spec.expire_after)
    if spec.unique:
        name = f"{path}:unique"
        return name, IndexModel(
            keys, name=name, unique=True, partialFilterExpression=mql.only_full(spec.fields)
        )
    if keys[-1][0] != "_id":
        keys.append(("_id", keys[-1][1]))
    return f"{path}:plain", IndexModel(keys, name=f"{path}:plain")
