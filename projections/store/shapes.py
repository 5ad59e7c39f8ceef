"""What both adapters do alike: names, limits and paths are checked here, cursors are made and read here.

A query enters, its full ordering and the values that its cursor stands behind leave; no store is touched.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping

import msgspec

from projections.store.port import (
    JSON,
    MAX_LIMIT,
    BadCursor,
    Document,
    Query,
    Scalar,
    Sort,
    StoreRejected,
)

_DATABASE = re.compile(r"chargesphere|ocpp_[a-z0-9-]{1,32}")
_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")


def check_place(db: str, collection: str) -> None:
    """Raises `StoreRejected` unless both are names that every adapter can hold."""
    if not _DATABASE.fullmatch(db):
        raise StoreRejected(f"database {db!r}: use 'chargesphere' or 'ocpp_' and a tenant id")
    if not _COLLECTION.fullmatch(collection):
        raise StoreRejected(f"collection {collection!r}: use lower-case letters, digits and '_'")


def is_database(name: str) -> bool:
    """Whether a read store may hold a database of this name."""
    return _DATABASE.fullmatch(name) is not None


def check_path(path: str) -> str:
    """The path itself; raises `StoreRejected` unless it is names joined by dots."""
    if not _PATH.fullmatch(path):
        raise StoreRejected(f"field path {path!r}: use names of letters, digits, '_' and '-', joined by dots")
    return path


def check_limit(limit: int) -> int:
    """The limit itself; raises `StoreRejected` outside 1..500."""
    if not 1 <= limit <= MAX_LIMIT:
        raise StoreRejected(f"limit {limit}: use 1 to {MAX_LIMIT}")
    return limit


def ordering(query: Query) -> tuple[Sort, ...]:
    """The query's sort keys with `_id` as the last."""
    keys = query.sort
    if any(key.field == "_id" for key in keys):
        return keys
    return (*keys, Sort("_id", bool(keys) and keys[-1].descending))


def _shape(query: Query) -> int:
    keys = [(key.field, key.descending) for key in ordering(query)]
    return zlib.crc32(msgspec.json.encode([query.db, query.collection, keys]))


def make_cursor(query: Query, last: Document) -> str:
    """An opaque cursor that stands just behind the document."""
    values = [at(last, key.field) for key in ordering(query)]
    raw = msgspec.json.encode([_shape(query), values])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(query: Query) -> list[Scalar] | None:
    """The sort values that the query's cursor stands behind; raises `BadCursor`."""
    if query.cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        shape, values = msgspec.json.decode(raw, type=tuple[int, list[bool | int | float | str | None]])
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadCursor("the cursor is damaged: take next_cursor as it was given") from error
    if shape != _shape(query) or len(values) != len(ordering(query)):
        raise BadCursor("the cursor belongs to another query: begin without one")
    return values


def at(document: Mapping[str, JSON], path: str) -> Scalar:
    """The scalar at a dotted path; `None` where there is none."""
    value: JSON = dict(document)
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return None if isinstance(value, dict | list) else value


def after_prefix(text: str) -> str | None:
    """The least string after all that begin with the text; `None` when there is none."""
    for end in range(len(text), 0, -1):
        code = ord(text[end - 1])
        if code < 0x10FFFF:
            return text[: end - 1] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None
