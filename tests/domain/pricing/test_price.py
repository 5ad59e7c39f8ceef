"""The rules of pricing that the worked examples leave open, with our choices."""

from __future__ import annotations

import datetime as dt
import decimal
from decimal import Decimal

import msgspec
import pytest

from domain.pricing import Interval, Period, PricingError, Sample, TariffFrom, Usage, price
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, VECTORS, charge, local
from tests.domain.pricing.worked_tariffs import tariff


def test_rule_1_a_dimension_that_no_element_prices_costs_nothing() -> None:
    cost = price(charge(kwh="20", parked=60), t.TARIFF_1, BERLIN)

    assert [line.dimension for line in cost.lines] == ["TIME"]
    assert cost.before == 2


def test_rule_3_a_flat_fee_is_charged_once_for_all_periods_and_elements() -> None:
    fees = tariff("(1) FLAT 1 step 1 [max_duration 600]; (2) FLAT 2 step 1; (3) TIME 6 step 1")

    cost = price(charge(minutes=60, parked=10), fees, BERLIN)

    assert cost.fixed.before == 1
    assert [line.period for line in cost.lines if line.dimension == "FLAT"] == [0]


def test_rule_3_a_flat_fee_may_begin_to_hold_later() -> None:
    fee = tariff("(1) FLAT 3 step 1 [min_kwh 10]; (2) ENERGY 1 step 1")

    assert price(charge(kwh="9"), fee, BERLIN).fixed.before == 0
    assert price(charge(kwh="11"), fee, BERLIN).fixed.before == 3


def test_rule_4_energy_is_rounded_up_once_with_the_last_price() -> None:
    stepped = tariff("(1) ENERGY 1 step 1000 [max_kwh 2]; (2) ENERGY 2 step 500")

    cost = price(charge(kwh="3.1"), stepped, BERLIN)

    assert [line.billed_quantity for line in cost.lines] == [Decimal(2000), Decimal(1500)]
    assert cost.before == 5


def test_rule_4_parking_at_price_0_spares_the_charging_time_its_rounding_and_free_parking_does_not() -> None:
    """The last time-based component that was active decides, also one at 0; where none is, nothing is decided."""
    at_0 = tariff("(1) TIME 6 step 600 + PARKING_TIME 0 step 600")
    without = tariff("(1) TIME 6 step 600")
    not_then = tariff("(1) TIME 6 step 600; (2) PARKING_TIME 0 step 600 [start_time 20:00]")

    assert price(charge(minutes=11, parked=5), at_0, BERLIN).before == Decimal("1.1")
    assert price(charge(minutes=11, parked=5), without, BERLIN).before == 2
    assert price(charge(minutes=11, parked=5), not_then, BERLIN).before == 2


def test_rule_4_charging_at_price_0_after_paid_parking_leaves_the_parking_as_it_is() -> None:
    stepped = tariff("(1) TIME 6 step 600 [max_duration 600]; (2) TIME 0 step 600 + PARKING_TIME 3 step 600")
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "10:27"),
        parking=(Interval(local(MONDAY, "10:10"), local(MONDAY, "10:25")),),
    )

    # 10 + 2 minutes become 20, the extra in the last one's price
    assert price(usage, stepped, BERLIN).before == Decimal("1.75")


