"""What a session is priced with: its tariffs, its usage as the tariffs see it, and the cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from domain.clock import by_our_clock, earlier
from domain.kept import Kept
from domain.metering import Energy, Reading, session_energy
from domain.metering.reading import REGISTER
from domain.metering.usable import REGISTER_WH, below
from domain.parking import parked
from domain.pricing import (
    Amount,
    Cost,
    Interval,
    PricingError,
    Sample,
    Tariff,
    Usage,
    fitting,
    price,
    tariff_from_json,
)
from domain.pricing import to_json as pricing_json
from domain.pricing.selection import Timeline
from domain.session import (
    End,
    Session,
)
from domain.values import (
    JSONObject,
    plain_json,
)

UNPRICED: Final = (ValueError, ArithmeticError)
"""What pricing raises for numbers and times that have no price."""


def started_at(session: Session, end: End) -> datetime:
    """When it started, by our clock, as known at its end."""
    assert session.state.start is not None
    return by_our_clock(session.state.start, end.clock_offset_s)


class _Ready(NamedTuple):
    """The connector's tariffs for this kind of charge, and what was wrong with others."""

    tariffs: tuple[Tariff, ...]
    problems: tuple[str, ...]
    timeline: Timeline


def tariffs_of(session: Session) -> _Ready:
    """Its tariffs, read once for each text."""
    authorization = session.state.authorization
    ad_hoc = authorization is not None and authorization.token_type == "AD_HOC_USER"
    return _ready(msgspec.json.encode(session.state.tariffs), "AD_HOC_PAYMENT" if ad_hoc else "REGULAR")


@lru_cache(maxsize=256)
def _ready(tariffs: bytes, kind: str) -> _Ready:
    """Sessions at one price share what was read of it."""
    found: list[Tariff] = []
    problems: list[str] = []
    for value in msgspec.json.decode(tariffs, type=list[JSONObject]):
        try:
            found.append(tariff_from_json(value))
        except PricingError as error:
            problems.append(str(error))
    fit = fitting(found, kind)
    if found and not fit:
        others = ", ".join(f"{tariff.id} ({tariff.type})" for tariff in found)
        problems.append(f"no tariff of the connector is for a charge of type {kind}: {others}")
    return _Ready(fit, tuple(problems), Timeline(fit))


def time_zone_of(session: Session) -> str:
    """That of its site, by whose days and hours tariffs hold."""
    state = session.state
    if state.site is not None and state.site.time_zone:
        return state.site.time_zone
    return state.settings.time_zone if state.settings is not None else "UTC"


def usage_of(
    session: Session, samples: Sequence[Kept], energy: Energy, until: datetime, off: timedelta
) -> Usage:
    """What pricing needs, from the repaired series: Wh since the start, times by our clock."""
    state = session.state
    assert state.start is not None
    known = {sample.at: sample for sample in samples}
    series = [
        Sample(earlier(at, off), wh, power_w=known[at].power_w, current_a=known[at].current_a)
        for at, wh in energy.series
        if state.start <= at <= until
    ]
    return Usage(
        start=earlier(state.start, off),
        end=earlier(until, off),
        samples=tuple(series),
        parking=tuple(
            Interval(earlier(a, off), earlier(b, off)) for a, b in parked(state.states, state.start, until)
        ),
        meter_start_wh=0,
        meter_stop_wh=energy.wh,
    )


def energy_of(session: Session, samples: Sequence[Kept], meter_stop: int | None) -> Energy:
    """Energy by these samples and, where it is known, the meter at the end (Wh)."""
    readings = [
        Reading(
            at=sample.at,
            measurand=REGISTER,
            context="Sample.Periodic",
            location="Outlet",
            unit="Wh",
            value=sample.energy_wh,
        )
        for sample in samples
    ]
    start = session.state.meter_start
    if not below(start, REGISTER_WH):
        start = int(samples[0].energy_wh) if samples else 0
    return session_energy(start, readings, meter_stop)


def priced_usage(session: Session, usage: Usage) -> Cost:
    """The cost of this usage by its tariffs. Raises UNPRICED."""
    settings = session.state.settings
    return price(
        usage,
        tariffs_of(session).tariffs,
        time_zone_of(session),
        currency=settings.currency if settings else None,
    )


def price_json(amount: Amount) -> JSONObject:
    """OCPI's Price."""
    price: JSONObject = plain_json(pricing_json(amount.as_price()))
    return price


def utc_text(moment: datetime) -> str:
    """OCPI's DateTime, whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
