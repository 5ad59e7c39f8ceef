"""What a query means over plain dictionaries: conditions and sort keys enter, predicates and an order leave.

Kinds are kept apart as MongoDB does: a number never equals, precedes or follows a text or a boolean.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from projections.store import JSON, Condition, Document, Query, Scalar
from projections.store.shapes import check_condition, check_path, ordering, read_cursor

Predicate = Callable[[Document], bool]
Reader = Callable[[Document], JSON]
Rank = tuple[int, Any]

_NULL: Final[Rank] = (0, None)
_COMPARE: Final[Mapping[str, Callable[[Rank, Rank], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def predicates(conditions: tuple[Condition, ...]) -> list[Predicate]:
    """One predicate a condition; raises `StoreRejectedError` for a condition that makes no sense."""
    return [_predicate(check_condition(condition)) for condition in conditions]


def in_order(query: Query, found: list[Document]) -> list[Document]:
    """The documents in the query's full order, those behind its cursor only; raises `BadCursorError`."""
    keys = [(_reader(check_path(key.field)), key.descending) for key in ordering(query)]
    start = read_cursor(query)
    if start is not None:
        bounds = [
            (read, descending, rank(value)) for (read, descending), value in zip(keys, start, strict=True)
        ]
        found = [document for document in found if _is_behind(document, bounds)]
    for read, descending in reversed(keys):
        found.sort(key=_by(read), reverse=descending)
    return found


def rank(value: JSON) -> Rank:
    """What scalars are ordered by; what is no scalar counts as null."""
    if value is None:
        return _NULL
    if isinstance(value, str):
        return 2, value
    if isinstance(value, bool):
        return 3, value
    return (1, value) if isinstance(value, int | float) else _NULL


def _is_behind(document: Document, bounds: list[tuple[Reader, bool, Rank]]) -> bool:
    for read, descending, bound in bounds:
        own = rank(read(document))
        if own != bound:
            return (own > bound) != descending
    return False


def _by(read: Reader) -> Callable[[Document], Rank]:
    return lambda document: rank(read(document))


def _reader(path: str) -> Reader:
    first, *more = path.split(".")

    def read(document: Document) -> JSON:
        value = document.get(first)
        for name in more:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return read


def _predicate(condition: Condition) -> Predicate:
    read, value = _reader(condition.field), condition.value
    if condition.op == "in":
        listed = value if isinstance(value, tuple) else (value,)
        return lambda document: _among(read(document), listed)
    assert not isinstance(value, tuple)
    if condition.op == "eq":
        return lambda document: _same(read(document), value)
    if condition.op == "has":
        return lambda document: _holds(read(document), value)
    if condition.op == "prefix":
        begins = str(value)
        return lambda document: isinstance(found := read(document), str) and found.startswith(begins)
    bound, compare = rank(value), _COMPARE[condition.op]

    def in_range(document: Document) -> bool:
        own = rank(read(document))
        return own[0] == bound[0] and compare(own, bound)

    return in_range


def _same(found: JSON, value: Scalar) -> bool:
    return found == value and isinstance(found, bool) == isinstance(value, bool)


def _among(found: JSON, values: tuple[Scalar, ...]) -> bool:
    return any(_same(found, value) for value in values)


def _holds(found: JSON, value: Scalar) -> bool:
    return isinstance(found, list) and any(_same(item, value) for item in found)
