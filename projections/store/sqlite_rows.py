# ruff: noqa: S608 - only checked names stand in the statements, values are bound
"""How the embedded adapter changes one row: a connection within a transaction and a write enter, a row changes.

It neither begins nor commits; whoever calls it holds the only writing connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from projections.store import sqlite_sql as sql
from projections.store.port import JSON, Append, Document, Insert, Put, PutPart, Remove, Write
from projections.store.sqlite_file import DamagedFileError, checksum

COLUMNS = "id, version, live, body, sum"
"""What a read must ask for to be able to verify a document."""

_decode = msgspec.json.Decoder(dict[str, object])


def apply_write(connection: sqlite3.Connection, write: Write) -> bool:
    """Applies one guarded write to a table that exists; whether it took effect."""
    rows = sql.table(write.collection)
    match write:
        case Put(version=version, document=document) if not write.keep:
            return _put(connection, rows, write.id, version, document)
        case Insert(document=document):
            return _put(connection, rows, write.id, 0, document)
        case Remove(version=version):
            return _put(connection, rows, write.id, version, {"_deleted": True}, live=0)
    found = connection.execute(f"SELECT {COLUMNS} FROM {rows} WHERE id = ?", (write.id,)).fetchone()
    version, live, stored = (-1, 0, {}) if found is None else (found[1], found[2], document_of(rows, found))
    match write:
        case Put():
            kept = {name: stored[name] for name in write.keep if name in stored}
            return _put(connection, rows, write.id, write.version, {**write.document, **kept})
        case PutPart():
            part = stored.get(write.part)
            held = part.get("version", -1) if isinstance(part, dict) else -1
            if isinstance(held, int) and held >= write.version:
                return False
            stored[write.part] = {**write.value, "version": write.version}
            return _replace(connection, rows, write.id, None if version == -1 else version, live, stored)
        case Append():
            if not live or version >= write.version or write.after not in (None, version):
                return False
            stored.update(write.set)
            for name, items in write.push.items():
                held_items = stored.get(name)
                before = held_items if isinstance(held_items, list) else []
                stored[name] = [*before, *items][-write.cap :]
            return _put(connection, rows, write.id, write.version, stored)


def _put(
    connection: sqlite3.Connection,
    rows: str,
    id: str,
    version: int,
    document: Mapping[str, JSON],
    live: int = 1,
) -> bool:
    body = msgspec.json.encode({**document, "_id": id, "version": version}).decode()
    done = connection.execute(
        f"INSERT INTO {rows}({COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE"
        " SET version = excluded.version, live = excluded.live, body = excluded.body, sum = excluded.sum"
        f" WHERE excluded.version > coalesce({rows}.version, -1)",
        (id, version, live, body, checksum(rows, id, version, live, body)),
    )
    return done.rowcount == 1


def _replace(
    connection: sqlite3.Connection, rows: str, id: str, version: int | None, live: int, document: Document
) -> bool:
    body = msgspec.json.encode({**document, "_id": id}).decode()
    connection.execute(
        f"INSERT INTO {rows}({COLUMNS}) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT(id) DO UPDATE SET body = excluded.body, sum = excluded.sum",
        (id, version, live, body, checksum(rows, id, version, live, body)),
    )
    return True


def make_index(connection: sqlite3.Connection, name: str, statement: str) -> bool:
    """Makes the index, anew where one of this name was made by another statement; whether it did."""
    row = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    if row is not None and row[0] == statement:
        return False
    if row is not None:
        connection.execute(f"DROP INDEX {name}")
    connection.execute(statement)
    return True


def exists(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the file holds a table or index of this name."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def each_tables(connection: sqlite3.Connection) -> list[str]:
    """The tables of `each` indexes in the file; beside each stands a view `…_differs`, 1 where it is not in step."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [name for (name,) in found if name.startswith("e_")]


def document_of(rows: str, row: Sequence[Any]) -> Document:
    """The document that a row of `COLUMNS` holds."""
    *values, sum_ = row
    if checksum(rows, *values) != sum_:
        raise DamagedFileError(
            f"the document {row[0]!r} of {rows.removeprefix('c_')} is not what was written"
        )
    return _decode.decode(row[3])  # type: ignore[return-value]
