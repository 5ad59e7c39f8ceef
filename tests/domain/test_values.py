"""What is kept as JSON reads back as it was, and every store can hold it."""

from __future__ import annotations

from decimal import Decimal

import bson
import pytest

from domain.values import plain_json


def test_numbers_keep_their_value() -> None:
    kept = {"a": [Decimal("0.1"), Decimal("12"), Decimal("1E+3"), 2**63 - 1, -(2**63), True, None, "x"]}
    assert plain_json(kept) == {"a": [0.1, 12, 1000, 2**63 - 1, -(2**63), True, None, "x"]}


@pytest.mark.parametrize(
    "wrong",
    [
        Decimal("0.1234567890123456789"),
        Decimal("1E+999999999"),
        Decimal("NaN"),
        Decimal(2**63),
        2**63,
        -(2**63) - 1,
        {"a": [{"b": 10**300}]},
        {"a\0": 1},
    ],
)
def test_what_no_store_could_hold_or_would_not_read_back_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"digits|bits|NUL"):
        plain_json(wrong)


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 10**30, Decimal("1E+19"), [{"a": 2**64}], {"a\0b": 1}, {"a": {"\0": None}}],
    ids=str,
)
def test_what_no_read_model_can_keep_is_refused(value: object) -> None:
    with pytest.raises((OverflowError, bson.errors.InvalidDocument)):
        bson.encode({"value": float_free(value)})
    with pytest.raises(ValueError, match=r"64 bits|NUL"):
        plain_json(value)


@pytest.mark.parametrize(
    "value", [2**63 - 1, -(2**63), Decimal("1E+18"), {"$a.b": "\0"}, {"": True}], ids=str
)
def test_what_every_read_model_can_keep_passes(value: object) -> None:
    assert bson.decode(bson.encode({"value": plain_json(value)}))["value"] == value


def float_free(value: object) -> object:
    return int(value) if isinstance(value, Decimal) else value
