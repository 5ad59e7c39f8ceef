"""The slow, exact way to read a payload: field by field, with the path of everything that is odd.

In: a payload as plain JSON values and the type that it should be, a message's or one of the domain. Out: the message
with flags, or a `WireError`. The codec comes here only when the fast decoder refused, so this may take its time. It
never raises.

Strict refuses the first thing that differs. Lenient (J-26): coerce what is clear; drop an odd optional field, an odd
list item and every unknown field; keep texts that are too long; refuse only what a required field cannot do without
and nothing can stand in for. A list may then be empty that the schema wants filled.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from domain.errors import ChargeSphereError
from protocols.ocpp.message import ErrorCode, WireError
from protocols.ocpp.model import FieldModel, Kind, PartModel, model_of
from protocols.ocpp.scalars import Leniency, RefusedValueError, Scalar, read_lenient, read_strict, wrong_type

P = TypeVar("P", bound=msgspec.Struct)

_MAX_FLAGS: Final = 50
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}", re.ASCII)


class _StopError(ChargeSphereError):
    """A refusal on its way up, now with its place."""

    def __init__(self, error: WireError) -> None:
        self.error: Final = error


def read(
    part: type[P],
    value: object,
    *,
    leniency: Leniency | None = None,
    received_at: datetime | None = None,
) -> tuple[P, tuple[str, ...]] | WireError:
    """Build `part` from JSON values.

    Without `leniency` the reading is strict. `received_at` stands in, flagged, for a required date that is missing or
    unreadable in a lenient reading.
    """
    reader = _Reader(leniency, received_at)
    try:
        message = reader.part(model_of(part), value, "$")
    except _StopError as stop:
        return stop.error
    assert isinstance(message, part)
    return message, reader.all_flags()


class _Reader:
    def __init__(self, leniency: Leniency | None, received_at: datetime | None) -> None:
        self._leniency = leniency
        self._received_at = received_at
        self._flags: list[str] = []
        self._unsaid = 0

    def all_flags(self) -> tuple[str, ...]:
        more = (f"{self._unsaid} more",) if self._unsaid else ()
        return (*self._flags, *more)

    def part(self, model: PartModel, value: object, path: str) -> msgspec.Struct:
        if not isinstance(value, dict):
            raise _stop(wrong_type("an object is expected"), path)
        names = {field.wire: field for field in model.fields}
        for key in value:
            if key not in names:
                self._unknown(key, path)
        found: dict[str, object] = {}
        for name, field in names.items():
            read = self._field(field, name, value, model, f"{path}.{name}")
            if read is not None:
                found[field.name] = read
        return model.type(**found)

    def _unknown(self, key: object, path: str) -> None:
        name = key if isinstance(key, str) and _PLAIN.fullmatch(key) else "?"
        if self._leniency is None:
            description = f"there is an unknown field in {path}"
            raise _StopError(WireError(ErrorCode.FORMATION_VIOLATION, description, f"{path}.{name}"))
        self._flag(f"{path}.{name}", "unknown field dropped")

    def _field(
        self, field: FieldModel, name: str, value: dict[str, object], model: PartModel, path: str
    ) -> object | None:
        try:
            if name not in value:
                if field.required:
                    raise _stop(
                        RefusedValueError(ErrorCode.PROTOCOL_ERROR, "a required field is missing"), path
                    )
                return None
            given = value[name]
            if self._leniency is not None and not field.required and self._blank(field, given):
                self._flag(path, "empty value read as absent")
                return None
            if field.many:
                return self._list(field, given, model, path)
            return self._item(field, given, path)
        except _StopError as stop:
            if self._leniency is None:
                raise
            if field.required:
                if field.kind is Kind.INSTANT and self._received_at is not None:
                    self._flag(path, "unreadable, time of receipt taken")
                    return self._received_at
                stand_ins = self._leniency.stand_ins.get(model.type, {})
                if field.name in stand_ins:
                    self._flag(path, f"unreadable, taken as not known: {_without_place(stop.error)}")
                    return stand_ins[field.name]
                raise
            if model.type in self._leniency.indivisible:
                raise
            self._flag(stop.error.path, f"field dropped: {_without_place(stop.error)}")
            return None

    @staticmethod
    def _blank(field: FieldModel, value: object) -> bool:
        return value is None or (value == "" and field.kind not in (Kind.TEXT, Kind.URI))

    def _list(self, field: FieldModel, value: object, model: PartModel, path: str) -> tuple[object, ...]:
        lenient = self._leniency is not None
        if not isinstance(value, list | tuple):
            if not lenient or value is None:
                raise _stop(wrong_type("a list is expected"), path)
            self._flag(path, "single value read as a list")
            value = [value]
        whole = self._leniency is None or model.type in self._leniency.indivisible
        items = []
        for index, item in enumerate(value):
            try:
                items.append(self._item(field, item, f"{path}[{index}]"))
            except _StopError as stop:
                if whole:
                    raise
                self._flag(stop.error.path, f"item dropped: {_without_place(stop.error)}")
        if len(items) < field.min_items:
            if not lenient:
                what = f"the list has fewer than {field.min_items} items"
                raise _stop(RefusedValueError(ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, what), path)
            self._flag(path, "empty list")
        return tuple(items)

    def _item(self, field: FieldModel, value: object, path: str) -> msgspec.Struct | Scalar:
        if field.part is not None:
            return self.part(model_of(field.part), value, path)
        if isinstance(value, float):
            value = Decimal(repr(value))
        try:
            if self._leniency is None:
                return read_strict(field, value)
            scalar, note = read_lenient(field, value, self._leniency)
        except RefusedValueError as refused:
            raise _stop(refused, path) from None
        if note is not None:
            self._flag(path, note)
        return scalar

    def _flag(self, path: str, note: str) -> None:
        if len(self._flags) < _MAX_FLAGS:
            self._flags.append(f"{path}: {note}")
        else:
            self._unsaid += 1


def _stop(refused: RefusedValueError, path: str) -> _StopError:
    return _StopError(WireError(refused.code, f"{refused.what} at {path}", path))


def _without_place(error: WireError) -> str:
    return error.description.removesuffix(f" at {error.path}")
