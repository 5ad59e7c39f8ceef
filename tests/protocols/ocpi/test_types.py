"""The scalar types of OCPI one by one: what is read, how it is stored and written, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from protocols.ocpi import OcpiInvalidError, dump_json, parse, parse_json, v2_3_0
from protocols.ocpi.types import (
    JSON,
    OcpiModel,
    ci_key,
    to_cdr_date_time,
    to_date_time,
    to_number,
    write_date_time,
)
from protocols.ocpi.v2_3_0 import enums
from protocols.ocpi.v2_3_0.cdrs import cdr_location
from tests.laws import tried

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


def refused(model: type[OcpiModel], value: object, path: str) -> OcpiInvalidError:
    """The error of a value that must be refused at a path."""
    with pytest.raises(OcpiInvalidError) as error:
        parse_json(model, value)
    assert error.value.path == path
    return error.value


def day(begin: str, end: str) -> dict[str, JSON]:
    """Regular hours on Monday."""
    return {"weekday": 1, "period_begin": begin, "period_end": end}


# --- CiString and string


def test_a_ci_string_is_stored_as_sent_and_compared_without_case() -> None:
    found = parse(v2_3_0.LocationReferences, b'{"location_id":"LoC1"}')
    assert found.location_id == "LoC1"
    assert ci_key(found.location_id) == ci_key("lOc1")


@pytest.mark.parametrize("value", ["x" * 37, "é", "a\tb", "a\x7f"])
def test_a_ci_string_is_printable_ascii_of_limited_length(value: str) -> None:
    refused(v2_3_0.LocationReferences, {"location_id": value}, "location_id")


def test_the_longest_text_is_counted_in_characters() -> None:
    text = {"language": "de", "text": "ü€😀" * 170 + "üü"}
    assert parse_json(v2_3_0.DisplayText, text).text == text["text"]
    refused(v2_3_0.DisplayText, {"language": "de", "text": "ü" * 513}, "text")


@pytest.mark.parametrize("char", ["\n", "\t", "\r", "\x00", "\x1f", "\x7f", "\x85"])
def test_a_string_has_no_control_characters(char: str) -> None:
    refused(v2_3_0.DisplayText, {"language": "de", "text": f"a{char}b"}, "text")


# --- DateTime


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-05-31T12:00:00Z", NOON),
        ("2026-05-31T12:00:00", NOON),
        ("2026-05-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-05-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
        ("2026-05-31T14:00:00+02:00", NOON),
        ("2026-05-31T12:00:00+00:00", NOON),
        ("2026-05-31T06:30:00-05:30", NOON),
    ],
)
def test_a_moment_is_utc_whatever_its_designator(written: str, moment: datetime) -> None:
    assert to_date_time(written) == moment
    assert to_date_time(written).tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01 00:00:00Z",
        "2024-01-01",
        "2024-1-1T00:00:00Z",
        "20240101T000000Z",
        "2024-01-01T00:00:00z",
        "2024-01-01T00:00:00+0200",
        "2024-01-01T00:00:00+25:00",
        "2024-01-01T00:00:00.Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-10:00",
        "٢٠٢٤-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "1970-1-1T00:00:00Z",
        "",
        "9" * 100_000,
    ],
)
def test_what_is_no_moment_is_refused(written: str) -> None:
    with pytest.raises(PydanticCustomError):
        to_date_time(written)


def test_trap_12_an_unknown_moment_is_read_in_cdrs_only() -> None:
    assert to_cdr_date_time("1970-1-1T00:00:00Z") == datetime(1970, 1, 1, tzinfo=UTC)
    assert to_cdr_date_time("2026-05-31T12:00:00Z") == NOON
    refused(v2_3_0.ExceptionalPeriod, {"period_begin": "1970-1-1T00:00:00Z"}, "period_begin")


def test_a_datetime_must_be_aware_and_becomes_utc() -> None:
    assert to_date_time(NOON.astimezone(timezone(timedelta(hours=2)))) == NOON
    with pytest.raises(PydanticCustomError):
        to_date_time(datetime(2026, 5, 31))


@settings(deadline=None, max_examples=tried(100))
@given(st.datetimes(timezones=st.just(UTC)))
def test_a_written_moment_reads_as_itself_and_ends_in_z(moment: datetime) -> None:
    written = write_date_time(moment)
    assert (written.endswith("Z") and not written.endswith("0Z")) or "." not in written
    assert to_date_time(written) == moment


# --- numbers


@pytest.mark.parametrize("value", ["1", True, None, [1], 1.5, Decimal("NaN"), Decimal("Infinity"), 10**16])
def test_a_number_is_a_finite_json_number_below_ten_to_the_sixteenth(value: object) -> None:
    with pytest.raises(PydanticCustomError):
        to_number(value)


@pytest.mark.parametrize("value", ["1E+999999999", "1E-999999999", "1E+16", "1E-41", "0E+999"])
def test_a_number_with_an_extreme_exponent_is_refused(value: str) -> None:
    with pytest.raises(PydanticCustomError):
        to_number(Decimal(value))


def test_noise_of_binary_floats_is_read_exactly() -> None:
    assert to_number(Decimal("0.30000000000000004")) == Decimal("0.30000000000000004")


@pytest.mark.parametrize(("value", "read"), [(5, 5), (Decimal("5.0"), 5), (Decimal("5E1"), 50)])
def test_a_whole_number_may_be_spelled_with_a_fraction_of_zero(value: JSON, read: int) -> None:
    assert parse_json(v2_3_0.CommandResponse, {"result": "ACCEPTED", "timeout": value}).timeout == read


@pytest.mark.parametrize("value", [Decimal("5.5"), "5", True, None, Decimal("1E+999999999"), 2**63, 1.0])
def test_a_whole_number_is_nothing_else(value: object) -> None:
    refused(v2_3_0.CommandResponse, {"result": "ACCEPTED", "timeout": value}, "timeout")


def test_digits_are_limited_where_the_standard_says_so() -> None:
    image: dict[str, JSON] = {"url": "https://example.org/x.png", "category": "OWNER", "type": "png"}
    assert parse_json(v2_3_0.Image, image | {"width": 99999}).width == 99999
    refused(v2_3_0.Image, image | {"width": 100000}, "width")


# --- enumerations


def test_an_unknown_value_of_an_open_enumeration_survives() -> None:
    parsed = parse_json(v2_3_0.EVSEParking, {"parking_id": "P1"})
    assert parsed.evse_position is None
    element = {"url": "https://x.example", "identifier": "nltnm-tokens", "role": "SENDER"}
    assert dump_json(parse_json(v2_3_0.Endpoint, element)) == element


def test_an_unknown_value_of_a_closed_enumeration_is_refused_with_the_values_there_are() -> None:
    error = refused(v2_3_0.EVSEParking, {"parking_id": "P1", "evse_position": "ABOVE"}, "evse_position")
    assert "'LEFT', 'RIGHT' or 'CENTER'" in error.message


def test_trap_2_reserved_is_read_as_reservation() -> None:
    assert enums.SessionStatus("RESERVED") is enums.SessionStatus.RESERVATION


def test_trap_10_a_payment_provider_is_read_as_other() -> None:
    info = {
        "party_id": "ABC",
        "country_code": "DE",
        "role": "PTP",
        "status": "CONNECTED",
        "last_updated": "2026-05-31T12:00:00Z",
    }
    assert parse_json(v2_3_0.ClientInfo, info).role is enums.Role.OTHER


def test_trap_14_the_module_of_bookings_has_two_spellings() -> None:
    for identifier, module in (("Booking", "bookings"), ("bookings", "bookings"), ("nltnm-x", "nltnm-x")):
        body = {"identifier": identifier, "role": "SENDER", "url": "https://x.example/ocpi"}
        endpoint = parse_json(v2_3_0.Endpoint, body)
        assert (endpoint.identifier, endpoint.module) == (identifier, module)


def test_trap_11_tax_included_is_text_never_a_boolean() -> None:
    assert [tax.value for tax in enums.TaxIncluded] == ["YES", "NO", "N/A"]


# --- URLs, coordinates, hours


@pytest.mark.parametrize("url", ["/ocpi/2.3.0", "example.org", "", "https://", "https://exa mple.org"])
def test_the_url_of_a_version_is_absolute(url: str) -> None:
    refused(v2_3_0.Version, {"version": "2.3.0", "url": url}, "url")


@pytest.mark.parametrize(
    ("latitude", "longitude", "wrong"),
    [
        ("91.00000", "3.729944", "latitude"),
        ("90.00001", "3.729944", "latitude"),
        ("51.0475", "3.729944", "latitude"),
        ("51,047599", "3.729944", "latitude"),
        ("51.047599", "180.00001", "longitude"),
        ("51.047599", "200.729944", "longitude"),
        ("51.047599", "3.72994412", "longitude"),
        ("51.047599", "+3.729944", "longitude"),
    ],
)
def test_coordinates_have_the_form_and_the_range_of_the_standard(
    latitude: str, longitude: str, wrong: str
) -> None:
    refused(v2_3_0.GeoLocation, {"latitude": latitude, "longitude": longitude}, wrong)


def test_the_longest_coordinates_that_the_form_allows_are_read() -> None:
    parse_json(v2_3_0.GeoLocation, {"latitude": "-89.1234567", "longitude": "-179.1234567"})


@pytest.mark.parametrize(
    ("hours", "path"),
    [
        ({"twentyfourseven": True, "regular_hours": [day("08:00", "20:00")]}, ""),
        ({"twentyfourseven": False}, ""),
        ({"twentyfourseven": False, "regular_hours": [day("20:00", "08:00")]}, "regular_hours[0]"),
        (
            {"twentyfourseven": False, "regular_hours": [day("8:00", "20:00")]},
            "regular_hours[0].period_begin",
        ),
        ({"twentyfourseven": False, "regular_hours": [day("08:00", "24:01")]}, "regular_hours[0].period_end"),
    ],
)
def test_opening_hours_that_contradict_themselves_are_refused(hours: dict[str, JSON], path: str) -> None:
    refused(v2_3_0.Hours, hours, path)


def test_opening_hours_may_end_at_midnight() -> None:
    hours = {"twentyfourseven": False, "regular_hours": [day("00:00", "24:00")]}
    assert dump_json(parse_json(v2_3_0.Hours, hours)) == hours


@pytest.mark.parametrize("token", [{}, {"uid": "X"}, {"visual_number": "X"}, {"type": "RFID"}])
def test_a_publish_token_names_somebody(token: dict[str, JSON]) -> None:
    refused(v2_3_0.PublishTokenType, token, "")


@pytest.mark.parametrize("field", ["start_date", "end_date"])
@pytest.mark.parametrize("value", ["2024-02-30", "2024-2-3", "20240203", "2024-02-03T00:00:00Z"])
def test_a_date_of_a_tariff_exists(field: str, value: str) -> None:
    refused(v2_3_0.TariffRestrictions, {field: value}, field)


@pytest.mark.parametrize("value", ["24:00", "7:00", "07:60", "0700"])
def test_a_time_of_a_tariff_is_a_time_of_a_day(value: str) -> None:
    refused(v2_3_0.TariffRestrictions, {"start_time": value}, "start_time")


def test_a_connector_to_start_at_needs_its_evse() -> None:
    token: JSON = {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": "1",
        "type": "RFID",
        "contract_id": "C",
        "issuer": "I",
        "valid": True,
        "whitelist": "NEVER",
        "last_updated": "2026-05-31T12:00:00Z",
    }
    start: dict[str, JSON] = {"response_url": "https://x.example", "token": token, "location_id": "L"}
    refused(v2_3_0.StartSession, start | {"connector_id": "1"}, "")
    parse_json(v2_3_0.StartSession, start | {"connector_id": "1", "evse_uid": "E"})


# --- what a CDR says of its place


def test_trap_5_the_place_of_a_cdr_is_cut_to_its_shorter_lengths() -> None:
    connector = v2_3_0.Connector(
        id="1",
        standard="IEC_62196_T2",
        format=enums.ConnectorFormat.SOCKET,
        power_type=enums.PowerType.AC_3_PHASE,
        max_voltage=230,
        max_amperage=16,
        last_updated=NOON,
    )
    evse = v2_3_0.EVSE(uid="E1", status=enums.Status.AVAILABLE, connectors=(connector,), last_updated=NOON)
    location = v2_3_0.Location(
        country_code="DE",
        party_id="ABC",
        id="L1",
        publish=True,
        address="a" * 60,
        city="Ulm",
        state="s" * 30,
        country="DEU",
        coordinates=v2_3_0.GeoLocation(latitude="48.401082", longitude="9.987608"),
        time_zone="Europe/Berlin",
        evses=(evse,),
        last_updated=NOON,
    )
    place = cdr_location(location, evse, connector)
    assert (place.address, place.state, place.evse_id) == ("a" * 45, "s" * 20, "#NA")
    assert "name" not in dump_json(place)
    longer = dump_json(place) | {"address": "a" * 255, "state": "s" * 45}
    assert dump_json(parse_json(v2_3_0.CdrLocation, longer)) == longer
