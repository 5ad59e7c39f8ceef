"""Who may call what, and whom it can be for: roles and routing headers (chapters Transport and format, Hub)."""

from __future__ import annotations

from typing import Any

import pytest

from commands.tenant import CreateTenant
from domain.tenant import Configuration, TenantParty
from projections.store import HUB, JSON, Query
from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_tokens import URL, token

C = token_header("token-c")


def routed(to: str | None = None, sender: str | None = None) -> dict[str, str]:
    """Authorization and routing headers."""
    headers = dict(C)
    for name, party in (("to", to), ("from", sender)):
        if party is not None:
            headers |= {f"OCPI-{name}-country-code": party[:2], f"OCPI-{name}-party-id": party[3:]}
    return headers


async def put(
    hub: Hub, to: str | None = None, sender: str | None = None, url: str = URL, **changes: Any
) -> Any:
    return await hub.client.put(url, headers=routed(to, sender), json=token(**changes))


async def keep_tenant(hub: Hub) -> None:
    configuration = Configuration(ocpi=TenantParty(country_code="DE", party_id="DEM"))
    await hub.do(CreateTenant(tenant="demo", name="Demo", configuration=configuration))


async def kept(hub: Hub) -> int:
    return len((await hub.store.find(Query(HUB, "tokens"))).items)


async def test_a_cpo_pushes_no_tokens_its_party_is_no_emsp_HTTP_404(hub: Hub) -> None:
    """Tokens are an eMSP's; for a party in another role the object does not exist."""
    await hub.connect(role="CPO")
    for method in ("PUT", "PATCH", "GET"):
        body = None if method == "GET" else token()
        response = await hub.client.request(method, URL, headers=C, json=body)
        checked(response, 404, 2001)
        assert response.json()["status_message"] == "NL*TNM is no EMSP here"
    assert await kept(hub) == 0


@pytest.mark.parametrize(
    ("role", "readable"),
    [
        ("EMSP", {"cdrs", "sessions", "tariffs"}),
        ("CPO", set()),
        ("NSP", {"tariffs"}),
        ("NAP", {"tariffs"}),
        ("SCSP", {"sessions"}),
        ("OTHER", {"tariffs"}),
    ],
)
async def test_each_role_reads_the_lists_that_are_for_it_and_gets_2000_for_others(
    hub: Hub, role: str, readable: set[str]
) -> None:
    await hub.connect(role=role)
    for version in ("2.3.0", "2.2.1"):
        for module in ("cdrs", "sessions", "tariffs"):
            response = await hub.client.get(f"/ocpi/{version}/sender/{module}", headers=C)
            checked(response, 200, 1000 if module in readable else 2000)


async def test_the_party_that_asks_must_have_the_role_itself(hub: Hub) -> None:
    """One platform, two parties: what one of them may the other may not."""
    await hub.connect()
    partner = await hub.partner()
    roles = partner["roles"]
    assert isinstance(roles, list)
    cpo: JSON = {"role": "CPO", "country_code": "NL", "party_id": "CPX", "business_details": {}}
    await hub.change_partner(roles=[*roles, cpo], parties=["NL*TNM", "NL*CPX"])
    await keep_tenant(hub)
    url = "/ocpi/2.3.0/sender/cdrs"
    checked(await hub.client.get(url, headers=routed(sender="NL*TNM")))
    checked(await hub.client.get(url, headers=routed(sender="NL*CPX")), 200, 2000)
    theirs = URL.replace("NL/TNM", "NL/CPX")
    checked(await put(hub, "DE*DEM", url=theirs, party_id="CPX"), 404, 2001)
    checked(await put(hub, "DE*DEM"), 201)


@pytest.mark.parametrize(("to", "code"), [("DE*HUB", 4000), (None, 4001)], ids=["broadcast", "open routing"])
async def test_a_token_for_all_is_refused_while_another_platform_should_get_it(
    hub: Hub, to: str | None, code: int
) -> None:
    """The hub does not route between platforms: it must not acknowledge what a CPO there would never see."""
    await hub.connect()
    await hub.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO", receives=("tokens",))
    await keep_tenant(hub)
    response = await put(hub, to)
    checked(response, 200, code)
    assert "OCPI-to" in response.json()["status_message"]
    assert await kept(hub) == 0
    checked(await put(hub, "FR*CPO"), 200, 4001)
    checked(await put(hub, "DE*DEM"), 201)


@pytest.mark.parametrize("to", ["DE*HUB", None])
async def test_a_token_for_all_is_taken_where_all_are_served_here(hub: Hub, to: str | None) -> None:
    """Other eMSPs, and CPOs that receive no tokens, are none of those that a broadcast of tokens is for."""
    await hub.connect()
    await hub.connect("emsp", "emsp-c", parties=("FR*MSP",), receives=("tokens",))
    await hub.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO", receives=("sessions",))
    checked(await put(hub, to), 201)


async def test_a_GET_at_a_receiver_is_never_for_the_hub_2001(hub: Hub) -> None:
    """A GET is no broadcast, and what one party stores is asked of that party (GET all is for Sender interfaces)."""
    await hub.connect()
    await keep_tenant(hub)
    checked(await put(hub, "DE*DEM"), 201)
    checked(await hub.client.get(URL, headers=routed("DE*HUB")), 200, 2001)
    assert checked(await hub.client.get(URL, headers=routed("DE*DEM"))) == token()
    checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=routed("DE*HUB")))
