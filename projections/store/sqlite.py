# ruff: noqa: S608 - only checked names stand in the statements, values are bound
"""The embedded read store: one SQLite file a database in a folder, nothing else to install.

Writes enter through one writer thread, which commits whatever has queued up together (`synchronous=FULL`, so
that a saved position never outlives its data); reads run on threads of their own and see committed data only.
A batch over several files is committed file by file, `chargesphere.db` with the positions last. It never
blocks the event loop and never makes a file or table for a read. The module is long because the port's methods
and the two kinds of thread that serve them are one thing; rows and statements are in `sqlite_rows`, `sqlite_sql`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from projections.store import sqlite_sql as sql
from projections.store.files import own_database, own_folder
from projections.store.port import (
    HUB,
    Applied,
    Condition,
    Document,
    IndexSpec,
    Page,
    PositionKey,
    Query,
    ReadStore,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    UniqueViolation,
    Write,
    declared,
)
from projections.store.shapes import (
    check_circle,
    check_limit,
    check_place,
    check_write,
    distance_m,
    is_database,
    make_cursor,
)
from projections.store.sqlite_rows import apply_write, document_of, exists, make_index

T = TypeVar("T")

_GROUP = 256
_READERS = 3
_POSITIONS = (
    "CREATE TABLE IF NOT EXISTS positions (projector TEXT, topic TEXT, part INTEGER, place INTEGER NOT NULL,"
    " PRIMARY KEY (projector, topic, part)) WITHOUT ROWID"
)
_REFUSED = (
    StoreRejected,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    TypeError,
    ValueError,
    OverflowError,
)


class _Job(msgspec.Struct, frozen=True):
    writes: Sequence[Write]
    positions: Mapping[PositionKey, int]
    future: Future[Applied]


class SqliteReadStore(ReadStore):
    """Read models in `{folder}/{database}.db`; the folder is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: deque[_Job] = deque()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="readstore-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="readstore-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writers: dict[str, sqlite3.Connection] = {}
        self._tables: set[tuple[str, str]] = set()
        self._declared: dict[IndexSpec, None] = {}
        self._closed = False

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        for write in writes:
            check_write(write)
        job = _Job(writes, positions or {}, Future())
        self._jobs.append(job)
        try:
            self._writer.submit(self._drain)
        except RuntimeError as error:
            raise self._unavailable("closed") from error
        return await asyncio.wrap_future(job.future)

    async def positions(self, projector: str) -> dict[PositionKey, int]:
        def read(connection: sqlite3.Connection) -> dict[PositionKey, int]:
            rows = connection.execute(
                "SELECT topic, part, place FROM positions WHERE projector = ?", (projector,)
            )
            return {PositionKey(projector, topic, part): place for topic, part, place in rows}

        return await self._read(HUB, read, {})

    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        await self.apply((), positions)

    async def forget_positions(self, projector: str) -> None:
        def forget() -> None:
            with self._transaction(HUB) as connection:
                connection.execute(_POSITIONS)
                connection.execute("DELETE FROM positions WHERE projector = ?", (projector,))

        await self._write(forget)

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        return (await self.get_many(db, collection, (id,))).get(id)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        check_place(db, collection)
        wanted = msgspec.json.encode(list(ids)).decode()

        def read(connection: sqlite3.Connection) -> dict[str, Document]:
            rows = connection.execute(
                f"SELECT id, body FROM {sql.table(collection)}"
                " WHERE live = 1 AND id IN (SELECT value FROM json_each(?))",
                (wanted,),
            )
            return {id: document_of(body) for id, body in rows}

        return await self._read(db, read, {})

    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        check_place(db, collection)
        wanted = msgspec.json.encode(list(ids)).decode()

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            rows = connection.execute(
                f"SELECT id, version FROM {sql.table(collection)}"
                " WHERE live = 1 AND id IN (SELECT value FROM json_each(?))",
                (wanted,),
            )
            return dict(rows.fetchall())

        return await self._read(db, read, {})

    async def find(self, query: Query) -> Page:
        check_place(query.db, query.collection)
        limit = check_limit(query.limit)
        where = sql.where(query.where, *sql.behind(query))
        items = await self._select(query, where, limit + 1, 0)
        more = len(items) > limit
        del items[limit:]
        return Page(items, make_cursor(query, items[-1]) if more else None)

    async def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        check_place(query.db, query.collection)
        where = sql.where(query.where)
        items = await self._select(query, where, check_limit(limit), max(0, offset))
        return items, await self.count(query)

    async def count(self, query: Query) -> int:
        check_place(query.db, query.collection)
        where = sql.where(query.where)
        statement = f"SELECT count(*) FROM {sql.table(query.collection)} WHERE {where.text}"

        def read(connection: sqlite3.Connection) -> int:
            return int(connection.execute(statement, where.values).fetchone()[0])

        return await self._read(query.db, read, 0)

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
        radius = check_circle(lon, lat, radius_m)
        check_limit(limit)
        clause = sql.where(where)
        rows, tree = sql.table(collection), sql.geo_table(collection)
        statement = (
            "SELECT body->>'$.geo.coordinates[0]', body->>'$.geo.coordinates[1]', id, body"
            f" FROM {rows} WHERE k IN (SELECT k FROM {tree} WHERE maxx >= ? AND minx <= ?"
            f" AND maxy >= ? AND miny <= ?) AND {clause.text}"
        )

        def read(connection: sqlite3.Connection) -> list[Document]:
            if not exists(connection, rows):
                return []
            if not exists(connection, tree):
                raise StoreRejected(f"{db}.{collection} has no geo index: declare one with geo_index()")
            found: dict[str, tuple[float, str]] = {}
            for box in sql.boxes(lon, lat, radius):
                for x, y, id, body in connection.execute(statement, (*box, *clause.values)):
                    away = distance_m(lon, lat, x, y)
                    if away <= radius:
                        found[id] = (away, body)
            nearest = sorted(found.items(), key=lambda item: (item[1][0], item[0]))[:limit]
            return [{**document_of(body), "distance_m": round(away, 1)} for _, (away, body) in nearest]

        return await self._read(db, read, [])

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        wanted = list(specs)
        for spec in wanted:
            check_place(spec.db, spec.collection)
        await self._write(lambda: self._ensure(wanted))

    async def purge(self, now: datetime) -> int:
        return await self._write(lambda: self._purge(now))

    async def drop_all(self, databases: Iterable[str]) -> None:
        names = [name for name in databases if self._path(name).exists()]
        await self._write(lambda: self._drop(names))

    async def databases(self) -> list[str]:
        def read() -> list[str]:
            names = (path.stem for path in self._folder.glob("*.db"))
            return sorted(name for name in names if is_database(name) and self._tables_of(name))

        return await self._off_loop(self._readers, read)

    async def ping(self) -> None:
        await self._write(lambda: self._connection(HUB).execute("SELECT 1").fetchone())

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        for connection in self._connections:
            connection.close()

    def _drain(self) -> None:
        """Takes what has queued up, runs each batch in its own savepoint and commits all together."""
        jobs: list[_Job] = []
        while self._jobs and len(jobs) < _GROUP:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        done: list[tuple[_Job, Applied]] = []
        begun: list[str] = []
        try:
            for job in jobs:
                try:
                    done.append((job, self._run(job, begun)))
                except _REFUSED as error:
                    job.future.set_exception(self._translated(error))
            for db in sorted(begun, key=lambda name: name == HUB):
                self._connection(db).execute("COMMIT")
        except Exception as error:
            self._tables.clear()
            for db in begun:
                if self._connection(db).in_transaction:
                    self._connection(db).execute("ROLLBACK")
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(self._translated(error))
            return
        for job, applied in done:
            job.future.set_result(applied)

    def _run(self, job: _Job, begun: list[str]) -> Applied:
        touched = {write.db for write in job.writes} | ({HUB} if job.positions else set())
        for db in touched:
            connection = self._connection(db)
            if db not in begun:
                connection.execute("BEGIN IMMEDIATE")
                begun.append(db)
            connection.execute("SAVEPOINT job")
        try:
            applied = sum(self._write_one(write) for write in job.writes)
            if job.positions:
                hub = self._connection(HUB)
                hub.execute(_POSITIONS)
                hub.executemany(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                    [(k.projector, k.topic, k.partition, place) for k, place in job.positions.items()],
                )
        except _REFUSED:
            self._tables.clear()
            for db in touched:
                self._connection(db).execute("ROLLBACK TO job")
            raise
        finally:
            for db in touched:
                if self._connection(db).in_transaction:
                    self._connection(db).execute("RELEASE job")
        return Applied(applied, len(job.writes) - applied)

    def _write_one(self, write: Write) -> bool:
        self._make_table(write.db, write.collection)
        return apply_write(self._connection(write.db), write)

    def _ensure(self, specs: list[IndexSpec]) -> None:
        for db in {spec.db for spec in specs}:
            with self._transaction(db) as connection:
                for spec in specs:
                    if spec.db != db:
                        continue
                    self._make_table(db, spec.collection)
                    if spec.geo:
                        if not exists(connection, sql.geo_table(spec.collection)):
                            for statement in sql.geo_statements(spec.collection):
                                connection.execute(statement)
                    else:
                        make_index(connection, *sql.index_statement(spec))
        self._declared = declared(self._declared, specs)

    def _purge(self, now: datetime) -> int:
        gone = 0
        for spec in self._declared:
            if spec.expire_after is None:
                continue
            before = (now.astimezone(UTC) - timedelta(seconds=spec.expire_after)).replace(microsecond=0)
            with self._transaction(spec.db) as connection:
                self._make_table(spec.db, spec.collection)
                gone += connection.execute(
                    f"DELETE FROM {sql.table(spec.collection)}"
                    f" WHERE live = 1 AND {sql.field(spec.fields[0].field)} < ?",
                    (before.isoformat().replace("+00:00", "Z"),),
                ).rowcount
        return gone

    def _drop(self, names: list[str]) -> None:
        for db in names:
            with self._transaction(db) as connection:
                for name in self._tables_of(db):
                    connection.execute(f"DROP TABLE IF EXISTS {sql.geo_table(name)}")
                    connection.execute(f"DROP TABLE {sql.table(name)}")
        self._tables = {known for known in self._tables if known[0] not in names}
        self._ensure([spec for spec in self._declared if spec.db in names])

    def _tables_of(self, db: str) -> list[str]:
        rows = self._reader(db).execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name.removeprefix("c_") for (name,) in rows.fetchall() if name.startswith("c_")]

    def _make_table(self, db: str, collection: str) -> None:
        if (db, collection) not in self._tables:
            self._connection(db).execute(sql.make_table(collection))
            self._tables.add((db, collection))

    def _transaction(self, db: str) -> _Transaction:
        return _Transaction(self._connection(db))

    async def _select(self, query: Query, where: sql.Sql, limit: int, offset: int) -> list[Document]:
        statement = (
            f"SELECT body FROM {sql.table(query.collection)} WHERE {where.text}"
            f" ORDER BY {sql.order(query)} LIMIT {limit} OFFSET {offset}"
        )

        def read(connection: sqlite3.Connection) -> list[Document]:
            return [document_of(body) for (body,) in connection.execute(statement, where.values)]

        return await self._read(query.db, read, [])

    async def _read(self, db: str, read: Callable[[sqlite3.Connection], T], absent: T) -> T:
        def run() -> T:
            if not self._path(db).exists():
                return absent
            try:
                return read(self._reader(db))
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return absent
                raise

        return await self._off_loop(self._readers, run)

    async def _write(self, write: Callable[[], T]) -> T:
        return await self._off_loop(self._writer, write)

    async def _off_loop(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise self._unavailable("closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def _path(self, db: str) -> Path:
        return self._folder / f"{db}.db"

    def _connection(self, db: str) -> sqlite3.Connection:
        found = self._writers.get(db)
        if found is None:
            own_folder(self._folder)
            own_database(self._path(db))
            found = self._open(self._path(db))
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = FULL")
            self._writers[db] = found
        return found

    def _reader(self, db: str) -> sqlite3.Connection:
        held: dict[str, sqlite3.Connection] = self._local.__dict__
        if db not in held:
            held[db] = self._open(self._path(db))
            held[db].execute("PRAGMA query_only = 1")
        return held[db]

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        return connection

    def _unavailable(self, cause: str) -> StoreUnavailable:
        return StoreUnavailable(f"sqlite:{self._folder}", cause)

    def _translated(self, error: Exception) -> Exception:
        match error:
            case StoreError():
                return error
            case sqlite3.IntegrityError():
                return UniqueViolation(f"read store sqlite:{self._folder}: {error}")
            case _ if isinstance(error, _REFUSED):
                return StoreRejected(f"read store sqlite:{self._folder}: {error}")
            case sqlite3.Error() | OSError():
                return self._unavailable(str(error) or type(error).__name__)
            case _:
                return error


class _Transaction:
    """`BEGIN IMMEDIATE`, then `COMMIT`, or `ROLLBACK` when the block raises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
