"""What a tenant accepts and refuses."""

from __future__ import annotations

import pytest

from commands.base import Accepted, Refusal
from commands.tenant import ROUTES, ConfigureTenant, CreateTenant
from domain.tenant import AGGREGATE_EVENTS, Configuration, Configured, Created, Tenant
from tests.commands.decide import Decide


def case() -> Decide:
    return Decide(Tenant, AGGREGATE_EVENTS, ROUTES)


def test_a_new_tenant_exists_with_its_configuration() -> None:
    made = case().do(CreateTenant(tenant="demo", name="Demo", configuration=Configuration(currency="SEK")))
    (event,) = made.new
    assert isinstance(event, Created) and event.configuration.currency == "SEK"


def test_a_tenant_is_created_once() -> None:
    again = case().do(CreateTenant(tenant="demo", name="Demo")).do(CreateTenant(tenant="demo", name="Other"))
    assert (again.refusal, again.new) == (Refusal.ALREADY_EXISTS, [])


@pytest.mark.parametrize("id", ["", "Demo", "a_b", "a/b", "a" * 33, "ä"])
def test_an_id_is_of_lower_case_letters_digits_and_dashes(id: str) -> None:
    assert case().do(CreateTenant(tenant=id, name="Demo")).refusal is Refusal.INVALID


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
    assert isinstance(event, Configured)
    same = made.do(ConfigureTenant(tenant="demo", configuration=Configuration(currency="SEK")))
    assert (same.outcome, same.new) == (Accepted(), [])


def test_an_unknown_tenant_cannot_be_configured() -> None:
    assert case().do(ConfigureTenant(tenant="demo", configuration=Configuration())).refusal is Refusal.UNKNOWN
