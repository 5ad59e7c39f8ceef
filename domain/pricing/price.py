"""The price of a charge: its usage or its periods, its tariffs and the location's time zone come in; the cost goes
out before and after taxes, by part and by period, with one line for each thing that was charged.

Totals are exact sums, turned into Decimals at the end; nothing is rounded to a currency here. No clock: a
running charge is priced by a usage that ends now. Facts: OCPI 2.3.0, chapters Tariffs and CDRs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from domain.pricing.amounts import Sum, limited
from domain.pricing.cost import PARTS, Amount, Cost, Line, Part
from domain.pricing.numbers import SECONDS_PER_HOUR, WH_PER_KWH, ZERO, exact, short
from domain.pricing.periods import periods_and_warnings
from domain.pricing.selection import Selection, Selector, Situation, Timeline, outside, zone_of
from domain.pricing.steps import Draft, round_up
from domain.pricing.straddle import Straddles, unmeasured
from domain.pricing.tariff import Tariff, TariffDimension, TariffFrom, TaxIncluded
from domain.pricing.usage import MICROSECOND, Period, Usage, utc

UNITS: dict[TariffDimension, int] = {
    "FLAT": 1,
    "ENERGY": WH_PER_KWH,
    "TIME": SECONDS_PER_HOUR,
    "PARKING_TIME": SECONDS_PER_HOUR,
}
_ONE = Decimal(1)


def price(
    what: Usage | Sequence[Period],
    tariffs: Tariff | Sequence[Tariff | TariffFrom],
    time_zone: str | ZoneInfo,
    *,
    currency: str | None = None,
) -> Cost:
    """The cost of a charge.

    ``what``: the usage, or periods that somebody made, in any order. ``tariffs``: each from its moment on; a
    period that names its tariff gets that one. ``time_zone``: the location's IANA name. ``currency``: of the
    cost when there is no tariff. Without tariff the cost is 0 with a warning.
    PricingError: an unknown time zone, a moment outside of the years 1970 to 9000, a reading that is no number.
    """
    zone = zone_of(time_zone)
    if not isinstance(what, Usage):
        return price_periods(what, tariffs, zone, currency=currency)
    timeline = Timeline(tariffs)
    periods, warnings = periods_and_warnings(what, timeline, zone)
    with exact():
        return Run(timeline, zone).cost(periods, currency, warnings)


def price_periods(
    periods: Sequence[Period],
    tariffs: Tariff | Sequence[Tariff | TariffFrom],
    zone: ZoneInfo,
    *,
    currency: str | None = None,
    look_inside: bool = True,
) -> Cost:
    """As ``price``; ``look_inside``: warn about periods in which a price changes."""
    ordered = tuple(sorted(periods, key=lambda period: (utc(period.start), utc(period.end))))
    straddles = Straddles(zone, ordered) if look_inside else None
    with exact():
        return Run(Timeline(tariffs), zone, straddles).cost(ordered, currency, ())


class Run:
    """One pass over the periods of a charge, in the order of time."""

    def __init__(
        self,
        timeline: Timeline,
        zone: ZoneInfo,
        straddles: Straddles | None = None,
        drafts: Sequence[Draft] = (),
        first: Selector | None = None,
    ) -> None:
        self.timeline, self.zone, self.straddles = timeline, zone, straddles
        self.drafts = list(drafts)
        self.first = first
        """The tariff of the first period that has one: its currency and its limits are the charge's."""
        self.warnings: dict[str, None] = {}

    def walk(self, periods: Sequence[Period]) -> None:
        """Take in the periods of a whole charge."""
        energy = ZERO
        charge_start: dt.datetime | None = None
        reserved_start: dt.datetime | None = None
        for index, period in enumerate(periods):
            start = utc(period.start)
            if period.is_reservation:
                reserved_start = reserved_start or start
                self._reserved(index, period, _seconds(reserved_start, start))
            else:
                charge_start = charge_start or start
                self.charged(index, period, energy, _seconds(charge_start, start))
                energy += period.energy_wh

    def charged(self, index: int, period: Period, energy_wh: Decimal, elapsed_s: Decimal) -> None:
        """Take in one period, so much energy and time after the start of the charge."""
        selector = self._selector(period)
        if selector is None:
            return
        local = utc(period.start).astimezone(self.zone)
        now = Situation(local, energy_wh, elapsed_s, period.max_power_kw, period.max_current_a)
        selection = selector.charging(now)
        self._fee("fixed", index, selector, selection)
        self._draft("energy", "ENERGY", index, selector, selection, period.energy_wh)
        self._draft("time", "TIME", index, selector, selection, period.charging_s)
        self._draft("parking", "PARKING_TIME", index, selector, selection, period.parking_s)
        if self.straddles is not None:
            for text in self.straddles.warnings(period, selector, now, selection):
                self._warn(text)
        for text in unmeasured(period, selector):
            self._warn(text)

    def total(self) -> Amount:
        """All of it with what a step_size adds, within the limits of its tariff."""
        round_up(self.drafts)
        total = _added(self._stated())
        return limited(total, self.first.tariff if self.first else None)[0]

    def cost(self, periods: tuple[Period, ...], currency: str | None, warnings: tuple[str, ...]) -> Cost:
        """The cost of a charge with these periods."""
        self.walk(periods)
        round_up(self.drafts)
        stated = self._stated()
        parts = {part: _added(one for one in stated if one[0].part == part).amount() for part in PARTS}
        first = self.first if periods else next(iter(self.timeline.selectors), None)
        amount, names = limited(_added(stated), first.tariff if first and periods else None)
        if not self.timeline.selectors:
            self._warn("no tariff: the cost is 0")
        if amount.before is None:
            self._warn("prices include taxes of unknown percentage: the split is unknown")
        return Cost(
            currency=first.tariff.currency if first else currency,
            time_zone=self.zone.key,
            total=amount,
            fixed=parts["fixed"],
            energy=parts["energy"],
            time=parts["time"],
            parking=parts["parking"],
            reservation=parts["reservation"],
            lines=tuple(self._line(draft, periods[draft.period]) for draft in self.drafts),
            periods=periods,
            limited_by=names,
            warnings=(*warnings, *self.warnings),
        )

    def _reserved(self, index: int, period: Period, elapsed_s: Decimal) -> None:
        selector = self._selector(period)
        if selector is None:
            return
        now = Situation(utc(period.start).astimezone(self.zone), ZERO, elapsed_s)
        selection = selector.reserved(now, period.reservation_expired)
        self._fee("reservation", index, selector, selection)
        self._draft("reservation", "TIME", index, selector, selection, period.reserved_s)

    def _fee(self, part: Part, index: int, selector: Selector, selection: Selection) -> None:
        if not any(draft.part == part and draft.dimension == "FLAT" for draft in self.drafts):
            self._draft(part, "FLAT", index, selector, selection, _ONE)

    def _draft(
        self,
        part: Part,
        dimension: TariffDimension,
        index: int,
        selector: Selector,
        selection: Selection,
        quantity: Decimal,
    ) -> None:
        choice = selection.get(dimension)
        if choice is not None and quantity:
            self.drafts.append(Draft(part, dimension, index, selector, choice, quantity))

    def _selector(self, period: Period) -> Selector | None:
        start = utc(period.start)
        if period.tariff_id is None:
            selector = self.timeline.at(start)
        else:
            selector = self.timeline.named(start, period.tariff_id)
        if selector is None:
            if self.timeline.selectors and period.tariff_id is None:
                since = f"{start:%Y-%m-%dT%H:%M:%SZ}"
                self._warn(f"no tariff is valid from {since} on, that time costs 0: {self.timeline}")
            elif self.timeline.selectors and period.tariff_id:
                self._warn(f"tariff {period.tariff_id} is not given: its periods cost 0")
            return None
        self.first = self.first or selector
        if period.tariff_id and outside(selector.tariff, start):
            self._warn(f"tariff {selector.tariff.id} is not valid at {start:%Y-%m-%dT%H:%M:%SZ}")
        if selector.tariff.currency != self.first.tariff.currency:
            self._warn(
                f"tariff {selector.tariff.id} is in {selector.tariff.currency}, the charge in "
                f"{self.first.tariff.currency}: its periods cost 0"
            )
            return None
        return selector

    def _stated(self) -> list[tuple[Draft, Fraction]]:
        """What each component comes to for each part, as its tariff states it; with any draft of the two."""
        billed: dict[tuple[int, int, int, Part], Decimal] = {}
        of: dict[tuple[int, int, int, Part], Draft] = {}
        for draft in self.drafts:
            billed[draft.key] = billed.get(draft.key, ZERO) + draft.billed
            of[draft.key] = draft
        return [
            (of[key], Fraction(quantity) * Fraction(of[key].choice.price.price) / UNITS[of[key].dimension])
            for key, quantity in billed.items()
        ]

    def _line(self, draft: Draft, period: Period) -> Line:
        component, tariff = draft.choice.price, draft.selector.tariff
        stated = draft.billed * component.price / UNITS[draft.dimension]
        before, tax, after = _taxed(stated, tariff.tax_included, component.vat)
        return Line(
            part=draft.part,
            dimension=draft.dimension,
            period=draft.period,
            start=period.start,
            end=period.end,
            tariff_id=tariff.id,
            element=draft.choice.element,
            component=draft.choice.component,
            quantity=draft.quantity,
            billed_quantity=draft.billed,
            step_size=component.step_size,
            step_total=draft.step_total,
            price=component.price,
            vat=component.vat,
            before=before,
            tax=tax,
            after=after,
        )

    def _warn(self, text: str) -> None:
        self.warnings[text] = None


def _added(stated: Iterable[tuple[Draft, Fraction]]) -> Sum:
    total = Sum()
    for draft, amount in stated:
        total.add(amount, draft.selector.tariff.tax_included, draft.choice.price.vat)
    return total


def _taxed(
    stated: Decimal, tax_included: TaxIncluded, vat: Decimal | None
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Before taxes, the taxes, after taxes; None for what no percentage tells. As amounts.split, in Decimals."""
    stated = short(stated)
    if tax_included == "N/A" or not stated:
        return stated, ZERO, stated
    if vat is None:
        return (None, None, stated) if tax_included == "YES" else (stated, None, None)
    if tax_included == "YES":
        before = short(stated * 100 / (100 + vat))
        return before, stated - before, stated
    tax = short(stated * vat / 100)
    return stated, tax, stated + tax


def _seconds(since: dt.datetime, until: dt.datetime) -> Decimal:
    return Decimal((until - since) // MICROSECOND) / 1_000_000
