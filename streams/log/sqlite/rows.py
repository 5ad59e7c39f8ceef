# ruff: noqa: S608 - the table's name is one of two, values are bound
"""The rows of the embedded log: what is written is checksummed, and what is read is verified or refused by name.

Plain topics are in `log`: their offsets have no holes, so that a row which a damaged index hides is missed. Compacted
topics are in `newest`, one row a key. What SQLite finds wrong by itself in the tables other than `log` is found when
the log is started. A connection enters, rows leave; it never begins or commits a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from projections.store.sqlite_file import checksum, inspect
from streams.log import LogDamagedError, Position, Record, Stored, TopicPartition, TopicSpec

# sqlite3 gives up the interpreter lock at each statement, and waits for it behind a busy event loop for up to 5 ms:
# many rows a statement, in a few fixed sizes so that each is prepared once.
CHUNKS = (512, 64, 8, 1)
SWEEP_ROWS = 2000

_ROW = (
    "topic INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, "
    "key BLOB, headers BLOB, value BLOB, timestamp INTEGER NOT NULL, sum INTEGER NOT NULL"
)
SCHEMA = (
    "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, "
    "compacted INTEGER NOT NULL, retention_ms INTEGER, sum INTEGER NOT NULL)",
    f"CREATE TABLE log ({_ROW})",
    "CREATE UNIQUE INDEX log_place ON log (topic, partition, offset)",
    f"CREATE TABLE newest ({_ROW})",
    "CREATE UNIQUE INDEX newest_place ON newest (topic, partition, offset)",
    "CREATE UNIQUE INDEX newest_key ON newest (topic, partition, key)",
    "CREATE TABLE ends (topic INTEGER NOT NULL, partition INTEGER NOT NULL, first INTEGER NOT NULL, "
    "next INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID",
    "CREATE TABLE positions (member_group TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, "
    "offset INTEGER NOT NULL, note TEXT NOT NULL, sum INTEGER NOT NULL, "
    "PRIMARY KEY (member_group, topic, partition)) WITHOUT ROWID",
)
CHECKED_AT_START = ("topics", "ends", "positions", "newest")

decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode
encode_headers = msgspec.msgpack.Encoder().encode

Row = tuple[Any, ...]


class Span(NamedTuple):
    """The offsets of a partition: `first` is the oldest that retention left, `next` the one not given yet."""

    first: int
    next: int


class Held(NamedTuple):
    """A topic and its number in the file."""

    id: int
    spec: TopicSpec


class Written(NamedTuple):
    """Records that get their offsets from `first` on."""

    topic: Held
    partition: int
    first: int
    records: Sequence[Record]
    timestamp: int


def make_tables(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA:
        connection.execute(statement)


class Rows:
    """Reads and writes rows of the file `path`. Raises LogDamagedError for what was not written so."""

    def __init__(self, path: Path) -> None:
        self._path = path

    # --- topics, ends, positions

    def load(
        self, connection: sqlite3.Connection
    ) -> tuple[list[Held], dict[tuple[int, int], Span], dict[tuple[str, TopicPartition], Position]]:
        """All that is kept in memory: topics, where each partition ends, committed positions."""
        inspect(connection, self._path, CHECKED_AT_START)
        topics: list[Held] = []
        for id_, name, partitions, compacted, retention in self._verified(connection, "topics"):
            topics.append(Held(id_, TopicSpec(name, partitions, bool(compacted), retention)))
        spans = {(t, p): Span(first, next_) for t, p, first, next_ in self._verified(connection, "ends")}
        for topic in topics:
            for partition in range(topic.spec.partitions):
                if (topic.id, partition) not in spans:
                    raise self.damaged(TopicPartition(topic.spec.name, partition), "its end is missing")
        positions = {
            (group, TopicPartition(name, partition)): Position(offset, note)
            for group, name, partition, offset, note in self._verified(connection, "positions")
        }
        return topics, spans, positions

    def _verified(self, connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
        for *values, sum_ in connection.execute(f"SELECT * FROM {table}").fetchall():
            if checksum(*values) != sum_:
                raise LogDamagedError(f"{self._path} is damaged in its table {table}: {values}{_WAY_OUT}")
            yield tuple(values)

    def put_topics(self, connection: sqlite3.Connection, topics: Sequence[Held]) -> None:
        for id_, spec in topics:
            row = (id_, spec.name, spec.partitions, int(spec.compacted), spec.retention_ms)
            connection.execute(
                "INSERT OR REPLACE INTO topics VALUES (?, ?, ?, ?, ?, ?)", (*row, checksum(*row))
            )
            connection.executemany(
                "INSERT OR IGNORE INTO ends VALUES (?, ?, 0, 0, ?)",
                [(id_, number, checksum(id_, number, 0, 0)) for number in range(spec.partitions)],
            )

    def put_spans(self, connection: sqlite3.Connection, spans: Mapping[tuple[int, int], Span]) -> None:
        rows: list[Row] = [(*place, *span, checksum(*place, *span)) for place, span in spans.items()]
        _many(connection, "INSERT OR REPLACE INTO ends VALUES {}", rows)

    def put_positions(
        self, connection: sqlite3.Connection, group: str, positions: Mapping[TopicPartition, Position]
    ) -> None:
        rows: list[Row] = [(group, *place, *position) for place, position in positions.items()]
        _many(
            connection, "INSERT OR REPLACE INTO positions VALUES {}", [(*row, checksum(*row)) for row in rows]
        )

    # --- records

    def put(self, connection: sqlite3.Connection, written: Iterable[Written]) -> None:
        """Records with their offsets; in a compacted topic the newest of each key takes the place of the others."""
        plain: list[Row] = []
        newest: dict[tuple[int, int, bytes | None], Row | None] = {}
        for (topic, spec), partition, first, records, timestamp in written:
            for offset, (key, value, headers) in enumerate(
                ((record.key, record.value, record.headers) for record in records), first
            ):
                if spec.compacted and value is None:
                    newest[topic, partition, key] = None
                    continue
                packed = encode_headers(headers) if headers else None
                row = (
                    topic, partition, offset, key, packed, value, timestamp,
                    checksum(topic, partition, offset, key, packed, value, timestamp),
                )  # fmt: skip
                if spec.compacted:
                    newest[topic, partition, key] = row
                else:
                    plain.append(row)
        _many(connection, "INSERT INTO log VALUES {}", plain)
        _many(
            connection,
            "INSERT INTO newest VALUES {} ON CONFLICT (topic, partition, key) DO UPDATE SET "
            "offset = excluded.offset, headers = excluded.headers, value = excluded.value, "
            "timestamp = excluded.timestamp, sum = excluded.sum",
            [row for row in newest.values() if row is not None],
        )
        _many(
            connection,
            "DELETE FROM newest WHERE rowid IN (SELECT newest.rowid FROM (VALUES {}) AS given CROSS JOIN newest "
            "ON newest.topic = given.column1 AND newest.partition = given.column2 AND newest.key = given.column3)",
            [key for key, row in newest.items() if row is None],
        )

    def beginning(self, connection: sqlite3.Connection, topic: Held, partition: int) -> int | None:
        """The first offset that can be read; None where there is none."""
        place = TopicPartition(topic.spec.name, partition)
        if not topic.spec.compacted:
            return self._span(connection, topic.id, place).first
        query = "SELECT min(offset) FROM newest WHERE topic = ? AND partition = ?"
        found: int | None = connection.execute(query, (topic.id, partition)).fetchone()[0]
        return found

    def read(
        self, connection: sqlite3.Connection, topic: Held, partition: int, offset: int, end: int, limit: int
    ) -> list[Stored]:
        """Up to `limit` records from `offset` on and before `end`, which the partition has reached."""
        place = TopicPartition(topic.spec.name, partition)
        connection.execute("BEGIN")  # of the rows and of where they begin: one state
        try:
            first = 0 if topic.spec.compacted else self._span(connection, topic.id, place).first
            rows = connection.execute(
                f"SELECT * FROM {'newest' if topic.spec.compacted else 'log'} "
                "WHERE topic = ? AND partition = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
                (topic.id, partition, offset, end, limit),
            ).fetchall()
        finally:
            connection.execute("ROLLBACK")
        found = [self._stored(place, row) for row in rows]
        if not topic.spec.compacted:
            expected = max(offset, first)
            for stored in found:
                if stored.offset != expected:
                    raise self.damaged(place, f"offset {expected} is missing")
                expected += 1
            if len(found) < limit and expected < end:
                raise self.damaged(place, f"offset {expected} is missing")
        return found

    def _span(self, connection: sqlite3.Connection, topic: int, place: TopicPartition) -> Span:
        query = "SELECT * FROM ends WHERE topic = ? AND partition = ?"
        row = connection.execute(query, (topic, place.partition)).fetchone()
        if row is None or checksum(*row[:4]) != row[4]:
            raise self.damaged(place, "where it begins and ends")
        return Span(*row[2:4])

    def _stored(self, place: TopicPartition, row: Row) -> Stored:
        *values, sum_ = row
        if checksum(*values) != sum_:
            raise self.damaged(place, f"the record at offset {row[2]}")
        _, _, offset, key, headers, value, timestamp = values
        return Stored(*place, offset, timestamp, key, value, decode_headers(headers) if headers else ())

    def sweep(
        self, connection: sqlite3.Connection, topic: Held, partition: int, before: int, span: Span
    ) -> tuple[Span, bool]:
        """Delete the oldest records from before a time, some at once; where the partition begins now, and whether
        there may be more. A damaged record tells no time: it goes with a younger one that is old enough."""
        place = (topic.id, partition)
        rows = connection.execute(
            "SELECT offset, timestamp FROM log WHERE topic = ? AND partition = ? ORDER BY offset LIMIT ?",
            (*place, SWEEP_ROWS),
        ).fetchall()
        old = [offset for offset, written in rows if written < before]
        more = len(old) == SWEEP_ROWS
        while old and not self._is_whole(connection, *place, old[-1]):
            old.pop()
        if not old:
            return span, False
        connection.execute(
            "DELETE FROM log WHERE topic = ? AND partition = ? AND offset <= ?", (*place, old[-1])
        )
        swept = Span(old[-1] + 1, span.next)
        self.put_spans(connection, {place: swept})
        return swept, more

    @staticmethod
    def _is_whole(connection: sqlite3.Connection, topic: int, partition: int, offset: int) -> bool:
        query = "SELECT * FROM log WHERE topic = ? AND partition = ? AND offset = ?"
        row = connection.execute(query, (topic, partition, offset)).fetchone()
        return row is not None and checksum(*row[:7]) == row[7]

    def damaged(self, place: TopicPartition, what: str) -> LogDamagedError:
        return LogDamagedError(
            f"{self._path} is damaged at {place.topic}[{place.partition}]: {what}{_WAY_OUT}", place
        )


_WAY_OUT = "; nothing is read beyond it: restore the file from a backup"


def _many(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Run `statement` over all rows; `{}` in it becomes the rows' parameters."""
    at = 0
    for chunk in CHUNKS:
        while len(rows) - at >= chunk:
            part = rows[at : at + chunk]
            marks = f"({', '.join('?' * len(part[0]))})"
            values = [value for row in part for value in row]
            connection.execute(statement.format(", ".join([marks] * chunk)), values)
            at += chunk
