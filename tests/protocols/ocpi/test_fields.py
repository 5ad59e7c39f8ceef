"""The types against the field tables of the standard (tests/data/ocpi-fields.json), in both versions.

Every difference that is meant stands in a literal list here; any other one fails.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Final, Union, get_args, get_origin

import pytest

from protocols.ocpi import v2_2_1, v2_3_0
from protocols.ocpi.envelope import Envelope
from protocols.ocpi.types import Card, OcpiModel, Open, Scalar
from protocols.ocpi.v2_2_1 import enums as enums_2_2_1
from protocols.ocpi.v2_3_0 import enums as enums_2_3_0

FACTS: Final = json.loads((Path(__file__).parents[2] / "data" / "ocpi-fields.json").read_text())

RENAMED: Final = {"VersionDetails": "Data", "Envelope": "Responseformat"}
"""The standard calls the body of the version details "Data" and the envelope "Response format"."""

SAME_TYPE_OTHER_NAME: Final = {
    "BookingTokens": "BookingToken",
    "TimeSlot": "Timeslot",
    "Array or Object or String": "any",
}
"""Names that the tables spell in two ways, or in words."""

READ_LONGER: Final = {
    ("2.3.0", "CdrLocation", "address"): 255,
    ("2.3.0", "CdrLocation", "state"): 45,
    ("2.2.1", "CdrLocation", "address"): 255,
    ("2.2.1", "CdrLocation", "state"): 45,
    ("2.3.0", "InvoiceReconciliationRecord", "cdrs"): 39,
    ("2.3.0", "GeoLocation", "latitude"): 11,
    ("2.3.0", "GeoLocation", "longitude"): 12,
    ("2.3.0", "AdditionalGeoLocation", "latitude"): 11,
    ("2.3.0", "AdditionalGeoLocation", "longitude"): 12,
    ("2.2.1", "GeoLocation", "latitude"): 11,
    ("2.2.1", "GeoLocation", "longitude"): 12,
    ("2.2.1", "AdditionalGeoLocation", "latitude"): 11,
    ("2.2.1", "AdditionalGeoLocation", "longitude"): 12,
}
"""Traps 5 and 13: Location was lengthened and CdrLocation not; credit CDRs have 39 characters. Coordinates: the
regular expression of the standard allows a sign, three digits and seven decimals, one more than its length."""

OPENED: Final = {
    "Capability",
    "CommandType",
    "ConnectorType",
    "EnvironmentalImpactCategory",
    "Facility",
    "ImageCategory",
    "ParkingRestriction",
    "ParkingType",
    "TokenType",
    "VersionNumber",
}
"""Closed in the text of 2.2.1, read as open: a new connector type must not break a list. ModuleID is open in
both tables."""

ADDED_BY_BOOKINGS: Final = {"CdrDimensionType": {"RESERVATION_EXPIRES", "RESERVATION_OVERTIME"}}
"""Values that the bookings module adds to an enumeration of the core (facts 4.5)."""


def table(version: str) -> dict[str, dict[str, list[str]]]:
    """Class → field → [type, cardinality] of a version, 2.3.0 with all its modules."""
    if version == "2.2.1":
        return dict(FACTS["2.2.1"]["classes"])
    classes = {
        **FACTS["2.3.0"]["classes"],
        **FACTS["payments"]["classes"],
        **FACTS["bookings"]["classes"],
    }
    return {name: fields | FACTS["added_fields"].get(name, {}) for name, fields in classes.items()}


def models(version: str) -> dict[str, type[OcpiModel]]:
    """Class → model, under the names of the tables."""
    objects = v2_3_0.OBJECTS if version == "2.3.0" else v2_2_1.OBJECTS
    return {RENAMED.get(name, name): model for name, model in ({"Envelope": Envelope} | objects).items()}


def described(annotation: object) -> tuple[str, str, int | None]:
    """(type name, cardinality, longest text that is read) of a field's annotation."""
    if get_origin(annotation) in (Union, UnionType):
        inner, none = get_args(annotation)
        assert none is type(None)
        return (described(inner)[0], "?", described(inner)[2])
    if get_origin(annotation) is Annotated:
        bare, *marks = get_args(annotation)
        for mark in marks:
            if isinstance(mark, Card):
                name, _, longest = described(get_args(bare)[0])
                return name, mark.sign, longest
            if isinstance(mark, Open):
                return mark.enum, "1", None
            if hasattr(mark, "ocpi"):
                return mark.ocpi, "1", mark.longest if isinstance(mark, Scalar) else None
        return described(bare)
    assert isinstance(annotation, type)
    return {"bool": "boolean"}.get(annotation.__name__, annotation.__name__), "1", None


def fields_of(model: type[OcpiModel]) -> dict[str, tuple[str, str, int | None]]:
    """Field → (type name, cardinality, longest text that is read) of a model."""
    fields = {}
    for name, field in model.model_fields.items():
        annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        type_name, sign, longest = described(annotation)
        required = sign in ("1", "+")
        assert field.is_required() == required or model is Envelope, f"{model.__name__}.{name}"
        fields[name] = (type_name, sign, longest)
    return fields


