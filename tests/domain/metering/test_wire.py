"""From the bytes of MeterValues to the energy of a session; every name that OCPP 1.6 has is known here."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from domain.metering import RawSample, Reading, current_a, normalise, power_w, session_energy
from domain.metering.reading import CONTEXTS, FORMATS, LOCATIONS, MEASURANDS, PHASES
from protocols.ocpp.message import Decoded
from protocols.ocpp.v16 import enums
from protocols.ocpp.v16.codec import decode_request
from protocols.ocpp.v16.messages.core import MeterValuesRequest

READ_AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)

PAYLOAD = b"""{"connectorId": 1, "transactionId": 7, "meterValue": [
  {"timestamp": "2026-03-01T10:00:00Z", "sampledValue": [
    {"value": "12.5", "unit": "kWh"},
    {"value": "11.04", "unit": "kW", "measurand": "Power.Active.Import"},
    {"value": "16", "unit": "A", "measurand": "Current.Import", "phase": "L1"},
    {"value": "16", "unit": "A", "measurand": "Current.Import", "phase": "L2"},
    {"value": "16", "unit": "A", "measurand": "Current.Import", "phase": "L3"}]},
  {"timestamp": "2026-03-01T12:15:00+02:00", "sampledValue": [{"value": "15250"}]}]}"""


def test_a_message_becomes_readings_and_energy() -> None:
    decoded = decode_request("MeterValues", PAYLOAD)
    assert isinstance(decoded, Decoded)
    assert isinstance(decoded.message, MeterValuesRequest)
    readings: list[Reading] = []
    for meter_value in decoded.message.meter_value:
        sampled = [
            msgspec.convert(sample, RawSample, from_attributes=True) for sample in meter_value.sampled_value
        ]
        found, problems = normalise(sampled, meter_value.timestamp)
        assert problems == ()
        readings += found
    assert session_energy(10_000, readings, None).wh == Decimal(5250)
    assert power_w(readings) == Decimal(11040)
    assert current_a(readings) == Decimal(48)
    assert msgspec.json.decode(msgspec.json.encode(readings), type=list[Reading]) == readings


def test_every_name_of_the_wire_is_known() -> None:
    assert {member.value for member in enums.Measurand} == MEASURANDS
    assert {member.value for member in enums.ReadingContext} == CONTEXTS
    assert {member.value for member in enums.Location} == LOCATIONS
    assert {member.value for member in enums.Phase} == PHASES
    assert {member.value for member in enums.ValueFormat} == FORMATS


def test_every_unit_of_the_wire_is_known() -> None:
    for unit in enums.UnitOfMeasure:
        _, problems = normalise([RawSample(value="1", unit=unit.value, measurand="X")], READ_AT)
        assert [problem for problem in problems if ".unit" in problem] == []
