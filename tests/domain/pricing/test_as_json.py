"""JSON-ready dicts with OCPI's names."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from domain.pricing import credit_cdr, issue_cdr, price, to_json
from domain.pricing.as_json import timestamp
from domain.pricing.cost import Price, TaxAmount
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, charge, local

# The facts' table 4.5: what a CDR may carry.
CDR_FIELDS = {
    "start_date_time",
    "end_date_time",
    "currency",
    "tariffs",
    "charging_periods",
    "total_cost",
    "total_fixed_cost",
    "total_energy",
    "total_energy_cost",
    "total_time",
    "total_time_cost",
    "total_parking_time",
    "total_parking_cost",
    "total_reservation_cost",
    "remark",
    "credit",
    "credit_reference_id",
}


def test_cdr_numbers_are_ocpis_fields_and_nothing_else() -> None:
    numbers = credit_cdr(issue_cdr(charge(kwh="20", parked=40, reserved=10), t.TARIFF_15, BERLIN), "X")

    value = to_json(numbers)

    assert set(value) <= CDR_FIELDS
    assert value["start_date_time"] == "2024-06-03T07:50:00Z"
    assert value["total_energy"] == Decimal(20)
    assert (value["credit"], value["credit_reference_id"]) == (True, "X")


def test_what_is_absent_is_left_out() -> None:
    value = to_json(issue_cdr(charge(kwh="20"), (), BERLIN, currency="EUR"))

    assert "tariffs" not in value
    assert "credit" not in value
    assert "total_fixed_cost" not in value
    assert value["remark"] == "no tariff: the cost is 0"


def test_a_cost_carries_its_sentences() -> None:
    value = to_json(price(charge(minutes=150), t.TARIFF_2, BERLIN))

    assert value["explanation"] == [
        "10:00–12:30 TIME 1.90/h, 2 h 30 min = 4.75 EUR + 5.2 % tax 0.247 = 4.997 EUR"
    ]
    assert isinstance(value["lines"], list)


def test_moments_are_utc_with_at_most_milliseconds() -> None:
    assert timestamp(local(MONDAY, "10:00")) == "2024-06-03T08:00:00Z"
    assert timestamp(dt.datetime(2024, 6, 3, 8, 0, 0, 123_456)) == "2024-06-03T08:00:00.123Z"


def test_what_is_not_known_of_a_tax_is_left_out_and_never_null() -> None:
    price = Price(Decimal(1), (TaxAmount("VAT", Decimal("0.19")),))
    assert to_json(price) == {
        "before_taxes": Decimal(1),
        "taxes": [{"name": "VAT", "amount": Decimal("0.19")}],
    }
