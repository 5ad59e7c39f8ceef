"""A slow obvious model, second by second on datetimes, agrees with the composite schedule over random stacks."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.schedules import (
    ChargingProfile,
    ChargingSchedule,
    CompositeSchedule,
    Installed,
    Kind,
    ProfileStack,
    Purpose,
    Recurrence,
    SchedulePeriod,
    Transaction,
    Unit,
    compare,
    composite_schedule,
    with_site_limits,
)
from tests.domain.schedules.make import MONDAY
from tests.laws import tried

# Half a minute before a midnight, so that days begin inside the window.
BEGIN = MONDAY + timedelta(days=14, seconds=-30)
WINDOW = 60
VOLTS = Decimal(230)
# A stack of eight profiles takes a while to draw on a busy machine.
SLOW = [HealthCheck.too_slow]

Answer = tuple[Decimal, int | None] | None


def second(n: int) -> timedelta:
    return timedelta(seconds=n)


def limit_of(profile: ChargingProfile, now: datetime, running: Transaction | None, unit: Unit) -> Answer:
    if profile.valid_from is not None and now < profile.valid_from:
        return None
    if profile.valid_to is not None and now >= profile.valid_to:
        return None
    if profile.charging_profile_purpose is Purpose.TX:
        if running is None:
            return None
        if profile.transaction_id is not None and profile.transaction_id != running.transaction_id:
            return None
    schedule = profile.charging_schedule
    start = schedule.start_schedule
    if profile.charging_profile_kind is Kind.RELATIVE or start is None:
        if running is None:
            return None
        start = running.started_at
    if profile.charging_profile_kind is Kind.RECURRING:
        step = timedelta(days=1 if profile.recurrency_kind is Recurrence.DAILY else 7)
        while start + step <= now:
            start += step
    if now < start:
        return None
    if schedule.duration is not None and now >= start + second(schedule.duration):
        return None
    answer: Answer = None
    for period in schedule.charging_schedule_period:
        if now >= start + second(period.start_period):
            phases = 3 if period.number_phases is None else period.number_phases
            value = period.limit
            if schedule.charging_rate_unit is Unit.A and unit is Unit.W:
                value = value * (VOLTS * phases)
            if schedule.charging_rate_unit is Unit.W and unit is Unit.A:
                value = value / (VOLTS * phases)
            answer = (value, period.number_phases)
    return answer


def highest(held: list[Installed], now: datetime, running: Transaction | None, unit: Unit) -> Answer:
    speaking = [
        (one.profile.stack_level, place, answer)
        for place, one in enumerate(held)
        if (answer := limit_of(one.profile, now, running, unit)) is not None
    ]
    return max(speaking, key=lambda each: each[:2])[2] if speaking else None


def model(
    stack: ProfileStack, connector: int, now: datetime, running: Transaction | None, unit: Unit
) -> Answer:
    def speaks(purpose: Purpose, at_connector: int) -> Answer:
        held = [
            one
            for one in stack.profiles
            if one.connector_id == at_connector and one.profile.charging_profile_purpose is purpose
        ]
        return highest(held, now, running, unit)

    most = speaks(Purpose.CHARGE_POINT_MAX, 0)
    mine = None
    if connector > 0:
        mine = speaks(Purpose.TX, connector)
        if mine is None:
            mine = speaks(Purpose.TX_DEFAULT, connector)
        if mine is None:
            mine = speaks(Purpose.TX_DEFAULT, 0)
    if most is None or mine is None:
        return most or mine
    return min(mine, most, key=lambda answer: (answer[0], 3 if answer[1] is None else answer[1]))


def at_second(composite: CompositeSchedule, n: int) -> Answer:
    found: Answer = None
    for period in composite.charging_schedule_period:
        if period.start_period <= n:
            found = None if period.limit is None else (period.limit, period.number_phases)
    return found


offsets = st.integers(-40, 100)
starts = st.builds(
    lambda day, n: BEGIN + timedelta(days=day) + second(n), st.sampled_from([0, 0, -1, -7, -8]), offsets
)
periods = st.lists(
    st.tuples(
        st.integers(1, 60) | st.just(86_400),
        st.sampled_from(["0", "6", "10.5", "16", "32", "3680"]),
        st.sampled_from([None, None, 1, 3]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each[0],
).map(
    lambda rows: tuple(
        SchedulePeriod(start_period=0 if i == 0 else row[0], limit=Decimal(row[1]), number_phases=row[2])
        for i, row in enumerate(sorted(rows, key=lambda row: row[0]))
    )
)


@st.composite
def schedules(draw: st.DrawFn, *, always_start: bool) -> ChargingSchedule:
    return ChargingSchedule(
        charging_rate_unit=draw(st.sampled_from([Unit.A, Unit.A, Unit.W])),
        charging_schedule_period=draw(periods),
        duration=draw(st.none() | st.integers(0, 90) | st.sampled_from([86_390, 86_400, 86_500])),
        start_schedule=draw(starts if always_start else st.none() | starts),
    )


@st.composite
def profiles(draw: st.DrawFn) -> ChargingProfile:
    kind = draw(st.sampled_from(Kind))
    recurring = kind is Kind.RECURRING
    return ChargingProfile(
        charging_profile_id=draw(st.integers(1, 50)),
        stack_level=draw(st.integers(0, 3)),
        charging_profile_purpose=draw(st.sampled_from(Purpose)),
        charging_profile_kind=kind,
        recurrency_kind=draw(st.sampled_from(Recurrence)) if recurring else None,
        charging_schedule=draw(schedules(always_start=recurring)),
        transaction_id=draw(st.sampled_from([None, 7, 7, 8])),
        valid_from=draw(st.none() | st.builds(lambda n: BEGIN + second(n), offsets)),
        valid_to=draw(st.none() | st.builds(lambda n: BEGIN + second(n), offsets)),
    )


stacks = st.lists(st.builds(Installed, st.sampled_from([0, 1]), profiles()), max_size=8).map(
    lambda held: ProfileStack(tuple(held))
)
transactions = st.none() | st.builds(
    lambda n: Transaction(started_at=BEGIN + second(n), transaction_id=7), offsets
)


@settings(max_examples=tried(300), deadline=None, suppress_health_check=SLOW)
@given(stacks, st.sampled_from([0, 1]), transactions, st.sampled_from(Unit))
def test_the_composite_schedule_is_the_model_at_every_second(
    stack: ProfileStack, connector: int, running: Transaction | None, unit: Unit
) -> None:
    composite = composite_schedule(stack, connector, BEGIN, WINDOW, unit, transaction=running)
    for n in range(WINDOW):
        assert at_second(composite, n) == model(stack, connector, BEGIN + second(n), running, unit), n


@settings(max_examples=tried(100), deadline=None, suppress_health_check=SLOW)
@given(stacks, transactions, st.integers(1, WINDOW - 1))
def test_a_window_cut_in_two_says_the_same(
    stack: ProfileStack, running: Transaction | None, cut: int
) -> None:
    whole = composite_schedule(stack, 1, BEGIN, WINDOW, Unit.A, transaction=running)
    late = composite_schedule(stack, 1, BEGIN + second(cut), WINDOW - cut, Unit.A, transaction=running)
    assert [at_second(whole, n) for n in range(cut, WINDOW)] == [
        at_second(late, n) for n in range(WINDOW - cut)
    ]


@settings(max_examples=tried(100), deadline=None, suppress_health_check=SLOW)
@given(stacks, transactions)
def test_periods_begin_at_zero_rise_and_differ_from_their_neighbours(
    stack: ProfileStack, running: Transaction | None
) -> None:
    found = composite_schedule(stack, 1, BEGIN, WINDOW, Unit.A, transaction=running).charging_schedule_period
    times = [period.start_period for period in found]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert times[-1] < WINDOW
    for one, other in pairwise(found):
        assert (one.limit, one.number_phases) != (other.limit, other.number_phases)


@settings(max_examples=tried(100), deadline=None, suppress_health_check=SLOW)
@given(stacks, st.lists(schedules(always_start=True), max_size=3))
def test_a_site_limit_never_raises_and_always_holds(
    stack: ProfileStack, sites: list[ChargingSchedule]
) -> None:
    free = composite_schedule(stack, 1, BEGIN, WINDOW, Unit.A)
    cut = with_site_limits(free, sites)
    assert with_site_limits(cut, sites) == cut
    for n in range(0, WINDOW, 7):
        before, after = at_second(free, n), at_second(cut, n)
        assert before is None or (after is not None and after[0] <= before[0])


@settings(max_examples=tried(100), deadline=None, suppress_health_check=SLOW)
@given(stacks)
def test_a_report_that_repeats_what_was_expected_is_equal(stack: ProfileStack) -> None:
    held = ProfileStack((*stack.profiles, Installed(0, GROUND)))
    expected = composite_schedule(held, 1, BEGIN, WINDOW, Unit.A)
    reported = ChargingSchedule(
        charging_rate_unit=Unit.A,
        duration=WINDOW,
        charging_schedule_period=tuple(
            SchedulePeriod(start_period=p.start_period, limit=p.limit, number_phases=p.number_phases)
            for p in expected.charging_schedule_period
            if p.limit is not None
        ),
    )
    assert compare(expected, BEGIN, reported).equal


GROUND = ChargingProfile(
    charging_profile_id=99,
    stack_level=0,
    charging_profile_purpose=Purpose.CHARGE_POINT_MAX,
    charging_profile_kind=Kind.ABSOLUTE,
    charging_schedule=ChargingSchedule(
        charging_rate_unit=Unit.A,
        charging_schedule_period=(SchedulePeriod(start_period=0, limit=Decimal(63)),),
        start_schedule=MONDAY,
    ),
)
