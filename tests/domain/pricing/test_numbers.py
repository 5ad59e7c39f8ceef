"""Exact numbers."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from domain.pricing.numbers import plain, require_finite, to_decimal


def test_a_fraction_that_ends_is_exact_and_one_that_does_not_has_28_digits() -> None:
    assert to_decimal(Fraction(5, 8)) == Decimal("0.625")
    assert to_decimal(Fraction(1, 3)) == Decimal("0.3333333333333333333333333333")


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        ("1.5000", 4, "1.5"),
        ("0.00005", 4, "0.0001"),
        ("1E+2", 4, "100"),
        ("-0.00001", 4, "0"),
        ("20", 0, "20"),
    ],
)
def test_plain_numbers_have_no_exponent_and_no_trailing_zeros(value: str, places: int, text: str) -> None:
    assert str(plain(Decimal(value), places)) == text


@pytest.mark.parametrize("value", ["NaN", "sNaN", "-Infinity", "1e13", "1e-19", "1" * 25])
def test_numbers_that_nothing_measures_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="price"):
        require_finite("price", Decimal(value))


@pytest.mark.parametrize("value", ["0", "-5", "999999999999", "0.123456789012345678", "0E-18"])
def test_other_numbers_are_accepted(value: str) -> None:
    require_finite("price", Decimal(value))
