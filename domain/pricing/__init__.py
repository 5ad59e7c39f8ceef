"""Prices: what a charge used, its tariffs and the location's time zone come in; charging periods, the cost with
its explanation and a CDR's numbers go out. No store, no clock, no rounding before the end.

>>> cost = price(usage, tariffs, "Europe/Berlin")     # doctest: +SKIP
"""

from domain.pricing.cost import Amount, Cost, Line, PeriodCost, Price, TaxAmount
from domain.pricing.numbers import PricingError
from domain.pricing.periods import build_periods
from domain.pricing.price import price
from domain.pricing.tariff import (
    PriceComponent,
    PriceLimit,
    Tariff,
    TariffElement,
    TariffFrom,
    TariffRestrictions,
    tariff_from_json,
)
from domain.pricing.usage import Interval, Period, Sample, Usage

__all__ = [
    "Amount",
    "Cost",
    "Interval",
    "Line",
    "Period",
    "PeriodCost",
    "Price",
    "PriceComponent",
    "PriceLimit",
    "PricingError",
    "Sample",
    "Tariff",
    "TariffElement",
    "TariffFrom",
    "TariffRestrictions",
    "TaxAmount",
    "Usage",
    "build_periods",
    "price",
    "tariff_from_json",
]
