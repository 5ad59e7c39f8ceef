"""Wanted and told values of a configuration variable: which are the same, and what cannot be wished for."""

from __future__ import annotations

import pytest

from domain.charge_point.wanted import (
    WISHES_MOST,
    VariableState,
    Wanted,
    default,
    mark_of,
    same,
    wish,
    wishes_of,
    worst,
    wrong_defaults,
    wrong_in,
)
from domain.charge_point.wanted import Wish as W


@pytest.mark.parametrize(
    ("wanted", "told", "equal"),
    [
        ("10", "10.0", True),
        ("10", " 010", True),
        ("1e2", "100", True),
        ("10", "11", False),
        ("true", "TRUE", True),
        ("true", "false", False),
        ("true", "1", False),
        ("Energy.Active.Import.Register,SoC", "SoC, Energy.Active.Import.Register", True),
        ("Energy.Active.Import.Register", "Energy.Active.Import.Register,SoC", False),
        ("0.RST,1.RST", "1.RST, 0.RST", True),
        ("Current", "current", True),  # CiString500 (OCPP 1.6, 7.29)
        ("", "", True),
        ("NaN", "nan", True),
        ("1e400", "1e401", False),
        ("0", "-0.0", True),
        ("1000", "1_000", False),
        ("12", "\u0661\u0662", False),  # digits of another script are another text
        ("12345678901234567890123456789012", "12345678901234567890123456789013", False),
        ("0.12345678901234567890123456789012", "0.12345678901234567890123456789013", False),
    ],
)
def test_values_are_compared_by_type_since_charge_points_reformat_them(
    wanted: str, told: str, equal: bool
) -> None:
    assert same(wanted, told) is equal
    assert same(told, wanted) is equal


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "1"),
        ("k" * 51, "1"),
        ("Key", "v" * 501),
        ("AuthorizationKey", "00"),
        ("WifiPassword", "x"),
        ("apnPwd", "x"),
        ("Wifi-PSK", "x"),
        ("Backend.ApiKey", "x"),
        ("SimPin", "x"),
        ("SIM_PIN_CODE", "x"),
        ("Passcode", "x"),
        ("AccessToken", "x"),
        ("SharedKey", "x"),
        ("EncryptionKey", "x"),
        ("Key\n", "1"),
        ("s1.k", "1"),
        ("Key", "s1.sealed"),
    ],
)
def test_what_is_no_variable_or_a_secret_cannot_be_wished_for_SEC_04(key: str, value: str) -> None:
    assert wrong_in(key, value)


def test_what_can_be_wished_for() -> None:
    assert wrong_in("MeterValueSampleInterval", "60") == wrong_in("Key", None) == ""
    assert wrong_in("StopTransactionOnInvalidId", "true") == wrong_in("MaxTokenLength", "20") == ""


def test_a_tenants_wishes_name_each_key_once_and_no_heartbeat_interval() -> None:
    assert not wrong_defaults({"MeterValueSampleInterval": "60"})
    assert "heartbeat_interval" in wrong_defaults({"HeartbeatInterval": "60"})
    assert wrong_defaults({"Key": "1", "KEY": "2"})
    assert wrong_defaults({f"Key{i}": "1" for i in range(WISHES_MOST + 1)})
    assert "Password" in wrong_defaults({"Password": "x"})


def test_the_charge_points_own_wish_goes_before_its_tenants_whichever_came_first() -> None:
    wanted: dict[str, Wanted] = {}
    default(wanted, [W(key="Key", value="1"), W(key="Other", value="5")])
    wish(wanted, [W(key="KEY", value="2")])
    assert (wanted["key"].value, wanted["other"].value) == ("2", "5")
    default(wanted, [W(key="Key", value="3")])
    assert (wanted["key"].value, set(wanted)) == ("2", {"key"})
    wish(wanted, [W(key="key")])
    assert wanted["key"].value == "3"
    default(wanted, [])
    assert wanted == {}


def test_a_tenants_wish_that_stays_the_same_goes_on_as_it_stands() -> None:
    wanted = {"key": Wanted(key="Key", default="1", state=VariableState.IN_SYNC, unread=False)}
    default(wanted, [W(key="Key", value="1"), W(key="New", value="2")])
    assert (wanted["key"].state, wanted["new"].state) == (VariableState.IN_SYNC, VariableState.PENDING)


def test_the_worst_is_what_is_shown_of_many() -> None:
    def of(*states: VariableState) -> VariableState | None:
        return worst(Wanted(key=str(i), state=state) for i, state in enumerate(states))

    assert of() is None
    assert of(VariableState.IN_SYNC, VariableState.PENDING) is VariableState.PENDING
    assert of(VariableState.IN_SYNC, VariableState.REFUSED, VariableState.DRIFT) is VariableState.DRIFT


def test_a_set_of_wishes_is_told_from_another_by_its_mark() -> None:
    assert mark_of(wishes_of({"A": "1", "B": "2"})) == mark_of(wishes_of({"B": "2", "A": "1"}))
    assert mark_of(wishes_of({"A": "1"})) != mark_of(wishes_of({"A": "2"}))
    assert mark_of(()) == ""
