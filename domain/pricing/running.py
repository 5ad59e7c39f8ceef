"""The price of a charge that goes on: what it came to so far is folded, so that what comes next is priced alone,
however long the charge has been. The sum is that of `price` for the whole charge until its last reading.

    running = follow(None, usage, timeline, zone)       # from the start
    running = follow(running, more, timeline, zone)     # only what is new
    total = total_of(running, timeline, zone)

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

from domain.pricing.amounts import limited
from domain.pricing.borders import Borders
from domain.pricing.cost import Amount, Part
from domain.pricing.curve import Curve
from domain.pricing.numbers import exact
from domain.pricing.periods import Stand, Stretch, stretches
from domain.pricing.price import Run
from domain.pricing.selection import Choice, Selector, Timeline
from domain.pricing.steps import Draft
from domain.pricing.tariff import TariffDimension
from domain.pricing.usage import MICROSECOND, Sample, Usage, whole_second


class Used(Struct, frozen=True, array_like=True):
    """What one component of a tariff (all counted from 0) priced so far: Wh, seconds, or 1 for a fee."""

    part: Part
    dimension: TariffDimension
    tariff: int
    element: int
    component: int
    quantity: Decimal


class Running(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A charge folded until its last reading; as large as its tariffs, never as it is long.

    ``tariff`` is the place of the one whose currency and limits are the charge's.
    """

    start: dt.datetime
    stand: Stand
    used: tuple[Used, ...] = ()
    tariff: int | None = None

    @property
    def read(self) -> Sample:
        """The last reading, its energy in Wh since the start."""
        return self.stand.read

    @property
    def second(self) -> dt.datetime:
        """The whole second of the last reading: what goes on begins here."""
        return self.stand.stretch.period.end


def follow(running: Running | None, usage: Usage, timeline: Timeline, zone: ZoneInfo) -> Running:
    """The charge with what is new: samples in later seconds than the last reading, the last one at the end of the
    usage, and the parking from that reading on. Without ``running`` the usage is the whole charge.

    PricingError: as for ``price``.
    """
    start = whole_second(usage.start)
    before = None if running is None or running.second == start else running.stand
    read = None if running is None else running.read
    samples = usage.samples if read is None else (read, *usage.samples)
    with exact():
        curve = Curve(
            msgspec.structs.replace(
                usage,
                start=usage.start if before is None else before.stretch.period.end,
                samples=samples,
                meter_start_wh=0,
            )
        )
        found, reached = stretches(curve, timeline, Borders(timeline, zone, start), zone, before)
        closed = found[:-1] if before is None else [before.closed(), *found[:-1]]
        used, tariff = _folded(None if before is None else running, start, closed, timeline, zone)
    last = max(samples, key=lambda sample: sample.at, default=None)
    stop = usage.meter_stop_wh
    energy = stop if stop is not None else last.energy_wh if last is not None else 0
    return Running(
        start=start,
        stand=Stand(
            read=Sample(curve.end, energy, last.power_w if last else None, last.current_a if last else None),
            stretch=found[-1],
            reached_wh=reached,
        ),
        used=used,
        tariff=tariff,
    )


def total_of(running: Running, timeline: Timeline, zone: ZoneInfo) -> Amount:
    """What the charge comes to if it ends at its last reading, within the limits of its tariff."""
    with exact():
        run = _run(running, timeline, zone)
        _take(run, running.start, [running.stand.stretch])
        amount, _ = limited(run.total()[0], run.first.tariff if run.first else None)
    return amount


def _folded(
    running: Running | None,
    start: dt.datetime,
    closed: Iterable[Stretch],
    timeline: Timeline,
    zone: ZoneInfo,
) -> tuple[tuple[Used, ...], int | None]:
    run = _run(running, timeline, zone)
    _take(run, start, closed)
    merged: dict[tuple[int, int, int, Part], Draft] = {}
    for draft in run.drafts:
        before = merged.pop(draft.key, None)
        if before is not None:
            draft.quantity += before.quantity
        merged[draft.key] = draft
    places = {id(selector): place for place, selector in enumerate(timeline.selectors)}
    used = tuple(
        Used(
            draft.part,
            draft.dimension,
            places[id(draft.selector)],
            draft.choice.element,
            draft.choice.component,
            draft.quantity,
        )
        for draft in merged.values()
    )
    return used, None if run.first is None else places[id(run.first)]


def _take(run: Run, start: dt.datetime, found: Iterable[Stretch]) -> None:
    for stretch in found:
        elapsed = Decimal((stretch.period.start - start) // MICROSECOND) / 1_000_000
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
