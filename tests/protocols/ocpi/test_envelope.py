"""Envelope, status codes, routing headers, pagination, the Authorization header (facts, chapter 2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from protocols.ocpi import OcpiInvalidError, parse
from protocols.ocpi.envelope import (
    Envelope,
    Page,
    PartyId,
    Routing,
    StatusCode,
    decode_token,
    encode_token,
    is_success,
    next_link,
    page_headers,
    read_page,
    read_routing,
    respond,
    write_routing,
)
from protocols.ocpi.v2_3_0 import LocationReferences

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


def test_an_answer_without_data_leaves_it_out() -> None:
    assert json.loads(respond(NOON)) == {"status_code": 1000, "timestamp": "2026-05-31T12:00:00Z"}


def test_an_empty_list_is_written_as_an_empty_array() -> None:
    assert json.loads(respond(NOON, []))["data"] == []


def test_an_answer_carries_objects_lists_and_strings() -> None:
    there = LocationReferences(location_id="LOC1")
    assert json.loads(respond(NOON, there))["data"] == {"location_id": "LOC1"}
    assert json.loads(respond(NOON, [there]))["data"] == [{"location_id": "LOC1"}]
    assert json.loads(respond(NOON, "ACCEPTED"))["data"] == "ACCEPTED"


def test_the_time_of_an_answer_has_at_most_milliseconds() -> None:
    answer = json.loads(respond(NOON.replace(microsecond=123456)))
    assert answer["timestamp"] == "2026-05-31T12:00:00.123Z"


def test_an_error_says_code_and_message() -> None:
    answer = respond(
        NOON, status_code=StatusCode.INVALID_PARAMETERS, status_message="last_updated: is required"
    )
    assert json.loads(answer) == {
        "status_code": 2001,
        "status_message": "last_updated: is required",
        "timestamp": "2026-05-31T12:00:00Z",
    }


def test_an_answer_of_a_peer_is_read_with_null_data_and_unknown_fields() -> None:
    answer = parse(Envelope, b'{"data":null,"status_code":2004,"timestamp":"2026-05-31T12:00:00","x":1}')
    assert (answer.data, answer.status_code, answer.timestamp) == (None, StatusCode.UNKNOWN_TOKEN, NOON)


@pytest.mark.parametrize(("code", "success"), [(1000, True), (1999, True), (2000, False), (999, False)])
def test_success_is_1000_to_1999(code: int, success: bool) -> None:
    assert is_success(code) is success


def test_status_codes_have_the_numbers_of_the_standard() -> None:
    assert [int(code) for code in StatusCode] == [
        *(1000, 2000, 2001, 2002, 2003, 2004, 3000, 3001, 3002, 3003, 4000, 4001, 4002, 4003)
    ]


# --- routing headers


def test_routing_headers_are_read_without_case() -> None:
    headers = {
        "ocpi-TO-country-code": "de",
        "OCPI-to-party-id": "HUB",
        "Ocpi-From-Country-Code": "NL",
        "ocpi-from-party-id": "TNM",
    }
    found = read_routing(headers)
    assert found == Routing(PartyId("de", "HUB"), PartyId("NL", "TNM"))
    assert found.to is not None and found.to.key == ("DE", "HUB")


def test_an_open_routing_request_has_no_receiver() -> None:
    headers = write_routing(None, PartyId("NL", "TNM"))
    assert read_routing(headers) == Routing(None, PartyId("NL", "TNM"))


@pytest.mark.parametrize(
    "headers",
    [
        {"OCPI-to-country-code": "DE"},
        {"OCPI-from-party-id": "TNM"},
        {"OCPI-to-country-code": "DEU", "OCPI-to-party-id": "HUB"},
        {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "HÜB"},
    ],
)
def test_half_a_pair_or_a_wrong_party_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(OcpiInvalidError, match=r"OCPI-(to|from)"):
        read_routing(headers)


# --- pagination


def test_a_query_without_values_asks_for_the_first_page_of_the_largest_size() -> None:
    assert read_page({}, max_limit=50) == Page(offset=0, limit=50)


def test_a_limit_above_the_maximum_is_clamped_and_dates_without_designator_are_utc() -> None:
    page = read_page({"limit": "1000", "offset": "20", "date_from": "2026-05-31T12:00:00"}, max_limit=50)
    assert page == Page(offset=20, limit=50, date_from=NOON)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "-1"), ("offset", "x"), ("offset", "²"), ("date_to", "2024-02-30T00:00:00Z")],
)
def test_a_wrong_value_in_a_query_is_named(name: str, value: str) -> None:
    with pytest.raises(OcpiInvalidError) as refused:
        read_page({name: value}, max_limit=50)
    assert refused.value.path == name


def test_the_link_repeats_filters_and_the_clamped_limit_and_leads_to_the_next_page() -> None:
    query = {"date_from": "2026-05-31T12:00:00Z", "limit": "1000"}
    page = read_page(query, max_limit=50)
    headers = page_headers("https://hub.example/ocpi/2.3.0/sender/cdrs", query, page, total=51, max_limit=50)
    assert headers["X-Total-Count"] == "51"
    assert headers["X-Limit"] == "50"
    assert headers["Link"] == (
        "<https://hub.example/ocpi/2.3.0/sender/cdrs"
        '?date_from=2026-05-31T12%3A00%3A00Z&offset=50&limit=50>; rel="next"'
    )
    assert next_link(headers["Link"]) == headers["Link"].split(">")[0][1:]


def test_the_last_page_has_no_link() -> None:
    headers = page_headers("https://hub.example/x", {}, Page(offset=50, limit=50), total=100, max_limit=50)
    assert "Link" not in headers
    assert next_link(None) is None


def test_the_next_page_is_found_among_other_links() -> None:
    header = '<https://a.example/?offset=0>; rel="prev", <https://a.example/?offset=2,3>; title="x"; rel=next'
    assert next_link(header) == "https://a.example/?offset=2,3"
    assert next_link('<https://a.example/>; rel="last"') is None


# --- the token


def test_a_token_is_sent_as_base64() -> None:
    assert encode_token("example-token") == "Token ZXhhbXBsZS10b2tlbg=="


def test_trap_1_the_newline_of_the_examples_is_stripped() -> None:
    assert decode_token("Token ZXhhbXBsZS10b2tlbgo=")[0] == "example-token"


def test_a_raw_token_is_a_candidate_too() -> None:
    assert decode_token("Token example-token") == ("example-token",)
    assert decode_token("token  abcd") == ("abcd",)
    assert decode_token(encode_token("ebf3b399-779f"))[0] == "ebf3b399-779f"
    assert decode_token("Token YWJjZA==") == ("abcd", "YWJjZA==")


@pytest.mark.parametrize("header", ["", "Token", "Token ", "Bearer abc", "Basic YWJjZA==", "Token é"])
def test_another_scheme_or_no_token_gives_no_candidate(header: str) -> None:
    assert decode_token(header) == ()
