"""A tenant's events stand in the log for ever, and its configuration can be wrong in named ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.tenant import (
    AGGREGATE_EVENTS,
    BOUNDS,
    Configuration,
    MessageTimeouts,
    Tenant,
    TenantParty,
    wrong_in,
)
from domain.values import Coordinates, PartyId, Site
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
        ("max_charge_points", 10**400),
        ("max_auto_registered", -1),
        ("max_auto_registered", 1_000_001),
        ("api_rate_limit", 1_000_001),
        ("ocpp_rate_limit", 10**19),
        ("worker_pool_size", 10_001),
        ("session_update_seconds", 86_401),
        ("id_prefix", "x" * 49),
        ("id_prefix", "a/b"),
        ("default_tariff_id", "x" * 37),
        ("default_location", Site(id="")),
        ("default_location", Site(id="L", address="Weg\n9")),
        ("default_location", Site(id="L", time_zone="Mars/Olympus")),
        ("default_location", Site(id="L", country="Germany")),
        ("default_location", Site(id="L", coordinates=Coordinates(latitude="north", longitude="1.0"))),
        ("default_location", Site(id="L", coordinates=Coordinates(latitude="91.0", longitude="1.0"))),
        ("session_update_seconds", 0),
        ("message_timeouts", MessageTimeouts(call_seconds=0)),
        ("message_timeouts", MessageTimeouts(expiry_seconds=3601)),
        ("heartbeat_interval", 9),
        ("heartbeat_interval", 86_401),
        ("currency", "eur"),
        ("time_zone", "Europe/Atlantis"),
        ("validation", "sloppy"),
        ("ocpi", TenantParty(country_code="de", party_id="DEM")),
        ("ocpi", TenantParty(country_code="DE", party_id="DEM", business_details={"x": 2**63})),
        ("ocpi", TenantParty(country_code="DE", party_id="DEM", business_details={"x": "y" * 2001})),
    ],
)
def test_what_cannot_be_is_named_by_its_field(field: str, value: Any) -> None:
    wrong = wrong_in(msgspec.structs.replace(Configuration(), **{field: value}))
    assert wrong.startswith(field)


@pytest.mark.parametrize("path", BOUNDS)
def test_every_number_has_a_least_and_a_most(path: str) -> None:
    least, most = BOUNDS[path]
    for value, good in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        assert (wrong_in(with_value(path, value)) == "") is good
        assert good or wrong_in(with_value(path, value)).startswith(f"{path}:")


def test_no_number_of_the_configuration_is_without_bounds() -> None:
    assert set(numbers_of(Configuration(), "")) == set(BOUNDS)


def with_value(path: str, value: int) -> Configuration:
    group, _, name = path.rpartition(".")
    if not group:
        return msgspec.structs.replace(Configuration(), **{name: value})
    changed = msgspec.structs.replace(getattr(Configuration(), group), **{name: value})
    return msgspec.structs.replace(Configuration(), **{group: changed})


def numbers_of(value: msgspec.Struct, before: str) -> list[str]:
    found: list[str] = []
    for name, item in msgspec.structs.asdict(value).items():
        if isinstance(item, msgspec.Struct):
            found += numbers_of(item, f"{before}{name}.")
        elif isinstance(item, int) and not isinstance(item, bool):
            found.append(before + name)
    return found


def test_charge_points_may_be_taken_in_without_a_place() -> None:
    assert wrong_in(Configuration(auto_register=True)) == ""
    assert wrong_in(Configuration(auto_register=True, default_location=Site(id="LOC1"))) == ""


def test_a_tenant_without_a_party_is_settled_under_the_hubs() -> None:
    party = TenantParty(country_code="DE", party_id="DEM")
    assert Configuration().settings(3, HUB).party == HUB
    assert Configuration(ocpi=party, currency="SEK").settings(3, HUB).party == party.id
    assert Configuration(ocpi=party, currency="SEK").settings(3, HUB).revision == 3


def test_what_a_tenant_wants_of_its_charge_points_is_no_secret_and_named_by_its_path() -> None:
    wrong = wrong_in(Configuration(charge_point_configuration={"WifiPassword": "x"}))
    assert wrong.startswith("charge_point_configuration.WifiPassword: ")
    many = {f"Key{i}": "1" for i in range(51)}
    assert wrong_in(Configuration(charge_point_configuration=many)).startswith("charge_point_configuration: ")
    assert not wrong_in(Configuration(charge_point_configuration={"MeterValueSampleInterval": "60"}))
