"""Tariffs from OCPI's JSON."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest

from domain.pricing import PriceLimit, PricingError, Tariff, tariff_from_json, to_json
from tests.domain.pricing import worked_tariffs as t

FULL = """{
  "country_code": "DE", "party_id": "ABC", "id": "12", "currency": "EUR", "type": "REGULAR",
  "tariff_alt_text": [{"language": "en", "text": "by the hour"}], "tariff_alt_url": "https://example.com",
  "min_price": {"before_taxes": 0.50, "after_taxes": 0.55}, "max_price": {"before_taxes": 10},
  "preauthorize_amount": 50, "tax_included": "N/A",
  "elements": [{
    "price_components": [{"type": "TIME", "price": 1.10, "vat": 20.0, "step_size": 900}],
    "restrictions": {"start_time": "09:00", "end_time": "18:00", "start_date": "2024-02-29",
      "end_date": "2024-03-01", "min_kwh": 1.5, "max_kwh": 20, "min_current": 6, "max_current": 32,
      "min_power": 1, "max_power": 22.2, "min_duration": 60, "max_duration": 3600,
      "day_of_week": ["MONDAY", "SUNDAY"], "reservation": "RESERVATION"}
  }],
  "start_date_time": "2024-01-01T00:00:00Z", "end_date_time": "2025-01-01T00:00:00Z",
  "energy_mix": {"is_green_energy": true, "energy_sources": [{"source": "WIND", "percentage": 100}],
    "environ_impact": [{"category": "NUCLEAR_WASTE", "amount": 0.1}], "supplier_name": "S"},
  "last_updated": "2024-01-01T12:30:15.5Z"
}"""


def minimal(**fields: object) -> dict[str, object]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "12",
        "currency": "EUR",
        "tax_included": "NO",
        "elements": [{"price_components": [{"type": "TIME", "price": 1, "step_size": 60}]}],
        "last_updated": "2024-01-01T00:00:00Z",
    } | fields


def component(**fields: object) -> dict[str, object]:
    price = {"type": "TIME", "price": 1, "step_size": 60} | fields
    return minimal(elements=[{"price_components": [price]}])


def restricted(**fields: object) -> dict[str, object]:
    price = {"type": "TIME", "price": 1, "step_size": 60}
    return minimal(elements=[{"price_components": [price], "restrictions": fields}])


def test_a_tariff_comes_back_as_it_was_written() -> None:
    value = json.loads(FULL, parse_float=Decimal)

    written = to_json(tariff_from_json(value))

    assert written == value | {"last_updated": "2024-01-01T12:30:15.500Z"}


def test_numbers_are_exact() -> None:
    tariff = msgspec.json.decode(FULL, type=Tariff)

    assert tariff.min_price == PriceLimit(Decimal("0.50"), Decimal("0.55"))
    assert tariff.elements[0].price_components[0].price == Decimal("1.10")


def test_fields_that_nobody_knows_are_left_out() -> None:
    assert tariff_from_json(minimal(x_color="red")) == tariff_from_json(minimal())


def test_null_for_a_list_is_as_absent() -> None:
    assert tariff_from_json(minimal(tariff_alt_text=None)) == tariff_from_json(minimal())
    assert tariff_from_json(restricted(day_of_week=None)) == tariff_from_json(restricted())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (minimal(elements=[]), r"length >= 1 - at `\$.elements`"),
        (minimal(tax_included=True), r"at `\$.tax_included`"),
        (component(price="NaN"), r"price is NaN.*elements\[0\].price_components\[0\]"),
        (component(price=Decimal("Infinity")), "price is Infinity"),
        (component(price=Decimal("1e99999999")), "price has more digits than any amount needs"),
        (component(vat=-100), "above -100"),
        (component(type="COFFEE"), r"Invalid enum value 'COFFEE'.*price_components\[0\].type"),
        (component(step_size=-1), "step_size"),
        (component(step_size=10**30), "step_size"),
        (restricted(start_time="24:00"), r"restrictions.start_time"),
        (restricted(start_date="2024-02-30"), r"restrictions.start_date"),
        (restricted(min_kwh="sNaN"), "min_kwh is sNaN"),
        (restricted(min_duration=10**12), "min_duration"),
        (restricted(day_of_week=["Monday"]), "day_of_week"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(value: dict[str, object], message: str) -> None:
    with pytest.raises(PricingError, match=message):
        tariff_from_json(value)


def test_a_worked_tariff_is_what_its_line_says() -> None:
    element = t.TARIFF_4.elements[5]

    assert element.price_components[0].type == "PARKING_TIME"
    assert element.price_components[0].price == 6
    assert element.restrictions is not None
    assert element.restrictions.day_of_week == ("SATURDAY",)
    assert (element.restrictions.start_time, element.restrictions.end_time) == ("10:00", "17:00")
