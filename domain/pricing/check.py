"""Checking a CDR of another party: its JSON and the location's time zone come in; equal, or where and why not,
goes out. A malformed CDR is a difference with the path of what is wrong, never an exception.

Compared with a tolerance of 0.01 in money, kWh and hours, because OCPI leaves the rounding of money open; of 1 in
money that has no minor unit.
Facts: OCPI 2.3.0, chapter CDRs. A CDR of 2.2.1 is bridged first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from domain.pricing.as_json import to_json
from domain.pricing.cdr import NO_CURRENCY, CdrNumbers
from domain.pricing.charging_period import ChargingPeriod, hours, kwh, read_periods
from domain.pricing.cost import Amount, Cost, Part, Price
from domain.pricing.explain import explain, money
from domain.pricing.numbers import ZERO, PricingError, exact, require_finite
from domain.pricing.price import price, price_periods
from domain.pricing.selection import zone_of
from domain.pricing.tariff import PriceComponent, Tariff, TariffElement, TariffFrom
from domain.pricing.usage import Period

TOLERANCE = Decimal("0.01")
_COSTS = (
    "total_cost",
    "total_fixed_cost",
    "total_energy_cost",
    "total_time_cost",
    "total_parking_cost",
    "total_reservation_cost",
)
_WITHOUT_MINOR_UNIT = frozenset(
    {
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"),
        *("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"),
    }
)
"""ISO 4217: currencies without decimals."""
_UNKNOWN_MOMENT = "1970-1-1T00:00:00Z"  # OCPI's own writing of "start or end not known"


class Difference(Struct, frozen=True):
    """One number that is not what the tariffs and periods give; ``path`` is where it stands in the CDR."""

    path: str
    stated: Decimal | None
    expected: Decimal | None
    why: str


class Check(Struct, frozen=True):
    """The outcome; ``cost`` is what we compute, None if the CDR could not be read."""

    equal: bool
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    cost: Cost | None


class _Cdr(Struct, frozen=True):
    start_date_time: dt.datetime
    end_date_time: dt.datetime
    currency: str
    charging_periods: tuple[ChargingPeriod, ...]
    total_cost: Price
    total_energy: Decimal
    total_time: Decimal
    tariffs: tuple[Tariff, ...] | None = None
    total_fixed_cost: Price | None = None
    total_energy_cost: Price | None = None
    total_time_cost: Price | None = None
    total_parking_time: Decimal | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
    credit: bool | None = None

    def __post_init__(self) -> None:
        for name in ("total_energy", "total_time", "total_parking_time"):
            require_finite(name, getattr(self, name))
        for name in _COSTS:
            cost: Price | None = getattr(self, name)
            if cost is not None:
                require_finite(f"{name}.before_taxes", cost.before_taxes)
                for tax in cost.taxes or ():
                    require_finite(f"{name}.taxes.amount", tax.amount)


def check_cdr(
    cdr: Mapping[str, object] | CdrNumbers,
    time_zone: str | ZoneInfo,
    tariffs: Sequence[Tariff | TariffFrom] | None = None,
    *,
    tolerance: Decimal = TOLERANCE,
) -> Check:
    """Whether a CDR's totals and costs follow from its periods and tariffs.

    ``tariffs`` replaces those that the CDR carries. Costs that a CDR leaves out are not compared, except the
    total. Of a credit CDR the total must be the negated one. PricingError: only for an unknown time zone.
    """
    zone = zone_of(time_zone)
    try:
        return _checked(_read(to_json(cdr) if isinstance(cdr, CdrNumbers) else cdr), zone, tariffs, tolerance)
    except (msgspec.ValidationError, UnicodeError) as error:
        text, _, path = str(error).partition(" - at `$")
        return _unreadable(path.strip("`.") or "cdr", text)
    except PricingError as error:
        return _unreadable("charging_periods", str(error))


def _checked(
    read: _Cdr, zone: ZoneInfo, tariffs: Sequence[Tariff | TariffFrom] | None, tolerance: Decimal
) -> Check:
    applied = _dated(read.tariffs or ()) if tariffs is None else list(tariffs)
    named, warnings = _with_tariff(read_periods(read.charging_periods, read.end_date_time), applied)
    cost = price(named, applied, zone, currency=read.currency)
    whole = read.currency.upper() in _WITHOUT_MINOR_UNIT
    money_tolerance = max(tolerance, Decimal(1)) if whole else tolerance
    with exact():
        found = [
            *_currency(read, applied),
            *_volumes(read, named, tolerance),
            *_costs(read, cost, money_tolerance),
        ]
        if any(difference.path.startswith("total_cost") for difference in found):
            found = _explained(found, read, named, applied, zone, money_tolerance)
    return Check(not found, tuple(found), (*warnings, *cost.warnings), cost)


def _unreadable(path: str, why: str) -> Check:
    return Check(False, (Difference(path, None, None, why),), (), None)


def _read(cdr: Mapping[str, object]) -> _Cdr:
    value = dict(cdr)
    for name in ("start_date_time", "end_date_time"):
        if value.get(name) == _UNKNOWN_MOMENT:
            value[name] = "1970-01-01T00:00:00Z"
    return msgspec.convert(value, _Cdr)


def _dated(tariffs: Sequence[Tariff]) -> list[Tariff | TariffFrom]:
    """Of several versions of one tariff each holds from its last_updated on; whether it is valid is their matter."""
    seen: set[str] = set()
    dated: list[Tariff | TariffFrom] = []
    for tariff in sorted(
        tariffs, key=lambda t: t.last_updated.replace(tzinfo=t.last_updated.tzinfo or dt.UTC)
    ):
        dated.append(TariffFrom(tariff, tariff.last_updated if tariff.id in seen else None))
        seen.add(tariff.id)
    return dated


def _with_tariff(
    periods: tuple[Period, ...], tariffs: Sequence[Tariff | TariffFrom]
) -> tuple[tuple[Period, ...], tuple[str, ...]]:
    """A period that names no tariff has none where others name theirs. Where none does it is the only tariff's, and
    of several the first one's."""
    if any(period.tariff_id is not None for period in periods):
        free = [
            period if period.tariff_id is not None else msgspec.structs.replace(period, tariff_id="")
            for period in periods
        ]
        return tuple(free), ()
    if len(tariffs) < 2:
        return periods, ()
    first = tariffs[0]
    id = (first.tariff if isinstance(first, TariffFrom) else first).id
    named = tuple(msgspec.structs.replace(period, tariff_id=id) for period in periods)
    return named, ("a charging period names none of several tariffs: the first is taken",)


