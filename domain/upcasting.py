"""Older forms: what the log holds for ever is read as what this release works with.

The name of an event or a command ends with the version of its form (`session.started.v1`). A class that is named
`….v3` says beside its fields how an older form becomes the next one: `upcast_v1_v2` and `upcast_v2_v3`, static
methods as the `eventsourcing` library has them, which change the JSON of one form, given as a dict, into that of the
next. They are pure: the same bytes become the same fact in every process, whenever they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, Generic, TypeVar, Union

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
Upcast = Callable[[dict[str, Any]], None]
"""Changes the JSON of a form in place; numbers with a fraction are Decimals."""

_VERSIONED: Final = re.compile(r"(?P<stem>.+)\.v(?P<version>[1-9][0-9]*)")
_UPCAST: Final = re.compile(r"upcast_v([1-9][0-9]*)_v([1-9][0-9]*)")
_json: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class _Named(msgspec.Struct):
    type: str


_named: Final = msgspec.json.Decoder(_Named)


def current_name(form: type[msgspec.Struct]) -> str:
    """The name under which this release writes it."""
    return str(form.__struct_config__.tag)


@cache
def names(form: type[msgspec.Struct]) -> tuple[str, ...]:
    """Every name under which it may stand in the log, the oldest first, the current one last.

    Raises ValueError where its upcasters are no chain that ends at its own version.
    """
    tag = current_name(form)
    steps = sorted(
        (int(found[1]), int(found[2])) for name in dir(form) if (found := _UPCAST.fullmatch(name)) is not None
    )
    if not steps:
        return (tag,)
    versioned = _VERSIONED.fullmatch(tag)
    version = int(versioned["version"]) if versioned is not None else 0
    if versioned is None or steps != [(n, n + 1) for n in range(steps[0][0], version)]:
        raise ValueError(f"the upcasters of {tag!r} do not lead to it step by step: {steps}")
    return tuple(f"{versioned['stem']}.v{n}" for n in range(steps[0][0], version + 1))


class Forms(Generic[T]):
    """The events or the commands of a release: reads every form that any of them ever had."""

    def __init__(self, classes: Iterable[type[T]]) -> None:
        """Raises ValueError where two of them have one name."""
        known = tuple(classes)
        self.current: dict[str, type[T]] = {current_name(form): form for form in known}
        """By the name under which this release writes it."""
        self._names: dict[str, str] = {}
        self._steps: dict[str, tuple[Upcast, ...]] = {}
        for form in known:
            tag, every = current_name(form), names(form)
            for index, name in enumerate(every):
                if name in self._names:
                    raise ValueError(f"two forms are named {name!r}")
                self._names[name] = tag
                self._steps[name] = tuple(
                    getattr(form, f"upcast_v{_version(older)}_v{_version(newer)}")
                    for older, newer in zip(every[index:], every[index + 1 :], strict=False)
                )
        union = Union[known]  # type: ignore[valid-type]  # noqa: UP007
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union)

    @property
    def names(self) -> Mapping[str, str]:
        """The current name of each name that was ever written."""
        return self._names

    def decode(self, data: bytes | msgspec.Raw, unknown: Callable[[str], Exception]) -> T:
        """The fact, whatever form it stands in; raises what `unknown` makes of a name that is none of ours, and
        msgspec.DecodeError where it is damaged."""
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError:
            name = _named.decode(data).type
            current = self._names.get(name)
            if current is None:
                raise unknown(name) from None
            if current == name:
                raise
        return self._upcast(data, name, current)

    def _upcast(self, data: bytes | msgspec.Raw, name: str, current: str) -> T:
        fact = _json.decode(data)
        del fact["type"]
        try:
            for step in self._steps[name]:
                step(fact)
        except Exception as error:
            # An upcaster reads what was valid once: what it cannot read is damaged.
            raise msgspec.ValidationError(f"{name} cannot be read as {current}: {error!r}") from error
        return self._decoder.decode(_encoder.encode({"type": current, **fact}))


def _version(name: str) -> str:
    return name.rpartition(".v")[2]
