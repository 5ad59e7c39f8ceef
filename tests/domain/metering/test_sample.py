"""One number out of the readings of a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from domain.metering import (
    RawSample,
    Reading,
    current_a,
    energy_register,
    moments,
    normalise,
    power_w,
    state_of_charge,
)

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def readings(*samples: RawSample, minute: int = 0) -> tuple[Reading, ...]:
    return normalise(samples, AT + timedelta(minutes=minute))[0]


def power(value: str, phase: str | None = None, unit: str = "W") -> RawSample:
    return RawSample(value=value, measurand="Power.Active.Import", unit=unit, phase=phase)


def current(value: str, phase: str | None = None) -> RawSample:
    return RawSample(value=value, measurand="Current.Import", unit="A", phase=phase)


def test_the_overall_register_is_taken_before_its_phases() -> None:
    group = readings(RawSample(value="900", phase="L1"), RawSample(value="3", unit="kWh"))
    assert energy_register(group) == Decimal(3000)


def test_phases_are_summed_when_only_phases_are_sent() -> None:
    group = readings(
        *(RawSample(value=v, phase=p) for v, p in (("1", "L1"), ("2", "L2-N"), ("4", "L3"), ("8", "N")))
    )
    assert energy_register(group) == Decimal(7)


def test_the_outlet_is_read_before_other_locations() -> None:
    group = readings(
        RawSample(value="5", location="Inlet"), RawSample(value="7"), RawSample(value="9", location="EV")
    )
    assert energy_register(group) == Decimal(7)
    assert energy_register(readings(RawSample(value="5", location="Inlet"))) == Decimal(5)


def test_the_newest_moment_with_a_register_answers() -> None:
    late = readings(power("7000"), minute=2)
    newer, older = readings(RawSample(value="20"), minute=1), readings(RawSample(value="10"))
    assert energy_register([*newer, *late, *older]) == Decimal(20)
    assert [at.minute for at, _ in moments([*newer, *late, *older])] == [0, 1, 2]


def test_what_is_no_register_in_wh_is_not_taken_for_one() -> None:
    assert energy_register(()) is None
    assert energy_register(readings(RawSample(value="16", unit="A"), RawSample(value="x"))) is None
    assert energy_register(readings(RawSample(value="aa", format="SignedData"))) is None


def test_power_is_the_overall_value_or_the_sum_of_the_phases() -> None:
    assert power_w(readings(power("3", "L1", "kW"), power("3.5", "L2", "kW"))) == Decimal(6500)
    assert power_w(readings(power("3", "L1", "kW"), power("11", None, "kW"))) == Decimal(11000)
    assert power_w(readings(current("16"))) is None


def test_current_is_summed_over_the_phases_even_beside_an_overall_value() -> None:
    group = readings(
        current("16", "L1"), current("15", "L2"), current("16.5", "L3"), current("1", "N"), current("16")
    )
    assert current_a(group) == Decimal("47.5")
    assert current_a(readings(current("16"))) == Decimal(16)


def test_state_of_charge_is_the_last_one() -> None:
    soc = RawSample(value="55", measurand="SoC", unit="Percent", location="EV")
    later = readings(RawSample(value="60", measurand="SoC"), minute=5)
    assert state_of_charge([*later, *readings(soc)]) == Decimal(60)
    assert state_of_charge(readings(power("1"))) is None
