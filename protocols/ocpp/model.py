"""The message types as data: fields, lengths, cardinalities, enumerations.

In: a `Part` type, or a value type of the domain that is made of the same kinds of values. Out: its `PartModel`, read
from the type itself once. What judges payloads field by field, compares types with schemas or prints tables works on
this, so that the types stay the only place where a field is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import cache

import msgspec
from msgspec import inspect

from protocols.ocpp.message import Tenths


class Kind(StrEnum):
    """What a value is, as the tables in the documentation say it."""

    TEXT = "text"
    URI = "URI"
    INTEGER = "integer"
    NUMBER = "number, one decimal"
    DECIMAL = "number"
    BOOLEAN = "boolean"
    INSTANT = "date and time"
    ENUM = "enumeration"
    OBJECT = "object"


class FieldModel(msgspec.Struct, frozen=True, kw_only=True):
    """One field. `many` fields are lists; everything else then describes an item."""

    name: str
    wire: str
    required: bool
    kind: Kind
    many: bool = False
    min_items: int = 0
    max_length: int | None = None
    enum: type[StrEnum] | None = None
    part: type[msgspec.Struct] | None = None

    @property
    def cardinality(self) -> str:
        """`1`, `0..1`, `0..*` or `1..*`. An optional list is `0..*` whatever its least length when present."""
        if not self.many:
            return "1" if self.required else "0..1"
        return "1..*" if self.required and self.min_items else "0..*"


class PartModel(msgspec.Struct, frozen=True):
    """The fields of a type, in the order of declaration."""

    type: type[msgspec.Struct]
    fields: tuple[FieldModel, ...]

    def walk(self) -> Iterator[FieldModel]:
        """All fields, those of parts inside included."""
        for field in self.fields:
            yield field
            if field.part is not None:
                yield from model_of(field.part).walk()


@cache
def model_of(part: type[msgspec.Struct]) -> PartModel:
    """The model of a type. Raises TypeError for an annotation that no message uses."""
    info = inspect.type_info(part)
    assert isinstance(info, inspect.StructType)
    return PartModel(part, tuple(_field(field) for field in info.fields))


def _field(field: inspect.Field) -> FieldModel:
    found = field.type
    if isinstance(found, inspect.UnionType):
        (found,) = (option for option in found.types if not isinstance(option, inspect.NoneType))
    many, min_items = False, 0
    if isinstance(found, inspect.VarTupleType):
        many, min_items, found = True, found.min_length or 0, found.item_type
    max_length = enum = part = None
    match found:
        case inspect.StrType():
            kind, max_length = (Kind.URI if found.pattern else Kind.TEXT), found.max_length
        case inspect.IntType():
            kind = Kind.INTEGER
        case inspect.BoolType():
            kind = Kind.BOOLEAN
        case inspect.DateTimeType():
            kind = Kind.INSTANT
        case inspect.EnumType():
            assert issubclass(found.cls, StrEnum)
            kind, enum = Kind.ENUM, found.cls
        case inspect.StructType():
            kind, part = Kind.OBJECT, found.cls
        case inspect.DecimalType():
            kind = Kind.DECIMAL
        case inspect.CustomType(cls=cls) if cls is Tenths:
            kind = Kind.NUMBER
        case _:
            raise TypeError(f"no message field is of type {found}")
    return FieldModel(
        name=field.name,
        wire=field.encode_name,
        required=field.required,
        kind=kind,
        many=many,
        min_items=min_items,
        max_length=max_length,
        enum=enum,
        part=part,
    )
