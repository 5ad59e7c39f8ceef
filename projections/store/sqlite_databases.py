"""The files of the embedded read store: each is checked before the first answer from it, and its commits are counted.

A database's name enters, connections leave: one that writes, and one for each thread that reads. A damaged file gives
none: who asks is told, in one line that says what to do. Files above `AT_ONCE` bytes that can be built again are
checked beside the work, on a thread of its own, and give up when damage is found; all others before.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from projections.store import sqlite_sql as sql
from projections.store.files import own_database, own_folder
from projections.store.generations import DATABASE as GENERATIONS
from projections.store.sqlite_file import (
    DamagedFileError,
    MissingCommitsError,
    Tally,
    connect,
    inspect,
    is_damage,
    make_durable,
)
from projections.store.sqlite_rows import each_tables

logger = logging.getLogger(__name__)

AT_ONCE = 256 * 1024 * 1024
CHECKPOINT_PAGES = 1000
TIMEOUT = 5.0


class Database:
    """One file and the connection that writes it."""

    def __init__(self, connection: sqlite3.Connection, tally: Tally) -> None:
        self.connection = connection
        self._tally = tally
        self._before = 0

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self._before = self.connection.total_changes

    def schema_changes(self) -> None:
        """The transaction under way makes or drops a table or an index."""
        self._tally.schema_changed = True

    def commit(self) -> None:
        changed = self._tally.schema_changed or self.connection.total_changes != self._before
        if changed:
            self._tally.count(self.connection)
        self.connection.execute("COMMIT")
        if changed:
            self._tally.committed()

    def rollback(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        self.begin()
        try:
            yield self.connection
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def close(self) -> None:
        self._tally.close()


class Databases:
    """All files of one folder, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opening = threading.Lock()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._open: dict[str, Database] = {}
        self._damaged: dict[str, DamagedFileError] = {}
        self._checks: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._lives: dict[str, int] = {}
        self._closing = False

    def path(self, db: str) -> Path:
        return self._folder / f"{db}.db"

    def names(self) -> list[str]:
        """The databases that have a file."""
        return [path.stem for path in self._folder.glob("*.db")]

    def writer(self, db: str) -> Database:
        """The database with its writing connection; its file is made when it is missing."""
        self._refuse_damaged(db)
        found = self._open.get(db)
        if found is None:
            with self._opening:
                found = self._open.get(db) or self._start(db)
        return found

    def reader(self, db: str) -> sqlite3.Connection:
        """This thread's connection to a file that exists."""
        held: dict[str, sqlite3.Connection] = self._local.__dict__
        life = f"{db}#{self._lives.get(db, 0)}"
        if life not in held:
            self.writer(db)
            held[life] = self._connect(db)
            held[life].execute("PRAGMA query_only = 1")
        self._refuse_damaged(db)
        return held[life]

    def inspect(self, db: str) -> None:
        """Check the whole file now, however large it is."""
        check(self.reader(db), self.path(db))

    def discard(self, db: str) -> None:
        """Remove the file of a database that nobody uses any more; its name may come again."""
        with self._opening:
            database = self._open.pop(db, None)
            if database is not None:
                database.close()
                self._connections.remove(database.connection)
                database.connection.close()
            self._damaged.pop(db, None)
            self._lives[db] = self._lives.get(db, 0) + 1
            path = self.path(db)
            # The count of its commits first: without a file it would miss them.
            for name in (f"{path.name}.commits", f"{path.name}-wal", f"{path.name}-shm", path.name):
                path.with_name(name).unlink(missing_ok=True)

    def close(self) -> None:
        self._closing = True
        for thread, connection in self._checks:
            connection.interrupt()
            thread.join()
        for database in self._open.values():
            database.close()
        for connection in self._connections:
            connection.close()

    def damaged(self, db: str, error: Exception) -> DamagedFileError:
        """What is wrong, with the way out."""
        if isinstance(error, DamagedFileError) and error is self._damaged.get(db):
            return error
        path = self.path(db)
        what = str(error) if str(path) in str(error) else f"{path} is damaged: {error}"
        if _can_be_built_again(db):
            return DamagedFileError(
                f"{what}; stop, remove {path}* and run `chargesphere projections rebuild`"
            )
        way_out = "no rebuild can make it anew: restore it from a backup"
        if isinstance(error, MissingCommitsError):
            way_out += f", or remove {error.beside} to go on without them"
        return DamagedFileError(f"{what}; {way_out}")

    def _refuse_damaged(self, db: str) -> None:
        if (error := self._damaged.get(db)) is not None:
            raise error

    def _connect(self, db: str) -> sqlite3.Connection:
        connection = connect(self.path(db), TIMEOUT)
        self._connections.append(connection)
        return connection

    def _start(self, db: str) -> Database:
        own_folder(self._folder)
        own_database(self.path(db))
        path, tally = self.path(db), Tally(self.path(db))
        connection = self._connect(db)
        try:
            make_durable(connection, CHECKPOINT_PAGES)
            tally.open(connection, lambda _: None)
            if _can_be_built_again(db) and path.stat().st_size > AT_ONCE:
                self._check_beside(db)
            else:
                check(connection, path)
        except BaseException as error:
            tally.close()
            self._connections.remove(connection)
            connection.close()
            # Our own statements are never wrong: where SQLite says so at the start, it cannot read its schema.
            unread = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
            if unread or is_damage(error):
                assert isinstance(error, Exception)
                self._damaged[db] = self.damaged(db, error)
                raise self._damaged[db] from error
            raise
        self._open[db] = Database(connection, tally)
        return self._open[db]

    def _check_beside(self, db: str) -> None:
        connection = self._connect(db)

        def run() -> None:
            try:
                check(connection, self.path(db))
            except (DamagedFileError, UnicodeDecodeError, sqlite3.Error) as error:
                if not self._closing and is_damage(error):
                    self._damaged[db] = self.damaged(db, error)
                    logger.error("%s", self._damaged[db])

        thread = threading.Thread(target=run, name=f"readstore-check-{db}", daemon=True)
        self._checks.append((thread, connection))
        thread.start()


def check(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite's own check of tables and indexes, and what it leaves out: each R*Tree and each table of an array's
    items against its table."""
    inspect(connection, path)
    for each in each_tables(connection):
        if connection.execute(f"SELECT * FROM {each}_differs").fetchone()[0]:  # noqa: S608 - a name of ours
            raise DamagedFileError(f"{path} is damaged: {each} differs from its table")
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for rows in sorted(names):
        tree = sql.geo_table(rows.removeprefix("c_"))
        if not rows.startswith("c_") or tree not in names:
            continue
        (said,) = connection.execute("SELECT rtreecheck('main', ?)", (tree,)).fetchone()
        if said != "ok":
            raise DamagedFileError(f"{path} is damaged: {' '.join(str(said).split())}")
        if connection.execute(sql.geo_differs(rows.removeprefix("c_"))).fetchone()[0]:
            raise DamagedFileError(f"{path} is damaged: {tree} differs from {rows}")


def _can_be_built_again(db: str) -> bool:
    """Without the file that says which generation is read, it is the first one, which is empty then."""
    return not db.startswith("chargesphere_") or db == GENERATIONS
