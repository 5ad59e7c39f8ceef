"""A tenant's events stand in the log for ever, and its configuration can be wrong in named ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.tenant import AGGREGATE_EVENTS, Configuration, MessageTimeouts, Tenant, TenantParty, wrong_in
from domain.values import PartyId, Site
from tests.domain.golden import held_by_golden_files, story

HUB = PartyId(country_code="DE", party_id="HUB")


def test_every_event_equals_its_golden_file() -> None:
    held_by_golden_files(Tenant, AGGREGATE_EVENTS)


def test_a_configuration_replaces_the_one_before_as_a_whole() -> None:
    tenant = story(Tenant, AGGREGATE_EVENTS, "tenant.created.v1", "tenant.configured.v1")
    assert tenant.state.name == "Demo Energie"
    assert tenant.state.configuration.currency == "SEK"
    assert tenant.state.configuration.ocpi is None
    assert not tenant.state.configuration.auto_register


def test_the_defaults_are_a_configuration_that_can_be() -> None:
    assert wrong_in(Configuration()) == ""
    assert Configuration().validation == "lenient"
    assert Configuration().session_update_seconds == 30
    assert Configuration().session_update.total_seconds() == 30


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_charge_points", 0),
        ("session_update_seconds", 0),
        ("message_timeouts", MessageTimeouts(call_seconds=0)),
        ("message_timeouts", MessageTimeouts(expiry_seconds=3601)),
        ("heartbeat_interval", 9),
        ("heartbeat_interval", 86_401),
        ("currency", "eur"),
        ("time_zone", "Europe/Atlantis"),
        ("validation", "sloppy"),
        ("ocpi", TenantParty(country_code="de", party_id="DEM")),
    ],
)
def test_what_cannot_be_is_named_by_its_field(field: str, value: Any) -> None:
    wrong = wrong_in(msgspec.structs.replace(Configuration(), **{field: value}))
    assert wrong.startswith(field)


def test_charge_points_that_are_taken_in_need_a_place() -> None:
    assert wrong_in(Configuration(auto_register=True)) == "default_location: is required with auto_register"
    assert wrong_in(Configuration(auto_register=True, default_location=Site(id="LOC1"))) == ""


def test_a_tenant_without_a_party_is_settled_under_the_hubs() -> None:
    party = TenantParty(country_code="DE", party_id="DEM")
    assert Configuration().settings(3, HUB).party == HUB
    assert Configuration(ocpi=party, currency="SEK").settings(3, HUB).party == party.id
    assert Configuration(ocpi=party, currency="SEK").settings(3, HUB).revision == 3
