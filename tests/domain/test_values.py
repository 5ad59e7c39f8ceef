"""What is kept of JSON from outside must fit into every read store, else its projection would stand still."""

from __future__ import annotations

from decimal import Decimal

import bson
import pytest

from domain.values import plain_json


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
