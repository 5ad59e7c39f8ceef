# ruff: noqa: S608 - only checked names stand in the statements, values are bound
"""How the embedded adapter says things in SQL: queries and declarations enter, statements and values leave.

One table a collection, `c_{name}(k, id, version, live, body)`; `live` is 0 for tombstones and for documents of
which only parts came. An index of `each` item of an array is a table beside it that triggers keep. Field paths are
checked before they stand in a statement; values are always bound.
"""

from __future__ import annotations

import math
import zlib

import msgspec

from projections.store.port import EARTH_RADIUS_M, Condition, IndexSpec, Query, Scalar, Sort
from projections.store.shapes import after_prefix, check_condition, check_path, ordering, read_cursor

Value = str | int | float | None

_COMPARE = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}


class Sql(msgspec.Struct, frozen=True):
    """A piece of SQL with the values that its question marks stand for."""

    text: str
    values: tuple[Value, ...] = ()


def table(collection: str) -> str:
    """The table of a collection."""
    return f"c_{collection}"


def geo_table(collection: str) -> str:
    """The R*Tree of a collection."""
    return f"g_{collection}"


def field(path: str) -> str:
    """The SQL expression of a dotted path; an index on it is used only when both are spelled alike."""
    if path == "_id":
        return "id"
    inner = ".".join(f'"{name}"' for name in check_path(path).split("."))
    return f"(body->>'$.{inner}')"


def condition(given: Condition) -> Sql:
    """One condition as a boolean expression."""
    check_condition(given)
    name, value = field(given.field), given.value
    match given.op:
        case "eq":
            return same(name, value if not isinstance(value, tuple) else None)
        case "in":
            listed = value if isinstance(value, tuple) else ()
            some = msgspec.json.encode([v for v in listed if v is not None]).decode()
            null = f" OR {name} IS NULL" if None in listed else ""
            return Sql(f"({name} IN (SELECT value FROM json_each(?)){null})", (some,))
        case "has":
            inner = name.replace("(body->>", "json_each(body, ", 1)
            return Sql(f"EXISTS (SELECT 1 FROM {inner} WHERE value = ?)", (_bound(value),))
        case "prefix":
            low = str(value)
            high = after_prefix(low)
            if high is None:
                return Sql(f"{name} >= ?", (low,))
            return Sql(f"({name} >= ? AND {name} < ?)", (low, high))
        case _:
            return Sql(f"{name} {_COMPARE[given.op]} ?", (_bound(value),))


def _bound(value: Scalar | tuple[Scalar, ...]) -> Value:
    if isinstance(value, tuple):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value


def same(name: str, value: Scalar) -> Sql:
    """Equality in which null equals null and absent."""
    return Sql(f"{name} IS NULL") if value is None else Sql(f"{name} = ?", (_bound(value),))


def where(conditions: tuple[Condition, ...], *more: Sql) -> Sql:
    """The WHERE clause of the visible documents that meet all conditions."""
    parts = [Sql("live = 1"), *map(condition, conditions), *more]
    return Sql(" AND ".join(p.text for p in parts), tuple(v for p in parts for v in p.values))


def order(query: Query) -> str:
    """The ORDER BY clause, `_id` last."""
    return ", ".join(f"{field(k.field)} {'DESC' if k.descending else 'ASC'}" for k in ordering(query))


def behind(query: Query) -> list[Sql]:
    """What holds for documents behind the cursor: nothing without one."""
    values = read_cursor(query)
    if values is None:
        return []
    keys = ordering(query)
    bounds = [_behind(keys, values)]
    first, start = keys[0], values[0]
    if start is not None and (not first.descending or first.field == "_id"):
        # Implied by the other, but in a form that an index can seek.
        compare = "<=" if first.descending else ">="
        bounds.append(Sql(f"{field(first.field)} {compare} ?", (_bound(start),)))
    return bounds


