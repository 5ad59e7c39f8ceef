"""Which component prices: rules 1, 2 and 8."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest

from domain.pricing import PricingError, Tariff, TariffFrom
from domain.pricing.selection import Selector, Situation, Timeline, fitting, local_moments, zone_of
from tests.domain.pricing.charges import MONDAY, local
from tests.domain.pricing.worked_tariffs import TARIFF_17, TARIFF_18, tariff

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, **values: Decimal | int) -> Situation:
    """A situation at a local time such as "2024-06-03 10:00"."""
    given = {"energy_wh": Decimal(0), "duration_s": Decimal(0)} | {k: Decimal(v) for k, v in values.items()}
    return Situation(local=dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN), **given)


def holds(restriction: str, situation: Situation) -> bool:
    return bool(Selector(tariff(f"(1) TIME 1 step 1 [{restriction}]")).charging(situation))


def test_the_first_element_that_matches_and_has_the_dimension_prices_it() -> None:
    selector = Selector(
        tariff(
            "(1) ENERGY 1 step 1 [min_kwh 10]; (2) TIME 2 step 1; (3) ENERGY 3 step 1 + TIME 4 step 1;"
            "(4) ENERGY 5 step 1"
        )
    )

    early = selector.charging(at("2024-06-03 10:00"))
    late = selector.charging(at("2024-06-03 10:00", energy_wh=10_000))

    assert {name: (choice.element, choice.component) for name, choice in early.items()} == {
        "TIME": (1, 0),
        "ENERGY": (2, 0),
    }
    assert late["ENERGY"].element == 0
    assert late["TIME"].element == 1


def test_of_two_components_of_one_dimension_in_an_element_the_first_counts() -> None:
    selection = Selector(tariff("(1) TIME 2 step 1 + TIME 3 step 1")).charging(at("2024-06-03 10:00"))

    assert selection["TIME"].price.price == 2


@pytest.mark.parametrize(
    ("restriction", "inside", "outside"),
    [
        ("start_time 09:00, end_time 18:00", ["09:00", "17:59:59"], ["08:59:59", "18:00"]),
        ("start_time 22:00, end_time 06:00", ["22:00", "23:59", "00:00", "05:59:59"], ["06:00", "21:59:59"]),
        ("start_time 20:00, end_time 00:00", ["20:00", "23:59:59"], ["19:59", "00:00"]),
        ("start_time 20:00", ["20:00", "23:59:59"], ["19:59:59", "00:00"]),
        ("end_time 06:00", ["00:00", "05:59:59"], ["06:00", "23:00"]),
        ("start_time 10:00, end_time 10:00", ["09:59", "10:00"], []),
    ],
)
def test_times_of_day_begin_inclusive_end_exclusive_and_may_wrap(
    restriction: str, inside: list[str], outside: list[str]
) -> None:
    assert [clock for clock in inside if not holds(restriction, at(f"2024-06-03 {clock}"))] == []
    assert [clock for clock in outside if holds(restriction, at(f"2024-06-03 {clock}"))] == []


def test_dates_begin_inclusive_and_end_exclusive() -> None:
    restriction = "start_date 2024-06-03, end_date 2024-06-05"

    days = ["2024-06-02 23:59", "2024-06-03 00:00", "2024-06-04 23:59", "2024-06-05 00:00"]
    assert [holds(restriction, at(day)) for day in days] == [False, True, True, False]


def test_the_day_of_week_is_the_local_day_also_after_midnight() -> None:
    restriction = "start_time 22:00, end_time 06:00, day_of_week MON"

    assert holds(restriction, at("2024-06-03 23:00"))
    assert holds(restriction, at("2024-06-03 05:00"))
    assert not holds(restriction, at("2024-06-04 05:00"))


@pytest.mark.parametrize(
    ("restriction", "name", "scale"),
    [
        ("min_kwh 10, max_kwh 20", "energy_wh", 1000),
        ("min_duration 10, max_duration 20", "duration_s", 1),
        ("min_power 10, max_power 20", "power_kw", 1),
        ("min_current 10, max_current 20", "current_a", 1),
    ],
)
def test_a_minimum_is_inclusive_and_a_maximum_exclusive(restriction: str, name: str, scale: int) -> None:
    values = [Decimal("9.999"), Decimal(10), Decimal("19.999"), Decimal(20)]

    found = [holds(restriction, at("2024-06-03 10:00", **{name: value * scale})) for value in values]

    assert found == [False, True, True, False]


def test_power_that_nobody_measured_fulfils_no_restriction() -> None:
    assert not holds("max_power 20", at("2024-06-03 10:00"))
    assert not holds("min_current 0", at("2024-06-03 10:00"))


def test_all_restrictions_of_an_element_must_hold() -> None:
    restriction = "start_time 09:00, max_kwh 5"

    assert holds(restriction, at("2024-06-03 09:00", energy_wh=4999))
    assert not holds(restriction, at("2024-06-03 08:00", energy_wh=4999))
    assert not holds(restriction, at("2024-06-03 09:00", energy_wh=5000))


def test_reserved_time_and_charging_have_their_own_elements() -> None:
    selector = Selector(tariff("(1) TIME 5 step 1 [reservation RESERVATION]; (2) TIME 2 step 1"))
    now = at("2024-06-03 10:00")

    assert selector.charging(now)["TIME"].element == 1
    assert selector.reserved(now, expired=False)["TIME"].element == 0
    assert Selector(tariff("(1) TIME 2 step 1")).reserved(now, expired=False) == {}


def test_on_expiry_the_dimensions_of_the_expiry_replace_those_of_the_reservation() -> None:
    now = at("2024-06-03 10:00")

    fee = Selector(TARIFF_17).reserved(now, expired=True)
    time = Selector(TARIFF_18).reserved(now, expired=True)

    assert {name: choice.element for name, choice in fee.items()} == {"TIME": 1, "FLAT": 0}
    assert {name: choice.element for name, choice in time.items()} == {"TIME": 0}


def test_energy_and_parking_never_price_a_reservation() -> None:
    selector = Selector(tariff("(1) ENERGY 5 step 1 + PARKING_TIME 5 step 1 [reservation RESERVATION]"))

    assert selector.reserved(at("2024-06-03 10:00"), expired=False) == {}


def test_each_tariff_applies_from_its_moment_on() -> None:
    first, second = tariff("(1) TIME 1 step 1", id="A"), tariff("(1) TIME 2 step 1", id="B")
    timeline = Timeline([TariffFrom(second, local(MONDAY, "12:00")), first])

    def name(clock: str, tariff_id: str | None = None) -> str | None:
        moment = local(MONDAY, clock)
        found = timeline.at(moment) if tariff_id is None else timeline.named(moment, tariff_id)
        return found.tariff.id if found else None

    assert [name("00:00"), name("11:59"), name("12:00")] == ["A", "A", "B"]
    assert name("10:00", "b") == "B"
    assert name("10:00", "C") is None


def test_local_moments_are_both_of_a_time_that_comes_twice() -> None:
    start = dt.datetime(2024, 10, 27, 0, 0, tzinfo=dt.UTC) - dt.timedelta(hours=1)

    found = local_moments(frozenset([2 * 3600 + 1800]), start, start + dt.timedelta(hours=6), BERLIN)

    assert sorted(moment.strftime("%H:%M") for moment in found) == ["00:30", "01:00", "01:30"]


def test_a_time_that_the_clock_leaps_over_happens_when_it_leaps() -> None:
    start = dt.datetime(2024, 3, 31, 0, 30, tzinfo=dt.UTC)

    found = local_moments(frozenset([2 * 3600 + 1800]), start, start + dt.timedelta(hours=1), BERLIN)

    assert dt.datetime(2024, 3, 31, 1, 0, tzinfo=dt.UTC) in found


def test_an_unknown_time_zone_is_refused() -> None:
    for name in ("Europe/Atlantis", "../etc/passwd", ""):
        with pytest.raises(PricingError, match="time zone"):
            zone_of(name)


def dated(id: str, since: str | None = None, until: str | None = None, type: str | None = None) -> Tariff:
    """A tariff that is valid between two local times of Monday."""
    return msgspec.structs.replace(
        tariff("(1) TIME 1 step 1", id=id),
        start_date_time=local(MONDAY, since) if since else None,
        end_date_time=local(MONDAY, until) if until else None,
        type=type,
    )


def test_a_tariff_holds_while_it_is_valid_its_start_inclusive_and_its_end_exclusive() -> None:
    timeline = Timeline([dated("B", "12:00"), dated("A", "08:00", "11:00")])

    def name(clock: str) -> str | None:
        found = timeline.at(local(MONDAY, clock))
        return found.tariff.id if found else None

    clocks = ("07:59", "08:00", "10:59", "11:00", "11:59", "12:00", "23:00")
    assert [name(clock) for clock in clocks] == [None, "A", "A", None, None, "B", "B"]
    switches = timeline.switches(local(MONDAY, "09:00"), local(MONDAY, "12:30"))
    assert switches == {local(MONDAY, "11:00"), local(MONDAY, "12:00")}


def test_of_tariffs_that_hold_at_once_one_with_a_type_comes_before_one_for_every_charge() -> None:
    timeline = Timeline([dated("TYPED", type="REGULAR", until="12:00"), dated("ANY", "09:00")])

    found = [timeline.at(local(MONDAY, clock)) for clock in ("10:00", "13:00")]
    assert [one.tariff.id for one in found if one] == ["TYPED", "ANY"]


def test_a_charge_is_for_the_tariffs_of_its_type_and_those_without_one() -> None:
    given = [
        dated("CARD", type="AD_HOC_PAYMENT"),
        dated("FAST", type="PROFILE_FAST"),
        dated("REGULAR", type="REGULAR"),
        dated("ANY"),
    ]

    assert [one.id for one in fitting(given, "REGULAR")] == ["ANY", "REGULAR"]
    assert [one.id for one in fitting(given, "AD_HOC_PAYMENT")] == ["ANY", "CARD"]
    assert fitting(given[:2], "REGULAR") == ()


def test_of_two_alike_the_first_in_the_connectors_list_holds() -> None:
    found = Timeline(fitting([dated("FIRST"), dated("SECOND")], "REGULAR")).at(local(MONDAY, "10:00"))

    assert found is not None
    assert found.tariff.id == "FIRST"
