"""The numbers of a CDR and of its credit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pytest

from domain.pricing import (
    Interval,
    Price,
    PricingError,
    Sample,
    TariffFrom,
    TaxAmount,
    Usage,
    check_cdr,
    credit_cdr,
    issue_cdr,
    to_json,
)
from domain.pricing.charging_period import CdrDimension
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, charge, local


def test_a_cdr_has_the_totals_of_its_charge() -> None:
    # vector 4: 20 kWh in an hour, then 40 minutes parked
    cdr = issue_cdr(charge(kwh="20", parked=40), t.TARIFF_10, BERLIN)

    assert cdr.start_date_time == local(MONDAY, "10:00")
    assert cdr.end_date_time == local(MONDAY, "11:40")
    assert cdr.currency == "EUR"
    assert cdr.tariffs == (t.TARIFF_10,)
    assert cdr.total_energy == 20
    assert cdr.total_time == Decimal("1.6667")
    assert cdr.total_parking_time == Decimal("0.6667")
    assert cdr.total_cost == Price(
        Decimal("7"),
        (
            TaxAmount("VAT", Decimal("0.5"), percentage=Decimal(10)),
            TaxAmount("VAT", Decimal("0.4"), percentage=Decimal(20)),
        ),
    )
    assert cdr.total_fixed_cost is not None
    assert cdr.total_fixed_cost.before_taxes == Decimal("0.5")
    assert cdr.total_energy_cost is not None
    assert cdr.total_energy_cost.before_taxes == 5
    assert cdr.total_parking_cost is not None
    assert cdr.total_parking_cost.before_taxes == Decimal("1.5")
    assert (cdr.total_time_cost, cdr.total_reservation_cost, cdr.remark) == (None, None, None)


def test_a_period_carries_kwh_and_hours() -> None:
    first, second = issue_cdr(charge(kwh="20", minutes=10, parked=40), t.TARIFF_10, BERLIN).charging_periods

    assert first.dimensions == (
        CdrDimension("ENERGY", Decimal(20)),
        CdrDimension("TIME", Decimal("0.1667")),
    )
    assert second.dimensions == (CdrDimension("PARKING_TIME", Decimal("0.6667")),)
    assert second.start_date_time == local(MONDAY, "10:10")
    assert second.tariff_id == "T1"


def test_every_number_of_a_cdr_has_at_most_four_decimals_and_the_receiver_prices_the_same() -> None:
    """OCPI, Types, number: four decimals. A meter that is finer is priced as the CDR can say it."""
    stepped = t.tariff(
        "(1) ENERGY 0.3333 vat 19 step 100 + TIME 1.1 step 60 [max_kwh 3]; (2) ENERGY 0.5 step 100"
    )
    usage = Usage(
        start=local(MONDAY, "10:00"),
        end=local(MONDAY, "10:10:01"),
        samples=(Sample(local(MONDAY, "10:00"), 0, Decimal("11040.123"), Decimal("15.98765")),),
        # a hundredth of a Wh above 4.1 kWh, where a step ends
        meter_stop_wh=Decimal("4100.01"),
    )
    limited = t.tariff("(1) ENERGY 0.3 step 1 [max_power 11.05]; (2) ENERGY 0.6 step 1 [min_current 10]")

    def numbers(value: object) -> Iterator[Decimal]:
        if isinstance(value, Decimal):
            yield value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from numbers(item)

    for tariff in (stepped, limited):
        cdr = to_json(issue_cdr(usage, tariff, BERLIN))
        assert [n for n in numbers(cdr) if int(n.as_tuple().exponent) < -4] == []
        assert check_cdr(cdr, BERLIN, tolerance=Decimal("0.0001")).differences == ()
    assert to_json(issue_cdr(usage, stepped, BERLIN))["total_energy"] == Decimal("4.1")


def test_a_reservation_is_part_of_the_cdr_and_not_of_the_total_time() -> None:
    # vector 15
    cdr = issue_cdr(charge(kwh="20", reserved=13), t.TARIFF_16, BERLIN)

    assert cdr.start_date_time == local(MONDAY, "09:47")
    assert cdr.total_time == 1
    assert cdr.total_reservation_cost is not None
    assert cdr.total_reservation_cost.before_taxes == Decimal("3.25")
    assert cdr.total_fixed_cost is not None
    assert cdr.total_fixed_cost.before_taxes == Decimal("0.5")
    assert [d.type for d in cdr.charging_periods[0].dimensions] == ["RESERVATION_TIME"]


def test_an_expired_reservation_has_a_cdr_of_its_own() -> None:
    # vector 16b
    cdr = issue_cdr(charge(minutes=0, reserved=60, expired=True), t.TARIFF_17, BERLIN)

    assert (cdr.start_date_time, cdr.end_date_time) == (local(MONDAY, "09:00"), local(MONDAY, "10:00"))
    assert cdr.total_cost.before_taxes == 6
    assert (cdr.total_energy, cdr.total_time) == (Decimal(0), Decimal(0))


def test_without_a_tariff_the_cdr_costs_0_and_says_so() -> None:
    cdr = issue_cdr(charge(kwh="20"), (), BERLIN, currency="EUR")

    assert cdr.total_cost.before_taxes == 0
    assert cdr.currency == "EUR"
    assert cdr.tariffs is None
    assert cdr.remark == "no tariff: the cost is 0"


def test_without_tariff_and_currency_the_currency_is_iso_4217s_none() -> None:
    assert issue_cdr(charge(kwh="20"), (), BERLIN).currency == "XXX"


def test_a_cdr_carries_only_the_tariffs_that_were_used() -> None:
    later = t.tariff("(1) ENERGY 1 step 1", id="T2")
    switch = TariffFrom(later, local(MONDAY, "12:00"))

    assert issue_cdr(charge(kwh="20"), (t.TARIFF_8, switch), BERLIN).tariffs == (t.TARIFF_8,)


def test_a_charge_without_length_has_one_period() -> None:
    moment = local(MONDAY, "10:00")

    cdr = issue_cdr(Usage(start=moment, end=moment), t.TARIFF_9, BERLIN)

    assert [period.dimensions for period in cdr.charging_periods] == [(CdrDimension("TIME", Decimal(0)),)]
    assert cdr.total_cost.before_taxes == Decimal("0.5")


def test_a_credit_negates_the_total_and_nothing_else() -> None:
    original = issue_cdr(charge(kwh="20", parked=40), t.TARIFF_10, BERLIN)

    credit = credit_cdr(original, "CDR-1")

    assert credit.credit is True
    assert credit.credit_reference_id == "CDR-1"
    assert credit.total_cost == Price(
        Decimal("-7"),
        (
            TaxAmount("VAT", Decimal("-0.5"), percentage=Decimal(10)),
            TaxAmount("VAT", Decimal("-0.4"), percentage=Decimal(20)),
        ),
    )
    assert credit.total_energy_cost == original.total_energy_cost
    assert credit.charging_periods == original.charging_periods


def test_a_credit_is_not_credited_again() -> None:
    credit = credit_cdr(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN), "CDR-1")

    with pytest.raises(PricingError, match="already the credit of CDR-1"):
        credit_cdr(credit, "CDR-2")


def test_the_remark_fits_into_its_255_characters() -> None:
    backwards = charge(kwh="20")
    samples = tuple(
        type(backwards.samples[0])(backwards.start + dt.timedelta(minutes=minute), 1000 - minute)
        for minute in range(1, 20)
    )
    usage = Usage(start=backwards.start, end=backwards.end, samples=samples, parking=(_no_time(),))

    remark = issue_cdr(usage, t.TARIFF_8, BERLIN).remark

    assert remark is not None
    assert len(remark) == 255


def _no_time() -> Interval:
    return Interval(local(MONDAY, "10:00"), local(MONDAY, "10:00"))