def _currency(read: _Cdr, tariffs: Sequence[Tariff | TariffFrom]) -> list[Difference]:
    """The same numbers in another currency are another price."""
    known = {(item.tariff if isinstance(item, TariffFrom) else item).currency.upper() for item in tariffs}
    if not known or read.currency.upper() in (*known, NO_CURRENCY):
        return []
    why = f"the CDR is in {read.currency}, its tariffs in {', '.join(sorted(known))}"
    return [Difference("currency", None, None, why)]


def _volumes(read: _Cdr, periods: Sequence[Period], tolerance: Decimal) -> list[Difference]:
    """Of the totals whose volumes the periods give: a CDR need not have a dimension that no tariff prices."""
    given = {dimension.type for period in read.charging_periods for dimension in period.dimensions}
    charging = sum((period.charging_s for period in periods), ZERO)
    parking = sum((period.parking_s for period in periods), ZERO)
    energy = kwh(sum((period.energy_wh for period in periods), ZERO))
    expected = [
        ("total_energy", read.total_energy, energy, {"ENERGY"}),
        ("total_time", read.total_time, hours(charging + parking), {"TIME"}),
        ("total_parking_time", read.total_parking_time, hours(parking), {"PARKING_TIME"}),
    ]
    return [
        Difference(path, stated, due, f"its charging periods add up to {due}")
        for path, stated, due, dimensions in expected
        if stated is not None and dimensions & given and abs(stated - due) > tolerance
    ]


