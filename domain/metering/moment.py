"""The samples of one moment as sent enter; its register, power, current and state of charge leave, in one pass.

What a charge point usually sends is exact: known names, a unit that fits, a number. Such samples are read straight
from what was sent. Samples with anything odd about them go the long way, over `normalise`, which says what it was.
Both ways give the same numbers. It keeps nothing of the other measurands.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from domain.metering.reading import (
    CONTEXTS,
    EXACT,
    LOCATIONS,
    MEASURANDS,
    NUMBER,
    PHASES,
    REGISTER,
    UNITS,
    RawSample,
    base_unit,
    normalise,
)
from domain.metering.sample import (
    current_a,
    energy_register,
    first_location,
    power_w,
    state_of_charge,
)


class Sampled(Protocol):
    """One sampledValue as sent, under the names of `RawSample`."""

    @property
    def value(self) -> str: ...
    @property
    def context(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def measurand(self) -> str | None: ...
    @property
    def phase(self) -> str | None: ...
    @property
    def location(self) -> str | None: ...
    @property
    def unit(self) -> str | None: ...


class Totals(NamedTuple):
    """The numbers of one moment in Wh, W, A and percent; None where the samples do not say it."""

    energy_wh: Decimal | None = None
    power_w: Decimal | None = None
    current_a: Decimal | None = None
    soc_percent: Decimal | None = None


_WANTED = {
    (REGISTER, "Wh"): 0,
    ("Power.Active.Import", "W"): 1,
    ("Current.Import", "A"): 2,
    ("SoC", "Percent"): 3,
}
_OTHER = -1


def _exact_pairs() -> dict[tuple[str | None, str | None], tuple[int, Decimal]]:
    """Measurand and unit as sent, where there is nothing to say about them: which number it is, and its factor."""
    pairs: dict[tuple[str | None, str | None], tuple[int, Decimal]] = {}
    for measurand in sorted(MEASURANDS):
        for sent in (None, *UNITS):
            problems: list[str] = []
            unit, factor = base_unit(sent, measurand, "", problems)
            if not problems:
                number = _WANTED.get((measurand, unit or ""), _OTHER)
                pairs[measurand, sent] = (number, factor)
                if measurand == REGISTER:
                    pairs[None, sent] = (number, factor)
    return pairs


_EXACT_PAIRS = _exact_pairs()
_CONTEXTS, _LOCATIONS, _PHASES = CONTEXTS | {None}, LOCATIONS | {None}, PHASES | {None}
_RAW = frozenset({None, "Raw"})
_ONE = Decimal(1)


def totals(sampled: Sequence[Sampled], at: datetime) -> tuple[Totals, tuple[str, ...]]:
    """The numbers of the meterValue element of the moment `at`, and what was odd about its samples.

    The same as `energy_register`, `power_w`, `current_a` and `state_of_charge` of the `normalise`d samples.
    """
    found: tuple[list[tuple[str, str | None, Decimal]], ...] = ([], [], [], [])
    for sample in sampled:
        pair = _EXACT_PAIRS.get((sample.measurand, sample.unit))
        if (
            pair is None
            or sample.format not in _RAW
            or sample.phase not in _PHASES
            or sample.location not in _LOCATIONS
            or sample.context not in _CONTEXTS
            or NUMBER.fullmatch(sample.value) is None
        ):
            return _the_long_way(sampled, at)
        number, factor = pair
        if number != _OTHER:
            value = Decimal(sample.value)
            if factor != _ONE:
                value = EXACT.multiply(value, factor)
            found[number].append((sample.location or "Outlet", sample.phase, value))
    energy, power, current, soc = found
    return (
        Totals(
            first_location(energy, overall_first=True),
            first_location(power, overall_first=True),
            first_location(current, overall_first=False),
            soc[-1][2] if soc else None,
        ),
        (),
    )


def _the_long_way(sampled: Sequence[Sampled], at: datetime) -> tuple[Totals, tuple[str, ...]]:
    samples = [
        RawSample(
            value=sample.value,
            context=sample.context,
            format=sample.format,
            measurand=sample.measurand,
            phase=sample.phase,
            location=sample.location,
            unit=sample.unit,
        )
        for sample in sampled
    ]
    readings, problems = normalise(samples, at)
    numbers = (energy_register(readings), power_w(readings), current_a(readings), state_of_charge(readings))
    return Totals(*numbers), problems
