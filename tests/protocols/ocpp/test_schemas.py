"""The types against the published schemas: fields, lengths, cardinalities, enumerations.

A difference fails the test unless it stands in `DIFFERENCES`, and an entry there that is no difference fails it too.
Differences of format (bounds of numbers, forms of dates) are `bench.ocpp_payloads.ERRATA`, tested in test_agreement.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import msgspec
import pytest

from bench.ocpp_payloads import Schema, published
from protocols.ocpp.message import Part
from protocols.ocpp.model import Kind, model_of
from protocols.ocpp.v16 import CONFIRMATIONS, REQUESTS

Facts = dict[str, object]

TYPES: dict[str, type[Part]] = {**REQUESTS} | {
    f"{name}Response": part for name, part in CONFIRMATIONS.items()
}

DIFFERENCES = {
    # One enumeration of units serves both messages; the package adds Hertz to MeterValues alone.
    ("StopTransaction", "$.transactionData[].sampledValue[].unit"): {
        "enum": {"added": {"Hertz"}, "missing": set()}
    },
}


def of_type(part: type[msgspec.Struct], path: str = "$") -> Iterator[tuple[str, Facts]]:
    for field in model_of(part).fields:
        here = f"{path}.{field.wire}{'[]' if field.many else ''}"
        yield (
            here,
            {
                "required": field.required,
                "kind": field.kind,
                "least items": field.min_items,
                "greatest length": field.max_length,
                "enum": frozenset(member.value for member in field.enum) if field.enum else None,
            },
        )
        if field.part is not None:
            yield from of_type(field.part, here)


def of_schema(schema: Schema, path: str = "$") -> Iterator[tuple[str, Facts]]:
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    fields, required = schema.get("properties", {}), schema.get("required", [])
    assert isinstance(fields, dict) and isinstance(required, list)
    for name, field in fields.items():
        many = field["type"] == "array"
        item = field["items"] if many else field
        here = f"{path}.{name}{'[]' if many else ''}"
        yield (
            here,
            {
                "required": name in required,
                "kind": kind_of(item),
                "least items": field.get("minItems", 0),
                "greatest length": item.get("maxLength"),
                "enum": frozenset(item["enum"]) if "enum" in item else None,
            },
        )
        if item["type"] == "object":
            yield from of_schema(item, here)


def kind_of(schema: dict[str, object]) -> Kind:
    if "enum" in schema:
        return Kind.ENUM
    match schema["type"], schema.get("format"):
        case "string", None:
            return Kind.TEXT
        case "string", "date-time":
            return Kind.INSTANT
        case "string", "uri":
            return Kind.URI
        case "integer", None:
            return Kind.INTEGER
        case "boolean", None:
            return Kind.BOOLEAN
        case "object", None:
            return Kind.OBJECT
        case "number", None:
            assert str(schema["multipleOf"]) == "0.1"
            return Kind.NUMBER
        case other:
            raise AssertionError(f"no type of ours is {other}")


def compare(ours: Facts, theirs: Facts) -> Facts:
    found: Facts = {}
    for aspect, value in theirs.items():
        mine = ours[aspect]
        if mine == value:
            continue
        if isinstance(mine, frozenset) and isinstance(value, frozenset):
            found[aspect] = {"added": set(mine - value), "missing": set(value - mine)}
        else:
            found[aspect] = (mine, value)
    return found


def test_every_schema_has_a_type_and_every_type_a_schema() -> None:
    names = {file.name.removesuffix(".json") for file in (files("ocpp.v16") / "schemas").iterdir()}
    assert set(TYPES) == {name for name in names if not name.startswith("__")}


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_type_has_the_fields_of_its_schema_and_differs_only_where_we_say_so(name: str) -> None:
    ours, theirs = dict(of_type(TYPES[name])), dict(of_schema(published(name)))
    assert ours.keys() == theirs.keys()
    found = {(name, path): compare(ours[path], theirs[path]) for path in theirs}
    listed = {key: value for key, value in DIFFERENCES.items() if key[0] == name}
    assert {key: value for key, value in found.items() if value} == listed


def test_the_errata_are_applied_j25() -> None:
    boot = dict(of_type(CONFIRMATIONS["BootNotification"]))
    assert boot["$.interval"]["kind"] is Kind.INTEGER
    stop = dict(of_type(REQUESTS["StopTransaction"]))
    assert stop["$.reason"]["required"] is False
    for name, path in (("MeterValues", "$.meterValue[]"), ("StopTransaction", "$.transactionData[]")):
        units = dict(of_type(REQUESTS[name]))[f"{path}.sampledValue[].unit"]["enum"]
        assert isinstance(units, frozenset)
        assert {"Celsius", "Celcius"} <= units


def test_the_comparison_sees_a_difference_of_every_sort() -> None:
    ours = {
        "required": True,
        "kind": Kind.TEXT,
        "least items": 0,
        "greatest length": 20,
        "enum": frozenset({"a", "b"}),
    }
    theirs = {
        "required": False,
        "kind": Kind.INTEGER,
        "least items": 1,
        "greatest length": 25,
        "enum": frozenset({"b", "c"}),
    }
    assert compare(ours, theirs) == {
        "required": (True, False),
        "kind": (Kind.TEXT, Kind.INTEGER),
        "least items": (0, 1),
        "greatest length": (20, 25),
        "enum": {"added": {"a"}, "missing": {"c"}},
    }
