"""CDRs of other parties: equal, or where and why not."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.pricing import (
    PricingError,
    Sample,
    Tariff,
    Usage,
    check_cdr,
    credit_cdr,
    issue_cdr,
    price,
    tariff_from_json,
    to_json,
)
from tests.domain.pricing import worked_tariffs as t
from tests.domain.pricing.charges import BERLIN, MONDAY, VECTORS, Vector, charge, local
from tests.laws import tried


def foreign(
    tariff: Tariff, periods: list[tuple[str, dict[str, str]]], end: str, total: str, **fields: object
) -> dict[str, object]:
    """A CDR as another party writes it: periods as (start, volumes), the total before taxes."""
    return {
        "start_date_time": periods[0][0],
        "end_date_time": end,
        "currency": tariff.currency,
        "tariffs": [to_json(tariff)],
        "charging_periods": [
            {
                "start_date_time": start,
                "dimensions": [{"type": name, "volume": Decimal(volume)} for name, volume in volumes.items()],
                "tariff_id": tariff.id,
            }
            for start, volumes in periods
        ],
        "total_cost": {"before_taxes": Decimal(total)},
        "total_energy": Decimal(0),
        "total_time": Decimal(0),
    } | fields


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_cdr_that_we_issued_is_equal(vector: Vector) -> None:
    cdr = issue_cdr(vector.usage, vector.tariff, BERLIN)

    assert check_cdr(to_json(cdr), BERLIN).differences == ()
    assert check_cdr(to_json(credit_cdr(cdr, "X")), BERLIN).equal


def test_a_cdr_survives_its_way_over_the_wire() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20", parked=40), t.TARIFF_10, BERLIN))
    text = json.dumps(cdr, default=float)

    assert check_cdr(json.loads(text, parse_float=Decimal), BERLIN).equal


def test_rule_11_four_decimals_of_an_hour_do_not_cost_another_minute() -> None:
    # 10 min are 0.1667 h, which are 600.12 s
    cdr = foreign(
        t.tariff("(1) TIME 6 vat 10 step 60"),
        [("2024-06-03T08:00:00Z", {"TIME": "0.1667"})],
        "2024-06-03T08:10:00Z",
        "1.00",
        total_time=Decimal("0.1667"),
    )

    check = check_cdr(cdr, BERLIN)

    assert check.equal
    assert check.cost is not None
    assert check.cost.before == 1


def test_rule_11_holds_where_a_period_has_two_times() -> None:
    cdr = foreign(
        t.TARIFF_13,
        [("2024-06-03T08:00:00Z", {"TIME": "0.1667", "PARKING_TIME": "0.0833"})],
        "2024-06-03T08:15:00Z",
        "0.92",  # 10 min at 3, 5 min at 5: 0.5 + 0.41666…
        total_time=Decimal("0.25"),
        total_parking_time=Decimal("0.0833"),
    )

    assert check_cdr(cdr, BERLIN).equal


def test_vector_11_a_total_without_step_size_is_named_as_such() -> None:
    # the standard's own table has 5.61 where its rules give 5.625
    cdr = foreign(
        t.TARIFF_3,
        [("2024-06-03T08:00:00Z", {"ENERGY": "20.45", "TIME": "1"})],
        "2024-06-03T09:00:00Z",
        "5.61",
        total_energy=Decimal("20.45"),
        total_time=Decimal(1),
    )

    (difference,) = check_cdr(cdr, BERLIN).differences

    assert difference.path == "total_cost.before_taxes"
    assert (difference.stated, difference.expected) == (Decimal("5.61"), Decimal("5.625"))
    assert difference.why.startswith("it is the total without step_size")
    assert "rounded up to 20.5 kWh by step_size 100" in difference.why


def test_vector_5_a_total_above_max_price_is_named_as_such() -> None:
    cdr = foreign(
        t.TARIFF_6,
        [("2024-06-03T08:00:00Z", {"ENERGY": "50", "TIME": "1"})],
        "2024-06-03T09:00:00Z",
        "13.00",
        total_energy=Decimal(50),
        total_time=Decimal(1),
    )

    (difference,) = check_cdr(cdr, BERLIN).differences

    assert difference.why.startswith("it is the total without min_price and max_price")


def test_each_wrong_number_is_found_where_it_stands() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20", parked=40), t.TARIFF_10, BERLIN))
    wrong = cdr | {
        "total_energy": Decimal(21),
        "total_time": Decimal(1),
        "total_parking_cost": {
            "before_taxes": Decimal("1.6"),
            "taxes": [{"name": "VAT", "amount": Decimal(1)}],
        },
        "total_cost": {"before_taxes": Decimal("7.1")},
    }

    found = {difference.path: difference for difference in check_cdr(wrong, BERLIN).differences}

    assert set(found) == {
        "total_energy",
        "total_time",
        "total_parking_cost.before_taxes",
        "total_parking_cost.taxes",
        "total_cost.before_taxes",
    }
    assert found["total_parking_cost.taxes"].expected == Decimal("0.3")
    assert "rounded up to 45 min by step_size 900" in found["total_parking_cost.before_taxes"].why


def test_a_cent_is_tolerated_and_more_is_not() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN))

    assert check_cdr(cdr | {"total_cost": {"before_taxes": Decimal("5.01")}}, BERLIN).equal
    assert not check_cdr(cdr | {"total_cost": {"before_taxes": Decimal("5.011")}}, BERLIN).equal


def test_a_credit_states_the_negated_total() -> None:
    cdr = to_json(credit_cdr(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN), "X"))

    assert check_cdr(cdr, BERLIN).equal
    assert not check_cdr(cdr | {"total_cost": {"before_taxes": Decimal(5)}}, BERLIN).equal


def test_the_order_of_the_periods_does_not_matter() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20", parked=40), t.TARIFF_10, BERLIN))
    periods = cdr["charging_periods"]
    assert isinstance(periods, list)

    assert check_cdr(cdr | {"charging_periods": periods[::-1]}, BERLIN).equal


def test_a_period_across_a_price_change_is_priced_as_at_its_start_and_named() -> None:
    cdr = foreign(
        t.TARIFF_14,
        [("2024-06-03T14:30:00Z", {"TIME": "1"})],  # 16:30 to 17:30 in Berlin, 17:00 doubles the price
        "2024-06-03T15:30:00Z",
        "1.20",
        total_time=Decimal(1),
    )

    check = check_cdr(cdr, BERLIN)

    assert check.equal
    assert check.warnings == (
        "the period from 2024-06-03T14:30:00Z goes on where the price of TIME changes; "
        "priced as at its start",
    )


def test_a_tariff_that_needs_power_without_power_is_named() -> None:
    cdr = foreign(
        t.MAX_POWER,
        [("2024-06-03T08:00:00Z", {"ENERGY": "1", "TIME": "1"})],
        "2024-06-03T09:00:00Z",
        "0.50",
        total_energy=Decimal(1),
        total_time=Decimal(1),
    )

    check = check_cdr(cdr, BERLIN)

    assert check.equal
    assert check.warnings == (
        "the tariff depends on power, which was not measured: such elements do not price",
    )


def test_the_highest_power_stands_for_a_period() -> None:
    cdr = foreign(
        t.MAX_POWER,
        [("2024-06-03T08:00:00Z", {"ENERGY": "1", "TIME": "1", "MAX_POWER": "6"})],
        "2024-06-03T09:00:00Z",
        "0.20",
        total_energy=Decimal(1),
        total_time=Decimal(1),
    )

    assert check_cdr(cdr, BERLIN).equal


def test_a_cdr_without_its_tariff_cannot_have_a_cost() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN))
    del cdr["tariffs"]
    del cdr["total_energy_cost"]

    before, taxes = check_cdr(cdr, BERLIN).differences

    assert (before.path, taxes.path) == ("total_cost.before_taxes", "total_cost.taxes")
    assert before.why == "0.00 expected, 5.00 stated: no tariff: the cost is 0"


def test_a_tariff_from_elsewhere_may_be_given() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN))
    del cdr["tariffs"]

    assert check_cdr(cdr, BERLIN, [t.TARIFF_8]).equal


def test_a_period_that_names_none_of_several_tariffs_has_the_one_before() -> None:
    other = t.tariff("(1) TIME 3 step 1", id="T2")
    cdr = foreign(
        t.TARIFF_1,
        [("2024-06-03T08:00:00Z", {"TIME": "1"}), ("2024-06-03T09:00:00Z", {"TIME": "1"})],
        "2024-06-03T10:00:00Z",
        "4",
        total_time=Decimal(2),
        tariffs=[to_json(t.TARIFF_1), to_json(other)],
    )
    periods = cdr["charging_periods"]
    assert isinstance(periods, list)
    for period in periods:
        del period["tariff_id"]

    check = check_cdr(cdr, BERLIN)

    assert check.equal
    assert "names none of several tariffs" in check.warnings[0]


def test_reserved_time_alone_is_a_reservation_that_expired() -> None:
    # vector 16b
    cdr = foreign(
        t.TARIFF_17, [("2024-06-03T08:00:00Z", {"RESERVATION_TIME": "1"})], "2024-06-03T09:00:00Z", "6"
    )

    assert check_cdr(cdr, BERLIN).equal


def test_the_standards_own_writing_of_an_unknown_start_is_accepted() -> None:
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN))

    assert check_cdr(cdr | {"start_date_time": "1970-1-1T00:00:00Z"}, BERLIN).equal


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"total_cost": None}, "total_cost"),
        ({"total_cost": {"before_taxes": "NaN"}}, "cdr"),
        ({"total_energy": "Infinity"}, "cdr"),
        (
            {"charging_periods": [{"start_date_time": "2024-02-30T00:00:00Z"}]},
            "charging_periods[0].start_date_time",
        ),
        ({"end_date_time": "9999-12-31T23:59:59Z"}, "charging_periods"),
        ({"tariffs": [{"id": 1}]}, "tariffs[0].id"),
        ({"total_energy": Decimal("1e999999")}, "cdr"),
    ],
)
def test_a_malformed_cdr_is_a_difference_with_its_path(change: dict[str, object], path: str) -> None:
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN))

    check = check_cdr(cdr | change, BERLIN)

    assert not check.equal
    assert check.differences[0].path == path


def test_periods_that_differ_only_in_their_band_of_power_stay_apart() -> None:
    # Were they one, its highest power would match the first element at its start.
    banded = t.tariff("(1) ENERGY 9 step 1 [end_time 17:00, min_power 16]; (2) ENERGY 1 step 1")
    usage = Usage(
        start=local(MONDAY, "16:30"),
        end=local(MONDAY, "17:30"),
        samples=(
            Sample(local(MONDAY, "16:30"), 0, power_w=10_000),
            Sample(local(MONDAY, "17:00"), 5000, power_w=20_000),
        ),
        meter_stop_wh=15_000,
    )

    check = check_cdr(issue_cdr(usage, banded, BERLIN), BERLIN)

    assert check.equal
    assert check.cost is not None
    assert check.cost.before == 15


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.text(max_size=5)
    | st.sampled_from(
        ["2024-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "\ud800", "NaN", Decimal("1E+999999")]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for key, item in value.items() for place in _places(item, (*path, key))]
    if isinstance(value, list):
        return found + [place for index, item in enumerate(value) for place in _places(item, (*path, index))]
    return found


def _replaced(value: object, path: tuple[str | int, ...], by: object) -> object:
    if not path:
        return by
    if isinstance(value, dict):
        return {key: _replaced(item, path[1:], by) if key == path[0] else item for key, item in value.items()}
    assert isinstance(value, list)
    return [_replaced(item, path[1:], by) if index == path[0] else item for index, item in enumerate(value)]


SOUND = to_json(issue_cdr(charge(kwh="20", parked=40, reserved=10, amps=16), t.TARIFF_4, BERLIN))


@settings(deadline=None, max_examples=tried(200))
@example(("charging_periods", 1, "dimensions", 0, "volume"), 10**10)
@given(st.sampled_from(_places(SOUND)), JSON)
def test_whatever_stands_in_a_cdr_the_answer_is_a_check(path: tuple[str | int, ...], by: object) -> None:
    changed = _replaced(SOUND, path, by)
    assert isinstance(changed, dict)

    check = check_cdr(changed, BERLIN)

    assert check.equal == (not check.differences)


@settings(deadline=None, max_examples=tried(100))
@given(st.sampled_from(_places(to_json(t.TARIFF_4))), JSON)
def test_whatever_stands_in_a_tariff_it_is_read_or_refused(path: tuple[str | int, ...], by: object) -> None:
    changed = _replaced(to_json(t.TARIFF_4), path, by)
    assert isinstance(changed, dict)

    try:
        tariff = tariff_from_json(changed)
    except PricingError as error:
        assert str(error).startswith("tariff: ")
    else:
        assert price(charge(kwh="20", parked=40, amps=16), tariff, BERLIN).periods


def test_nothing_at_all_is_a_difference() -> None:
    assert not check_cdr({}, BERLIN).equal


def test_numbers_are_checked_as_well_as_json() -> None:
    usage: Usage = charge(kwh="20")

    assert check_cdr(issue_cdr(usage, t.TARIFF_8, BERLIN), BERLIN).equal


def test_a_tariff_that_was_not_valid_is_said_and_priced_as_the_issuer_named_it() -> None:
    ended = msgspec.structs.replace(t.TARIFF_8, end_date_time=dt.datetime(2021, 1, 1, tzinfo=dt.UTC))
    cdr = to_json(issue_cdr(charge(kwh="20"), t.TARIFF_8, BERLIN)) | {"tariffs": [to_json(ended)]}

    check = check_cdr(cdr, BERLIN)

    assert check.equal
    assert check.warnings == ("tariff T1 is not valid at 2024-06-03T08:00:00Z",)


def test_a_period_without_tariff_beside_others_with_one_costs_nothing() -> None:
    """ChargingPeriod.tariff_id: if it is not provided, no tariff is relevant during the period."""
    half = msgspec.structs.replace(t.TARIFF_8, end_date_time=local(MONDAY, "10:30"))
    cdr = issue_cdr(charge(kwh="20"), half, BERLIN)

    assert [period.tariff_id for period in cdr.charging_periods] == ["T1", None]
    assert check_cdr(to_json(cdr), BERLIN).equal


def test_a_total_whose_dimension_no_period_has_is_not_compared() -> None:
    """The standard's own cdr_example: a tariff for time alone, and total_energy without ENERGY in a period."""
    hourly = t.tariff("(1) TIME 2 vat 10 step 300")
    start, end = "2015-06-29T21:39:09Z", "2015-06-29T23:37:32Z"
    cdr = foreign(
        hourly,
        [(start, {"TIME": "1.973"})],
        end,
        "4.00",
        total_time=Decimal("1.973"),
        total_energy=Decimal("15.342"),
    )

    assert check_cdr(cdr, BERLIN).equal
    with_energy = foreign(hourly, [(start, {"TIME": "1.973", "ENERGY": "15"})], end, "4.00")
    check = check_cdr(cdr | {"charging_periods": with_energy["charging_periods"]}, BERLIN)
    assert [difference.path for difference in check.differences] == ["total_energy"]
