"""Malformed bodies of every kind: a clear error with the path, never an exception of another kind."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.ocpi import (
    NotJsonError,
    OcpiInvalidError,
    decode,
    dump,
    parse,
    parse_each,
    parse_json,
    v2_2_1,
    v2_3_0,
)
from protocols.ocpi.types import JSON, OcpiModel
from tests.laws import tried
from tests.protocols.ocpi.bodies import bodies, written

TARIFF = (
    b'{"country_code":"DE","party_id":"ALL","id":"12","currency":"EUR","tax_included":"NO","elements":'
    b'[{"price_components":[{"type":"FLAT","price":PRICE,"step_size":1}]}],"last_updated":"2026-05-31T12:00:00Z"}'
)
PRICE = "elements[0].price_components[0].price"


def error_of(raw: bytes, model: type[OcpiModel] = v2_3_0.Tariff) -> OcpiInvalidError:
    """The error of JSON that no object can be."""
    with pytest.raises(OcpiInvalidError) as error:
        parse(model, raw)
    assert str(error.value).isascii() and len(str(error.value)) < 400
    return error.value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1',
        b'{"a":1}}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'"a\nb"',
        b'"\\x41"',
        b"\x00",
    ],
)
def test_what_is_no_json_is_an_error_of_its_own(raw: bytes) -> None:
    with pytest.raises(NotJsonError):
        parse(v2_3_0.Token, raw)


@pytest.mark.parametrize("raw", [b"null", b"true", b"1", b'"x"', b"[]", b"[{}]"])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    assert error_of(raw).path == ""


def test_of_duplicate_keys_the_last_wins() -> None:
    found = parse(v2_3_0.LocationReferences, b'{"location_id":"A","location_id":"B"}')
    assert found.location_id == "B"


@pytest.mark.parametrize(
    "price",
    [
        b"1e999999999",
        b"-1e999999999",
        b"1e-999999999",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        b"1" * 30,
        b"1" * 5_000,
        b"1" * 1_000_000,
        b"0." + b"1" * 1_000_000,
        b"1" * 1_000_000 + b".5",
        b'"0.25"',
        b"null",
        b"true",
        b"{}",
        b"[1]",
    ],
)
def test_a_wrong_or_huge_number_is_named_by_its_path(price: bytes) -> None:
    assert error_of(TARIFF.replace(b"PRICE", price)).path == PRICE


@pytest.mark.parametrize("price", [b"1e400", b"1" * 400, b"1e99999999999999999999", b"1e-401"])
def test_a_huge_number_in_an_unknown_field_is_named_too(price: bytes) -> None:
    body = b'{"location_id":"L","vendor":{"x":[0,' + price + b"]}}"
    assert error_of(body, v2_3_0.LocationReferences).path.startswith("vendor")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b'{"location_id":"\\ud800"}', "location_id"),
        (b'{"location_id":"L","evse_uids":["a","\\udc00\\ud800"]}', "evse_uids[1]"),
        (b'{"location_id":"L","vendor":{"\\ud800":1}}', "vendor"),
    ],
)
def test_half_of_a_surrogate_pair_is_named_by_its_path(raw: bytes, path: str) -> None:
    assert error_of(raw, v2_3_0.LocationReferences).path == path


def test_half_of_a_surrogate_pair_in_decoded_json_is_refused_too() -> None:
    for body in (
        {"location_id": "\ud800"},
        {"location_id": "L", "x": "\ud800"},
        {"location_id": "L", "\ud800": 1},
    ):
        with pytest.raises(OcpiInvalidError):
            parse_json(v2_3_0.LocationReferences, body)


@pytest.mark.parametrize("depth", [33, 100, 900, 3_000, 100_000])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(depth: int, left: bytes, right: bytes) -> None:
    body = b'{"location_id":"L","x":' + left * depth + b"1" + right * depth + b"}"
    assert "must not nest deeper than" in error_of(body, v2_3_0.LocationReferences).message


@pytest.mark.parametrize("depth", [64, 900, 3_000])
def test_decoded_json_is_never_deeper_than_64(depth: int) -> None:
    decode(b"[" * 64 + b"]" * 64)
    with pytest.raises(OcpiInvalidError, match="must not nest deeper than 64"):
        decode(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


def test_nesting_up_to_the_limit_is_kept() -> None:
    body = b'{"location_id":"L","x":' + b"[" * 32 + b"]" * 32 + b"}"
    assert dump(parse(v2_3_0.LocationReferences, body)) == body


def test_deep_nesting_in_a_known_field_is_an_error_of_that_field() -> None:
    body = b'{"location_id":' + b"[" * 500 + b"]" * 500 + b"}"
    assert error_of(body, v2_3_0.LocationReferences).path == "location_id"


def test_a_body_that_is_too_long_is_refused_unread() -> None:
    with pytest.raises(OcpiInvalidError, match="longer than 10"):
        parse(v2_3_0.Token, b"{" * 11, max_bytes=10)


def test_a_date_that_does_not_exist_is_named_by_its_path() -> None:
    raw = TARIFF.replace(b"PRICE", b"1").replace(b"2026-05-31", b"2024-02-30")
    error = error_of(raw)
    assert error.path == "last_updated"
    assert "2024-02-30T12:00:00Z" in error.message


def test_a_field_with_a_strange_name_is_quoted_in_ascii() -> None:
    error = error_of('{"location_id":"L","a.b\\u0000é":1e400}'.encode(), v2_3_0.LocationReferences)
    assert error.path == r"'a.b\x00\xe9'"


def test_a_binary_float_in_decoded_json_is_refused() -> None:
    with pytest.raises(OcpiInvalidError):
        parse_json(v2_3_0.Price, {"before_taxes": 0.1})
    with pytest.raises(OcpiInvalidError):
        parse_json(v2_3_0.Price, {"before_taxes": Decimal("0.1"), "x": 0.1})


@pytest.mark.parametrize("value", [b"bytes", object(), {1: 2}, {"a": {1, 2}}])
def test_what_is_no_json_value_in_decoded_json_is_refused(value: object) -> None:
    with pytest.raises(OcpiInvalidError):
        parse_json(v2_3_0.LocationReferences, {"location_id": "L", "x": value})


def test_a_list_with_invalid_objects_gives_the_valid_ones_and_what_is_wrong_with_the_others() -> None:
    value = decode(b'[{"location_id":"A"},{"location_id":1},"x",{"location_id":"B"}]')
    good, bad = parse_each(v2_3_0.LocationReferences, value)
    assert [found.location_id for found in good] == ["A", "B"]
    assert [error.path for error in bad] == ["[1].location_id", "[2]"]
    assert parse_each(v2_3_0.LocationReferences, None) == ((), ())
    with pytest.raises(OcpiInvalidError):
        parse_each(v2_3_0.LocationReferences, {"location_id": "A"})


# --- every object: wrong types everywhere, and bytes changed at random

ALL = sorted({*v2_3_0.OBJECTS.values(), *v2_2_1.OBJECTS.values()}, key=lambda m: (m.__name__, m.__module__))
WRONG: list[JSON] = [
    None,
    True,
    7,
    Decimal("1E+999999999"),
    "\x00",
    "x" * 6000,
    [],
    ["x"],
    {},
    {"a": [[]]},
    -1,
]


@pytest.mark.parametrize("model", ALL, ids=lambda m: f"{m.__name__}-{m.__module__.split('.')[2]}")
def test_any_change_of_a_body_gives_an_object_or_a_clear_error(model: type[OcpiModel]) -> None:
    @settings(
        deadline=None,
        max_examples=tried(5),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(bodies(model), st.integers(0, 2**32))
    def holds(body: dict[str, JSON], seed: int) -> None:
        chance = random.Random(seed)
        for name in body:
            outcome(model, written(body | {name: chance.choice(WRONG)}))
        raw = bytearray(written(body))
        for _ in range(5):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
            outcome(model, bytes(raw))
        outcome(model, bytes(raw[: chance.randrange(len(raw))]))

    holds()


def outcome(model: type[OcpiModel], raw: bytes) -> None:
    """An object that is written as it was read, or one of the two errors."""
    try:
        found = parse(model, raw)
    except NotJsonError:
        return
    except OcpiInvalidError as error:
        assert error.message and str(error).isascii()
        return
    assert parse(model, dump(found)) == found