def test_rule_4_charging_again_after_paid_parking_is_what_is_rounded() -> None:
    stepped = tariff("(1) TIME 6 step 600 + PARKING_TIME 3 step 600")
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "10:21"),
        parking=(Interval(local(MONDAY, "10:05"), local(MONDAY, "10:15")),),
    )

    cost = price(usage, stepped, BERLIN)

    # 5 + 6 minutes become 20, the 10 minutes in between stay
    assert [int(line.billed_quantity) // 60 for line in cost.lines] == [5, 10, 15]


def test_rule_4_a_switch_of_tariffs_rounds_nothing() -> None:
    hourly = tariff("(1) TIME 1 step 3600", id="A")
    minutely = TariffFrom(tariff("(1) TIME 2 step 60", id="B"), local(MONDAY, "10:25"))

    cost = price(charge(minutes=55), (hourly, minutely), BERLIN)

    assert [int(line.billed_quantity) // 60 for line in cost.lines] == [25, 30]


def test_rule_5_a_multiple_stays() -> None:
    assert price(charge(minutes=10), tariff("(1) TIME 6 step 600"), BERLIN).before == 1


def test_rule_5_a_second_more_is_another_step() -> None:
    usage = Usage(start=local(MONDAY, "10:00"), end=local(MONDAY, "10:10:01"))

    assert price(usage, tariff("(1) TIME 6 step 600"), BERLIN).before == 2


def test_rule_6_both_bounds_of_a_limit_hold_on_their_own() -> None:
    # 0.51 before and 0.561 after taxes: only the bound after taxes binds
    limited = tariff("(1) ENERGY 0.51 vat 10 step 1", min_price=("0.50", "0.60"))

    cost = price(charge(kwh="1"), limited, BERLIN)

    assert (cost.before, cost.after) == (Decimal("0.51"), Decimal("0.60"))
    assert cost.limited_by == ("min_price",)
    assert cost.energy.before == Decimal("0.51")


def test_rule_6_a_limit_without_a_bound_after_taxes_keeps_the_taxes_share() -> None:
    limited = tariff("(1) ENERGY 1 vat 20 step 1", max_price=("10", None))

    cost = price(charge(kwh="30"), limited, BERLIN)

    assert (cost.before, cost.after) == (Decimal(10), Decimal(12))
    assert cost.total.taxes is not None
    assert [(tax.percentage, tax.amount) for tax in cost.total.taxes] == [(Decimal(20), Decimal(2))]


def test_rule_6_of_limits_that_contradict_each_other_the_maximum_wins() -> None:
    limited = tariff("(1) ENERGY 1 vat 20 step 1", min_price=("20", "24"), max_price=("10", "12"))

    cost = price(charge(kwh="1"), limited, BERLIN)

    assert (cost.before, cost.after) == (Decimal(10), Decimal(12))
    assert cost.limited_by == ("min_price", "max_price")


def test_rule_6_the_limits_are_those_of_the_first_tariff() -> None:
    first = tariff("(1) ENERGY 1 step 1", id="A", max_price=("5", "5"))
    second = TariffFrom(tariff("(1) ENERGY 1 step 1", id="B", max_price=("1", "1")), local(MONDAY, "10:30"))

    assert price(charge(kwh="20"), (first, second), BERLIN).before == 5


def test_rule_7_prices_that_include_taxes_are_split() -> None:
    gross = tariff("(1) ENERGY 1.21 vat 21 step 1", tax_included="YES")

    cost = price(charge(kwh="3"), gross, BERLIN)

    assert (cost.before, cost.after) == (Decimal(3), Decimal("3.63"))
    assert cost.total.taxes is not None
    assert [(tax.percentage, tax.amount) for tax in cost.total.taxes] == [(Decimal(21), Decimal("0.63"))]


def test_rule_7_where_no_taxes_apply_a_percentage_is_not_looked_at() -> None:
    untaxed = tariff("(1) ENERGY 1 vat 21 step 1", tax_included="N/A")

    cost = price(charge(kwh="3"), untaxed, BERLIN)

    assert (cost.before, cost.after, cost.total.taxes) == (Decimal(3), Decimal(3), ())


def test_rule_7_one_unknown_tax_makes_the_total_after_taxes_unknown() -> None:
    cost = price(charge(kwh="3"), tariff("(1) FLAT 1 step 1 + ENERGY 1 vat 10 step 1"), BERLIN)

    assert (cost.before, cost.after, cost.total.taxes) == (Decimal(4), None, None)
    assert cost.energy.after == Decimal("3.3")


def test_rule_8_reserved_time_is_a_group_of_its_own_for_step_size() -> None:
    both = tariff("(1) TIME 6 step 600 [reservation RESERVATION]; (2) TIME 12 step 600")

    cost = price(charge(minutes=5, reserved=11), both, BERLIN)

    assert (cost.reservation.before, cost.time.before) == (Decimal(2), Decimal(2))


def test_rule_8_without_elements_for_reservations_reserved_time_is_free() -> None:
    assert price(charge(minutes=60, reserved=60), t.TARIFF_1, BERLIN).before == 2


def test_rule_8_an_expired_reservation_without_elements_for_expiry_costs_what_a_reservation_costs() -> None:
    assert price(charge(minutes=0, reserved=60, expired=True), t.TARIFF_15, BERLIN).before == 5


def test_rule_10_a_given_period_is_priced_as_at_its_start_and_named() -> None:
    period = Period(start=local(MONDAY, "16:30"), end=local(MONDAY, "17:30"), charging_s=Decimal(3600))

    cost = price([period], t.TARIFF_14, BERLIN)

    assert cost.before == Decimal("1.2")
    assert cost.warnings == (
        "the period from 2024-06-03T14:30:00Z goes on where the price of TIME changes; priced as at its start",
    )


@pytest.mark.parametrize(
    "restriction", ["max_kwh 2", "max_duration 600", "max_power 16", "max_current 16", "end_time 10:30"]
)
def test_rule_10_every_kind_of_boundary_inside_a_given_period_is_named(restriction: str) -> None:
    changing = tariff(f"(1) ENERGY 1 step 1 [{restriction}]; (2) ENERGY 2 step 1")
    period = Period(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        energy_wh=Decimal(5000),
        charging_s=Decimal(3600),
        min_power_kw=Decimal(10),
        max_power_kw=Decimal(20),
        min_current_a=Decimal(10),
        max_current_a=Decimal(20),
    )

    (warning,) = price([period], changing, BERLIN).warnings

    assert "the price of ENERGY changes" in warning


def test_several_tariffs_price_the_periods_from_their_moments_on() -> None:
    cheap = tariff("(1) FLAT 1 step 1 + ENERGY 1 step 1", id="A")
    dear = TariffFrom(tariff("(1) FLAT 9 step 1 + ENERGY 2 step 1", id="B"), local(MONDAY, "10:15"))

    cost = price(charge(kwh="4"), (cheap, dear), BERLIN)

    assert cost.fixed.before == 1
    assert cost.energy.before == 1 + 6
    assert [line.tariff_id for line in cost.lines] == ["A", "A", "B"]


def test_a_tariff_in_another_currency_prices_nothing_and_is_named() -> None:
    dollars = TariffFrom(tariff("(1) ENERGY 2 step 1", id="B", currency="USD"), local(MONDAY, "10:30"))

    cost = price(charge(kwh="4"), (tariff("(1) ENERGY 1 step 1", id="A"), dollars), BERLIN)

    assert (cost.before, cost.currency) == (Decimal(2), "EUR")
    assert cost.warnings == ("tariff B is in USD, the charge in EUR: its periods cost 0",)


def test_a_tariff_that_is_named_and_not_given_prices_nothing_and_is_named() -> None:
    period = Period(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "11:00"),
        charging_s=Decimal(3600),
        tariff_id="GONE",
    )

    cost = price([period], t.TARIFF_1, BERLIN)

    assert cost.before == 0
    assert cost.warnings == ("tariff GONE is not given: its periods cost 0",)


def test_without_a_tariff_the_cost_is_0_with_a_warning() -> None:
    cost = price(charge(kwh="20"), (), BERLIN, currency="EUR")

    assert (cost.before, cost.after, cost.currency) == (Decimal(0), Decimal(0), "EUR")
    assert cost.warnings == ("no tariff: the cost is 0",)


def test_a_running_charge_is_priced_until_now() -> None:
    running = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "10:30"),
        samples=(Sample(local(MONDAY, "10:20"), 3000),),
    )

    cost = price(running, tariff("(1) ENERGY 1 step 1 + TIME 6 step 1"), BERLIN)

    assert (cost.energy.before, cost.time.before) == (Decimal(3), Decimal(3))


