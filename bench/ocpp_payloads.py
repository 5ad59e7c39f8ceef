"""Payloads for the OCPP types, valid and mutated, and the schemas that judge them.

In: a seed and the name of a schema of the `ocpp` package (`StartTransaction`, `StartTransactionResponse`). Out: an
endless stream of JSON texts, the same for the same seed, and a judge that says what the schema says. The generator
works from the schemas, never from our types, so that both can be wrong only independently.

`ERRATA` lists how the judge differs from the schemas as published; each is a decision and is tested as such.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from importlib.resources import files
from typing import Final, TypeAlias

import msgspec
from jsonschema import Draft4Validator, FormatChecker

Json: TypeAlias = "str | int | Decimal | bool | list[Json] | dict[str, Json] | None"
Schema: TypeAlias = "dict[str, object]"

ERRATA: Final = {
    "null": "null is a payload of an action without fields (J-11).",
    "integers": "An integer is one of 64 bits with sign; the schemas set no bounds.",
    "numbers": "A number is below 10 to the power of 19; the schemas set no bounds.",
    "Hertz": "StopTransaction.transactionData takes the unit Hertz too, as MeterValues does.",
    "dates": "Years 0001 to 9999, in UTC too; no leap seconds; an offset may lack its colon.",
}

_DATE = re.compile(
    r"(?!0000)\d{4}-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)",
    re.ASCII,
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_URI = re.compile(
    r"[a-z][a-z0-9+.-]*:([a-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})*", re.ASCII | re.IGNORECASE
)

CHECKER: Final = FormatChecker(formats=())


@CHECKER.checks("date-time")
def _is_date(value: object) -> bool:
    if not isinstance(value, str):
        return True
    match = _DATE.fullmatch(value)
    if match is None:
        return False
    year, month, day = int(value[:4]), int(match[1]), int(match[2])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] - (month == 2 and not leap)):
        return False
    zone = match[5]
    offset = 0 if zone in "Zz" else (int(zone[1:3]) * 60 + int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    minute = int(value[11:13]) * 60 + int(value[14:16]) - offset
    first, last = (year, month, day) == (1, 1, 1), (year, month, day) == (9999, 12, 31)
    return not (first and minute < 0) and not (last and minute >= 24 * 60)


@CHECKER.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or _URI.fullmatch(value) is not None


def published(name: str) -> Schema:
    """A schema as the `ocpp` package ships it, with exact numbers and references resolved."""
    text = (files("ocpp.v16") / "schemas" / f"{name}.json").read_text("utf-8-sig")
    schema = json.loads(text, parse_float=Decimal)
    definitions = schema.pop("definitions", {})
    resolved = _resolve(schema, definitions)
    assert isinstance(resolved, dict)
    return resolved


def _resolve(node: object, definitions: dict[str, object]) -> object:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            return _resolve(definitions[reference.rsplit("/", 1)[-1]], definitions)
        return {key: _resolve(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, definitions) for value in node]
    return node


def corrected(name: str) -> Schema:
    """The schema with `ERRATA` applied."""
    schema = _correct(published(name))
    assert isinstance(schema, dict)
    return schema if schema.get("properties") else schema | {"type": ["object", "null"]}


def _correct(node: object) -> object:
    if isinstance(node, list):
        return [_correct(value) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: _correct(value) for key, value in node.items()}
    if node.get("type") == "integer":
        node |= {"minimum": -(2**63), "maximum": 2**63 - 1}
    elif node.get("type") == "number":
        node |= {"minimum": Decimal("-1e19"), "exclusiveMinimum": True}
        node |= {"maximum": Decimal("1e19"), "exclusiveMaximum": True}
    choices = node.get("enum")
    if isinstance(choices, list) and "Celcius" in choices and "Hertz" not in choices:
        node["enum"] = [*choices, "Hertz"]
    return node


def judge(name: str) -> Callable[[bytes], bool]:
    """Whether a JSON text fits the corrected schema."""
    validator = Draft4Validator(corrected(name), format_checker=CHECKER)

    def fits(payload: bytes) -> bool:
        value = json.loads(payload, parse_float=Decimal, parse_constant=_no_constant)
        with localcontext(prec=100):
            return bool(validator.is_valid(value))

    return fits


def _no_constant(name: str) -> object:
    raise ValueError(name)


def payloads(name: str, seed: int) -> Iterator[bytes]:
    """An endless stream for one schema: about a third valid, the others with one to three things changed."""
    maker = _Maker(random.Random(f"{seed} {name}"), corrected(name))
    while True:
        yield maker.payload()


_WRITER = msgspec.json.Encoder(decimal_format="number")


def write(value: Json) -> bytes:
    """JSON text with every digit that a number has."""
    return _WRITER.encode(value)


_ALPHABET: Final = 'abcXYZ0189 -_./äß€😀"\\\n\t'
_ODD: Final[tuple[Json, ...]] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63 - 1,
    Decimal(2**63),
    -(2**63),
    Decimal(-(2**63) - 1),
    Decimal(10**30),
    Decimal("0.5"),
    Decimal("1.0"),
    Decimal("16.10"),
    Decimal("16.11"),
    Decimal("1E+2"),
    Decimal("1E+19"),
    Decimal("1E-9"),
    "",
    "1",
    "true",
    "Accepted",
    "accepted",
    "2024-02-30T00:00:00Z",
    "x" * 21,
    [],
    [[]],
    {},
    {"a": 1},
)
_DATES: Final = (
    "2024-02-29T23:59:59Z",
    "2023-02-29T00:00:00Z",
    "2024-05-01T12:00:00.123456789+05:30",
    "2024-05-01T12:00:00-0800",
    "2024-05-01t12:00:00z",
    "2024-05-01T12:00:00",
    "2024-05-01 12:00:00Z",
    "2024-05-01T12:00Z",
    "2024-05-01T24:00:00Z",
    "2024-05-01T12:60:00Z",
    "2016-12-31T23:59:60Z",
    "2024-13-01T12:00:00Z",
    "2024-05-01T12:00:00+24:00",
    "2024-05-01T12:00:00.Z",
    "2024-05-01T12:00:00,5Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+05:00",
    "0001-01-01T05:00:00+05:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T20:00:00-04:00",
    "9999-12-31T19:59:59-04:00",
    "1900-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z",
    "2024-05-01",
    "yesterday",
    "1714564800",
    "２024-05-01T12:00:00Z",
    " 2024-05-01T12:00:00Z",
    "2024-05-01T12:00:00Z\n",
    "null",
)
_URIS: Final = (
    "ftp://host/path",
    "https://user:pass@host:8443/a/b?c=d#e",
    "mailto:a@b.c",
    "HTTP://X/%20",
    "http://[::1]/",
    "host/path",
    "http://a b",
    "1http://a",
    "http://ä",
    "http://%zz",
    "http://a\n",
    "",
)


class _Maker:
    """Values for one schema."""

    def __init__(self, chance: random.Random, schema: Schema) -> None:
        self._chance = chance
        self._schema = schema

    def payload(self) -> bytes:
        value = self._value(self._schema)
        for _ in range(self._chance.choice((0, 0, 1, 1, 2, 3))):
            value = self._mutate(value, self._schema)
        return write(value)

    def _value(self, schema: Schema) -> Json:
        chance = self._chance
        choices = schema.get("enum")
        if isinstance(choices, list):
            found: Json = chance.choice(choices)
            return found
        match schema.get("type"):
            case "object" | ["object", "null"]:
                return self._object(schema)
            case "array":
                items = schema["items"]
                assert isinstance(items, dict)
                least = schema.get("minItems", 0)
                assert isinstance(least, int)
                return [self._value(items) for _ in range(chance.choice((least, 1, 1, 2, 3)))]
            case "integer":
                return chance.choice((0, 1, 2, -1, 12345, 2**31 - 1, chance.randrange(10**9), 2**63 - 1))
            case "number":
                return chance.choice(
                    (Decimal(chance.randrange(10**6)) / 10, chance.randrange(100), Decimal("6.00"))
                )
            case "boolean":
                return chance.random() < 0.5
            case _:
                return self._text(schema)

    def _object(self, schema: Schema) -> dict[str, Json]:
        fields, required = schema.get("properties", {}), schema.get("required", [])
        assert isinstance(fields, dict) and isinstance(required, list)
        names = [name for name in fields if name in required or self._chance.random() < 0.5]
        self._chance.shuffle(names)
        return {name: self._value(fields[name]) for name in names}

    def _text(self, schema: Schema) -> str:
        chance = self._chance
        if schema.get("format") == "date-time":
            return self._date()
        if schema.get("format") == "uri":
            return chance.choice(_URIS[:5])
        most = schema.get("maxLength", 60)
        assert isinstance(most, int)
        length = chance.choice((0, 1, min(most, 7), chance.randint(0, min(most, 40)), most))
        return (chance.choice(_ALPHABET) + chance.choice(_ALPHABET) * (length - 1))[:length]

    def _date(self) -> str:
        chance = self._chance
        fraction = chance.choice(("", "", ".5", ".123", ".123456", ".1234567"))
        zone = chance.choice(("Z", "Z", "Z", "+02:00", "-05:30", "+00:00"))
        day = f"{chance.randint(1970, 2099)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        clock = f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}"
        return f"{day}T{clock}{fraction}{zone}"

    def _mutate(self, value: Json, schema: Schema) -> Json:
        """Change one thing, somewhere."""
        chance = self._chance
        if isinstance(value, dict) and schema.get("type") in ("object", ["object", "null"]):
            return self._mutate_object(value, schema)
        if isinstance(value, list) and schema.get("type") == "array":
            items = schema["items"]
            assert isinstance(items, dict)
            if value and chance.random() < 0.7:
                index = chance.randrange(len(value))
                return [*value[:index], self._mutate(value[index], items), *value[index + 1 :]]
            return chance.choice(([], [*value, chance.choice(_ODD)], chance.choice(_ODD)))
        if isinstance(value, str) and chance.random() < 0.7:
            return self._mutate_text(value, schema)
        return chance.choice(_ODD)

    def _mutate_object(self, value: dict[str, Json], schema: Schema) -> Json:
        chance = self._chance
        fields = schema.get("properties", {})
        assert isinstance(fields, dict)
        name = chance.choice(list(fields)) if fields else "x"
        changed = dict(value)
        match chance.randrange(10):
            case 0:
                changed.pop(name, None)
            case 1:
                unknown = chance.choice(("extra", name.upper(), f"{name}_", "", name.capitalize()))
                changed[unknown] = chance.choice(_ODD)
            case 2:
                return chance.choice(_ODD)
            case _:
                if name in fields:
                    child = fields[name]
                    changed[name] = self._mutate(changed.get(name, self._value(child)), child)
        return changed

    def _mutate_text(self, value: str, schema: Schema) -> Json:
        chance = self._chance
        if schema.get("format") == "date-time":
            return chance.choice(_DATES)
        if schema.get("format") == "uri":
            return chance.choice(_URIS)
        most = schema.get("maxLength", 60)
        assert isinstance(most, int)
        changes = (
            value + "x",
            value[:-1],
            value.lower(),
            value.upper(),
            f" {value}",
            "ä" * most,
            "😀" * (most + 1),
        )
        return chance.choice(changes)
