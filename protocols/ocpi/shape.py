"""What a field of an OCPI model holds, read from its annotation: for PATCH, the bridge and the tables in docs.

What enters is a model class, what leaves are `Shape`s; it never looks at values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType, UnionType
from typing import Annotated, Union, get_args, get_origin

from protocols.ocpi.types import Card, OcpiModel, Open


@dataclass(frozen=True, slots=True)
class Shape:
    """A field: the standard's name of its type, its cardinality (1 ? * +), and what it is made of."""

    name: str
    card: str
    model: type[OcpiModel] | None = None
    closed_enum: type[StrEnum] | None = None
    is_open_enum: bool = False

    @property
    def required(self) -> bool:
        """Whether the field can neither be absent nor null."""
        return self.card in "1+"


@cache
def shapes(model: type[OcpiModel]) -> Mapping[str, Shape]:
    """Field name → shape, in the order of the model."""
    found = {}
    for name, field in model.model_fields.items():
        annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        shape = _shape(annotation, "1")
        found[name] = shape if field.is_required() or shape.card == "*" else _with_card(shape, "?")
    return MappingProxyType(found)


def _with_card(shape: Shape, card: str) -> Shape:
    return Shape(shape.name, card, shape.model, shape.closed_enum, shape.is_open_enum)


def _shape(annotation: object, card: str) -> Shape:
    if get_origin(annotation) in (Union, UnionType):
        return _shape(get_args(annotation)[0], "?")
    if get_origin(annotation) is Annotated:
        bare, *marks = get_args(annotation)
        for mark in marks:
            if isinstance(mark, Card):
                return _with_card(_shape(get_args(bare)[0], "1"), mark.sign)
            if isinstance(mark, Open):
                return Shape(mark.enum, card, is_open_enum=True)
            if hasattr(mark, "ocpi"):
                return Shape(mark.ocpi, card)
        return _shape(bare, card)
    if not isinstance(annotation, type):
        raise TypeError(f"{annotation!r} is no type of OCPI")
    if issubclass(annotation, OcpiModel):
        return Shape(annotation.__name__, card, model=annotation)
    if issubclass(annotation, StrEnum):
        return Shape(annotation.__name__, card, closed_enum=annotation)
    return Shape("boolean" if annotation is bool else annotation.__name__, card)
