"""What each SQLite file of ours has besides its tables: durable commits, checksums, and a count of its commits.

SQLite checksums the frames of its write-ahead log and nothing else; where one of those is damaged, it drops that
commit and all after it without a word, as after a power loss. So each row carries a checksum of its own, and each
commit is counted twice: in the file, and in `<file>.commits` beside it, which is written after the commit and never
before. A file with fewer commits than stand beside it has lost some. The second count is not synced (ADR 11).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from domain.errors import ChargeSphereError
from projections.store.files import own_database
from projections.store.folders import sync_folder

logger = logging.getLogger(__name__)

SLOT = 512
"""Two slots, in sectors of their own and written in turn: a torn write harms one."""

_slot = struct.Struct("<QI")
_encode = msgspec.msgpack.Encoder().encode


class DamagedFileError(ChargeSphereError):
    """A file does not hold what was written; one line that names it."""


class MissingCommitsError(DamagedFileError):
    """A file has fewer commits than were acknowledged; without `beside` that would not be known."""

    def __init__(self, path: Path, count: int, beside: Path) -> None:
        super().__init__(
            f"{path} lacks the newest of its commits ({count}), which were acknowledged: its -wal is damaged or gone"
        )
        self.beside = beside


def checksum(*values: object) -> int:
    """CRC-32 of a row's values; those of another type or order have another one."""
    return zlib.crc32(_encode(values))


