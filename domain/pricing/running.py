"""The price of a charge that goes on: what it came to so far is folded, so that what comes next is priced alone,
however long the charge has been. The sum is that of `price` for the whole charge until its last reading.

    running, total = follow(None, usage, timeline, zone)       # from the start
    running, total = follow(running, more, timeline, zone)     # only what is new

Folded is what no later reading can change: quantities by component in the order of their last use, which decides
where a step_size is rounded up. Open stays the stretch that ends at the last reading.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from domain.pricing.borders import Borders
from domain.pricing.cost import Amount, Part
from domain.pricing.curve import Curve, tenths
from domain.pricing.numbers import ZERO, exact
from domain.pricing.periods import Stretch, stretches
from domain.pricing.price import Run
from domain.pricing.selection import Choice, Selector, Timeline
from domain.pricing.steps import Draft
from domain.pricing.tariff import TariffDimension
from domain.pricing.usage import SECOND, Period, Sample, Usage, whole_second


class Used(Struct, frozen=True, array_like=True):
    """What one component of a tariff (all counted from 0) priced so far: Wh, seconds, or 1 for a fee."""

    part: Part
    dimension: TariffDimension
    tariff: int
    element: int
    component: int
    quantity: Decimal


class Open(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stretch that ends at the last reading: since when, by what nothing changed in it, and the energy used
    before it. ``reached_wh``: the threshold that was reached in the very second of the reading; what lies above it
    belongs to what comes next.
    """

    since: dt.datetime
    used_wh: Decimal = ZERO
    parking: bool = False
    power_kw: Decimal | None = None
    current_a: Decimal | None = None
    tariff_id: str | None = None
    reached_wh: Decimal | None = None

    def until(self, end: dt.datetime, energy_wh: Decimal) -> Stretch:
        """As it is until then, and until so much energy."""
        length = Decimal((end - self.since) // SECOND)
        period = Period(
            start=self.since,
            end=end,
            energy_wh=energy_wh - self.used_wh,
            charging_s=ZERO if self.parking else length,
            parking_s=length if self.parking else ZERO,
            min_power_kw=self.power_kw,
            max_power_kw=self.power_kw,
            min_current_a=self.current_a,
            max_current_a=self.current_a,
            tariff_id=self.tariff_id,
        )
        return Stretch(period=period, used_wh=self.used_wh)


class Running(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A charge folded until its last reading, which has the energy since the start; as large as its tariffs, never
    as it is long. ``tariff`` is the place of the one whose currency and limits are the charge's.
    """

    start: dt.datetime
    read: Sample
    open: Open
    used: tuple[Used, ...] = ()
    tariff: int | None = None


def follow(
    running: Running | None, usage: Usage, timeline: Timeline, zone: ZoneInfo
) -> tuple[Running, Amount]:
    """The charge with what is new, and what it comes to if it ends at its last reading, within the limits of its
    tariff. New are samples in later seconds than the last reading, the last one at the end of the
    usage, and the parking from that reading on. Without ``running`` the usage is the whole charge.

    PricingError: as for ``price``.
    """
    start = whole_second(usage.start)
    samples = usage.samples if running is None else (running.read, *usage.samples)
    before = None if running is None or running.read.at == start else running
    with exact():
        curve = Curve(
            msgspec.structs.replace(
                usage, start=start if before is None else before.read.at, samples=samples, meter_start_wh=0
            )
        )
        closed = [] if before is None else [_closed(before)]
        used_wh = closed[0].used_wh + closed[0].period.energy_wh if closed else None
        found, reached = stretches(curve, timeline, Borders(timeline, zone, start), zone, used_wh)
        run = _run(before, timeline, zone)
        _take(run, start, closed + found[:-1])
        used, tariff = _folded(run)
        _take(run, start, found[-1:])
        total = run.total()
    last = max(samples, key=lambda sample: sample.at, default=Sample(curve.end, ZERO))
    period = found[-1].period
    now = Running(
        start=start,
        read=Sample(
            curve.end,
            last.energy_wh if usage.meter_stop_wh is None else usage.meter_stop_wh,
            last.power_w,
            last.current_a,
        ),
        open=Open(
            since=period.start,
            used_wh=found[-1].used_wh,
            parking=bool(period.parking_s),
            power_kw=period.max_power_kw,
            current_a=period.max_current_a,
            tariff_id=period.tariff_id,
            reached_wh=reached,
        ),
        used=used,
        tariff=tariff,
    )
    return now, total


def _closed(running: Running) -> Stretch:
    """The last stretch, now that the charge goes on."""
    reached, read = running.open.reached_wh, running.read
    return running.open.until(read.at, tenths(Decimal(read.energy_wh)) if reached is None else reached)


def _folded(run: Run) -> tuple[tuple[Used, ...], int | None]:
    """What the pass has taken in, by component; and the place of the tariff that it found first."""
    merged: dict[tuple[int, int, int, Part], Draft] = {}
    for draft in run.drafts:
        before = merged.pop(draft.key, None)
        if before is not None:
            draft.lengthen(before.quantity)
        merged[draft.key] = draft
    run.drafts = list(merged.values())
    places = {id(selector): place for place, selector in enumerate(run.timeline.selectors)}
    used = tuple(
        Used(
            draft.part,
            draft.dimension,
            places[id(draft.selector)],
            draft.choice.element,
            draft.choice.component,
            draft.quantity,
        )
        for draft in run.drafts
    )
    return used, None if run.first is None else places[id(run.first)]


def _take(run: Run, start: dt.datetime, found: Iterable[Stretch]) -> None:
    for stretch in found:
        elapsed = Decimal((stretch.period.start - start) // SECOND)
        run.charged(0, stretch.period, stretch.used_wh, elapsed)


def _run(running: Running | None, timeline: Timeline, zone: ZoneInfo) -> Run:
    """The pass over the charge, as it was when what is folded had been taken in."""
    if running is None:
        return Run(timeline, zone)
    selectors = timeline.selectors
    first = None if running.tariff is None else selectors[running.tariff]
    drafts = [_draft(used, selectors[used.tariff]) for used in running.used]
    return Run(timeline, zone, drafts=drafts, first=first)


def _draft(used: Used, selector: Selector) -> Draft:
    component = selector.tariff.elements[used.element].price_components[used.component]
    choice = Choice(used.element, used.component, component)
    return Draft(used.part, used.dimension, 0, selector, choice, used.quantity)