def _behind(keys: tuple[Sort, ...], values: list[Scalar]) -> Sql:
    key, value = keys[0], values[0]
    beyond = _beyond(key, value)
    if len(keys) == 1:
        return beyond
    level, rest = same(field(key.field), value), _behind(keys[1:], values[1:])
    return Sql(
        f"({beyond.text} OR ({level.text} AND {rest.text}))", beyond.values + level.values + rest.values
    )


def _beyond(key: Sort, value: Scalar) -> Sql:
    name = field(key.field)
    if value is None:
        return Sql("0") if key.descending else Sql(f"{name} IS NOT NULL")
    if key.descending:
        return Sql(f"({name} < ? OR {name} IS NULL)", (_bound(value),))
    return Sql(f"{name} > ?", (_bound(value),))


def make_table(collection: str) -> str:
    """The statement that makes a collection's table when it is missing."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table(collection)} (k INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
        " version INTEGER, live INTEGER NOT NULL, body TEXT NOT NULL, sum INTEGER NOT NULL)"
    )


def index_statement(spec: IndexSpec) -> tuple[str, str]:
    """The name and the statement of a plain, unique or expiry index."""
    keys = [f"{field(k.field)}{' DESC' if k.descending else ''}" for k in spec.fields]
    name = f"i_{spec.collection}_{zlib.crc32(','.join(keys).encode()):08x}"
    if not spec.unique and spec.fields[-1].field != "_id":
        keys.append("id DESC" if spec.fields[-1].descending else "id")
    kind = "UNIQUE INDEX" if spec.unique else "INDEX"
    return name, f"CREATE {kind} {name} ON {table(spec.collection)}({', '.join(keys)}) WHERE live = 1"


def each_table(spec: IndexSpec) -> str:
    """The table of an `each` index: an item `v` of the array, and the document's id."""
    return f"e_{spec.collection}_{zlib.crc32(field(spec.fields[0].field).encode()):08x}"


def each_statements(spec: IndexSpec) -> list[str]:
    """What makes the table of an `each` index, keeps it in step, takes in what is there and compares the two."""
    rows, name, path = table(spec.collection), each_table(spec), _inside(spec.fields[0].field)

    def items(row: str) -> str:
        return f"json_each({row}body, '{path}')"

    gone = f"DELETE FROM {name} WHERE v IN (SELECT value FROM {items('OLD.')}) AND id = OLD.id;"
    new = f"INSERT INTO {name} SELECT DISTINCT value, NEW.id FROM {items('NEW.')} WHERE NEW.live = 1;"
    changed = f"OLD.live <> NEW.live OR OLD.body->'{path}' IS NOT NEW.body->'{path}'"
    every = f"SELECT DISTINCT value, c.id FROM {rows} AS c, {items('c.')} WHERE c.live = 1"
    return [
        f"CREATE TABLE {name} (v, id TEXT, PRIMARY KEY (v, id)) WITHOUT ROWID",
        f"CREATE TRIGGER {name}_insert AFTER INSERT ON {rows} BEGIN {new} END",
        f"CREATE TRIGGER {name}_update AFTER UPDATE ON {rows} WHEN {changed} BEGIN {gone} {new} END",
        f"CREATE TRIGGER {name}_delete AFTER DELETE ON {rows} BEGIN {gone} END",
        f"INSERT INTO {name} {every}",
        f"CREATE VIEW {name}_differs AS SELECT EXISTS (SELECT * FROM ({every}) EXCEPT SELECT * FROM {name})"
        f" OR EXISTS (SELECT * FROM {name} EXCEPT SELECT * FROM ({every}))",
    ]


