"""Payloads of OCPP 1.6: accepted, repaired, or refused with the right code and path."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest

from protocols.ocpp.actions import Direction
from protocols.ocpp.message import Confirmation, Decoded, ErrorCode, Mode, Request, WireError
from protocols.ocpp.v16 import CONFIRMATIONS, DIRECTIONS, PROFILES, REQUESTS
from protocols.ocpp.v16.codec import (
    ACTION_OF,
    UnsendableError,
    decode_confirmation,
    decode_request,
    encode,
)
from protocols.ocpp.v16.enums import (
    AuthorizationStatus,
    ChargePointErrorCode,
    ChargePointStatus,
    Measurand,
    ReadingContext,
    Reason,
    RegistrationStatus,
    UnitOfMeasure,
)
from protocols.ocpp.v16.messages.core import (
    AuthorizeRequest,
    BootNotificationConfirmation,
    BootNotificationRequest,
    HeartbeatConfirmation,
    HeartbeatRequest,
    MeterValuesRequest,
    StartTransactionConfirmation,
    StartTransactionRequest,
    StatusNotificationRequest,
    StopTransactionRequest,
)
from protocols.ocpp.v16.messages.parts import IdTagInfo
from protocols.ocpp.v16.messages.smart_charging import SetChargingProfileRequest

START = {"connectorId": 1, "idTag": "A1", "meterStart": 10, "timestamp": "2024-05-01T10:00:00Z"}
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def request(action: str, payload: object, mode: Mode = Mode.STRICT) -> Decoded[Request] | WireError:
    return decode_request(action, json.dumps(payload).encode(), mode=mode)


def refused(outcome: Decoded[Request] | Decoded[Confirmation] | WireError) -> WireError:
    assert isinstance(outcome, WireError)
    return outcome


def accepted(outcome: Decoded[Request] | WireError) -> Decoded[Request]:
    assert isinstance(outcome, Decoded), outcome
    return outcome


def test_there_are_39_actions_in_every_table() -> None:
    assert len(REQUESTS) == 39
    assert REQUESTS.keys() == CONFIRMATIONS.keys() == DIRECTIONS.keys() == PROFILES.keys()
    assert len(ACTION_OF) == 78


def test_an_exact_payload_is_decoded_without_flags_and_its_raw_form_kept() -> None:
    payload = b'{"chargePointVendor":"V","chargePointModel":"M"}'
    outcome = accepted(decode_request("BootNotification", payload))
    assert outcome.message == BootNotificationRequest(charge_point_vendor="V", charge_point_model="M")
    assert (outcome.flags, outcome.raw) == ((), payload)


def test_a_payload_may_come_straight_out_of_a_frame() -> None:
    assert accepted(decode_request("Heartbeat", msgspec.Raw(b"{}"))).message == HeartbeatRequest()


@pytest.mark.parametrize("mode", list(Mode))
def test_null_is_a_payload_of_an_action_without_fields_j11(mode: Mode) -> None:
    outcome = accepted(decode_request("Heartbeat", b"null", mode=mode))
    assert (outcome.message, outcome.flags) == (HeartbeatRequest(), ())


@pytest.mark.parametrize("mode", list(Mode))
def test_an_unknown_action_is_not_implemented_and_a_foreign_one_not_supported_j13(mode: Mode) -> None:
    assert refused(request("Hartbeat", {}, mode)).code is ErrorCode.NOT_IMPLEMENTED
    assert refused(request("Reset", {"type": "Hard"}, mode)).code is ErrorCode.NOT_SUPPORTED
    foreign = decode_request("Heartbeat", b"{}", mode=mode, sender=Direction.FROM_CENTRAL_SYSTEM)
    assert refused(foreign).code is ErrorCode.NOT_SUPPORTED
    assert refused(decode_confirmation("Hartbeat", b"{}", mode=mode)).code is ErrorCode.NOT_IMPLEMENTED


def test_data_transfer_goes_both_ways() -> None:
    for sender in (Direction.FROM_CHARGE_POINT, Direction.FROM_CENTRAL_SYSTEM):
        accepted(decode_request("DataTransfer", b'{"vendorId":"V"}', sender=sender))


@pytest.mark.parametrize(
    ("action", "payload", "code", "path"),
    [
        ("Authorize", {}, ErrorCode.PROTOCOL_ERROR, "$.idTag"),
        ("Authorize", {"idTag": 7}, ErrorCode.TYPE_CONSTRAINT_VIOLATION, "$.idTag"),
        ("Authorize", {"idTag": None}, ErrorCode.TYPE_CONSTRAINT_VIOLATION, "$.idTag"),
        ("Authorize", {"idTag": "x" * 21}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "$.idTag"),
        ("Authorize", {"idTag": "x", "tag": "y"}, ErrorCode.FORMATION_VIOLATION, "$.tag"),
        ("Authorize", {"idTag": "x", "bad name": "y"}, ErrorCode.FORMATION_VIOLATION, "$.?"),
        ("Authorize", [], ErrorCode.FORMATION_VIOLATION, "$"),
        ("Authorize", None, ErrorCode.FORMATION_VIOLATION, "$"),
        (
            "StartTransaction",
            START | {"meterStart": "10"},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.meterStart",
        ),
        (
            "StartTransaction",
            START | {"meterStart": 10.0},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.meterStart",
        ),
        (
            "StartTransaction",
            START | {"meterStart": True},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.meterStart",
        ),
        (
            "StartTransaction",
            START | {"meterStart": 2**63},
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            "$.meterStart",
        ),
        (
            "StartTransaction",
            START | {"reservationId": None},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.reservationId",
        ),
        (
            "StartTransaction",
            START | {"timestamp": "2024-02-30T10:00:00Z"},
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            "$.timestamp",
        ),
        (
            "StartTransaction",
            START | {"timestamp": "2024-05-01T10:00:00"},
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            "$.timestamp",
        ),
        (
            "StartTransaction",
            START | {"timestamp": "2024-05-01 10:00:00Z"},
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            "$.timestamp",
        ),
        ("StartTransaction", START | {"timestamp": 5}, ErrorCode.TYPE_CONSTRAINT_VIOLATION, "$.timestamp"),
        (
            "MeterValues",
            {"connectorId": 1, "meterValue": []},
            ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
            "$.meterValue",
        ),
        (
            "MeterValues",
            {"connectorId": 1, "meterValue": {}},
            ErrorCode.TYPE_CONSTRAINT_VIOLATION,
            "$.meterValue",
        ),
        (
            "MeterValues",
            {
                "connectorId": 1,
                "meterValue": [{"timestamp": "2024-05-01T10:00:00Z", "sampledValue": [{"value": "1"}, {}]}],
            },
            ErrorCode.PROTOCOL_ERROR,
            "$.meterValue[0].sampledValue[1].value",
        ),
        (
            "StatusNotification",
            {"connectorId": 1, "errorCode": "NoError", "status": "Occupied"},
            ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
            "$.status",
        ),
    ],
)
def test_a_strict_refusal_has_the_code_and_the_path_j13(
    action: str, payload: object, code: ErrorCode, path: str
) -> None:
    error = refused(request(action, payload))
    assert (error.code, error.path) == (code, path)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b'{"idTag":"a"}x', b'{"idTag":NaN}', b'{"idTag":"\\ud800"}', b"\xff"]
)
@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_not_json_is_a_formation_violation(payload: bytes, mode: Mode) -> None:
    assert refused(decode_request("Authorize", payload, mode=mode)).code is ErrorCode.FORMATION_VIOLATION


def test_of_duplicate_keys_the_last_wins() -> None:
    assert accepted(decode_request("Authorize", b'{"idTag":"a","idTag":"b"}')).message == AuthorizeRequest(
        id_tag="b"
    )


def test_descriptions_never_quote_the_payload_j14() -> None:
    for payload in ({"idTag": "SECRET" * 9}, {"idTag": "x", "SECRET": 1}, {"idTag": {"SECRET": 1}}):
        assert "SECRET" not in refused(request("Authorize", payload)).description


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01T12:00:00.000Z", NOON),
        ("2024-05-01T12:00:00.123456789Z", NOON.replace(microsecond=123457)),
        ("2024-05-01T14:00:00+02:00", NOON),
        ("2024-05-01T14:00:00+0200", NOON),
        ("2024-05-01T06:30:00-05:30", NOON),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_come_with_any_offset_and_fraction_j24(text: str, moment: datetime) -> None:
    outcome = accepted(request("StartTransaction", START | {"timestamp": text}))
    assert isinstance(outcome.message, StartTransactionRequest)
    assert (outcome.message.timestamp, outcome.flags) == (moment, ())


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("2024-05-01T12:00:00", "no zone, read as UTC"),
        ("2024-05-01 12:00:00Z", "space read as T"),
        ("2024-05-01 12:00:00", "space read as T; no zone, read as UTC"),
        ("2024-05-01T12:00Z", "unusual form of a date and time"),
        (" 2024-05-01T14:00:00+02 ", "unusual form of a date and time"),
    ],
)
def test_lenient_reads_odd_dates_and_flags_them_j24(text: str, note: str) -> None:
    outcome = accepted(request("StartTransaction", START | {"timestamp": text}, Mode.LENIENT))
    assert isinstance(outcome.message, StartTransactionRequest)
    assert outcome.message.timestamp == NOON
    assert outcome.flags == (f"$.timestamp: {note}",)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:30:00-01:00"])
def test_a_date_without_a_year_in_utc_is_refused_or_replaced(text: str) -> None:
    body = json.dumps(START | {"timestamp": text}).encode()
    assert refused(decode_request("StartTransaction", body)).path == "$.timestamp"
    outcome = accepted(decode_request("StartTransaction", body, mode=Mode.LENIENT, received_at=NOON))
    assert isinstance(outcome.message, StartTransactionRequest)
    assert outcome.message.timestamp == NOON


@pytest.mark.parametrize("transaction_id", [None, "", "none", {}])
def test_lenient_reads_an_odd_transaction_id_of_meter_values_as_absent_j26(transaction_id: object) -> None:
    value = {"timestamp": "2024-05-01T12:00:00Z", "sampledValue": [{"value": "1"}]}
    payload = {"connectorId": 1, "transactionId": transaction_id, "meterValue": [value]}
    outcome = accepted(request("MeterValues", payload, Mode.LENIENT))
    assert isinstance(outcome.message, MeterValuesRequest)
    assert (outcome.message.transaction_id, len(outcome.flags)) == (None, 1)


def test_lenient_may_leave_a_required_list_empty() -> None:
    value = {"timestamp": "2024-05-01T12:00:00Z", "sampledValue": [{"value": "1", "unit": "Furlong"}]}
    outcome = accepted(request("MeterValues", {"connectorId": 1, "meterValue": [value, 7]}, Mode.LENIENT))
    assert isinstance(outcome.message, MeterValuesRequest)
    assert [len(item.sampled_value) for item in outcome.message.meter_value] == [0]
    assert outcome.flags == (
        "$.meterValue[0].sampledValue[0].unit: item dropped: the value is not one of the enumeration",
        "$.meterValue[0].sampledValue: empty list",
        "$.meterValue[1]: item dropped: an object is expected",
    )


def test_lenient_reads_a_leap_second_as_the_second_before() -> None:
    outcome = accepted(
        request("StartTransaction", START | {"timestamp": "2016-12-31T23:59:60Z"}, Mode.LENIENT)
    )
    assert isinstance(outcome.message, StartTransactionRequest)
    assert outcome.message.timestamp == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("broken", [{"timestamp": "yesterday"}, {"timestamp": None}, {"timestamp": 0}, {}])
def test_lenient_takes_the_time_of_receipt_for_an_unreadable_required_date(broken: dict[str, object]) -> None:
    payload = {name: value for name, value in START.items() if name != "timestamp"} | broken
    body = json.dumps(payload).encode()
    outcome = accepted(decode_request("StartTransaction", body, mode=Mode.LENIENT, received_at=NOON))
    assert isinstance(outcome.message, StartTransactionRequest)
    assert outcome.message.timestamp == NOON
    assert outcome.flags == ("$.timestamp: unreadable, time of receipt taken",)
    assert refused(decode_request("StartTransaction", body, mode=Mode.LENIENT)).path == "$.timestamp"


def test_lenient_coerces_flags_and_keeps_the_raw_j26() -> None:
    payload = START | {
        "connectorId": "1",
        "idTag": 4711,
        "meterStart": 12.6,
        "reservationId": "",
        "extra": {"a": 1},
    }
    outcome = accepted(request("StartTransaction", payload, Mode.LENIENT))
    assert outcome.message == StartTransactionRequest(
        connector_id=1, id_tag="4711", meter_start=13, timestamp=datetime(2024, 5, 1, 10, tzinfo=UTC)
    )
    assert outcome.flags == (
        "$.extra: unknown field dropped",
        "$.connectorId: read as an integer",
        "$.idTag: number read as text",
        "$.meterStart: rounded to an integer",
        "$.reservationId: empty value read as absent",
    )
    assert json.loads(outcome.raw) == payload


def test_lenient_keeps_texts_that_are_too_long_j26() -> None:
    payload = {"chargePointVendor": "V", "chargePointModel": "M", "chargePointSerialNumber": "S" * 34}
    outcome = accepted(request("BootNotification", payload, Mode.LENIENT))
    assert isinstance(outcome.message, BootNotificationRequest)
    assert outcome.message.charge_point_serial_number == "S" * 34
    assert outcome.flags == ("$.chargePointSerialNumber: the text is longer than 25 characters; kept",)


@pytest.mark.parametrize("odd", [None, "", "abc", {}, [], True, 2**70])
def test_lenient_never_loses_a_stop_for_an_odd_optional_field_j26(odd: object) -> None:
    for field in ("reason", "transactionData"):
        payload = {"transactionId": 7, "meterStop": 20, "timestamp": "2024-05-01T12:00:00Z", field: odd}
        outcome = accepted(request("StopTransaction", payload, Mode.LENIENT))
        assert isinstance(outcome.message, StopTransactionRequest)
        assert (outcome.message.transaction_id, outcome.message.meter_stop) == (7, 20)
        assert outcome.flags or (field, odd) == ("transactionData", [])


def test_lenient_reads_unknown_reasons_and_error_codes_as_other() -> None:
    stop = {"transactionId": 7, "meterStop": 20, "timestamp": "2024-05-01T12:00:00Z", "reason": "Lightning"}
    outcome = accepted(request("StopTransaction", stop, Mode.LENIENT)).message
    assert isinstance(outcome, StopTransactionRequest)
    assert outcome.reason is Reason.OTHER
    status = {"connectorId": 1, "errorCode": "Lightning", "status": "faulted"}
    found = accepted(request("StatusNotification", status, Mode.LENIENT))
    assert isinstance(found.message, StatusNotificationRequest)
    assert found.message.error_code is ChargePointErrorCode.OTHER_ERROR
    assert found.flags == (
        "$.errorCode: unknown value read as OtherError",
        "$.status: letter case or spaces corrected",
    )


def test_lenient_drops_a_sample_whose_meaning_is_unknown_and_keeps_the_others() -> None:
    samples: list[object] = [
        {"value": 12.50},
        {"value": "5", "measurand": "Moon.Phase"},
        {"value": "5", "unit": "Furlong"},
        {"value": "5", "phase": "L4"},
        {"value": "50", "measurand": "Frequency", "unit": "Hz", "context": "Boredom"},
        "7",
    ]
    payload = {
        "connectorId": 1,
        "meterValue": [{"timestamp": "2024-05-01T12:00:00Z", "sampledValue": samples}],
    }
    outcome = accepted(request("MeterValues", payload, Mode.LENIENT))
    assert isinstance(outcome.message, MeterValuesRequest)
    first, second = outcome.message.meter_value[0].sampled_value
    assert first.value == "12.5"
    assert (second.measurand, second.unit) == (Measurand.FREQUENCY, UnitOfMeasure.HERTZ)
    assert second.context is ReadingContext.OTHER
    assert [flag.split(":")[0] for flag in outcome.flags if "dropped" in flag] == [
        "$.meterValue[0].sampledValue[1].measurand",
        "$.meterValue[0].sampledValue[2].unit",
        "$.meterValue[0].sampledValue[3].phase",
        "$.meterValue[0].sampledValue[5]",
    ]


def test_lenient_reads_a_single_object_as_a_list_of_one() -> None:
    value = {"timestamp": "2024-05-01T12:00:00Z", "sampledValue": {"value": "1"}}
    outcome = accepted(request("MeterValues", {"connectorId": 1, "meterValue": value}, Mode.LENIENT))
    assert isinstance(outcome.message, MeterValuesRequest)
    assert outcome.message.meter_value[0].sampled_value[0].value == "1"


def test_lenient_drops_a_composite_schedule_as_a_whole_rather_than_a_part_of_it() -> None:
    schedule = {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6}, {"limit": 9}],
    }
    body = json.dumps({"status": "Accepted", "chargingSchedule": schedule}).encode()
    outcome = decode_confirmation("GetCompositeSchedule", body, mode=Mode.LENIENT)
    assert isinstance(outcome, Decoded)
    assert outcome.message == CONFIRMATIONS["GetCompositeSchedule"](status="Accepted")
    assert outcome.flags == (
        "$.chargingSchedule.chargingSchedulePeriod[1].startPeriod: field dropped: a required field is missing",
    )


def test_flags_are_bounded() -> None:
    payload = {"idTag": "x"} | {f"extra{n}": n for n in range(1000)}
    outcome = accepted(request("Authorize", payload, Mode.LENIENT))
    assert len(outcome.flags) == 51
    assert outcome.flags[-1] == "950 more"


def test_both_spellings_of_celsius_are_exact_j25() -> None:
    samples = [{"value": "21", "measurand": "Temperature", "unit": unit} for unit in ("Celsius", "Celcius")]
    payload = {
        "connectorId": 1,
        "meterValue": [{"timestamp": "2024-05-01T12:00:00Z", "sampledValue": samples}],
    }
    assert accepted(request("MeterValues", payload)).flags == ()


@pytest.mark.parametrize(
    ("limit", "fits"),
    [
        ("16", True),
        ("16.1", True),
        ("16.10", True),
        ("1.61e1", True),
        ("-0.0", True),
        ("16.11", False),
        ("1e-2", False),
        ("1e30", False),
        ('"16"', False),
        ("true", False),
        ("null", False),
    ],
)
def test_charging_limits_are_exact_numbers_of_one_decimal(limit: str, fits: bool) -> None:
    body = (
        b'{"connectorId":1,"csChargingProfiles":{"chargingProfileId":1,"stackLevel":0,"chargingProfilePurpose":'
        b'"TxProfile","chargingProfileKind":"Relative","chargingSchedule":{"chargingRateUnit":"A",'
        b'"chargingSchedulePeriod":[{"startPeriod":0,"limit":%b}]}}}' % limit.encode()
    )
    outcome = decode_request("SetChargingProfile", body, sender=Direction.FROM_CENTRAL_SYSTEM)
    assert isinstance(outcome, Decoded) is fits
    if isinstance(outcome, Decoded):
        assert isinstance(outcome.message, SetChargingProfileRequest)
        period = outcome.message.cs_charging_profiles.charging_schedule.charging_schedule_period[0]
        assert period.limit == Decimal(limit)
        assert json.loads(encode(outcome.message), parse_float=Decimal) == json.loads(
            body, parse_float=Decimal
        )


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2024-05-01T12:00:00Z"),
        (NOON.replace(microsecond=123999), "2024-05-01T12:00:00.123Z"),
        (NOON.replace(microsecond=120000), "2024-05-01T12:00:00.120Z"),
        (NOON.replace(microsecond=999), "2024-05-01T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2024-05-01T12:00:00Z"),
        (
            NOON.replace(microsecond=500000).astimezone(timezone(timedelta(hours=-8))),
            "2024-05-01T12:00:00.500Z",
        ),
    ],
)
def test_dates_are_sent_in_utc_with_at_most_milliseconds_j24(moment: datetime, text: str) -> None:
    assert encode(HeartbeatConfirmation(current_time=moment)) == b'{"currentTime":"%b"}' % text.encode()


def test_absent_fields_are_left_out_j11() -> None:
    info = IdTagInfo(status=AuthorizationStatus.ACCEPTED)
    answer = StartTransactionConfirmation(id_tag_info=info, transaction_id=5)
    assert encode(answer) == b'{"idTagInfo":{"status":"Accepted"},"transactionId":5}'


def test_a_text_that_looks_like_a_date_field_is_left_alone() -> None:
    text = '"timestamp":"2024-05-01T12:00:00.123456Z"'
    stop = StopTransactionRequest(meter_stop=1, timestamp=NOON, transaction_id=1, id_tag="x")
    assert b'"timestamp":"2024-05-01T12:00:00Z"' in encode(stop)
    status = StatusNotificationRequest(
        connector_id=1,
        error_code=ChargePointErrorCode.NO_ERROR,
        status=ChargePointStatus.AVAILABLE,
        info=text,
        timestamp=NOON,
    )
    assert json.loads(encode(status))["info"] == text


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (AuthorizeRequest(id_tag="x" * 21), "$.idTag"),
        (HeartbeatConfirmation(current_time=datetime(2024, 5, 1)), "$.currentTime"),
        (
            BootNotificationConfirmation(
                status=RegistrationStatus.ACCEPTED, current_time=NOON, interval=2**64
            ),
            "$.interval",
        ),
        (AuthorizeRequest(id_tag="\ud800"), "$"),
    ],
)
def test_we_never_send_what_our_own_types_refuse(message: Request | Confirmation, path: str) -> None:
    with pytest.raises(UnsendableError) as caught:
        encode(message)
    assert caught.value.error.path == path