def test_the_cost_of_each_period_is_there() -> None:
    usage = charge(start=local(MONDAY, "16:55"), minutes=10, parked=2)

    cost = price(usage, t.TARIFF_14, BERLIN)

    assert [period.before for period in cost.per_period] == [
        Decimal("0.10"),
        Decimal("0.20"),
        Decimal("0.25"),
    ]


def test_what_never_ends_has_28_digits() -> None:
    usage = Usage(start=local(MONDAY, "10:00"), end=local(MONDAY, "10:00:01"))

    assert price(usage, tariff("(1) TIME 2 step 1"), BERLIN).before == Decimal(
        "0.0005555555555555555555555555556"
    )


def test_the_callers_decimal_context_does_not_matter() -> None:
    vector = next(vector for vector in VECTORS if vector.name == "12b")
    expected = price(vector.usage, vector.tariff, BERLIN)

    with decimal.localcontext(decimal.Context(prec=2, rounding=decimal.ROUND_DOWN)):
        assert price(vector.usage, vector.tariff, BERLIN) == expected


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(PricingError, match="Europe/Atlantis"):
        price(charge(), t.TARIFF_1, "Europe/Atlantis")


def test_a_clock_that_stood_at_1970_costs_a_warning_and_no_patience() -> None:
    usage = charge(kwh="3", minutes=10)
    since_1970 = msgspec.structs.replace(usage, start=usage.start.replace(year=1970))

    cost = price(since_1970, tariff("(1) ENERGY 1 step 1 [start_time 01:00]; (2) ENERGY 2 step 1"), BERLIN)

    assert cost.before == 3
    assert "priced as at its start" in cost.warnings[0]


