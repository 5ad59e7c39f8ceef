"""Tenants as they are read."""

from __future__ import annotations

import msgspec

from commands.base import Meta
from domain.tenant import AGGREGATE_EVENTS, Configuration, Tenant, TenantCreated
from projections.moment import utc_text
from projections.store import Document
from projections.tenant import VIEW, configuration_of, target
from tests.commands.decide import NOON
from tests.projections.fold import fold


def read(*names: str) -> Document:
    document = fold(VIEW, Tenant, AGGREGATE_EVENTS, *(f"tenant.{name}.v1" for name in names))
    assert document is not None
    return document


def test_a_tenant_has_its_database_and_every_setting() -> None:
    tenant = read("created")
    assert tenant["database_name"] == "ocpp_demo"
    assert (tenant["status"], tenant["created_at"]) == ("active", utc_text(NOON))
    assert (tenant["party"], tenant["id_prefix"]) == ("DE*DEM", "DEMO-")
    configuration = tenant["configuration"]
    assert isinstance(configuration, dict)
    assert configuration["session_update_seconds"] == 30
    assert configuration["features"] == {"smart_charging": True, "remote_trigger": True}
    assert set(configuration) == {
        field.name for field in msgspec.structs.fields(type(configuration_of(tenant)))
    }


def test_a_new_configuration_shows_as_a_whole() -> None:
    tenant = read("created", "configured")
    assert tenant["name"] == "Demo Energie"
    assert (tenant["party"], tenant["id_prefix"]) == (None, None)
    assert configuration_of(tenant).session_update_seconds == 60
    assert configuration_of(tenant).default_location is None


def test_a_read_configuration_equals_the_one_in_the_event() -> None:
    tenant = read("created")
    site = configuration_of(tenant).default_location
    assert site is not None and (site.city, site.time_zone) == ("Kiel", "Europe/Berlin")


def test_a_tenant_stands_under_its_id_in_the_hubs_database() -> None:
    event = TenantCreated(
        originator_id="tenant|demo",
        originator_version=1,
        timestamp=NOON,
        tenant="demo",
        name="Demo",
        configuration=Configuration(),
    )
    assert target(event, Meta(command_id="c", at=NOON)) == ("chargesphere", "demo")
