"""PATCH as a law: what it changes, what it refuses, and that it changes all or nothing (facts, chapter 2)."""

from __future__ import annotations

import copy
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.ocpi import OcpiInvalidError, dump_json, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.patch import apply_patch
from protocols.ocpi.types import JSON, OcpiModel
from tests.laws import tried
from tests.protocols.ocpi.bodies import bodies, same

LATER = "2026-06-01T00:00:00Z"

EVSE: dict[str, JSON] = {
    "uid": "E1",
    "status": "AVAILABLE",
    "floor_level": "-1",
    "capabilities": ["RFID_READER", "RESERVABLE"],
    "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
    "connectors": [
        {
            "id": "1",
            "standard": "IEC_62196_T2",
            "format": "SOCKET",
            "power_type": "AC_3_PHASE",
            "max_voltage": 230,
            "max_amperage": 16,
            "last_updated": "2026-05-31T12:00:00Z",
        }
    ],
    "vendor": {"a": 1, "b": 2},
    "last_updated": "2026-05-31T12:00:00Z",
}

PERIOD: dict[str, JSON] = {
    "start_date_time": "2026-05-31T12:00:00Z",
    "dimensions": [{"type": "ENERGY", "volume": Decimal("1.5")}],
}

SESSION: dict[str, JSON] = {
    "country_code": "NL",
    "party_id": "STK",
    "id": "101",
    "start_date_time": "2026-05-31T12:00:00Z",
    "kwh": Decimal("0.0"),
    "cdr_token": {
        "country_code": "NL",
        "party_id": "TST",
        "uid": "123abc",
        "type": "RFID",
        "contract_id": "NL-TST-C12345678-S",
    },
    "auth_method": "WHITELIST",
    "location_id": "LOC1",
    "evse_uid": "3256",
    "connector_id": "1",
    "currency": "EUR",
    "charging_periods": [PERIOD],
    "status": "ACTIVE",
    "last_updated": "2026-05-31T12:00:00Z",
}


def refused(model: type[OcpiModel], stored: dict[str, JSON], patch: JSON) -> OcpiInvalidError:
    """The error of a PATCH that must not be applied; the stored object stays as it was."""
    before = copy.deepcopy(stored)
    with pytest.raises(OcpiInvalidError) as error:
        apply_patch(model, stored, patch)
    assert stored == before
    return error.value


def test_only_what_is_given_changes() -> None:
    merged = apply_patch(v2_3_0.EVSE, EVSE, {"status": "CHARGING", "last_updated": LATER})
    assert same(dump_json(merged), EVSE | {"status": "CHARGING", "last_updated": LATER})


@pytest.mark.parametrize("patch", [{"status": "CHARGING"}, {"status": "CHARGING", "last_updated": None}, {}])
def test_issue_355_last_updated_must_be_given(patch: JSON) -> None:
    assert refused(v2_3_0.EVSE, EVSE, patch).path == "last_updated"


def test_a_terminal_needs_no_last_updated() -> None:
    terminal: dict[str, JSON] = {"terminal_id": "T1", "last_updated": "2026-05-31T12:00:00Z"}
    merged = apply_patch(v2_3_0.Terminal, terminal, {"location_ids": ["LOC1"]})
    assert dump_json(merged) == terminal | {"location_ids": ["LOC1"]}


def test_objects_merge_field_by_field() -> None:
    patch: JSON = {
        "coordinates": {"longitude": "4.000000"},
        "vendor": {"b": None, "c": 3},
        "last_updated": LATER,
    }
    merged = dump_json(apply_patch(v2_3_0.EVSE, EVSE, patch))
    assert merged["coordinates"] == {"latitude": "51.047599", "longitude": "4.000000"}
    assert merged["vendor"] == {"a": 1, "c": 3}


def test_the_terms_of_a_booking_merge() -> None:
    terms: dict[str, JSON] = {
        "supported_access_methods": ["TOKEN"],
        "change_until_minutes": 10,
        "cancel_until_minutes": 20,
    }
    place: dict[str, JSON] = {
        "country_code": "NL",
        "party_id": "INF",
        "id": "B1",
        "location_id": "LOC1",
        "booking_terms": terms,
        "last_updated": "2026-05-31T12:00:00Z",
    }
    patch: JSON = {"booking_terms": {"change_until_minutes": 5}, "last_updated": LATER}
    merged = apply_patch(v2_3_0.BookingLocation, place, patch)
    assert same(dump_json(merged)["booking_terms"], terms | {"change_until_minutes": 5})


def test_issue_172_arrays_replace_as_a_whole() -> None:
    merged = apply_patch(v2_3_0.EVSE, EVSE, {"capabilities": ["UNLOCK_CAPABLE"], "last_updated": LATER})
    assert merged.capabilities == ("UNLOCK_CAPABLE",)


