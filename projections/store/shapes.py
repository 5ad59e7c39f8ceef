"""What both adapters do alike: names, limits and paths are checked here, cursors are made and read here.

A query enters, its full ordering and the values that its cursor stands behind leave; no store is touched.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
import zlib
from collections.abc import Mapping

import msgspec

from projections.store.port import (
    EARTH_RADIUS_M,
    JSON,
    MAX_LIMIT,
    Append,
    BadCursorError,
    Condition,
    Document,
    Insert,
    Put,
    PutPart,
    Query,
    Scalar,
    Sort,
    StoreRejectedError,
    Write,
)

_DATABASE = re.compile(r"chargesphere_[a-z]{1,20}|(chargesphere|ocpp_[a-z0-9-]{1,32})(~[1-9][0-9]{0,8})?")
"""With the number of a generation (`generations`)."""
_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MAX_INT = 2**63 - 1
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")


@functools.lru_cache(10_000)
def check_place(db: str, collection: str) -> None:
    """Raises `StoreRejectedError` unless both are names that every adapter can hold."""
    if not _DATABASE.fullmatch(db):
        raise StoreRejectedError(
            f"database {db!r}: use 'chargesphere', 'chargesphere_' and a name, or 'ocpp_' and a tenant id"
        )
    if not _COLLECTION.fullmatch(collection):
        raise StoreRejectedError(f"collection {collection!r}: use lower-case letters, digits and '_'")


def is_database(name: str) -> bool:
    """Whether a read store may hold a database of this name."""
    return _DATABASE.fullmatch(name) is not None


def check_path(path: str) -> str:
    """The path itself; raises `StoreRejectedError` unless it is names joined by dots."""
    if not _PATH.fullmatch(path):
        raise StoreRejectedError(
            f"field path {path!r}: use names of letters, digits, '_' and '-', joined by dots"
        )
    return path


def check_limit(limit: int) -> int:
    """The limit itself; raises `StoreRejectedError` outside 1..500."""
    if not 1 <= limit <= MAX_LIMIT:
        raise StoreRejectedError(f"limit {limit}: use 1 to {MAX_LIMIT}")
    return limit


def check_write(write: Write) -> None:
    """Raises `StoreRejectedError` where an adapter could not take the write as the port says."""
    check_place(write.db, write.collection)
    if not isinstance(write, Insert) and not 0 <= write.version <= _MAX_INT:
        raise StoreRejectedError(
            f"version {write.version} of {write.collection} {write.id!r}: use 0 to 2**63 - 1"
        )
    match write:
        case Put(document=document, keep=keep):
            names, fields = keep, document
        case PutPart(part=part):
            names, fields = (part,), {}
        case Append(set=fields, push=push, cap=cap):
            names = tuple(push)
            if cap < 1:
                raise StoreRejectedError(f"cap {cap} of {write.collection} {write.id!r}: use 1 or more")
            if both := fields.keys() & push.keys():
                raise StoreRejectedError(
                    f"fields {sorted(both)} of {write.collection} {write.id!r}: set or push"
                )
        case Insert(document=document):
            names, fields = (), document
        case _:
            return
    for name in names:
        if name == "version" or not _NAME.fullmatch(name):
            raise StoreRejectedError(
                f"subtree {name!r} of {write.collection}: use letters, digits, '_' and '-'"
            )
    check_geo(fields.get("geo"))


def check_geo(geo: JSON) -> None:
    """Raises `StoreRejectedError` unless this is null or a GeoJSON point, longitude before latitude."""
    match geo:
        case None:
            return
        case {"type": "Point", "coordinates": [int() | float() as lon, int() | float() as lat]}:
            check_coordinates(lon, lat)
        case _:
            raise StoreRejectedError(f"geo {geo!r}: use a GeoJSON point, longitude first, or null")


def check_coordinates(lon: float, lat: float) -> None:
    """Raises `StoreRejectedError` outside -180..180 and -90..90 degrees."""
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise StoreRejectedError(f"longitude {lon}, latitude {lat}: use -180..180 and -90..90 degrees")


def check_condition(condition: Condition) -> Condition:
    """The condition itself; raises `StoreRejectedError` when its value does not suit its operator."""
    check_path(condition.field)
    value = condition.value
    suits = {
        "eq": not isinstance(value, tuple),
        "in": isinstance(value, tuple),
        "prefix": isinstance(value, str),
    }.get(condition.op, value is not None and not isinstance(value, tuple))
    if not suits or any(
        isinstance(one, int) and abs(one) > _MAX_INT
        for one in (value if isinstance(value, tuple) else (value,))
    ):
        raise StoreRejectedError(f"condition {condition.op} on {condition.field}: {value!r} does not suit it")
    return condition


def distance_m(lon: float, lat: float, to_lon: float, to_lat: float) -> float:
    """Metres along the great circle between two points in degrees, on the sphere that MongoDB uses."""
    a, b = math.radians(lat), math.radians(to_lat)
    turn = math.radians((to_lon - lon + 180) % 360 - 180)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, h)))


def ordering(query: Query) -> tuple[Sort, ...]:
    """The query's sort keys with `_id` as the last."""
    keys = query.sort
    if any(key.field == "_id" for key in keys):
        return keys
    return (*keys, Sort("_id", bool(keys) and keys[-1].descending))


def _shape(query: Query) -> int:
    keys = [(key.field, key.descending) for key in ordering(query)]
    # A page goes on in another generation of its database.
    return zlib.crc32(msgspec.json.encode([query.db.partition("~")[0], query.collection, keys]))


def make_cursor(query: Query, last: Document) -> str:
    """An opaque cursor that stands just behind the document."""
    values = [at(last, key.field) for key in ordering(query)]
    raw = msgspec.json.encode([_shape(query), values])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(query: Query) -> list[Scalar] | None:
    """The sort values that the query's cursor stands behind; raises `BadCursorError`."""
    if query.cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        shape, values = msgspec.json.decode(raw, type=tuple[int, list[bool | int | float | str | None]])
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadCursorError("the cursor is damaged: take next_cursor as it was given") from error
    if shape != _shape(query) or len(values) != len(ordering(query)):
        raise BadCursorError("the cursor belongs to another query: begin without one")
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


def check_circle(lon: float, lat: float, radius_m: float) -> float:
    """The radius, at most half way round the sphere; raises `StoreRejectedError` for what is no circle."""
    check_coordinates(lon, lat)
    if not radius_m >= 0:
        raise StoreRejectedError(f"radius {radius_m} m: use 0 or more")
    return min(radius_m, math.pi * EARTH_RADIUS_M)
