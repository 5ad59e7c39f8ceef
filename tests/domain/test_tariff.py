"""A tariff's events stand in the log for ever."""

from __future__ import annotations

from domain.tariff import AGGREGATE_EVENTS, Tariff, tariff_aggregate_id
from domain.values import PartyId
from tests.domain.golden import held_by_golden_files, story


def test_every_event_equals_its_golden_file() -> None:
    held_by_golden_files(Tariff, AGGREGATE_EVENTS)


def test_a_tariff_is_what_was_put_until_it_is_removed() -> None:
    stands = story(Tariff, AGGREGATE_EVENTS, "tariff.put.v1")
    gone = story(Tariff, AGGREGATE_EVENTS, "tariff.put.v1", "tariff.removed.v1")
    assert stands.state.tariff is not None and stands.state.tariff["id"] == "T1"
    assert gone.state.tariff is None


def test_ids_of_ocpi_are_compared_without_case() -> None:
    owner = PartyId(country_code="DE", party_id="DEM")
    assert tariff_aggregate_id(owner, "T1") == tariff_aggregate_id(owner, "t1") == "tariff|DE*DEM|t1"


def test_what_is_said_to_one_party_is_another_tariff_than_what_is_said_to_all() -> None:
    owner, audience = PartyId(country_code="NL", party_id="ALF"), PartyId(country_code="DE", party_id="EMS")
    assert tariff_aggregate_id(owner, "T1", audience) == "tariff|NL*ALF>DE*EMS|t1"