def spelled(type_name: str) -> str:
    """A type name of the tables as the models spell it: string(5), CiString(36), CiString(1..255)."""
    type_name = SAME_TYPE_OTHER_NAME.get(type_name, type_name)
    return re.sub(r"^String", "string", type_name.replace("[", "(").replace("]", ")"))


@pytest.mark.parametrize("version", ["2.3.0", "2.2.1"])
def test_every_class_of_the_standard_has_a_model_and_no_other(version: str) -> None:
    assert set(models(version)) == set(table(version))


@pytest.mark.parametrize(
    ("version", "name"), [(v, name) for v in ("2.3.0", "2.2.1") for name in sorted(table(v))]
)
def test_fields_types_lengths_and_cardinalities_are_those_of_the_table(version: str, name: str) -> None:
    assert differences(version, name, table(version)[name]) == []


def differences(version: str, name: str, rows: dict[str, list[str]]) -> list[str]:
    """Fields of a model that differ from the rows of a table."""
    expected = {field: (spelled(type_name), card) for field, (type_name, card) in rows.items()}
    if name == "Responseformat":
        expected["data"] = ("any", "1")
    found = fields_of(models(version)[name])
    wrong = []
    for field in {**expected, **found}:
        type_name, card, longest = found.get(field, ("", "", None))
        stated = re.search(r"(\d+)\)$", type_name)
        limit = 255 if type_name == "URL" else int(stated[1]) if stated else None
        limit = READ_LONGER.get((version, name, field), limit)
        is_text = type_name.startswith(("string", "CiString", "URL"))
        if (type_name, card) != expected.get(field) or (is_text and longest is not None and longest != limit):
            wrong.append(field)
    return wrong


@pytest.mark.parametrize(
    "change",
    [
        {"uid": ["CiString(35)", "1"]},
        {"uid": ["string(36)", "1"]},
        {"uid": ["CiString(36)", "?"]},
        {"group_id": ["CiString(36)", "*"]},
        {"type": ["Role", "1"]},
        {"valid": ["string", "1"]},
        {"last_updated": ["string(25)", "1"]},
        {"new_field": ["string(5)", "?"]},
    ],
)
def test_any_difference_from_a_table_is_found(change: dict[str, list[str]]) -> None:
    assert differences("2.3.0", "Token", table("2.3.0")["Token"] | change) == list(change)


def test_a_field_that_the_table_has_not_is_found() -> None:
    rows = {field: row for field, row in table("2.2.1")["Token"].items() if field != "issuer"}
    assert differences("2.2.1", "Token", rows) == ["issuer"]


def test_deliberate_longer_texts_name_fields_that_exist() -> None:
    assert all(field in table(version)[name] for version, name, field in READ_LONGER)


def enumerations(version: str) -> dict[str, type[StrEnum]]:
    """Enumeration → class that holds its values in a version."""
    found = {n: e for n, e in vars(enums_2_3_0).items() if isinstance(e, type) and e is not StrEnum}
    if version == "2.2.1":
        found |= {n: e for n, e in vars(enums_2_2_1).items() if isinstance(e, type) and e is not StrEnum}
    return {name: enum for name, enum in found.items() if issubclass(enum, StrEnum)}


def values_of(version: str) -> dict[str, tuple[bool, set[str]]]:
    """Enumeration → (open, values) of the tables of a version."""
    packages = ["2.3.0", "payments", "bookings"] if version == "2.3.0" else ["2.2.1"]
    return {
        name: (enum["open"], set(enum["values"]))
        for package in packages
        for name, enum in FACTS[package]["enums"].items()
    }


@pytest.mark.parametrize("version", ["2.3.0", "2.2.1"])
def test_enumerations_have_exactly_the_values_of_the_table(version: str) -> None:
    found = {name: {member.value for member in enum} for name, enum in enumerations(version).items()}
    for name, (_, values) in values_of(version).items():
        added = ADDED_BY_BOOKINGS.get(name, set()) if version == "2.3.0" else set()
        assert found[name] == values | added, name
    if version == "2.3.0":
        assert set(found) == set(values_of(version))


@pytest.mark.parametrize("version", ["2.3.0", "2.2.1"])
def test_enumerations_are_open_exactly_where_the_table_says(version: str) -> None:
    opened = {mark.enum for value in vars(enums_2_3_0).values() for mark in marks_of(value)}
    for name, (is_open, _) in values_of(version).items():
        assert (name in opened) == (is_open or (version == "2.2.1" and name in OPENED)), name


def marks_of(value: object) -> list[Open]:
    """The mark of an OpenEnum on an annotation, if it has one."""
    if get_origin(value) is not Annotated:
        return []
    return [mark for mark in get_args(value)[1:] if isinstance(mark, Open)]