def is_damage(error: BaseException) -> bool:
    """Whether this error says that the file does not hold what was written."""
    if isinstance(error, DamagedFileError | UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    # Texts that are no UTF-8, and documents that are no JSON, have no code of their own.
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or any(
        said in str(error) for said in ("malformed JSON", "decode to UTF-8")
    )


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time, and that says when its transactions begin and end."""
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def connect_to_read(path: Path, timeout: float) -> sqlite3.Connection:
    """As `connect`, of a file that another process may hold; nothing can be written by it."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def make_durable(connection: sqlite3.Connection, checkpoint_pages: int) -> None:
    """Each commit of this connection is synced before it returns."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")


def inspect(connection: sqlite3.Connection, path: Path, tables: Iterable[str] = ("",)) -> None:
    """SQLite's own check of the structure: of these tables with their indexes, or of the whole file."""
    for table in tables:
        said = connection.execute(f"PRAGMA integrity_check({table or 1})").fetchone()[0]
        if said != "ok":
            raise DamagedFileError(f"{path} is damaged: {' '.join(str(said).split())}")


class Tally:
    """Counts the commits of one file. All calls but `open` come from the thread that writes the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(path.name + ".commits")
        self._commits = self._schema = 0
        self._descriptor: int | None = None
        self.schema_changed = False
        """Set it in a transaction that makes or drops a table or an index."""

    def open(self, connection: sqlite3.Connection, make: Callable[[sqlite3.Connection], None]) -> None:
        """Verify what the file says of itself, or `make` the tables of a new one; nothing is written before."""
        inspect(connection, self._path, ["sqlite_schema"])
        there = self._beside.exists()
        self._descriptor = os.open(self._beside, os.O_RDWR | os.O_CREAT, 0o600)
        if not there:
            sync_folder(self._beside.parent)
        try:
            fresh = not self._compare(connection, there)
        except MissingCommitsError:
            self._keep_evidence()
            raise
        if fresh:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("CREATE TABLE tally (commits INTEGER, schema INTEGER, sum INTEGER)")
                connection.execute("INSERT INTO tally VALUES (0, 0, 0)")
                make(connection)
                self.schema_changed = True
                self.count(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            self.committed()

    def verify(self, connection: sqlite3.Connection) -> None:
        """As `open`, for who only reads: nothing is made or written. Raises OSError for a file without tables."""
        inspect(connection, self._path, ["sqlite_schema"])
        there = self._beside.exists()
        if there:
            self._descriptor = os.open(self._beside, os.O_RDONLY)
        if not self._compare(connection, there):
            raise OSError("nothing is in it yet")

    def _compare(self, connection: sqlite3.Connection, there: bool) -> bool:
        """The file with the count beside it; whether it has tables. Raises DamagedFileError, MissingCommitsError."""
        beside = self._read_beside()  # first: it may be behind the file, never before it
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        fresh = not tables and connection.execute("PRAGMA page_count").fetchone()[0] <= 1
        if not fresh:
            connection.execute("BEGIN")  # of what it says and of what it is: one state
            try:
                self._verify(connection, tables)
            finally:
                connection.execute("ROLLBACK")
        if not there and not fresh:
            logger.warning(
                "%s is missing: whether %s has all of its commits is not known", self._beside, self._path
            )
        if self._commits < beside:
            raise MissingCommitsError(self._path, beside - self._commits, self._beside)
        return not fresh

    def _verify(self, connection: sqlite3.Connection, tables: set[str]) -> None:
        if "tally" not in tables:
            raise DamagedFileError(
                f"{self._path} is damaged, or was made by another release: it has no tally"
            )
        inspect(connection, self._path, ["tally"])
        rows = connection.execute("SELECT * FROM tally").fetchall()
        if len(rows) != 1 or len(rows[0]) != 3 or checksum(*rows[0][:2]) != rows[0][2]:
            raise DamagedFileError(f"{self._path} is damaged in its tally: {rows}")
        self._commits, self._schema, _ = rows[0]
        if self._schema != _schema_of(connection):
            raise DamagedFileError(
                f"{self._path} is damaged, or was changed by others, in its table sqlite_schema"
            )

    def _read_beside(self) -> int:
        found = 0
        if self._descriptor is None:
            return found
        for number in (0, 1):
            data = os.pread(self._descriptor, _slot.size, number * SLOT)
            if not any(data):
                continue
            commits, sum_ = _slot.unpack(data.ljust(_slot.size, b"\0"))
            if checksum(commits) == sum_ and commits & 1 == number:
                found = max(found, commits)
            else:
                logger.warning("%s is damaged in slot %d; the other one counts", self._beside, number)
        return found

    def _keep_evidence(self) -> None:
        """SQLite removes a write-ahead log of which it can read nothing more: keep a copy for whoever repairs it."""
        log, copy = Path(f"{self._path}-wal"), Path(f"{self._path}-wal.damaged")
        if log.exists() and log.stat().st_size and not copy.exists():
            shutil.copyfile(log, copy)

    def count(self, connection: sqlite3.Connection) -> None:
        """Count the transaction under way; its last statement."""
        if self.schema_changed:
            self._schema = _schema_of(connection)
        schema = self._schema
        commits = self._commits + 1
        connection.execute(
            "UPDATE tally SET commits = ?, schema = ?, sum = ?", (commits, schema, checksum(commits, schema))
        )

    def committed(self) -> None:
        """The counted transaction is durable: only now may the count beside the file know of it."""
        self._commits += 1
        self.schema_changed = False
        if self._descriptor is not None:
            # A count that is behind is no lie; where it cannot be written, the commit holds all the same.
            with contextlib.suppress(OSError):
                data = _slot.pack(self._commits, checksum(self._commits))
                os.pwrite(self._descriptor, data, (self._commits & 1) * SLOT)

    def close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _schema_of(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    return checksum(*rows)


def copy_file(source: Path, target: Path, timeout: float = 5.0) -> None:
    """A new file, durable, as `source` was at one moment; another process may write it meanwhile, ours may not have
    it open. Whether it has all commits that were acknowledged is verified.

    Raises DamagedFileError and MissingCommitsError, which name the new file, OSError and sqlite3.Error.
    """
    own_database(target)
    beside = source.with_name(source.name + ".commits")
    if beside.exists():
        # First: it may be behind the file, never before it.
        count = target.with_name(target.name + ".commits")
        own_database(count)
        count.write_bytes(beside.read_bytes())
    tally = Tally(target)
    with contextlib.closing(connect(target, timeout)) as copy:
        with contextlib.closing(connect_to_read(source, timeout)) as reading:
            # In one step: one that waits for a writer in between begins anew each time, for ever beside a busy one.
            reading.backup(copy)
        try:
            tally.open(copy, lambda _: None)
        finally:
            tally.close()
    sync_folder(target.parent)
