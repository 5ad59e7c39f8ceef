# ruff: noqa: S608 - only checked names stand in the statements, values are bound
"""The embedded read store: one SQLite file a database in a folder, nothing else to install.

Writes enter through one writer thread, which commits whatever has queued up together (`synchronous=FULL`, so
that a saved position never outlives its data); reads run on threads of their own and see committed data only.
Each row carries a checksum, verified whenever it is read; what is damaged is named, and nothing is answered from it.
A batch over several files is committed file by file, `chargesphere.db` with the positions last. It never
blocks the event loop and never makes a file or table for a read. The module is long because the port's methods
and the two kinds of thread that serve them are one thing; rows and statements are in `sqlite_rows`
and `sqlite_sql`, files in `sqlite_databases`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from projections.store import sqlite_sql as sql
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
    StoreDamagedError,
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
    check_place,
    check_write,
    distance_m,
    is_database,
    make_cursor,
)
from projections.store.sqlite_databases import Database, Databases
from projections.store.sqlite_file import DamagedFileError, checksum, is_damage
from projections.store.sqlite_rows import (
    COLUMNS,
    apply_write,
    document_of,
    each_tables,
    exists,
    make_index,
)

T = TypeVar("T")

_GROUP = 256
_READERS = 3
_POSITIONS = (
    "CREATE TABLE positions (projector TEXT, topic TEXT, part INTEGER, place INTEGER NOT NULL,"
    " sum INTEGER NOT NULL, PRIMARY KEY (projector, topic, part)) WITHOUT ROWID"
)
_REFUSED = (
    DamagedFileError,
    StoreRejectedError,
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
        self._files = Databases(folder)
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
            found: dict[PositionKey, int] = {}
            for *row, sum_ in connection.execute("SELECT * FROM positions WHERE projector = ?", (projector,)):
                if checksum(*row) != sum_:
                    raise DamagedFileError(f"the position {row} is not what was written")
                found[PositionKey(projector, row[1], row[2])] = row[3]
            return found

        return await self._read(HUB, read, {})

    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        await self.apply((), positions)

    async def forget_positions(self, projector: str) -> None:
        def forget() -> None:
            with self._files.writer(HUB).transaction() as connection:
                self._make_positions()
                connection.execute("DELETE FROM positions WHERE projector = ?", (projector,))

        await self._write(forget)

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        return (await self.get_many(db, collection, (id,))).get(id)

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        check_place(db, collection)
        found = self._among(collection, ids)

        def read(connection: sqlite3.Connection) -> dict[str, Document]:
            return {str(row[0]): document_of(sql.table(collection), row) for row in found(connection)}

        return await self._read(db, read, {})

    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        check_place(db, collection)
        found = self._among(collection, ids)

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            versions: dict[str, int] = {}
            for row in found(connection):
                document_of(sql.table(collection), row)
                versions[str(row[0])] = row[1]
            return versions

        return await self._read(db, read, {})

    @staticmethod
    def _among(collection: str, ids: Iterable[str]) -> Callable[[sqlite3.Connection], list[tuple[Any, ...]]]:
        """Asks for the rows of the visible documents among these ids."""
        wanted = msgspec.json.encode(list(ids)).decode()
        statement = (
            f"SELECT {COLUMNS} FROM {sql.table(collection)}"
            " WHERE live = 1 AND id IN (SELECT value FROM json_each(?))"
        )
        return lambda connection: connection.execute(statement, (wanted,)).fetchall()

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
        query = msgspec.structs.replace(query, cursor=None)
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
            f"SELECT body->>'$.geo.coordinates[0]', body->>'$.geo.coordinates[1]', {COLUMNS}"
            f" FROM {rows} WHERE k IN (SELECT k FROM {tree} WHERE maxx >= ? AND minx <= ?"
            f" AND maxy >= ? AND miny <= ?) AND {clause.text}"
        )

        def read(connection: sqlite3.Connection) -> list[Document]:
            if not exists(connection, rows):
                return []
            if not exists(connection, tree):
                raise StoreRejectedError(f"{db}.{collection} has no geo index: declare one with geo_index()")
            found: dict[str, tuple[float, tuple[Any, ...]]] = {}
            for box in sql.boxes(lon, lat, radius):
                for x, y, *row in connection.execute(statement, (*box, *clause.values)):
                    away = distance_m(lon, lat, x, y)
                    if away <= radius:
                        found[row[0]] = (away, tuple(row))
            nearest = sorted(found.items(), key=lambda item: (item[1][0], item[0]))[:limit]
            return [{**document_of(rows, row), "distance_m": round(away, 1)} for _, (away, row) in nearest]

        return await self._read(db, read, [])

    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        wanted = list(specs)
        for spec in wanted:
            check_place(spec.db, spec.collection)
        await self._write(lambda: self._ensure(wanted))

    async def purge(self, now: datetime) -> int:
        return await self._write(lambda: self._purge(now))

    async def drop_all(self, databases: Iterable[str]) -> None:
        names = [name for name in databases if self._files.path(name).exists()]
        await self._write(lambda: self._drop(names))

    async def discard(self, databases: Iterable[str]) -> None:
        names = set(databases)

        def discard() -> None:
            self._declared = {spec: None for spec in self._declared if spec.db not in names}
            self._tables = {known for known in self._tables if known[0] not in names}
            for db in names:
                self._files.discard(db)

        await self._write(discard)

    async def databases(self) -> list[str]:
        def read() -> list[str]:
            return sorted(name for name in self._files.names() if is_database(name) and self._tables_of(name))

        return await self._off_loop(self._readers, read)

    async def ping(self) -> None:
        await self._write(lambda: self._files.writer(HUB).connection.execute("SELECT 1").fetchone())

    async def damages(self) -> list[str]:
        """Read all files through; one line for each database or collection that is damaged."""

        def read(db: str) -> list[str]:
            found: list[str] = []
            connection = self._files.reader(db)
            for collection in self._tables_of(db):
                rows = sql.table(collection)
                try:
                    for row in connection.execute(f"SELECT {COLUMNS} FROM {rows}"):
                        document_of(rows, row)
                except (DamagedFileError, UnicodeDecodeError, sqlite3.Error) as error:
                    found.append(str(self._named(db, error)))
            return found

        def each() -> list[str]:
            found: list[str] = []
            for db in sorted(self._files.names()):
                try:
                    self._files.inspect(db)
                    found.extend(read(db))
                except (DamagedFileError, sqlite3.Error) as error:
                    found.append(str(self._named(db, error)))
            return found

        return await self._off_loop(self._readers, each)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for pool in (self._writer, self._readers):
            await asyncio.to_thread(pool.shutdown)
        await asyncio.to_thread(self._files.close)

    def _drain(self) -> None:
        """Takes what has queued up, runs each batch in its own savepoint and commits all together."""
        jobs: list[_Job] = []
        while self._jobs and len(jobs) < _GROUP:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        done: list[tuple[_Job, Applied]] = []
        begun: dict[str, Database] = {}
        try:
            for job in jobs:
                try:
                    done.append((job, self._run(job, begun)))
                except _REFUSED as error:
                    job.future.set_exception(self._translated(error))
            for db in sorted(begun, key=lambda name: name == HUB):
                begun[db].commit()
        except Exception as error:
            self._tables.clear()
            for database in begun.values():
                database.rollback()
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(self._translated(error))
            return
        for job, applied in done:
            job.future.set_result(applied)

    def _run(self, job: _Job, begun: dict[str, Database]) -> Applied:
        touched = {write.db for write in job.writes} | ({HUB} if job.positions else set())
        databases = [self._files.writer(db) for db in touched]
        for db, database in zip(touched, databases, strict=True):
            if db not in begun:
                database.begin()
                begun[db] = database
            database.connection.execute("SAVEPOINT job")
        try:
            applied = sum(self._write_one(write) for write in job.writes)
            if job.positions:
                self._make_positions()
                rows = [(k.projector, k.topic, k.partition, place) for k, place in job.positions.items()]
                self._files.writer(HUB).connection.executemany(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?)",
                    [(*row, checksum(*row)) for row in rows],
                )
        except _REFUSED:
            self._tables.clear()
            for database in databases:
                database.connection.execute("ROLLBACK TO job")
            raise
        finally:
            for database in databases:
                if database.connection.in_transaction:
                    database.connection.execute("RELEASE job")
        return Applied(applied, len(job.writes) - applied)

    def _write_one(self, write: Write) -> bool:
        self._make_table(write.db, write.collection)
        try:
            return apply_write(self._files.writer(write.db).connection, write)
        except (DamagedFileError, UnicodeDecodeError, sqlite3.Error) as error:
            raise self._named(write.db, error) from None

    def _ensure(self, specs: list[IndexSpec]) -> None:
        for db in {spec.db for spec in specs}:
            with self._files.writer(db).transaction() as connection:
                for spec in specs:
                    if spec.db != db:
                        continue
                    self._make_table(db, spec.collection)
                    if spec.geo:
                        if not exists(connection, sql.geo_table(spec.collection)):
                            self._files.writer(db).schema_changes()
                            for statement in sql.geo_statements(spec.collection):
                                connection.execute(statement)
                    elif spec.each:
                        if not exists(connection, sql.each_table(spec)):
                            self._files.writer(db).schema_changes()
                            for statement in sql.each_statements(spec):
                                connection.execute(statement)
                    else:
                        if make_index(connection, *sql.index_statement(spec)):
                            self._files.writer(db).schema_changes()
        self._declared = declared(self._declared, specs)

    def _purge(self, now: datetime) -> int:
        gone = 0
        for spec in self._declared:
            if spec.expire_after is None:
                continue
            before = (now.astimezone(UTC) - timedelta(seconds=spec.expire_after)).replace(microsecond=0)
            rows, bound = sql.table(spec.collection), (before.isoformat().replace("+00:00", "Z"),)
            expired = f"FROM {rows} WHERE live = 1 AND {sql.field(spec.fields[0].field)} < ?"
            with self._files.writer(spec.db).transaction() as connection:
                self._make_table(spec.db, spec.collection)
                for row in connection.execute(f"SELECT {COLUMNS} {expired}", bound):
                    document_of(rows, row)  # a damaged time takes nothing away
                gone += connection.execute(f"DELETE {expired}", bound).rowcount
        return gone

    def _drop(self, names: list[str]) -> None:
        for db in names:
            with self._files.writer(db).transaction() as connection:
                self._files.writer(db).schema_changes()
                for name in each_tables(connection):
                    connection.execute(f"DROP VIEW {name}_differs")
                    connection.execute(f"DROP TABLE {name}")
                for name in self._tables_of(db):
                    connection.execute(f"DROP TABLE IF EXISTS {sql.geo_table(name)}")
                    connection.execute(f"DROP TABLE {sql.table(name)}")
        self._tables = {known for known in self._tables if known[0] not in names}
        self._ensure([spec for spec in self._declared if spec.db in names])

    def _tables_of(self, db: str) -> list[str]:
        rows = self._files.reader(db).execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name.removeprefix("c_") for (name,) in rows.fetchall() if name.startswith("c_")]

    def _make_table(self, db: str, collection: str) -> None:
        if (db, collection) not in self._tables:
            database = self._files.writer(db)
            if not exists(database.connection, sql.table(collection)):
                database.schema_changes()
                database.connection.execute(sql.make_table(collection))
            self._tables.add((db, collection))

    def _make_positions(self) -> None:
        hub = self._files.writer(HUB)
        if not exists(hub.connection, "positions"):
            hub.schema_changes()
            hub.connection.execute(_POSITIONS)

    async def _select(self, query: Query, where: sql.Sql, limit: int, offset: int) -> list[Document]:
        whole = self._by_each(query) or sql.Sql(
            f"FROM {sql.table(query.collection)} WHERE {where.text} ORDER BY {sql.order(query)}", where.values
        )
        statement = f"SELECT {COLUMNS} {whole.text} LIMIT {limit} OFFSET {offset}"

        def read(connection: sqlite3.Connection) -> list[Document]:
            rows = connection.execute(statement, whole.values)
            return [document_of(sql.table(query.collection), row) for row in rows]

        return await self._read(query.db, read, [])

    def _by_each(self, query: Query) -> sql.Sql | None:
        """The rows by way of an `each` index that was declared and serves the query."""
        for spec in self._declared:
            if spec.each and (spec.db, spec.collection) == (query.db, query.collection):
                return sql.by_each(query, spec)
        return None

    async def _read(self, db: str, read: Callable[[sqlite3.Connection], T], absent: T) -> T:
        def run() -> T:
            if not self._files.path(db).exists():
                return absent
            try:
                return read(self._files.reader(db))
            except (DamagedFileError, UnicodeDecodeError, sqlite3.Error) as error:
                if isinstance(error, sqlite3.OperationalError) and "no such table" in str(error):
                    return absent
                raise self._named(db, error) from None

        return await self._off_loop(self._readers, run)

    async def _write(self, write: Callable[[], T]) -> T:
        return await self._off_loop(self._writer, write)

    async def _off_loop(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._closed:
            raise self._unavailable("closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (DamagedFileError, UnicodeDecodeError, sqlite3.Error, OSError) as error:
            raise self._translated(error) from error

    def _named(self, db: str, error: Exception) -> Exception:
        """Damage with the file and the way out; any other error as it is."""
        return self._files.damaged(db, error) if is_damage(error) else error

    def _unavailable(self, cause: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"sqlite:{self._folder}", cause)

    def _translated(self, error: Exception) -> Exception:
        match error:
            case StoreError():
                return error
            case _ if is_damage(error):
                return StoreDamagedError(f"sqlite:{self._folder}", str(error))
            case sqlite3.IntegrityError():
                return UniqueViolationError(f"read store sqlite:{self._folder}: {error}")
            case _ if isinstance(error, _REFUSED):
                return StoreRejectedError(f"read store sqlite:{self._folder}: {error}")
            case sqlite3.Error() | OSError():
                return self._unavailable(str(error) or type(error).__name__)
            case _:
                return error
