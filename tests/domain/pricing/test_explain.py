"""The sentences that explain a cost, and the page that shows them."""

from __future__ import annotations

import doctest
from decimal import Decimal
from pathlib import Path

from domain.pricing import price
from domain.pricing.explain import duration, explain, money
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, charge, local
from tests.domain.pricing.worked_tariffs import tariff

PAGE = Path(__file__).parents[3] / "docs" / "pricing.md"


def test_the_rounding_is_said() -> None:
    usage = charge(start=local(MONDAY, "10:00"), minutes=13)

    assert explain(price(usage, tariff("(1) TIME 2 step 900"), BERLIN)) == (
        "10:00–10:13 TIME 2.00/h, rounded up to 15 min by step_size 900 = 0.50 EUR before unknown taxes",
    )


def test_the_rounding_of_a_group_says_its_total() -> None:
    usage = charge(start=local(MONDAY, "16:35"), minutes=35)

    assert explain(price(usage, t.TARIFF_14, BERLIN))[1] == (
        "17:00–17:10 TIME 2.40/h, rounded up to 20 min by step_size 900 (45 min in all) "
        "= 0.80 EUR before unknown taxes"
    )


def test_fees_energy_reservations_and_limits_have_sentences() -> None:
    usage = charge(kwh="20", reserved=13)

    assert explain(price(usage, t.TARIFF_16, BERLIN)) == (
        "09:47 reservation FLAT 2.00 = 2.00 EUR + 20 % tax 0.40 = 2.40 EUR",
        "09:47–10:00 reservation TIME 5.00/h, rounded up to 15 min by step_size 300 "
        "= 1.25 EUR + 20 % tax 0.25 = 1.50 EUR",
        "10:00 FLAT 0.50 = 0.50 EUR + 20 % tax 0.10 = 0.60 EUR",
        "10:00–11:00 ENERGY 0.25/kWh, 20 kWh = 5.00 EUR + 10 % tax 0.50 = 5.50 EUR",
    )
    assert explain(price(charge(kwh="50"), t.TARIFF_6, BERLIN))[-1] == (
        "max_price: the total becomes 10.00 EUR before and 11.00 EUR after taxes"
    )


def test_unknown_taxes_are_said_to_be_unknown() -> None:
    assert explain(price(charge(minutes=150), t.TARIFF_20, BERLIN)) == (
        "10:00–12:30 TIME 2.10/h, 2 h 30 min = 5.25 CAD with unknown taxes in it",
    )


def test_a_period_into_another_day_says_so() -> None:
    usage = charge(start=local(MONDAY, "23:30"), minutes=60)

    assert explain(price(usage, t.TARIFF_1, BERLIN))[0].startswith("23:30–2024-06-04 00:30 TIME")


def test_durations_and_amounts_are_short() -> None:
    assert [duration(Decimal(s)) for s in (0, 45, 60, 3600, 5430)] == [
        "0 s",
        "45 s",
        "1 min",
        "1 h",
        "1 h 30 min 30 s",
    ]
    assert duration(Decimal("0.5")) == "0.5 s"
    assert [money(Decimal(m)) for m in ("5", "4.997", "0.1234567", "1000")] == [
        "5.00",
        "4.997",
        "0.123457",
        "1000.00",
    ]
    assert money(None) == "–"


def test_the_page_about_pricing_prints_what_it_says() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)

    assert result.attempted > 5
    assert result.failed == 0
