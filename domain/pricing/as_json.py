"""Prices, tariffs and CDR numbers as JSON-ready dicts with OCPI's field names: Decimals stay Decimals, moments
become UTC text ending in Z, what is absent is left out. Nothing is computed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

from domain.pricing.cdr import CdrNumbers
from domain.pricing.charging_period import ChargingPeriod
from domain.pricing.cost import Cost, Price
from domain.pricing.explain import explain
from domain.pricing.tariff import Tariff
from domain.pricing.usage import utc


def to_json(value: CdrNumbers | Cost | Price | Tariff | ChargingPeriod) -> dict[str, object]:
    """The value as a dict of str, int, bool, Decimal, list and dict.

    Of CDR numbers the warnings become ``remark``; a cost carries its sentences as ``explanation``.
    """
    plain = _plain(msgspec.to_builtins(value, builtin_types=(Decimal, dt.datetime, dt.date)))
    if not isinstance(plain, dict):
        raise TypeError(f"{type(value).__name__} is no object")
    if isinstance(value, CdrNumbers):
        del plain["warnings"]
        if value.remark is not None:
            plain["remark"] = value.remark
    elif isinstance(value, Cost):
        plain["explanation"] = list(explain(value))
    return plain


def timestamp(moment: dt.datetime) -> str:
    """RFC 3339 in UTC, with milliseconds where there are any: OCPI allows 25 characters."""
    moment = utc(moment).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds") + "Z"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return timestamp(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return value