def by_each(query: Query, spec: IndexSpec) -> Sql | None:
    """The page's rows by way of an `each` index, up to its LIMIT; None where the index does not serve the query."""
    keys = ordering(query)
    given = [one for one in query.where if one.op == "has" and one.field == spec.fields[0].field]
    if len(given) != 1 or [key.field for key in keys] != ["_id"]:
        return None
    found = where(tuple(one for one in query.where if one is not given[0]), *behind(query))
    rows = f"{each_table(spec)} CROSS JOIN {table(query.collection)} USING (id)"
    return Sql(
        f"FROM {rows} WHERE v = ? AND {found.text} ORDER BY {order(query)}",
        (_bound(given[0].value), *found.values),
    )


def _inside(path: str) -> str:
    return "$." + ".".join(f'"{name}"' for name in check_path(path).split("."))


def geo_differs(collection: str) -> str:
    """Asks whether the R*Tree lacks a placed document, holds it elsewhere, or holds another number of them."""
    rows, tree = table(collection), geo_table(collection)
    x, y = (f"body->>'$.geo.coordinates[{n}]'" for n in (0, 1))
    placed = f"SELECT k, {x} AS x, {y} AS y FROM {rows} WHERE live = 1 AND {_placed('')}"
    return (
        f"WITH placed AS MATERIALIZED ({placed})"
        f" SELECT (SELECT count(*) FROM placed) <> (SELECT count(*) FROM {tree})"
        f" OR EXISTS (SELECT 1 FROM placed JOIN {tree} AS t ON t.k = placed.k"
        " WHERE NOT (t.minx <= x AND t.maxx >= x AND t.miny <= y AND t.maxy >= y)"
        " OR t.maxx - t.minx > 0.0001 OR t.maxy - t.miny > 0.0001)"
        f" OR EXISTS (SELECT 1 FROM placed WHERE k NOT IN (SELECT k FROM {tree}))"
    )


def _placed(row: str) -> str:
    return f"json_type({row}body, '$.geo.coordinates[1]') IN ('real', 'integer')"


def geo_statements(collection: str) -> list[str]:
    """What makes the R*Tree, keeps it in step with the table and takes in what is there already."""
    rows, tree = table(collection), geo_table(collection)

    def point(row: str) -> str:
        x, y = (f"{row}body->>'$.geo.coordinates[{n}]'" for n in (0, 1))
        return f"SELECT {row}k, {x}, {x}, {y}, {y}"

    def placed(row: str) -> str:
        return f"{row}live = 1 AND {_placed(row)}"

    new = f"INSERT INTO {tree} {point('NEW.')} WHERE {placed('NEW.')};"
    return [
        f"CREATE VIRTUAL TABLE {tree} USING rtree(k, minx, maxx, miny, maxy)",
        f"CREATE TRIGGER {tree}_insert AFTER INSERT ON {rows} BEGIN {new} END",
        f"CREATE TRIGGER {tree}_update AFTER UPDATE ON {rows} BEGIN"
        f" DELETE FROM {tree} WHERE k = OLD.k; {new} END",
        f"CREATE TRIGGER {tree}_delete AFTER DELETE ON {rows} BEGIN DELETE FROM {tree} WHERE k = OLD.k; END",
        f"INSERT INTO {tree} {point('')} FROM {rows} WHERE {placed('')}",
    ]


def boxes(lon: float, lat: float, radius_m: float) -> list[tuple[float, float, float, float]]:
    """West, east, south and north in degrees of the boxes that hold the circle, two where it crosses ±180."""
    reach, middle = radius_m / EARTH_RADIUS_M, math.radians(lat)
    margin = 1e-6
    south, north = math.degrees(middle - reach) - margin, math.degrees(middle + reach) + margin
    if south <= -90 or north >= 90:
        return [(-180.0, 180.0, south, north)]
    width = math.degrees(math.asin(min(1.0, math.sin(reach) / math.cos(middle)))) + margin
    west, east = lon - width, lon + width
    if west < -180:
        return [(-180.0, east, south, north), (west + 360, 180.0, south, north)]
    if east > 180:
        return [(west, 180.0, south, north), (-180.0, east - 360, south, north)]
    return [(west, east, south, north)]
