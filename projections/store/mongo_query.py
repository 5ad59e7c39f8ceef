"""How the MongoDB adapter says things: writes and queries enter, update pipelines and filters leave.

Every write can be said as one update whose filter is `_id` alone and whose guard stands in the pipeline, because a
filter `version: {$lt: n}` with upsert loses the newest version when writers race. Changes of documents that are there
need no upsert, so that many of them can be one update. Values stand in `$literal`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from projections.store.port import (
    JSON,
    Append,
    Condition,
    Insert,
    Put,
    PutPart,
    Query,
    Remove,
    Scalar,
    Sort,
    Write,
)
from projections.store.shapes import after_prefix, at, check_condition, ordering, read_cursor

EXPIRES = "_expires_from"
"""The date that the TTL index looks at; reads take it away."""

Expression = Mapping[str, object]
_SHOWN: Expression = {"version": {"$gte": 0}, "_deleted": {"$exists": False}}


def pipeline(write: Write, expires_by: str | None) -> list[Expression]:
    """The update pipeline of a write; `expires_by` names the field with the time that a TTL index needs."""
    match write:
        case Put(version=version):
            full = {"$literal": whole(write, expires_by)}
            kept = {name: f"${name}" for name in write.keep}
            return _replace(_older("$version", version), {"$mergeObjects": [full, kept]} if kept else full)
        case Insert():
            return _replace(_older("$version", 0), {"$literal": whole(write, expires_by)})
        case Remove(version=version):
            stone = {"_deleted": True, "_id": write.id, "version": version}
            return _replace(_older("$version", version), {"$literal": stone})
        case PutPart(part=part, version=version):
            value = {part: {"$literal": {**write.value, "version": version}}}
            return _replace(_older(f"${part}.version", version), {"$mergeObjects": ["$$ROOT", value]})
        case Append():
            return _replace(_extends(write), {"$mergeObjects": ["$$ROOT", _delta(write, expires_by)]})


class Change(NamedTuple):
    """Fields that a visible document takes on where its version is at least `low` and below `high`."""

    id: str
    low: int
    high: int
    fields: Mapping[str, object]


def change(write: Put | Append, expires_by: str | None) -> Change | None:
    """The write as a change of a document that is there; None where it cannot be said so.

    That of a `Put` does the same only where the stored version is its base; elsewhere it does nothing.
    """
    if isinstance(write, Append):
        fields, base = write.set, write.after
        if write.push:
            return None
    else:
        fields, base = write.changed, write.base
        if base is None:
            return None
    if expires_by is not None and expires_by in fields:
        return None
    low, high = (0, write.version) if base is None else (base, min(base + 1, write.version))
    return Change(write.id, low, high, {**fields, "version": write.version})


def changing(changes: Sequence[Change]) -> tuple[dict[str, object], list[Expression]]:
    """The filter and the pipeline of one update that makes all these changes, each of a document of its own."""
    ids = [one.id for one in changes]
    told = [{"low": one.low, "high": one.high, "fields": one.fields} for one in changes]
    own = {"$arrayElemAt": [{"$literal": told}, {"$indexOfArray": [{"$literal": ids}, "$_id"]}]}
    guard = {"$and": [{"$lte": ["$$own.low", "$version"]}, {"$lt": ["$version", "$$own.high"]}]}
    new = {"$cond": [guard, {"$mergeObjects": ["$$ROOT", "$$own.fields"]}, "$$ROOT"]}
    where: dict[str, object] = {"_id": {"$in": ids}, **_SHOWN}
    return where, [{"$replaceWith": {"$let": {"vars": {"own": own}, "in": new}}}]


def whole(write: Put | Insert, expires_by: str | None) -> dict[str, object]:
    """The document of a write, as it is stored where there was none."""
    version = write.version if isinstance(write, Put) else 0
    document = write.document
    return {**document, "_id": write.id, "version": version, **_expiry(document, expires_by)}


def _replace(guard: Expression, new: Expression) -> list[Expression]:
    return [{"$replaceWith": {"$cond": [guard, new, "$$ROOT"]}}]


def _older(stored: str, version: int) -> Expression:
    return {"$lt": [{"$ifNull": [stored, -1]}, version]}


def _expiry(document: Mapping[str, JSON], expires_by: str | None) -> dict[str, object]:
    moment = at(document, expires_by) if expires_by is not None else None
    return {EXPIRES: datetime.fromisoformat(moment)} if isinstance(moment, str) else {}


def _extends(write: Append) -> Expression:
    guards: list[object] = [
        {"$ne": [{"$type": "$version"}, "missing"]},
        {"$eq": [{"$type": "$_deleted"}, "missing"]},
        {"$lt": ["$version", write.version]},
    ]
    if write.after is not None:
        guards.append({"$eq": ["$version", write.after]})
    return {"$and": guards}


def _delta(write: Append, expires_by: str | None) -> Expression:
    fixed = {**write.set, "_id": write.id, "version": write.version, **_expiry(write.set, expires_by)}
    return {"$mergeObjects": [{"$literal": fixed}, _pushed(write)]} if write.push else {"$literal": fixed}


def _pushed(write: Append) -> Expression:
    return {
        name: {"$slice": [{"$concatArrays": [_array(name), {"$literal": list(items)}]}, -write.cap]}
        for name, items in write.push.items()
    }


def _array(name: str) -> Expression:
    return {"$cond": [{"$isArray": f"${name}"}, f"${name}", []]}


def visible(conditions: tuple[Condition, ...], *more: Expression) -> dict[str, object]:
    """The filter of the visible documents that meet all conditions."""
    return {"$and": [*map(_condition, conditions), *more, _SHOWN]}


def _condition(given: Condition) -> Expression:
    check_condition(given)
    value = given.value
    match given.op:
        case "has":
            return {given.field: {"$eq": value}}
        case "in":
            return {given.field: {"$in": list(value) if isinstance(value, tuple) else [value]}}
        case "prefix":
            low = str(value)
            high = after_prefix(low)
            return {given.field: {"$gte": low} if high is None else {"$gte": low, "$lt": high}}
        case _:
            return {given.field: {f"${given.op}": value}}


def order(query: Query) -> list[tuple[str, int]]:
    """The sort keys with their directions, `_id` last."""
    return [(key.field, -1 if key.descending else 1) for key in ordering(query)]


def behind(query: Query) -> list[Expression]:
    """What holds for documents behind the cursor: nothing without one."""
    values = read_cursor(query)
    if values is None:
        return []
    keys = ordering(query)
    bounds = [_behind(keys, values)]
    first, start = keys[0], values[0]
    if start is not None and (not first.descending or first.field == "_id"):
        # Implied by the other, but in a form that an index can seek.
        bounds.append({first.field: {"$lte" if first.descending else "$gte": start}})
    return bounds


def _behind(keys: tuple[Sort, ...], values: list[Scalar]) -> Expression:
    key, value = keys[0], values[0]
    beyond = _beyond(key, value)
    if len(keys) == 1:
        return beyond
    return {"$or": [beyond, {"$and": [{key.field: {"$eq": value}}, _behind(keys[1:], values[1:])]}]}


def _beyond(key: Sort, value: Scalar) -> Expression:
    if value is None:
        return {"$nor": [{}]} if key.descending else {key.field: {"$ne": None}}
    if key.descending:
        return {"$or": [{key.field: {"$lt": value}}, {key.field: {"$eq": None}}]}
    return {key.field: {"$gt": value}}


def only_full(fields: tuple[Sort, ...]) -> Expression:
    """The documents that a unique index binds, said so that the planner uses the index for equality too."""
    return {key.field: {"$gte": ""} for key in fields}


def shown(found: Mapping[str, JSON]) -> dict[str, JSON]:
    """The document as readers see it."""
    return {name: value for name, value in found.items() if name != EXPIRES}
