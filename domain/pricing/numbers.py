"""Exact numbers for prices: Decimals and Fractions in, Decimals out, the caller's decimal context never matters.

Sums and products are exact; the one thing that cannot be (a third of an hour's price) is kept as a Fraction
until it leaves, and then has 28 digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction

from domain.errors import ChargeSphereError

ZERO = Decimal(0)
SECONDS_PER_HOUR = 3600
WH_PER_KWH = 1000

_WORK = Context(prec=60, rounding=ROUND_HALF_EVEN)
_OUT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_LARGEST_EXPONENT, _SMALLEST_EXPONENT, _MOST_DIGITS = 12, -18, 24


class PricingError(ChargeSphereError, ValueError):
    """The input cannot be priced: the message names the thing, its value and what would be right."""


def require_finite(name: str, number: Decimal | None) -> None:
    """Refuse NaN, infinities and numbers no meter or price list holds (above 10^12, below 10^-18)."""
    if number is None or number is ZERO:
        return
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{name} is {number}, it must be a finite number")
    if len(digits) > _MOST_DIGITS or exponent < _SMALLEST_EXPONENT or number.adjusted() > _LARGEST_EXPONENT:
        raise ValueError(f"{name} has more digits than any amount needs")


@contextmanager
def exact() -> Iterator[None]:
    """Within it, sums and products of accepted numbers lose nothing."""
    with localcontext(_WORK):
        yield


def to_decimal(value: Fraction) -> Decimal:
    """The Decimal of a Fraction: exact where it ends within 28 digits, without trailing zeros."""
    return _OUT.divide(Decimal(value.numerator), Decimal(value.denominator))


def short(value: Decimal) -> Decimal:
    """At most 28 digits."""
    return _OUT.plus(value)


def plain(number: Decimal, places: int) -> Decimal:
    """Rounded half up to at most so many places, without trailing zeros, exponent or minus zero."""
    unit = Decimal((0, (1,), -places))
    rounded = number.quantize(unit, rounding=ROUND_HALF_UP, context=_WORK).normalize(_WORK)
    whole = rounded.to_integral_value(context=_WORK)
    return _WORK.plus(whole.quantize(Decimal(1), context=_WORK) if rounded == whole else rounded)
