"""Prices: what a charge used, its tariffs and the location's time zone come in; charging periods, the cost with
its explanation and a CDR's numbers go out. No store, no clock, no rounding before the end.

    cost = price(usage, tariffs, "Europe/Berlin")
    cdr = issue_cdr(usage, tariffs, "Europe/Berlin")
"""

from domain.pricing.as_json import to_json
from domain.pricing.cdr import CdrNumbers, cdr_of, credit_cdr, issue_cdr
from domain.pricing.charging_period import CdrDimension, ChargingPeriod, charging_period, read_periods
from domain.pricing.check import Check, Difference, check_cdr
from domain.pricing.cost import Amount, Cost, Line, PeriodCost, Price, TaxAmount
from domain.pricing.explain import explain
from domain.pricing.numbers import PricingError
from domain.pricing.periods import build_periods
from domain.pricing.plan import Plan, planned_usage
from domain.pricing.price import price
from domain.pricing.selection import fitting
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
    "CdrDimension",
    "CdrNumbers",
    "ChargingPeriod",
    "Check",
    "Cost",
    "Difference",
    "Interval",
    "Line",
    "Period",
    "PeriodCost",
    "Plan",
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
    "cdr_of",
    "charging_period",
    "check_cdr",
    "credit_cdr",
    "explain",
    "fitting",
    "issue_cdr",
    "planned_usage",
    "price",
    "read_periods",
    "tariff_from_json",
    "to_json",
]
