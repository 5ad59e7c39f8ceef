"""The verdict of a demo: a charge counts as delivered only where the device, the API and the eMSP agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chargesphere.demo.charge_point import Charge, SimulatedChargePoint
from chargesphere.demo.emsp import Emsp
from chargesphere.demo.verdict import Verdict, judge

CARD = "04D00000000001"
SESSION = "0f8fad5b-d9cb-469f-a165-70867728950e"


def charged(*, finished: bool = True) -> dict[str, list[SimulatedChargePoint]]:
    device = SimulatedChargePoint("ws://127.0.0.1:1/ocpp/demo", "DEMO-1", "secret")
    now = datetime.now(UTC)
    charge = Charge(1, CARD, 1000, now, 7, "Accepted", now, 1250, finished)
    device.charges.append(charge)
    return {"demo": [device]}


def emsp(total_energy: str = "0.25", uid: str = CARD) -> Emsp:
    emsp = Emsp()
    emsp.cdrs[SESSION] = {"total_energy": total_energy, "cdr_token": {"uid": uid}}
    return emsp


def session() -> dict[str, Any]:
    return {"id": SESSION, "charge_point_id": "DEMO-1", "transaction_id": 7}


def cdr(state: str = "delivered") -> dict[str, Any]:
    return {"id": SESSION, "delivery": {"state": state, "retries": 1}}


def verdict(devices: dict[str, list[SimulatedChargePoint]], emsp: Emsp, state: str = "delivered") -> Verdict:
    return judge(devices, emsp, {"demo": [session()]}, {"demo": [cdr(state)]})


def test_a_charge_that_all_know_is_good() -> None:
    found = verdict(charged(), emsp())

    assert (found.started, found.finished, found.issued, found.delivered, found.retried) == (1, 1, 1, 1, 1)
    assert found.good


def test_no_charge_at_all_is_not_good() -> None:
    assert not judge({"demo": []}, emsp(), {}, {}).good


@pytest.mark.parametrize("state", ["waiting", "in_flight", "failed"])
def test_a_cdr_that_is_not_delivered_is_not_good(state: str) -> None:
    found = verdict(charged(), emsp(), state)

    assert (found.issued, found.delivered, found.good) == (1, 0, False)


def test_a_cdr_that_only_the_api_calls_delivered_is_not_good() -> None:
    found = verdict(charged(), Emsp())

    assert (found.delivered, found.good) == (0, False)


def test_a_charge_without_a_session_is_not_good() -> None:
    found = judge(charged(), emsp(), {"demo": []}, {"demo": [cdr()]})

    assert (found.finished, found.issued, found.good) == (1, 0, False)


def test_a_charge_that_goes_on_is_not_settled() -> None:
    found = verdict(charged(finished=False), emsp())

    assert (found.started, found.finished, found.settled) == (1, 0, False)


def test_another_energy_or_another_card_is_a_problem() -> None:
    assert verdict(charged(), emsp(total_energy="0.3")).problems == [
        "DEMO-1/7: charged 0.25 kWh, the CDR says 0.3"
    ]
    assert verdict(charged(), emsp(uid="04FFFFFF")).problems == ["DEMO-1/7: the CDR names another card"]
