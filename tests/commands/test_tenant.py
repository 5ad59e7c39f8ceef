"""What a tenant accepts and refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.base import Accepted, Command, Meta, Refusal
from commands.directory import ReleasePrefixes
from commands.processes import POLICIES
from commands.tenant import ROUTES, AskRoom, ConfigureTenant, CountPart, CreateTenant, Room
from domain.aggregate import Event
from domain.fleet import Counts
from domain.tenant import (
    AGGREGATE_EVENTS,
    Configuration,
    Tenant,
    TenantConfigured,
    TenantCreated,
    TenantParty,
)
from tests.commands.decide import NOON, Decide


def case() -> Decide:
    return Decide(Tenant, AGGREGATE_EVENTS, ROUTES)


def test_a_new_tenant_exists_with_its_configuration() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo", configuration=Configuration(currency="SEK")))
    (event,) = made.new
    assert isinstance(event, TenantCreated) and event.configuration.currency == "SEK"


def test_a_tenant_is_created_once() -> None:
    again = case().do(CreateTenant(tenant="demo", name="Demo")).do(CreateTenant(tenant="demo", name="Other"))
    assert (again.refusal, again.new) == (Refusal.ALREADY_EXISTS, [])


@pytest.mark.parametrize("id", ["", "Demo", "a_b", "a/b", "a" * 33, "ä"])
def test_an_id_is_of_lower_case_letters_digits_and_dashes(id: str) -> None:
    assert case().do(CreateTenant(tenant=id, name="Demo")).refusal is Refusal.INVALID


@pytest.mark.parametrize("id", ["backend", "platform", "hub", "chargesphere", "admin"])
def test_no_tenant_has_the_name_of_a_login_of_the_platform(id: str) -> None:
    refused = case().do(CreateTenant(tenant=id, name="Demo"))
    assert (refused.refusal, refused.new) == (Refusal.INVALID, [])
    assert refused.message == f"id: {id!r} is the platform's own; choose another one"


def test_a_name_is_needed() -> None:
    assert case().do(CreateTenant(tenant="demo", name=" ")).message == "name: must not be empty"


def test_a_configuration_that_cannot_be_is_refused_by_its_field() -> None:
    wrong = Configuration(time_zone="Mars/Olympus")
    assert (
        case()
        .do(CreateTenant(tenant="demo", name="Demo", configuration=wrong))
        .message.startswith("configuration.time_zone")
    )
    made = case().do(CreateTenant(tenant="demo", name="Demo"))
    assert made.do(ConfigureTenant(tenant="demo", configuration=wrong)).refusal is Refusal.INVALID


def test_a_new_configuration_is_a_fact_and_the_same_one_is_none() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo"))
    (event,) = made.do(ConfigureTenant(tenant="demo", configuration=Configuration(currency="SEK"))).new
    assert isinstance(event, TenantConfigured)
    same = made.do(ConfigureTenant(tenant="demo", configuration=Configuration(currency="SEK")))
    assert (same.outcome, same.new) == (Accepted(), [])


def test_an_unknown_tenant_cannot_be_configured() -> None:
    assert case().do(ConfigureTenant(tenant="demo", configuration=Configuration())).refusal is Refusal.UNKNOWN


def configure(platform: bool = True, claim: int = 0, **settings: Any) -> ConfigureTenant:
    configuration = msgspec.structs.replace(Configuration(), **settings)
    return ConfigureTenant(
        tenant="demo", configuration=configuration, by_platform=platform, prefix_claim=claim
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_charge_points", 1001),
        ("max_charge_points", 999),
        ("max_auto_registered", 1),
        ("api_rate_limit", 1),
        ("ocpp_rate_limit", 1),
        ("queue_enabled", False),
        ("worker_pool_size", 5),
        ("id_prefix", "TA-1"),
        ("ocpi", TenantParty(country_code="DE", party_id="BMW")),
    ],
)
def test_what_the_platform_grants_only_the_platform_changes(field: str, value: Any) -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo"))
    refused = made.do(configure(platform=False, claim=1, **{field: value}))
    assert (refused.refusal, refused.new) == (Refusal.NOT_ALLOWED, [])
    assert refused.message.startswith(f"configuration.{field}:")
    assert made.do(configure(claim=1, **{field: value})).outcome == Accepted()


def test_everything_else_is_the_tenants_own() -> None:
    party = TenantParty(country_code="DE", party_id="DEM")
    named = TenantParty(country_code="DE", party_id="DEM", business_details={"name": "Demo"})
    made = case().do(CreateTenant(tenant="demo", name="Demo", configuration=Configuration(ocpi=party)))
    assert made.do(configure(platform=False, ocpi=named, currency="SEK")).outcome == Accepted()


def test_a_prefix_is_claimed_before_it_is_used() -> None:
    prefixed = Configuration(id_prefix="TA-")
    assert (
        case().do(CreateTenant(tenant="demo", name="Demo", configuration=prefixed)).refusal is Refusal.INVALID
    )
    made = case().do(CreateTenant(tenant="demo", name="Demo", configuration=prefixed, prefix_claim=4))
    assert made.do(configure(id_prefix="TB-")).refusal is Refusal.CONFLICT
    assert made.do(configure(id_prefix="TA-", currency="SEK")).outcome == Accepted(), "the same needs none"


def test_the_configuration_with_the_older_claim_comes_too_late() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo"))
    (event,) = made.do(configure(id_prefix="TB-", claim=6)).new
    assert isinstance(event, TenantConfigured) and event.prefix_claim == 6
    late = made.do(configure(id_prefix="TA-", claim=5))
    assert (late.refusal, late.new) == (Refusal.CONFLICT, [])


def test_who_gives_up_its_prefix_says_up_to_which_claim() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo")).do(configure(id_prefix="TB-", claim=6))
    (event,) = made.do(configure()).new
    assert isinstance(event, TenantConfigured) and event.prefix_claim == 6
    assert release_after(event) == (ReleasePrefixes(owner="tenant:demo", keep="", upto=6),)


def test_another_prefix_releases_the_one_before_it_and_another_currency_none() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo"))
    (prefixed,) = made.do(configure(id_prefix="TB-", claim=6)).new
    assert release_after(prefixed) == (ReleasePrefixes(owner="tenant:demo", keep="TB-", upto=6),)
    (other,) = made.do(configure(id_prefix="TB-", currency="SEK")).new
    assert release_after(other) == ()


def release_after(event: Event) -> tuple[Command, ...]:
    ((name, policy),) = POLICIES[TenantConfigured]
    assert name == "tenant"
    return tuple(policy(event, Meta(command_id="c", at=NOON)))


def part(number: int, version: int, charge_points: int, automatic: int = 0) -> CountPart:
    counts = Counts(charge_points=charge_points, automatic=automatic)
    return CountPart(tenant="demo", part=number, version=version, counts=counts)


def room(tenant: Decide) -> tuple[int, int]:
    asked = tenant.do(AskRoom(tenant="demo"))
    assert asked.new == [] and isinstance(asked.outcome, Accepted) and isinstance(asked.outcome.reply, Room)
    return asked.outcome.reply.for_operators, asked.outcome.reply.for_strangers


def fleet_of(most: int, strangers: int) -> Decide:
    limits = Configuration(max_charge_points=most, max_auto_registered=strangers)
    return case().do(CreateTenant(tenant="demo", name="Demo", configuration=limits))


def test_the_room_is_what_the_limits_leave_beside_what_is_counted() -> None:
    tenant = fleet_of(5, 2)
    assert room(tenant) == (5, 2)
    tenant.do(part(3, 1, 1)).do(part(9, 4, 2, automatic=1))
    assert room(tenant) == (3, 1), "who took itself in takes no operator's place"
    tenant.do(part(9, 5, 4, automatic=1))
    assert room(tenant) == (1, 0), "there are five in all"


def test_room_is_given_back_and_never_less_than_none() -> None:
    tenant = fleet_of(1, 1).do(part(0, 1, 3, automatic=2))
    assert room(tenant) == (0, 0)
    tenant.do(part(0, 2, 0))
    assert room(tenant) == (1, 1)


def test_an_older_word_of_a_part_and_the_same_again_count_nothing() -> None:
    tenant = fleet_of(10, 10).do(part(3, 2, 4))
    assert tenant.do(part(3, 2, 4)).new == []
    assert tenant.do(part(3, 1, 9)).new == []
    assert room(tenant) == (6, 6)


def test_nobody_counts_for_a_tenant_that_does_not_exist() -> None:
    assert case().do(part(0, 1, 1)).refusal is Refusal.UNKNOWN
    assert case().do(AskRoom(tenant="demo")).refusal is Refusal.UNKNOWN
