"""Takes in what a session used: samples that are new and usable, and the provisional price of a running one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from commands.base import Meta
from commands.session.pricing import UNPRICED, energy_of, price_json, tariffs_of, time_zone_of, usage_of
from domain.clock import by_our_clock, earlier, later, shift
from domain.kept import Keeper, Kept, Thinned, evenly, merged
from domain.metering.usable import usable
from domain.parking import parked
from domain.pricing import (
    Amount,
    Interval,
    PricingError,
    Sample,
    Usage,
)
from domain.pricing.borders import Borders
from domain.pricing.running import follow
from domain.pricing.selection import Timeline, zone_of
from domain.pricing.usage import whole_second
from domain.session import (
    ReadingsRefused,
    Session,
    SessionState,
    Tally,
    UsageRecorded,
)
from domain.values import (
    JSONObject,
    RegisterSample,
)


def times_of(at: datetime, clock_offset_s: int) -> dict[str, Any]:
    """Of an event: by our clock, and by the charge point's where that differs."""
    ours = by_our_clock(at, clock_offset_s)
    return {
        "occurred_at": ours,
        "reported_at": at if at != ours else None,
        "clock_offset_s": clock_offset_s,
    }


def record(session: Session, samples: Sequence[RegisterSample], clock_offset_s: int, meta: Meta) -> None:
    """Take in the samples that are new and that a meter can hold. A running session's price is provisional, and none
    where it cannot be told: its end prices it anew."""
    state, off = session.state, shift(clock_offset_s)
    held = usable_of(session, samples, clock_offset_s, meta)
    rates = rates_of(session)
    keeper = keeper_of(session, rates, off)
    fresh = new_of(state.samples, held, keeper)
    if not fresh:
        return
    times = times_of(fresh[-1].at, clock_offset_s)
    kept = merged(state.samples, fresh)
    if state.start is None:
        less = evenly(kept)
        session.trigger(
            UsageRecorded, meta.at, samples=fresh, energy_wh=Decimal(0), early=True, thinned=less, **times
        )
        return
    tally, total_cost = _relayed(session, rates if keeper is not None else None, kept, fresh, off)
    session.trigger(
        UsageRecorded,
        meta.at,
        **times,
        charge_point_id=state.charge_point_id,
        samples=fresh,
        energy_wh=energy_of(session, kept, None).wh if tally is None else tally.energy_wh,
        total_cost=total_cost,
        owner=session.told_to,
        thinned=thinned_of(state, keeper, kept, fresh),
        tally=None if kept[-1].at < state.start else tally,
    )


def usable_of(
    session: Session, samples: Sequence[RegisterSample], clock_offset_s: int, meta: Meta
) -> tuple[RegisterSample, ...]:
    """Those that can be counted by; of the others it is said that they were refused."""
    found, unusable = usable(samples, shift(clock_offset_s))
    if unusable:
        last = max(sample.at for sample in samples)
        session.trigger(
            ReadingsRefused,
            meta.at,
            **times_of(last, clock_offset_s),
            count=len(unusable),
            field=unusable[0].field,
            value=unusable[0].value,
        )
    return found


def _relayed(
    session: Session,
    rates: _Rates | None,
    kept: Sequence[Kept],
    fresh: Sequence[RegisterSample],
    off: timedelta,
) -> tuple[Tally | None, JSONObject | None]:
    """What the charge came to so far; nothing where that has no price."""
    if rates is None:
        return None, None
    try:
        tally, total = _follow(session, rates, kept, fresh, off)
        return tally, price_json(total)
    except UNPRICED:
        return None, None


def thinned_of(
    state: SessionState, keeper: Keeper | None, kept: Sequence[Kept], fresh: Sequence[RegisterSample]
) -> Thinned | None:
    """What is kept of these samples, where they are more than may be; None where all are."""
    return evenly(kept) if keeper is None else keeper.thin(kept, fresh, state.judged)


def new_of(
    kept: Sequence[Kept], samples: Sequence[RegisterSample], keeper: Keeper | None
) -> tuple[RegisterSample, ...]:
    """Those that the session was not told, in the order of time; of one moment the last one."""
    found: list[RegisterSample] = []
    for at, sample in sorted({sample.at: sample for sample in samples}.items()):
        place = bisect_left(kept, at, key=lambda one: one.at)
        known = place < len(kept) and kept[place].at == at
        if not known and not (keeper is not None and keeper.fits(kept, sample)):
            found.append(sample)
    return tuple(found)


def _follow(
    session: Session, rates: _Rates, kept: Sequence[Kept], fresh: Sequence[RegisterSample], off: timedelta
) -> tuple[Tally, Amount]:
    """The price until the newest sample: of what is new where it goes on from the tally, else of all that is kept."""
    state, tally = session.state, session.state.tally
    if tally is not None and _goes_on(tally, fresh, off):
        running, total = follow(tally.running, _more(session, tally, fresh, off), *rates)
        return msgspec.structs.replace(tally, running=running, register_wh=fresh[-1].energy_wh), total
    assert state.start is not None
    energy, until = energy_of(session, kept, None), max(state.start, kept[-1].at)
    running, total = follow(None, usage_of(session, kept, energy, until, off), *rates)
    shift_s = round(off.total_seconds())
    found = Tally(running=running, register_wh=kept[-1].energy_wh, until_wh=energy.until_wh, shift_s=shift_s)
    return found, total


def _goes_on(tally: Tally, fresh: Sequence[RegisterSample], off: timedelta) -> bool:
    """Whether the samples are later than all before and change nothing that was counted before."""
    registers = [tally.register_wh, *(sample.energy_wh for sample in fresh)]
    return (
        tally.shift_s == off.total_seconds()
        and tally.second(fresh[0].at) > tally.running.read.at
        and all(a <= b for a, b in pairwise(registers))
        and (tally.until_wh is None or registers[-1] < tally.until_wh)
    )


def _more(session: Session, tally: Tally, fresh: Sequence[RegisterSample], off: timedelta) -> Usage:
    """What is new, from the second on in which the tally stands."""
    state = session.state
    assert state.start is not None
    since, until = later(tally.running.read.at, off), fresh[-1].at
    return Usage(
        start=earlier(state.start, off),
        end=earlier(until, off),
        samples=tuple(
            Sample(
                earlier(sample.at, off),
                tally.energy_wh + sample.energy_wh - tally.register_wh,
                power_w=sample.power_w,
                current_a=sample.current_a,
            )
            for sample in fresh
        ),
        parking=tuple(
            Interval(earlier(a, off), earlier(b, off)) for a, b in parked(state.states, since, until)
        ),
    )


class _Rates(NamedTuple):
    """The tariffs of a session, ready to price, and where."""

    timeline: Timeline
    zone: ZoneInfo


def rates_of(session: Session) -> _Rates | None:
    """None where the site's time zone is none."""
    try:
        return _Rates(tariffs_of(session).timeline, zone_of(time_zone_of(session)))
    except PricingError:
        return None


def keeper_of(session: Session, rates: _Rates | None, off: timedelta) -> Keeper | None:
    """None where nothing is known to judge readings by: no start yet, no zone, a start that is not priced."""
    state = session.state
    if state.start is None or rates is None:
        return None
    try:
        borders = Borders(*rates, whole_second(earlier(state.start, off)))
    except PricingError:
        return None
    return Keeper(borders, state.states, off, Decimal(state.meter_start))