def test_a_moment_beyond_any_calendar_is_refused() -> None:
    usage = charge()
    far = msgspec.structs.replace(usage, end=usage.end.replace(year=9999))

    with pytest.raises(PricingError, match="9999"):
        price(far, t.TARIFF_1, BERLIN)


def test_rule_8_a_tariff_prices_only_while_it_is_valid() -> None:
    """Tariff.start_date_time and end_date_time; a period begins where one ends or begins."""
    day = tariff("(1) ENERGY 1 step 1", id="DAY")
    morning = msgspec.structs.replace(day, end_date_time=local(MONDAY, "10:30"))
    noon = msgspec.structs.replace(day, id="NOON", start_date_time=local(MONDAY, "10:45"))

    cost = price(charge(kwh="4"), (morning, noon), BERLIN)

    assert [period.tariff_id for period in cost.periods] == ["DAY", None, "NOON"]
    assert cost.before == 3
    (warning,) = cost.warnings
    assert warning.startswith("no tariff is valid from 2024-06-03T08:30:00Z on, that time costs 0: ")
    assert "DAY until 2024-06-03T08:30:00Z" in warning
    assert "NOON from 2024-06-03T08:45:00Z" in warning


def test_rule_8_a_tariff_that_ended_long_ago_prices_nothing_and_is_named() -> None:
    old = msgspec.structs.replace(
        tariff("(1) ENERGY 1 step 1", id="OLD"), end_date_time=dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    )

    cost = price(charge(kwh="4"), old, BERLIN, currency="CHF")

    assert (cost.before, cost.currency, len(cost.lines)) == (Decimal(0), "CHF", 0)
    assert cost.warnings == (
        "no tariff is valid from 2024-06-03T08:00:00Z on, that time costs 0: OLD until 2021-01-01T00:00:00Z",
    )
