"""Adding up with taxes: prices as a tariff states them come in, sums before and after taxes go out, within the
tariff's limits. Exact Fractions inside.

Facts: OCPI 2.3.0, chapter Tariffs, tax_included, min_price, max_price.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from domain.pricing.cost import Amount, LimitName, TaxAmount
from domain.pricing.numbers import to_decimal
from domain.pricing.tariff import PriceLimit, Tariff, TaxIncluded

TAX_NAME = "VAT"


class Sum:
    """Amounts of possibly different taxes added up; what one of them leaves unknown is unknown for all."""

    def __init__(self) -> None:
        self.stated = Fraction(0)
        self.before: Fraction | None = Fraction(0)
        self.after: Fraction | None = Fraction(0)
        self.by_rate: dict[Decimal, Fraction] = {}

    def add(self, stated: Fraction, tax_included: TaxIncluded, vat: Decimal | None) -> None:
        """Add an amount as the tariff states it; ``vat`` in percent."""
        before, after = split(stated, tax_included, vat)
        self.stated += stated
        self.before = None if self.before is None or before is None else self.before + before
        self.after = None if self.after is None or after is None else self.after + after
        if vat is not None and tax_included != "N/A" and before is not None and after is not None:
            self.by_rate[vat] = self.by_rate.get(vat, Fraction(0)) + after - before

    def amount(self) -> Amount:
        """The sum as Decimals, its taxes by percentage."""
        known = self.before is not None and self.after is not None
        return Amount(
            before=_decimal(self.before),
            after=_decimal(self.after),
            taxes=tuple(
                TaxAmount(TAX_NAME, to_decimal(tax), percentage=rate)
                for rate, tax in sorted(self.by_rate.items())
            )
            if known
            else None,
            stated=to_decimal(self.stated),
        )


def split(
    stated: Fraction, tax_included: TaxIncluded, vat: Decimal | None
) -> tuple[Fraction | None, Fraction | None]:
    """Before and after taxes; None for the one that cannot be known without a percentage."""
    if tax_included == "N/A" or not stated:
        return stated, stated
    if tax_included == "YES":
        return (None if vat is None else stated / _with_tax(vat)), stated
    return stated, (None if vat is None else stated * _with_tax(vat))


@lru_cache(maxsize=64)
def _with_tax(vat: Decimal) -> Fraction:
    """What 1 before taxes is after them."""
    return 1 + Fraction(vat) / 100


def limited(total: Sum, tariff: Tariff | None) -> tuple[Amount, tuple[LimitName, ...]]:
    """The total within min_price and max_price, and which of them changed it.

    Both bounds of a limit hold on their own. Where a limit does not say its bound after taxes, the taxes keep
    their share. If the two limits contradict each other, max_price wins.
    """
    amount = total.amount()
    if tariff is None:
        return amount, ()
    before, after = total.before, total.after
    names: list[LimitName] = []
    bounds: tuple[tuple[LimitName, PriceLimit | None, Callable[[Fraction, Fraction], Fraction]], ...] = (
        ("min_price", tariff.min_price, max),
        ("max_price", tariff.max_price, min),
    )
    for name, limit, pick in bounds:
        if limit is None:
            continue
        was = before, after
        if before is not None:
            before = pick(before, Fraction(limit.before_taxes))
        if limit.after_taxes is not None:
            after = None if after is None else pick(after, Fraction(limit.after_taxes))
        elif before != was[0] and before is not None and after is not None:
            after = after * before / was[0] if was[0] else before
        if tariff.tax_included == "N/A":
            after = before
        if (before, after) != was:
            names.append(name)
    if not names:
        return amount, ()
    return _clamped(amount, before, after, total.by_rate), tuple(names)


def _clamped(
    amount: Amount, before: Fraction | None, after: Fraction | None, by_rate: dict[Decimal, Fraction]
) -> Amount:
    taxes: tuple[TaxAmount, ...] | None = None
    if before is not None and after is not None:
        rates = list(by_rate)
        keeps = len(rates) == 1 and after == before * (1 + Fraction(rates[0]) / 100)
        tax = TaxAmount(TAX_NAME, to_decimal(after - before), percentage=rates[0] if keeps else None)
        taxes = (tax,) if by_rate or after != before else ()
    stated = after if before is None else before
    return Amount(
        _decimal(before), _decimal(after), taxes, amount.stated if stated is None else to_decimal(stated)
    )


def _decimal(value: Fraction | None) -> Decimal | None:
    return None if value is None else to_decimal(value)
