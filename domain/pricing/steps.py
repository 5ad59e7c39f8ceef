"""Rounding up to step_size: what was used, in the order of time, comes in; what is billed on top, and where, goes
out. Once per charge and group, never where elements or tariffs switch.

Energy is one group, charging and parking time together are another, reserved time is the third. Of charging and
parking time the one whose component was active last is rounded up, also where its price is 0; the other is billed
as it is.
Facts: OCPI 2.3.0, chapter Tariffs, step_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final

from domain.pricing.cost import Part
from domain.pricing.numbers import ZERO
from domain.pricing.selection import Choice, Selector
from domain.pricing.tariff import TariffDimension

_TIMES: Final = ("time", "parking")


class Draft:
    """A line before it is priced; drafts stand in the order of time, `period` counts the charge's from 0."""

    __slots__ = ("billed", "choice", "dimension", "part", "period", "quantity", "selector", "step_total")

    def __init__(
        self,
        part: Part,
        dimension: TariffDimension,
        period: int,
        selector: Selector,
        choice: Choice,
        quantity: Decimal,
    ) -> None:
        self.part, self.dimension, self.period = part, dimension, period
        self.selector, self.choice = selector, choice
        self.quantity = self.billed = quantity
        self.step_total: Decimal | None = None

    @property
    def key(self) -> tuple[int, int, int, Part]:
        """The same for all that one component of a tariff prices as the same part."""
        return id(self.selector), self.choice.element, self.choice.component, self.part

    def lengthen(self, quantity: Decimal) -> None:
        """By what the same component priced before."""
        self.quantity += quantity
        self.billed += quantity


def round_up(drafts: Sequence[Draft]) -> None:
    """Lengthen the last line of each group so that its total is a multiple of that line's step_size."""
    _round(drafts, "energy", "ENERGY")
    _round(drafts, "reservation", "TIME")
    if _parking_ends_it(drafts):
        _round(drafts, "parking", "PARKING_TIME")
    else:
        _round(drafts, "time", "TIME")


def _parking_ends_it(drafts: Sequence[Draft]) -> bool:
    """Whether the last time that a component prices, be it at 0, is parking."""
    return next((draft.part == "parking" for draft in reversed(drafts) if draft.part in _TIMES), False)


def _round(drafts: Sequence[Draft], part: Part, dimension: TariffDimension) -> None:
    total = ZERO
    last: Draft | None = None
    for draft in drafts:
        if draft.part == part and draft.dimension == dimension:
            total += draft.quantity
            last = draft
    if last is None or not last.choice.price.step_size:
        return
    step = Decimal(last.choice.price.step_size)
    billed = (total / step).to_integral_value(rounding=ROUND_CEILING) * step
    if billed > total:
        last.billed = last.quantity + billed - total
        last.step_total = billed
