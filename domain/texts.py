"""The texts that stand in a value, wherever they stand: listed, and replaced; and what is kept of a long one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeVar

import msgspec

_V = TypeVar("_V")


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a value that is free to be anything and not empty, with the name of its field."""
    match value:
        case Enum():
            return
        case str() if value:
            yield name, value
        case msgspec.Struct():
            for field in value.__struct_fields__:
                yield from texts(getattr(value, field), field)
        case tuple():
            for item in value:
                yield from texts(item, name)


def with_texts(value: _V, change: Callable[[str, str], str], name: str = "") -> _V:
    """The same value with each of these texts replaced by what `change` makes of its field's name and itself."""
    changed: Any = value
    match value:
        case Enum():
            pass
        case str() if value:
            changed = change(name, value)
        case msgspec.Struct():
            fields = value.__struct_fields__
            changed = msgspec.structs.replace(
                value, **{field: with_texts(getattr(value, field), change, field) for field in fields}
            )
        case tuple():
            changed = tuple(with_texts(item, change, name) for item in value)
    result: _V = changed
    return result


def shortened(text: str, most: int) -> str:
    """As much of it as takes so many bytes of JSON at most; what cannot be printed is `?`."""
    size, out = 0, ""
    for character in text[:most]:
        shown = character if character.isprintable() else "?"
        size += len(shown.encode()) + (shown in '"\\')
        if size > most:
            break
        out += shown
    return out
