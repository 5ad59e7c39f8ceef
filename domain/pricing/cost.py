"""What a price is made of: amounts before and after taxes, one line for each thing charged, and the whole cost.

Plain values, computed in domain.pricing.price; the one thing done here is adding up a period's lines.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from domain.pricing.numbers import ZERO, exact, plain
from domain.pricing.tariff import TariffDimension
from domain.pricing.usage import Period

Part = Literal["fixed", "energy", "time", "parking", "reservation"]
PARTS: tuple[Part, ...] = ("fixed", "energy", "time", "parking", "reservation")
LimitName = Literal["min_price", "max_price"]
MONEY_PLACES = 4


class TaxAmount(Struct, frozen=True):
    """One tax of a Price (OCPI 2.3.0, chapter Types); the percentage where one is known."""

    name: str
    amount: Decimal
    account_number: str | None = None
    percentage: Decimal | None = None


class Price(Struct, frozen=True):
    """OCPI 2.3.0's Price; ``taxes`` None: not known, empty: none."""

    before_taxes: Decimal
    taxes: tuple[TaxAmount, ...] | None = None


class Amount(Struct, frozen=True):
    """Money in the cost's currency; exact, or 28 digits of what never ends.

    ``before`` None: prices include taxes of unknown height. ``after`` None: taxes come on top, of unknown height.
    ``stated`` adds the prices up as the tariff states them, with or without taxes; within limits it is the
    limited amount.
    """

    before: Decimal | None
    after: Decimal | None
    taxes: tuple[TaxAmount, ...] | None
    stated: Decimal

    @property
    def split_known(self) -> bool:
        """Whether the share of the taxes is known."""
        return self.before is not None and self.after is not None

    def as_price(self) -> Price:
        """For the wire: rounded half up to 4 places. With an unknown ``before`` the amount is the one with taxes,
        and no tax is given."""
        if self.before is None:
            return Price(plain(self.stated if self.after is None else self.after, MONEY_PLACES))
        if self.taxes is None:
            return Price(plain(self.before, MONEY_PLACES))
        taxes = tuple(
            TaxAmount(tax.name, plain(tax.amount, MONEY_PLACES), tax.account_number, tax.percentage)
            for tax in self.taxes
        )
        return Price(plain(self.before, MONEY_PLACES), taxes)


class Line(Struct, frozen=True, kw_only=True):
    """One thing that was charged, ready to be recomputed.

    ``quantity`` was used and ``billed_quantity`` is charged: Wh, seconds, or 1 for a flat fee. ``element`` and
    ``component`` count from 0 in the tariff, ``period`` in Cost.periods. price per kWh, hour or charge, as the
    tariff states it. ``step_total``: what the whole charge is billed for after the rounding done in this line.
    """

    part: Part
    dimension: TariffDimension
    period: int
    start: dt.datetime
    end: dt.datetime
    tariff_id: str
    element: int
    component: int
    quantity: Decimal
    billed_quantity: Decimal
    step_size: int
    step_total: Decimal | None
    price: Decimal
    vat: Decimal | None
    before: Decimal | None
    tax: Decimal | None
    after: Decimal | None


class PeriodCost(Struct, frozen=True):
    """What one period costs, before any price limit; None where the share of the taxes is unknown."""

    start: dt.datetime
    end: dt.datetime
    before: Decimal | None
    after: Decimal | None


class Cost(Struct, frozen=True, kw_only=True):
    """The cost of a charge. ``total`` is within the price limits; the parts and lines are as consumed."""

    currency: str | None
    time_zone: str
    total: Amount
    fixed: Amount
    energy: Amount
    time: Amount
    parking: Amount
    reservation: Amount
    lines: tuple[Line, ...]
    periods: tuple[Period, ...]
    limited_by: tuple[LimitName, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def before(self) -> Decimal | None:
        """The total before taxes."""
        return self.total.before

    @property
    def after(self) -> Decimal | None:
        """The total after taxes."""
        return self.total.after

    @property
    def per_period(self) -> tuple[PeriodCost, ...]:
        """The cost of each period, in the order of ``periods``."""
        lines: list[list[Line]] = [[] for _ in self.periods]
        for line in self.lines:
            lines[line.period].append(line)
        with exact():
            return tuple(
                PeriodCost(
                    period.start,
                    period.end,
                    _sum([line.before for line in its]),
                    _sum([line.after for line in its]),
                )
                for period, its in zip(self.periods, lines, strict=True)
            )


def _sum(amounts: list[Decimal | None]) -> Decimal | None:
    total = ZERO
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
