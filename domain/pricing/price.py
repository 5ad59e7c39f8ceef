"""The price of a charge: its usage or its periods, its tariffs and the location's time zone come in; the cost goes
out before and after taxes, by part and by period, with one line for each thing that was charged.

Totals are exact sums, turned into Decimals at the end; nothing is rounded to a currency here. No clock: a
running charge is priced by a usage that ends now. Facts: OCPI 2.3.0, chapters Tariffs and CDRs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from domain.pricing.amounts import Sum, limited
from domain.pricing.cost import PARTS, Cost, Line, Part
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
        return _Run(timeline, zone, periods, None).cost(currency, warnings)


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
        return _Run(Timeline(tariffs), zone, ordered, straddles).cost(currency, ())


class _Run:
    """One pass over the periods."""

    def __init__(
        self, timeline: Timeline, zone: ZoneInfo, periods: tuple[Period, ...], straddles: Straddles | None
    ) -> None:
        self.timeline, self.zone, self.periods = timeline, zone, periods
        self.drafts: list[Draft] = []
        self.warnings: dict[str, None] = {}
        self.straddles = straddles
        self.first = self._first_selector()

    def cost(self, currency: str | None, warnings: tuple[str, ...]) -> Cost:
        self._walk()
        round_up(self.drafts)
        total, parts = self._add_up()
        amount, names = limited(total, self.first.tariff if self.first and self.periods else None)
        if not self.timeline.selectors:
            self._warn("no tariff: the cost is 0")
        if amount.before is None:
            self._warn("prices include taxes of unknown percentage: the split is unknown")
        return Cost(
            currency=self.first.tariff.currency if self.first else currency,
            time_zone=self.zone.key,
            total=amount,
            fixed=parts["fixed"].amount(),
            energy=parts["energy"].amount(),
            time=parts["time"].amount(),
            parking=parts["parking"].amount(),
            reservation=parts["reservation"].amount(),
            lines=tuple(self._line(draft) for draft in self.drafts),
            periods=self.periods,
            limited_by=names,
            warnings=(*warnings, *self.warnings),
        )

    def _walk(self) -> None:
        energy = ZERO
        charge_start: dt.datetime | None = None
        reserved_start: dt.datetime | None = None
        for index, period in enumerate(self.periods):
            start = utc(period.start)
            selector = self._selector(period)
            local = start.astimezone(self.zone)
            if period.is_reservation:
                reserved_start = reserved_start or start
                if selector is not None:
                    self._reserved(index, selector, Situation(local, ZERO, _seconds(reserved_start, start)))
                continue
            charge_start = charge_start or start
            if selector is not None:
                elapsed = _seconds(charge_start, start)
                now = Situation(local, energy, elapsed, period.max_power_kw, period.max_current_a)
                self._charged(index, selector, now)
            energy += period.energy_wh

    def _reserved(self, index: int, selector: Selector, now: Situation) -> None:
        period = self.periods[index]
        selection = selector.reserved(now, period.reservation_expired)
        self._fee("reservation", index, selector, selection)
        self._draft("reservation", "TIME", index, selector, selection, period.reserved_s)

    def _charged(self, index: int, selector: Selector, now: Situation) -> None:
        period = self.periods[index]
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
            self.drafts.append(Draft(part, dimension, index, selector.tariff, choice, quantity))

    def _first_selector(self) -> Selector | None:
        """The tariff of the first period that has one: its currency and its limits are the charge's."""
        if not self.periods:
            return self.timeline.selectors[0] if self.timeline.selectors else None
        found = (self._tariff_of(period) for period in self.periods)
        return next((selector for selector in found if selector is not None), None)

    def _tariff_of(self, period: Period) -> Selector | None:
        start = utc(period.start)
        if period.tariff_id is None:
            return self.timeline.at(start)
        return self.timeline.named(start, period.tariff_id)

    def _selector(self, period: Period) -> Selector | None:
        selector = self._tariff_of(period)
        if selector is None or self.first is None:
            if self.timeline.selectors and period.tariff_id is None:
                since = f"{utc(period.start):%Y-%m-%dT%H:%M:%SZ}"
                self._warn(f"no tariff is valid from {since} on, that time costs 0: {self.timeline}")
            elif self.timeline.selectors and period.tariff_id:
                self._warn(f"tariff {period.tariff_id} is not given: its periods cost 0")
            return None
        if period.tariff_id and outside(selector.tariff, utc(period.start)):
            self._warn(f"tariff {selector.tariff.id} is not valid at {utc(period.start):%Y-%m-%dT%H:%M:%SZ}")
        if selector.tariff.currency != self.first.tariff.currency:
            self._warn(
                f"tariff {selector.tariff.id} is in {selector.tariff.currency}, the charge in "
                f"{self.first.tariff.currency}: its periods cost 0"
            )
            return None
        return selector

    def _add_up(self) -> tuple[Sum, dict[Part, Sum]]:
        billed: dict[tuple[int, Part, int], Decimal] = {}
        of: dict[tuple[int, Part, int], Draft] = {}
        for draft in self.drafts:
            key = (id(draft.choice), draft.part, id(draft.tariff))
            billed[key] = billed.get(key, ZERO) + draft.billed
            of[key] = draft
        total = Sum()
        parts = {part: Sum() for part in PARTS}
        for key, quantity in billed.items():
            draft, component = of[key], of[key].choice.price
            stated = Fraction(quantity) * Fraction(component.price) / UNITS[draft.dimension]
            for into in (total, parts[draft.part]):
                into.add(stated, draft.tariff.tax_included, component.vat)
        return total, parts

    def _line(self, draft: Draft) -> Line:
        component, period = draft.choice.price, self.periods[draft.period]
        stated = draft.billed * component.price / UNITS[draft.dimension]
        before, tax, after = _taxed(stated, draft.tariff.tax_included, component.vat)
        return Line(
            part=draft.part,
            dimension=draft.dimension,
            period=draft.period,
            start=period.start,
            end=period.end,
            tariff_id=draft.tariff.id,
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
