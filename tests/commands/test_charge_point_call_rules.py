"""What a charge point announced and what runs there forbid calls to it, in one line, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from commands.base import Accepted, Refusal, Rejected
from commands.charge_point import ConcludeCall, RequestCall
from domain.charge_point.state import PROFILES_MOST
from tests.commands.charge_point_case import Case, after
from tests.commands.v16_calls import intent, learned

KEYS = {
    "SupportedFeatureProfiles": "Core,SmartCharging,Reservation,LocalAuthListManagement,RemoteTrigger",
    "NumberOfConnectors": "2",
    "GetConfigurationMaxKeys": "3",
    "LocalAuthListMaxLength": "4",
    "SendLocalListMaxLength": "3",
    "ChargeProfileMaxStackLevel": "2",
    "ChargingScheduleAllowedChargingRateUnit": "Current",
    "ChargingScheduleMaxPeriods": "2",
    "MaxChargingProfilesInstalled": "2",
}


def answered(case: Case, action: str, response: Any, status: str = "accepted", **payload: Any) -> None:
    """A call that the charge point answers."""
    id = f"call-{case.numbers}"
    request(case, action, payload, id)
    assert isinstance(case.outcome, Accepted), case.outcome
    reason, taught = str(response.get("status", "")), learned(action, response, payload)
    case.do(ConcludeCall, 1, command_id=id, status=status, reason=reason, learned=taught, answered=True)


def request(
    case: Case, action: str, payload: dict[str, Any], id: str = "r1", *, override: bool = False
) -> str:
    """Why it is refused; empty where it is sent."""
    wanted = intent(action, payload)
    case.do(RequestCall, 0, intent=wanted, command_id=id, expires_at=after(30), override=override)
    if isinstance(case.outcome, Rejected):
        assert case.refusal is Refusal.NOT_ALLOWED
        return case.outcome.message.removeprefix("charge point CP-1 ")
    return ""


def told(**keys: str | None) -> Case:
    """A charge point that told its configuration."""
    case = Case.online()
    known = {name: value for name, value in {**KEYS, **keys}.items() if value is not None}
    entries = [{"key": name, "readonly": True, "value": value} for name, value in known.items()]
    answered(case, "GetConfiguration", {"configurationKey": entries})
    return case


def profile(id: int = 1, purpose: str = "TxDefaultProfile", unit: str = "A", **fields: Any) -> dict[str, Any]:
    return {
        "chargingProfileId": id,
        "stackLevel": 0,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Relative",
        "chargingSchedule": {
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
        },
        **fields,
    }


def many_periods(count: int) -> dict[str, Any]:
    periods = [{"startPeriod": 60 * number, "limit": 16.0} for number in range(count)]
    return {"chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": periods}}


def local_list(length: int, version: int = 1, update_type: str = "Full") -> dict[str, Any]:
    entries = [{"idTag": f"s1.k.{number}", "idTagInfo": {"status": "Accepted"}} for number in range(length)]
    return {"listVersion": version, "updateType": update_type, "localAuthorizationList": entries}


@pytest.mark.parametrize(
    ("action", "payload", "why"),
    [
        ("UnlockConnector", {"connectorId": 3}, "has no connector 3: it announced 2"),
        (
            "RemoteStartTransaction",
            {"connectorId": 3, "idTag": "s1.k.a"},
            "has no connector 3: it announced 2",
        ),
        (
            "GetConfiguration",
            {"key": ["a", "b", "c", "d"]},
            "tells at most 3 keys at once, not 4: ask in parts, or for all with none",
        ),
        (
            "SendLocalList",
            local_list(4),
            "takes at most 3 entries of a local list at once, not 4: send it in parts",
        ),
        (
            "SetChargingProfile",
            {"connectorId": 1, "csChargingProfiles": profile(stackLevel=3)},
            "cannot take the charging profile: stack_level 3 is above the charge point's 2",
        ),
        (
            "SetChargingProfile",
            {"connectorId": 1, "csChargingProfiles": profile(unit="W")},
            "cannot take the charging profile: the charge point takes A, not W",
        ),
        (
            "SetChargingProfile",
            {"connectorId": 1, "csChargingProfiles": profile(**many_periods(3))},
            "cannot take the charging profile: 3 periods are more than the charge point's 2",
        ),
        (
            "RemoteStartTransaction",
            {"idTag": "s1.k.a", "chargingProfile": profile(purpose="TxProfile", unit="W")},
            "cannot take the charging profile: the charge point takes A, not W",
        ),
        (
            "GetCompositeSchedule",
            {"connectorId": 1, "duration": 60, "chargingRateUnit": "W"},
            "tells its limits in A, not W",
        ),
        (
            "ReserveNow",
            {"connectorId": 0, "reservationId": 1, "idTag": "s1.k.a"},
            "reserves single connectors only: name one above 0",
        ),
    ],
)
def test_what_it_announced_counts_unless_it_is_overridden(
    action: str, payload: dict[str, Any], why: str
) -> None:
    assert request(told(), action, payload) == why
    assert request(told(), action, payload, override=True) == ""
    assert request(Case.online(), action, payload) == "", "it never said so"


def test_it_reserves_the_whole_where_it_says_so() -> None:
    wanted = {"connectorId": 0, "reservationId": 1, "idTag": "s1.k.a"}
    assert request(told(ReserveConnectorZeroSupported="true"), "ReserveNow", wanted) == ""
    assert request(told(ReserveConnectorZeroSupported="false"), "ReserveNow", wanted)


def test_a_local_list_is_no_longer_than_what_it_holds() -> None:
    case = told(SendLocalListMaxLength=None)
    assert request(case, "SendLocalList", local_list(5)) == "holds at most 4 entries of a local list, not 5"
    assert request(case, "SendLocalList", local_list(4)) == ""


def test_the_version_of_a_local_list_rises() -> None:
    case = told()
    answered(case, "SendLocalList", {"status": "Accepted"}, **local_list(1, version=7))
    assert request(case, "SendLocalList", local_list(1, version=7)) == (
        "holds version 7 of its local list: send a higher one"
    )
    assert request(case, "SendLocalList", local_list(1, version=8), "next") == ""


def test_what_it_says_of_its_local_list_counts() -> None:
    case = told()
    answered(case, "SendLocalList", {"status": "Accepted"}, **local_list(1, version=7))
    answered(case, "GetLocalListVersion", {"listVersion": 0})
    assert request(case, "SendLocalList", local_list(1, version=1), "again") == ""
    answered(case, "GetLocalListVersion", {"listVersion": -1})
    assert request(case, "SendLocalList", local_list(1, version=9), "none") == "holds no local list"


def test_a_refused_local_list_leaves_its_version() -> None:
    case = told()
    answered(case, "SendLocalList", {"status": "Failed"}, "rejected", **local_list(1, version=7))
    assert request(case, "SendLocalList", local_list(1, version=7), "again") == ""


def test_a_tx_profile_is_for_the_transaction_that_runs_there_whatever_is_overridden() -> None:
    case = told()
    number = case.start().transaction_id

    def tx(connector_id: int, transaction_id: int) -> str:
        wanted = profile(purpose="TxProfile", transactionId=transaction_id)
        payload = {"connectorId": connector_id, "csChargingProfiles": wanted}
        return request(case, "SetChargingProfile", payload, f"{connector_id}-{transaction_id}", override=True)

    assert tx(2, number) == (
        "cannot take the charging profile: no transaction runs on connector 2; use a TxDefaultProfile"
    )
    assert tx(1, number + 1) == (
        f"cannot take the charging profile: transaction {number} runs on connector 1; "
        "name it in transaction_id"
    )
    assert tx(1, number) == ""


def install(case: Case, id: int, connector_id: int = 1, **fields: Any) -> str:
    """Why it is refused, or it is taken."""
    payload = {"connectorId": connector_id, "csChargingProfiles": profile(id, **fields)}
    why = request(case, "SetChargingProfile", payload, f"set-{id}-{case.numbers}")
    if not why:
        (call,) = case.state.calls
        case.do(ConcludeCall, 1, command_id=call, status="accepted", reason="Accepted", answered=True)
    return why


def test_no_more_profiles_than_it_holds() -> None:
    case = told()
    full = "cannot take the charging profile: the charge point holds at most 2 profiles; clear one first"
    assert [install(case, id, stackLevel=id) for id in (0, 1, 2)] == ["", "", full]
    assert install(case, 1, stackLevel=2) == "", "the same id replaces"
    assert install(case, 3, stackLevel=2) == "", "the same place replaces"
    assert install(case, 4, stackLevel=1) == full
    answered(case, "ClearChargingProfile", {"status": "Accepted"}, id=0)
    assert install(case, 4, stackLevel=1) == ""


@pytest.mark.parametrize(("status", "answer"), [("accepted", "Accepted"), ("rejected", "Unknown")])
def test_after_it_cleared_a_profile_or_knew_of_none_there_is_none(status: str, answer: str) -> None:
    case = told()
    install(case, 1)
    answered(case, "ClearChargingProfile", {"status": answer}, status, connectorId=1)
    assert not case.state.profiles.profiles


def test_a_tx_profile_ends_with_its_transaction() -> None:
    case = told()
    number = case.start().transaction_id
    install(case, 1)
    install(case, 2, purpose="TxProfile", transactionId=number)
    case.stop(number, 10)
    assert [one.profile.charging_profile_id for one in case.state.profiles.profiles] == [1]


def test_profiles_are_remembered_within_bounds_and_without_their_schedules() -> None:
    case = told(MaxChargingProfilesInstalled=None, ChargeProfileMaxStackLevel=None)
    for id in range(PROFILES_MOST + 2):
        install(case, id, stackLevel=id)
    ids = [one.profile.charging_profile_id for one in case.state.profiles.profiles]
    assert ids == list(range(2, PROFILES_MOST + 2))
    assert not any(
        one.profile.charging_schedule.charging_schedule_period for one in case.state.profiles.profiles
    )
