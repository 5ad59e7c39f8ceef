"""From the wire's meter values to registers: MV-1, MV-2, MV-5."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from domain.values import RegisterSample
from gateway.ocpp.v16.readings import newest, registers, wire_data, wire_values
from protocols.ocpp.message import Decoded, Mode
from protocols.ocpp.v16.codec import decode_request
from protocols.ocpp.v16.messages.core import MeterValuesRequest

AT = "2026-03-01T12:00:00Z"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(*sampled: dict[str, Any]) -> MeterValuesRequest:
    payload = {"connectorId": 1, "meterValue": [{"timestamp": AT, "sampledValue": list(sampled)}]}
    decoded = decode_request("MeterValues", json.dumps(payload).encode(), mode=Mode.LENIENT)
    assert isinstance(decoded, Decoded)
    assert isinstance(decoded.message, MeterValuesRequest)
    return decoded.message


def test_a_bare_value_is_the_energy_register_in_wh_MV_1() -> None:
    samples, flags = registers(message({"value": "1100.5"}).meter_value)
    assert samples == (RegisterSample(at=NOON, energy_wh=Decimal("1100.5")),)
    assert flags == ()


def test_kilo_units_become_base_units_and_phases_are_summed_MV_2() -> None:
    samples, _ = registers(
        message(
            {"value": "1.5", "unit": "kWh"},
            {"value": "7.2", "unit": "kW", "measurand": "Power.Active.Import"},
            *(
                {"value": "10", "unit": "A", "measurand": "Current.Import", "phase": p}
                for p in ("L1", "L2", "L3")
            ),
            {"value": "55", "unit": "Percent", "measurand": "SoC", "location": "EV"},
        ).meter_value
    )
    (sample,) = samples
    assert (sample.energy_wh, sample.power_w) == (Decimal(1500), Decimal(7200))
    assert (sample.current_a, sample.soc_percent) == (Decimal(30), Decimal(55))


@pytest.mark.parametrize(
    "sampled",
    [
        {"value": "7200", "unit": "W", "measurand": "Power.Active.Import"},
        {"value": "0A1B", "format": "SignedData"},
        {"value": "a lot"},
    ],
)
def test_what_says_nothing_about_the_register_makes_no_sample_MV_5(sampled: dict[str, Any]) -> None:
    assert registers(message(sampled).meter_value)[0] == ()


def test_what_is_odd_is_said() -> None:
    _, flags = registers(message({"value": "a lot"}).meter_value)
    assert len(flags) == 1
    assert "not a number" in flags[0]


def test_the_wire_is_kept_to_the_last_digit_and_without_blanks() -> None:
    payload = b'{"connectorId": 1, "meterValue": [ {"timestamp":"x", "sampledValue":[{"value":"1.50 "}]} ]}'
    assert bytes(wire_values(payload)) == b'[{"timestamp":"x","sampledValue":[{"value":"1.50 "}]}]'
    assert bytes(wire_data(b'{"transactionId":1}')) == b"null"
    assert bytes(wire_data(b'{"transactionData":[ ]}')) == b"[]"


def test_the_newest_moment_counts() -> None:
    assert newest(message({"value": "1"}).meter_value) == NOON
    assert newest(()) is None
