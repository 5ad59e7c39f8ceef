"""PATCH as a law of its own; PUT needs none, as the object in its body replaces the stored one as a whole.

What enters is the decoded JSON of the stored object and of the PATCH, what leaves is the merged object, or
`OcpiInvalidError` (OCPI 2001) and then nothing is applied: neither input is ever changed. The law (chapter 2 of the
standard, "PATCH", and its silence on the rest):

- `last_updated` must be given (a Terminal needs none);
- objects merge recursively; arrays replace as a whole, but `Session.charging_periods` are appended, and an
  absent, null or empty list of them changes nothing;
- null on an optional field clears it, on a required one it is an error; an unknown field is merged like any;
- the merged object must be valid as a whole.

It never looks at ids or at the age of `last_updated`: who calls knows the URL and the stored moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar

from protocols.ocpi.codec import OcpiInvalidError, parse_json
from protocols.ocpi.shape import shapes
from protocols.ocpi.types import JSON, MAX_DEPTH, OcpiModel, show

M = TypeVar("M", bound=OcpiModel)

APPENDING: Final[Mapping[str, frozenset[str]]] = {"Session": frozenset({"charging_periods"})}
"""Lists that a PATCH extends, by object."""

WITHOUT_LAST_UPDATED: Final = frozenset({"Terminal"})
"""Objects whose PATCH may leave last_updated out."""


def apply_patch(
    model: type[M],
    stored: Mapping[str, JSON],
    patch: JSON,
    *,
    appending: frozenset[str] | None = None,
) -> M:
    """The stored object with the PATCH merged into it. Raises `OcpiInvalidError` with a path in the PATCH.

    `appending` names the lists that are extended; by default those of `APPENDING` for this object.
    """
    if not isinstance(patch, dict):
        raise OcpiInvalidError("", f"must be an object, got {show(patch)}")
    if model.__name__ not in WITHOUT_LAST_UPDATED and patch.get("last_updated") is None:
        raise OcpiInvalidError("last_updated", "is required in a PATCH")
    if appending is None:
        appending = APPENDING.get(model.__name__, frozenset())
    plain = {name: value for name, value in patch.items() if name not in appending}
    merged = _merge(model, stored, plain, "", 0)
    lengths = {}
    for name in appending & patch.keys():
        held = merged.get(name)
        earlier = held if isinstance(held, list) else []
        merged[name] = earlier + _list(name, patch[name])
        lengths[name] = len(earlier)
    try:
        return parse_json(model, merged)
    except OcpiInvalidError as error:
        raise _in_the_patch(error, lengths) from None


def _list(name: str, value: JSON) -> list[JSON]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise OcpiInvalidError(name, f"must be an array, got {show(value)}")
    return value


def _merge(
    model: type[OcpiModel] | None,
    stored: Mapping[str, JSON],
    patch: Mapping[str, JSON],
    path: str,
    depth: int,
) -> dict[str, JSON]:
    if depth >= MAX_DEPTH:
        raise OcpiInvalidError(path, f"must not nest deeper than {MAX_DEPTH}")
    known = shapes(model) if model else {}
    merged = dict(stored)
    for name, value in patch.items():
        here = f"{path}.{name}" if path else name
        shape = known.get(name)
        if value is None:
            if shape and shape.required:
                raise OcpiInvalidError(here, "is required, null cannot clear it")
            merged.pop(name, None)
        elif isinstance(value, dict):
            before = merged.get(name)
            inner = shape.model if shape and shape.card in "1?" else None
            merged[name] = _merge(inner, before if isinstance(before, dict) else {}, value, here, depth + 1)
        else:
            merged[name] = value
    return merged


def _in_the_patch(error: OcpiInvalidError, lengths: Mapping[str, int]) -> OcpiInvalidError:
    """The error with the index of an appended entry as it stands in the PATCH."""
    found = re.match(r"(\w+)\[(\d+)\]", error.path)
    if found is None or found[1] not in lengths or int(found[2]) < lengths[found[1]]:
        return error
    index = int(found[2]) - lengths[found[1]]
    return OcpiInvalidError(f"{found[1]}[{index}]{error.path[found.end() :]}", error.message)
