"""The rules of SetChargingProfile and ClearChargingProfile (TC_056, TC_057, TC_059, TC_067)."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from domain.schedules import (
    Abilities,
    ChargingProfile,
    Placed,
    ProfileStack,
    Purpose,
    Recurrence,
    Refused,
    Unit,
    check,
    check_remote_start,
    clear,
    end_transaction,
    install,
)
from tests.domain.schedules.make import Steps, profile, stack

MAX, DEFAULT, TX = Purpose.CHARGE_POINT_MAX, Purpose.TX_DEFAULT, Purpose.TX
STEPS: Steps = [(0, 16)]


UNKNOWN = Abilities()


def ids(held: ProfileStack) -> list[tuple[int, int]]:
    return [(one.connector_id, one.profile.charging_profile_id) for one in held.profiles]


def refused(
    connector: int,
    wish: ChargingProfile,
    running: dict[int, int] | None = None,
    able: Abilities = UNKNOWN,
) -> list[tuple[str, str]]:
    result = install(ProfileStack(), connector, wish, running=running or {}, able=able)
    if isinstance(result, Placed):
        return []
    return [(refusal.code, refusal.field) for refusal in result.refusals]


@pytest.mark.parametrize(
    ("connector", "wish", "running", "expected"),
    [
        (0, profile(MAX, STEPS), {}, []),
        (1, profile(MAX, STEPS), {}, ["connector_id"]),
        (0, profile(DEFAULT, STEPS), {}, []),
        (2, profile(DEFAULT, STEPS), {}, []),
        (-1, profile(DEFAULT, STEPS), {}, ["connector_id"]),
        (1, profile(TX, STEPS, transaction_id=7), {1: 7}, []),
        (0, profile(TX, STEPS, transaction_id=7), {1: 7}, ["connector_id"]),
        (1, profile(TX, STEPS, transaction_id=7), {}, ["no_transaction"]),
        (2, profile(TX, STEPS, transaction_id=7), {1: 7}, ["no_transaction"]),
        (1, profile(TX, STEPS, transaction_id=8), {1: 7}, ["transaction_id"]),
        (1, profile(TX, STEPS), {1: 7}, ["transaction_id"]),
        (1, profile(DEFAULT, STEPS, transaction_id=7), {1: 7}, ["transaction_id"]),
    ],
)
def test_each_purpose_has_its_connectors(
    connector: int, wish: ChargingProfile, running: dict[int, int], expected: list[str]
) -> None:
    assert [code for code, _ in refused(connector, wish, running)] == expected


PERIODS = "charging_schedule.charging_schedule_period"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (profile(DEFAULT, [(1, 16)]), ("start_period", f"{PERIODS}[0].start_period")),
        (profile(DEFAULT, [(0, 16), (2, 8), (2, 6)]), ("start_period", f"{PERIODS}[2].start_period")),
        (profile(DEFAULT, []), ("periods", PERIODS)),
        (profile(DEFAULT, [(0, "16.25")]), ("limit", f"{PERIODS}[0].limit")),
        (profile(DEFAULT, [(0, -1)]), ("limit", f"{PERIODS}[0].limit")),
        (profile(DEFAULT, [(0, "NaN")]), ("limit", f"{PERIODS}[0].limit")),
        (profile(DEFAULT, [(0, "1e999")]), ("limit", f"{PERIODS}[0].limit")),
        (profile(DEFAULT, [(0, 16, 4)]), ("number_phases", f"{PERIODS}[0].number_phases")),
        (profile(DEFAULT, STEPS, level=-1), ("stack_level", "stack_level")),
        (profile(DEFAULT, STEPS, hours=-1), ("duration", "charging_schedule.duration")),
        (profile(DEFAULT, STEPS, valid=(2, 2)), ("validity", "valid_to")),
        (
            profile(DEFAULT, STEPS, every=Recurrence.DAILY, start=None),
            ("start_schedule", "charging_schedule.start_schedule"),
        ),
        (profile(MAX, STEPS, relative=True), ("charge_point_relative", "charging_profile_kind")),
        (
            msgspec.structs.replace(profile(DEFAULT, STEPS), recurrency_kind=Recurrence.DAILY),
            ("recurrency_kind", "recurrency_kind"),
        ),
        (
            msgspec.structs.replace(profile(DEFAULT, STEPS, every=Recurrence.DAILY), recurrency_kind=None),
            ("recurrency_kind", "recurrency_kind"),
        ),
    ],
)
def test_a_profile_that_breaks_one_rule_is_refused_by_its_field(
    wish: ChargingProfile, expected: tuple[str, str]
) -> None:
    assert refused(0, wish) == [expected]


def test_a_minimum_rate_has_one_decimal_too() -> None:
    wish = profile(DEFAULT, STEPS)
    low = msgspec.structs.replace(wish.charging_schedule, min_charging_rate=Decimal("0.15"))
    assert refused(0, msgspec.structs.replace(wish, charging_schedule=low)) == [
        ("limit", "charging_schedule.min_charging_rate")
    ]


def test_every_broken_rule_is_said_at_once() -> None:
    wish = profile(MAX, [(1, "0.25")], level=-1)
    assert [code for code, _ in refused(1, wish)] == ["stack_level", "start_period", "limit", "connector_id"]


def test_what_the_charge_point_cannot_do_is_refused() -> None:
    able = Abilities(max_stack_level=2, max_periods=1, max_installed=0, units=frozenset({Unit.A}))
    wish = profile(DEFAULT, [(0, 16), (1, 8)], level=3, unit=Unit.W)
    assert [code for code, _ in refused(0, wish, able=able)] == [
        "stack_level",
        "charging_rate_unit",
        "periods",
        "too_many_profiles",
    ]


def test_the_same_id_replaces_wherever_it_is() -> None:
    held = stack((1, profile(DEFAULT, STEPS, number=4, level=2)), (0, profile(MAX, STEPS, number=5)))
    result = install(held, 2, profile(DEFAULT, [(0, 6)], number=4), running={})
    assert isinstance(result, Placed)
    assert (ids(result.stack), result.replaced) == ([(0, 5), (2, 4)], (4,))


def test_the_same_purpose_and_level_replace_on_the_same_connector_only() -> None:
    held = stack(
        (0, profile(DEFAULT, STEPS, number=1, level=2)),
        (1, profile(DEFAULT, STEPS, number=2, level=2)),
        (1, profile(DEFAULT, STEPS, number=3, level=1)),
    )
    result = install(held, 1, profile(DEFAULT, [(0, 6)], number=9, level=2), running={})
    assert isinstance(result, Placed)
    assert (ids(result.stack), result.replaced) == ([(0, 1), (1, 3), (1, 9)], (2,))


def test_a_replacement_fits_into_a_full_charge_point() -> None:
    held = stack((0, profile(DEFAULT, STEPS, number=1)))
    able = Abilities(max_installed=1)
    assert isinstance(
        install(held, 0, profile(DEFAULT, STEPS, number=1, level=3), running={}, able=able), Placed
    )
    assert isinstance(
        install(held, 0, profile(DEFAULT, STEPS, number=2, level=3), running={}, able=able), Refused
    )


def test_a_refused_profile_leaves_its_reasons_and_the_way_out() -> None:
    result = install(ProfileStack(), 1, profile(TX, STEPS, transaction_id=8), running={1: 7})
    assert isinstance(result, Refused)
    assert result.refusals[0].text == "transaction 7 runs on connector 1; name it in transaction_id"


HELD = stack(
    (0, profile(MAX, STEPS, number=1)),
    (0, profile(DEFAULT, STEPS, number=2, level=1)),
    (1, profile(DEFAULT, STEPS, number=3, level=1)),
    (1, profile(TX, STEPS, number=4, transaction_id=7)),
    (2, profile(TX, STEPS, number=5)),
)


def test_clear_without_a_field_takes_all() -> None:
    cleared = clear(HELD)
    assert (ids(cleared.stack), cleared.cleared) == ([], (1, 2, 3, 4, 5))


def test_clear_by_id_ignores_the_other_fields() -> None:
    assert clear(HELD, charging_profile_id=3, connector_id=2, stack_level=9).cleared == (3,)


def test_clear_by_other_fields_takes_what_fits_them_all() -> None:
    assert clear(HELD, connector_id=1).cleared == (3, 4)
    assert clear(HELD, connector_id=0).cleared == (1, 2)
    assert clear(HELD, charging_profile_purpose=DEFAULT, stack_level=1).cleared == (2, 3)
    assert clear(HELD, charging_profile_purpose=DEFAULT, stack_level=1, connector_id=1).cleared == (3,)


def test_clear_that_fits_nothing_changes_nothing() -> None:
    cleared = clear(HELD, charging_profile_id=77)
    assert (cleared.stack, cleared.cleared) == (HELD, ())


def test_a_tx_profile_dies_with_its_transaction() -> None:
    assert ids(end_transaction(HELD, 1, 7)) == [(0, 1), (0, 2), (1, 3), (2, 5)]
    assert ids(end_transaction(HELD, 2, 9)) == [(0, 1), (0, 2), (1, 3), (1, 4)]


def test_a_remote_start_takes_a_tx_profile_without_transaction_only() -> None:
    def codes(wish: ChargingProfile) -> list[str]:
        return [refusal.code for refusal in check_remote_start(wish, Abilities())]

    assert codes(profile(TX, STEPS)) == []
    assert codes(profile(TX, STEPS, transaction_id=7)) == ["remote_start_transaction"]
    assert codes(profile(DEFAULT, STEPS)) == ["remote_start_purpose"]
    assert codes(profile(TX, [(1, 5)])) == ["start_period"]


def test_a_correct_profile_passes_every_check() -> None:
    wish = profile(
        DEFAULT,
        [(0, "16.5", 3), (8, 32)],
        start=22,
        hours=10,
        every=Recurrence.WEEKLY,
        valid=(0, 500),
        level=4,
    )
    able = Abilities(max_stack_level=4, max_periods=2, max_installed=1, units=frozenset({Unit.A}))
    assert check(wish, able) == ()


def test_a_stack_survives_json_in_snake_case() -> None:
    body = msgspec.to_builtins(
        stack((1, profile(TX, STEPS, transaction_id=7, valid=(0, None)))), str_keys=True
    )
    assert body["profiles"][0]["profile"]["charging_profile_purpose"] == "TxProfile"
    assert body["profiles"][0]["profile"]["charging_schedule"]["charging_schedule_period"] == (
        {"start_period": 0, "limit": "16"},
    )
    assert msgspec.json.decode(msgspec.json.encode(HELD), type=ProfileStack) == HELD