def _costs(read: _Cdr, cost: Cost, tolerance: Decimal) -> list[Difference]:
    parts: list[tuple[str, Part, Price | None, Amount]] = [
        ("total_fixed_cost", "fixed", read.total_fixed_cost, cost.fixed),
        ("total_energy_cost", "energy", read.total_energy_cost, cost.energy),
        ("total_time_cost", "time", read.total_time_cost, cost.time),
        ("total_parking_cost", "parking", read.total_parking_cost, cost.parking),
        ("total_reservation_cost", "reservation", read.total_reservation_cost, cost.reservation),
    ]
    sentences = explain(cost)
    found: list[Difference] = []
    for path, part, stated, due in parts:
        if stated is not None:
            lines = [text for text, line in zip(sentences, cost.lines, strict=False) if line.part == part]
            why = "; ".join(lines) or "nothing of this kind has a price in the tariff"
            found += _compared(path, stated, due, why, tolerance)
    sign = -1 if read.credit else 1
    why = "; ".join(sentences) or "; ".join(cost.warnings) or "nothing has a price in the tariff"
    return found + _compared("total_cost", read.total_cost, _due_total(cost, sign), why, tolerance)


def _due_total(cost: Cost, sign: int) -> Amount:
    """The total, negated for a credit."""
    total = cost.total
    return Amount(
        before=None if total.before is None else sign * total.before,
        after=None if total.after is None else sign * total.after,
        taxes=total.taxes,
        stated=sign * total.stated,
    )


def _compared(path: str, stated: Price, due: Amount, why: str, tolerance: Decimal) -> list[Difference]:
    taxes = None if stated.taxes is None else sum((tax.amount for tax in stated.taxes), ZERO)
    after = stated.before_taxes + (taxes or ZERO)
    pairs: list[tuple[str, Decimal, Decimal]] = []
    if due.before is None:
        pairs.append((path, after, due.stated if due.after is None else due.after))
    else:
        pairs.append((f"{path}.before_taxes", stated.before_taxes, due.before))
        if due.after is not None and taxes is not None:
            pairs.append((f"{path}.taxes", taxes, due.after - due.before))
    return [
        Difference(where, have, want, f"{money(want)} expected, {money(have)} stated: {why}")
        for where, have, want in pairs
        if abs(have - want) > tolerance
    ]


def _explained(
    found: list[Difference],
    read: _Cdr,
    periods: tuple[Period, ...],
    tariffs: Sequence[Tariff | TariffFrom],
    zone: ZoneInfo,
    tolerance: Decimal,
) -> list[Difference]:
    """Say so where the stated total is what a known mistake gives."""
    for guess, changed in (
        ("it is the total without step_size", _without_steps),
        ("it is the total without min_price and max_price", _without_limits),
    ):
        other = [_changed(item, changed) for item in tariffs]
        cost = price_periods(periods, other, zone, currency=read.currency, look_inside=False)
        if not _compared("", read.total_cost, _due_total(cost, -1 if read.credit else 1), "", tolerance):
            return [
                msgspec.structs.replace(difference, why=f"{guess}; {difference.why}")
                if difference.path.startswith("total_cost")
                else difference
                for difference in found
            ]
    return found


def _changed(item: Tariff | TariffFrom, change: Callable[[Tariff], Tariff]) -> Tariff | TariffFrom:
    if isinstance(item, TariffFrom):
        return TariffFrom(change(item.tariff), item.since)
    return change(item)


def _without_steps(tariff: Tariff) -> Tariff:
    elements = tuple(
        TariffElement(
            tuple(_without_step(component) for component in element.price_components), element.restrictions
        )
        for element in tariff.elements
    )
    return msgspec.structs.replace(tariff, elements=elements)


def _without_step(component: PriceComponent) -> PriceComponent:
    return msgspec.structs.replace(component, step_size=0)


def _without_limits(tariff: Tariff) -> Tariff:
    return msgspec.structs.replace(tariff, min_price=None, max_price=None)