def test_null_clears_an_optional_field_and_a_list() -> None:
    merged = apply_patch(
        v2_3_0.EVSE, EVSE, {"floor_level": None, "capabilities": None, "last_updated": LATER}
    )
    assert (merged.floor_level, merged.capabilities) == (None, ())


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"status": None}, "status"),
        ({"connectors": None}, "connectors"),
        ({"connectors": []}, "connectors"),
        ({"coordinates": {"latitude": None}}, "coordinates.latitude"),
        ({"coordinates": {"latitude": "x"}}, "coordinates.latitude"),
        ({"status": "SLEEPING"}, "status"),
        ({"connectors": [{"id": "1"}]}, "connectors[0].standard"),
        ({"connectors": {"id": "1"}}, "connectors"),
        ({"status": {"a": 1}}, "status"),
        ({"last_updated": "2024-02-30T00:00:00Z"}, "last_updated"),
    ],
)
def test_a_patch_that_makes_the_object_invalid_is_refused_as_a_whole(
    patch: dict[str, JSON], path: str
) -> None:
    assert refused(v2_3_0.EVSE, EVSE, {"floor_level": "2", "last_updated": LATER, **patch}).path == path


@pytest.mark.parametrize("patch", [None, [], "x", 1])
def test_a_patch_is_an_object(patch: JSON) -> None:
    assert refused(v2_3_0.EVSE, EVSE, patch).path == ""


def test_a_patch_without_end_of_depth_is_refused() -> None:
    deep: JSON = {}
    for _ in range(900):
        deep = {"a": deep}
    assert "nest" in refused(v2_3_0.EVSE, EVSE, {"vendor": deep, "last_updated": LATER}).message


@pytest.mark.parametrize("session", [v2_3_0.Session, v2_2_1.Session])
def test_issue_325_charging_periods_of_a_session_are_appended(session: type[OcpiModel]) -> None:
    second = PERIOD | {"start_date_time": "2026-05-31T13:00:00Z"}
    merged = apply_patch(session, SESSION, {"charging_periods": [second], "last_updated": LATER})
    assert same(dump_json(merged)["charging_periods"], [PERIOD, second])


@pytest.mark.parametrize("periods", [[], None])
def test_no_charging_periods_change_nothing(periods: JSON) -> None:
    merged = apply_patch(v2_3_0.Session, SESSION, {"charging_periods": periods, "last_updated": LATER})
    assert same(dump_json(merged)["charging_periods"], [PERIOD])


def test_a_wrong_period_is_named_by_its_place_in_the_patch() -> None:
    wrong: JSON = {"charging_periods": [PERIOD, {"dimensions": []}], "last_updated": LATER}
    assert refused(v2_3_0.Session, SESSION, wrong).path == "charging_periods[1].start_date_time"
    no_list: JSON = {"charging_periods": {}, "last_updated": LATER}
    assert refused(v2_3_0.Session, SESSION, no_list).path == "charging_periods"


def test_the_caller_may_say_which_lists_grow() -> None:
    merged = apply_patch(
        v2_3_0.EVSE,
        EVSE,
        {"capabilities": ["UNLOCK_CAPABLE"], "last_updated": LATER},
        appending=frozenset({"capabilities"}),
    )
    assert merged.capabilities == ("RFID_READER", "RESERVABLE", "UNLOCK_CAPABLE")


# --- laws

PATCHED: list[type[OcpiModel]] = [
    v2_3_0.Location,
    v2_3_0.EVSE,
    v2_3_0.Token,
    v2_2_1.Connector,
    v2_3_0.Calendar,
]
LAWS = settings(
    deadline=None,
    max_examples=tried(20),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.mark.parametrize("model", PATCHED, ids=lambda m: m.__name__)
def test_a_patch_of_last_updated_alone_changes_nothing_else(model: type[OcpiModel]) -> None:
    @LAWS
    @given(bodies(model))
    def law(stored: dict[str, JSON]) -> None:
        merged = apply_patch(model, stored, {"last_updated": LATER})
        assert same(dump_json(merged), stored | {"last_updated": LATER})

    law()


@pytest.mark.parametrize("model", PATCHED, ids=lambda m: m.__name__)
def test_the_same_patch_twice_is_the_same_as_once(model: type[OcpiModel]) -> None:
    @LAWS
    @given(st.data())
    def law(data: st.DataObject) -> None:
        stored, other = data.draw(bodies(model)), data.draw(bodies(model))
        names = data.draw(st.sets(st.sampled_from(sorted(other))))
        patch = {name: other[name] for name in names} | {"last_updated": LATER}
        try:
            once = apply_patch(model, stored, patch)
        except OcpiInvalidError:
            return
        assert apply_patch(model, dump_json(once), patch) == once

    law()


@pytest.mark.parametrize("model", PATCHED, ids=lambda m: m.__name__)
def test_a_patch_of_everything_without_nulls_holds_everything_given(model: type[OcpiModel]) -> None:
    @LAWS
    @given(bodies(model))
    def law(body: dict[str, JSON]) -> None:
        given_fields: dict[str, JSON] = {name: value for name, value in body.items() if value is not None}
        stored = dump_json(parse_json(model, body))
        merged = dump_json(apply_patch(model, stored, given_fields))
        assert all(same(merged[name], stored[name]) for name in given_fields if no_null(stored[name]))

    law()


def no_null(value: JSON) -> bool:
    """Whether no null stands in objects of a value (in arrays it is no instruction to clear)."""
    if isinstance(value, dict):
        return all(item is not None and no_null(item) for item in value.values())
    return True
