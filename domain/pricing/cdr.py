"""A CDR's numbers: a charge's usage, its tariffs and the time zone come in; periods, totals and costs as OCPI's
CDR has them go out, and their credit. Never who, where or which token: that is the session's.

Facts: OCPI 2.3.0, chapter CDRs, class CDR and the credit CDR.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from domain.pricing.charging_period import ChargingPeriod, charging_period, hours, kwh
from domain.pricing.cost import Amount, Cost, Part, Price, TaxAmount
from domain.pricing.numbers import ZERO, PricingError, exact
from domain.pricing.price import price
from domain.pricing.tariff import Tariff, TariffFrom
from domain.pricing.usage import Usage

NO_CURRENCY = "XXX"
_REMARK_LENGTH = 255


class CdrNumbers(Struct, frozen=True, kw_only=True):
    """The part of a CDR that is computed, with OCPI's names: energy in kWh, times in hours, money before taxes
    with the taxes beside it. ``total_time`` includes parking and not the reservation. A cost is None where
    nothing of its kind was priced. ``warnings`` are ours; the wire has them as ``remark``.
    """

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
    credit_reference_id: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def remark(self) -> str | None:
        """The warnings as OCPI's remark (255 characters); None without any."""
        return "; ".join(self.warnings)[:_REMARK_LENGTH] or None


def issue_cdr(
    usage: Usage,
    tariffs: Tariff | Sequence[Tariff | TariffFrom],
    time_zone: str | ZoneInfo,
    *,
    currency: str | None = None,
) -> CdrNumbers:
    """The numbers of a finished charge's CDR; arguments and errors as for ``price``.

    Without a tariff and a currency the currency is XXX, ISO 4217's "none".
    """
    return cdr_of(price(usage, tariffs, time_zone, currency=currency), tariffs)


def cdr_of(cost: Cost, tariffs: Tariff | Sequence[Tariff | TariffFrom]) -> CdrNumbers:
    """The numbers of a CDR from a cost that was computed with these tariffs."""
    with exact():
        energy = sum((period.energy_wh for period in cost.periods), ZERO)
        charging = sum((period.charging_s for period in cost.periods), ZERO)
        parking = sum((period.parking_s for period in cost.periods), ZERO)
        total_time = hours(charging + parking)
    return CdrNumbers(
        start_date_time=cost.periods[0].start,
        end_date_time=max(period.end for period in cost.periods),
        currency=cost.currency or NO_CURRENCY,
        tariffs=_used(cost, tariffs),
        charging_periods=tuple(charging_period(period) for period in cost.periods),
        total_cost=cost.total.as_price(),
        total_energy=kwh(energy),
        total_time=total_time,
        total_parking_time=hours(parking),
        total_fixed_cost=_cost_of(cost, "fixed", cost.fixed),
        total_energy_cost=_cost_of(cost, "energy", cost.energy),
        total_time_cost=_cost_of(cost, "time", cost.time),
        total_parking_cost=_cost_of(cost, "parking", cost.parking),
        total_reservation_cost=_cost_of(cost, "reservation", cost.reservation),
        warnings=cost.warnings,
    )


def credit_cdr(original: CdrNumbers, credit_reference_id: str | None = None) -> CdrNumbers:
    """The credit of a CDR: everything as it was, only ``total_cost`` and its taxes negated.

    ``credit_reference_id`` is the original's id. PricingError: the original is a credit itself.
    """
    if original.credit:
        raise PricingError(f"the CDR is already the credit of {original.credit_reference_id}")
    with exact():
        negated = _negated(original.total_cost)
    return msgspec.structs.replace(
        original, total_cost=negated, credit=True, credit_reference_id=credit_reference_id
    )


def _negated(cost: Price) -> Price:
    if cost.taxes is None:
        return Price(-cost.before_taxes)
    taxes = tuple(TaxAmount(tax.name, -tax.amount, tax.account_number, tax.percentage) for tax in cost.taxes)
    return Price(-cost.before_taxes, taxes)


def _cost_of(cost: Cost, part: Part, amount: Amount) -> Price | None:
    return amount.as_price() if any(line.part == part for line in cost.lines) else None


def _used(cost: Cost, tariffs: Tariff | Sequence[Tariff | TariffFrom]) -> tuple[Tariff, ...] | None:
    given = [tariffs] if isinstance(tariffs, Tariff) else tariffs
    named = {period.tariff_id for period in cost.periods}
    found: dict[Tariff, None] = {}
    for item in given:
        tariff = item.tariff if isinstance(item, TariffFrom) else item
        if tariff.id in named:
            found[tariff] = None
    return tuple(found) or None
