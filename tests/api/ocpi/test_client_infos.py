"""Which parties stand behind the hub (chapter Hub Client Info): of our tenants and of other partners, as they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from commands.partner import Resume, Suspend, Unregister
from commands.tenant import CreateTenant
from domain.tenant import Configuration, TenantParty
from protocols.ocpi.envelope import next_link
from tests.api.ocpi.hub import Hub, checked, token_header

C = token_header("token-c")
PATH = "/ocpi/2.3.0/hubclientinfo"


async def told(hub: Hub, path: str = PATH, header: dict[str, str] = C) -> list[dict[str, Any]]:
    return list(checked(await hub.client.get(path, headers=header)))


def short(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['country_code']}*{one['party_id']} {one['role']} {one['status']}" for one in found]


@pytest.fixture
async def network(hub: Hub) -> Hub:
    party = TenantParty(country_code="DE", party_id="DEM", business_details={"name": "Demo"})
    await hub.do(CreateTenant(tenant="demo", name="Demo", configuration=Configuration(ocpi=party)))
    await hub.connect()
    hub.now += timedelta(minutes=1)
    await hub.connect("cpo", "token-o", parties=("FR*CPO",), role="CPO")
    hub.now += timedelta(minutes=1)
    await hub.plan("new", "token-n", parties=("BE*NEW", "BE*NEX"))
    return hub


async def test_each_party_is_told_with_its_role_and_status_but_not_ones_own(network: Hub) -> None:
    assert short(await told(network)) == [
        "DE*DEM CPO CONNECTED",
        "FR*CPO CPO CONNECTED",
        "BE*NEW EMSP PLANNED",
        "BE*NEX EMSP PLANNED",
    ]
    assert "NL*TNM EMSP CONNECTED" in short(await told(network, header=token_header("token-o")))


async def test_a_status_that_changes_is_told_with_its_time_and_others_are_not(network: Hub) -> None:
    before = network.now
    network.now += timedelta(minutes=5)
    await network.do(Suspend(partner_id="cpo"))
    since = f"{PATH}?date_from={before.replace(tzinfo=None).isoformat()}Z"
    assert short(await told(network, since)) == [
        "FR*CPO CPO SUSPENDED",
        "BE*NEW EMSP PLANNED",
        "BE*NEX EMSP PLANNED",
    ]
    [suspended, *_] = await told(network, since)
    assert suspended["last_updated"] == network.now.replace(tzinfo=None).isoformat() + "Z"
    await network.do(Resume(partner_id="cpo"))
    await network.do(Unregister(partner_id="cpo"))
    assert short(await told(network, since))[0] == "FR*CPO CPO OFFLINE"
    until = f"{PATH}?date_to={before.replace(tzinfo=None).isoformat()}Z"
    assert short(await told(network, until)) == ["DE*DEM CPO CONNECTED"]


async def test_pages_follow_each_other_by_their_link(network: Hub) -> None:
    response = await network.client.get(f"{PATH}?limit=3", headers=C)
    assert len(checked(response)) == 3
    assert (response.headers["x-total-count"], response.headers["x-limit"]) == ("4", "100")
    following = next_link(response.headers["link"])
    assert following is not None
    assert short(await told(network, following)) == ["BE*NEX EMSP PLANNED"]


async def test_it_is_no_functional_module(network: Hub) -> None:
    """Configuration modules carry no routing headers (chapter Transport and format, message routing)."""
    response = await network.client.get(PATH, headers=C)
    assert not [name for name in response.headers if name.lower().startswith("ocpi-")]
    checked(await network.client.get(PATH, headers=token_header("token-n")), 401, 2000)
    refused = await network.client.put(PATH, headers=C, json={})
    checked(refused, 405, 2000)
    assert refused.headers["allow"] == "GET"


async def test_a_partner_of_2_2_1_is_told_in_its_version(hub: Hub) -> None:
    """A payment terminal provider has no role there."""
    await hub.connect(version="2.2.1")
    await hub.plan("ptp", "token-p", parties=("BE*PTP",), role="PTP")
    assert short(await told(hub, "/ocpi/2.2.1/hubclientinfo")) == ["BE*PTP OTHER PLANNED"]


async def test_a_suspended_partner_is_told_of_nobody(network: Hub) -> None:
    await network.do(Suspend(partner_id="tnm"))
    checked(await network.client.get(PATH, headers=C), 200, 2000)
