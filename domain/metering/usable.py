"""What a meter can hold: readings as they were sent come in, those that can be counted go out.

A register is below 10^12 Wh, a power below 10^9 W, a current below 10^6 A, all of them finite, at a time in the years
that are priced. A register that is not, or such a time, makes the whole reading unusable; a power or current that is
not is left out of it. What stays is taken to a thousandth.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from domain.clock import earlier
from domain.pricing.usage import EARLIEST, LATEST
from domain.values import RegisterSample

REGISTER_WH, POWER_W, CURRENT_A = Decimal(10**12), Decimal(10**9), Decimal(10**6)
"""No meter shows as much."""
_FINEST = Decimal("0.001")
_PLACES = 3


class Unusable(NamedTuple):
    """A value that nothing is counted by: its field, and what was sent."""

    field: str
    value: str


def usable(
    samples: Iterable[RegisterSample], off: timedelta
) -> tuple[tuple[RegisterSample, ...], tuple[Unusable, ...]]:
    """The readings that can be counted, their times being corrected by `off`, and what was left out."""
    found: list[RegisterSample] = []
    left_out: list[Unusable] = []
    for sample in samples:
        if not priceable(earlier(sample.at, off)):
            left_out.append(Unusable("timestamp", sample.at.isoformat()))
        elif not below(sample.energy_wh, REGISTER_WH):
            left_out.append(Unusable("energy_wh", brief(sample.energy_wh)))
        else:
            found.append(_without_impossible(sample, left_out))
    return tuple(found), tuple(left_out)


def priceable(moment: datetime) -> bool:
    """Whether it lies in the years that are priced."""
    return EARLIEST <= moment.year <= LATEST


def below(value: Decimal | int, most: Decimal) -> bool:
    """Whether it is a finite number between the two, exclusive."""
    number = Decimal(value)
    return number.is_finite() and -most < number < most


def brief(value: object) -> str:
    """At most 40 characters of it, as it may be shown."""
    text = format(value, ".6E") if isinstance(value, Decimal) and value.is_finite() else str(value)
    return text[:40]


def _without_impossible(sample: RegisterSample, left_out: list[Unusable]) -> RegisterSample:
    changes: dict[str, Decimal | None] = {}
    if _fine(sample.energy_wh):
        changes["energy_wh"] = sample.energy_wh.quantize(_FINEST)
    for name, most in (("power_w", POWER_W), ("current_a", CURRENT_A)):
        value: Decimal | None = getattr(sample, name)
        if value is None:
            continue
        if not below(value, most):
            left_out.append(Unusable(name, brief(value)))
            changes[name] = None
        elif _fine(value):
            changes[name] = value.quantize(_FINEST)
    return replace(sample, **changes) if changes else sample


def _fine(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and (exponent < -_PLACES or exponent > 0)
