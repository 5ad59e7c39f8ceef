"""A partner registers with us over real HTTP, changes and ends its registration (chapter Credentials)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from api.ocpi import Peers
from commands.base import Command
from commands.partner import GrantRoles, ReissueTokenA, Suspend
from commands.tenant import CreateTenant
from domain.partner import PartnerRole
from domain.tenant import Configuration, TenantParty
from gateway.ocpi import OcpiClient, UrlPolicy
from gateway.ocpi import Peers as HttpPeers
from tests.api.ocpi.hub import Hub, checked, serving, token_header
from tests.gateway.ocpi.peer import Platform, base64_header, enveloped

ROLE = {"role": "EMSP", "country_code": "NL", "party_id": "TNM"}
A = token_header("token-a")
URL = "/ocpi/2.3.0/credentials"


class Case:
    """A hub, and a partner's platform that it really calls."""

    def __init__(self, hub: Hub, peer: Platform) -> None:
        self.hub = hub
        self.peer = peer

    async def send(
        self, method: str, used: str, new: str = "", version: str = "2.3.0", /, **changes: Any
    ) -> Any:
        """The partner sends its credentials with the new token in them."""
        body = self.peer.credentials(new, **changes) if new else None
        if new:
            self.peer.accepts.append(new)
        return await self.hub.client.request(
            method, f"/ocpi/{version}/credentials", headers=token_header(used), json=body
        )

    async def registered(self, version: str = "2.3.0") -> str:
        """Registers; returns the token C."""
        return str(checked(await self.send("POST", "token-a", "token-b", version))["token"])


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with AsyncExitStack() as stack:
        peer = Platform()
        peer.base = await stack.enter_async_context(serving(peer.app))
        client = OcpiClient(UrlPolicy(allow_private_urls=True), timeout=5)
        stack.push_async_callback(client.aclose)
        hub = Hub(tmp_path, _typed(HttpPeers(client)))
        stack.push_async_callback(hub.close)
        await hub.plan()
        yield Case(hub, peer)


def _typed(peers: HttpPeers) -> Peers:
    """The gateway's class fits the door's port."""
    return peers


async def test_a_partner_registers_in_one_open_request(case: Case) -> None:
    ours = checked(await case.send("POST", "token-a", "token-b"))
    assert ours["url"] == "http://hub.test/ocpi/versions"
    assert [(method, path) for method, path, _ in case.peer.seen] == [
        ("GET", "/versions"),
        ("GET", "/2.3.0/details"),
    ]
    assert {header for _, _, header in case.peer.seen} == {base64_header("token-b")}
    partner = await case.hub.partner()
    assert (partner["status"], partner["ocpi_version"]) == ("CONNECTED", "2.3.0")
    endpoints = partner["endpoints"]
    assert isinstance(endpoints, list)
    assert {"identifier": "cdrs", "role": "RECEIVER", "url": f"{case.peer.base}/2.3.0/cdrs"} in endpoints
    checked(await case.hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header(ours["token"])))
    assert await case.hub.vault.open(str(partner["sealed_b"])) == b"token-b"


async def test_token_a_is_dead_after_the_registration_HTTP_401(case: Case) -> None:
    await case.registered()
    checked(await case.hub.client.get("/ocpi/versions", headers=A), 401, 2000)
    checked(await case.send("POST", "token-a", "token-b2"), 401, 2000)


async def test_no_token_stands_anywhere_in_the_clear(case: Case) -> None:
    token_c = await case.registered()
    written = repr(case.hub.bus.asked) + repr(await case.hub.partner())
    for token in ("token-a", "token-b", token_c):
        assert token not in written.replace("sealed_c", "")


async def test_a_second_POST_is_HTTP_405(case: Case) -> None:
    token_c = await case.registered()
    response = await case.send("POST", token_c, "token-b2")
    checked(response, 405, 2000)
    assert response.headers["Allow"] == "DELETE, GET, PUT"
    assert checked(await case.hub.client.get(URL, headers=token_header(token_c)))["token"] == token_c


async def test_PUT_and_DELETE_before_a_registration_are_HTTP_405(case: Case) -> None:
    for method, token in (("PUT", "token-b"), ("DELETE", "")):
        response = await case.send(method, "token-a", token)
        checked(response, 405, 2000)
        assert response.headers["Allow"] == "GET, POST"
    assert case.peer.seen == []


async def test_to_a_2_3_0_partner_the_hub_names_itself_and_who_can_be_reached(case: Case) -> None:
    alone = checked(await case.hub.client.get(URL, headers=A))
    assert alone["hub_party_id"] == "DEHUB"
    assert [(r["role"], r["country_code"], r["party_id"]) for r in alone["roles"]] == [("OTHER", "DE", "HUB")]
    party = TenantParty(country_code="DE", party_id="DEM")
    await case.hub.do(CreateTenant(tenant="demo", name="Demo", configuration=Configuration(ocpi=party)))
    # Another platform cannot be reached through the hub as long as it does not route.
    await case.hub.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO")
    token_c = await case.registered()
    roles = checked(await case.hub.client.get(URL, headers=token_header(token_c)))["roles"]
    assert [(r["role"], r["country_code"], r["party_id"], r["business_details"]["name"]) for r in roles] == [
        ("CPO", "DE", "DEM", "Demo"),
    ]


async def test_to_a_2_2_1_partner_the_hub_is_the_only_role(case: Case) -> None:
    ours = checked(await case.send("POST", "token-a", "token-b", "2.2.1"))
    assert [(r["role"], r["country_code"], r["party_id"]) for r in ours["roles"]] == [("HUB", "DE", "HUB")]
    assert "hub_party_id" not in ours
    assert (await case.hub.partner())["ocpi_version"] == "2.2.1"
    assert case.peer.seen[-1][1] == "/2.2.1/details"


async def test_new_credentials_bring_new_tokens_both_ways_and_the_old_one_a_grace(case: Case) -> None:
    old = await case.registered()
    new = checked(await case.send("PUT", old, "token-b2"))["token"]
    assert new != old
    assert await case.hub.vault.open(str((await case.hub.partner())["sealed_b"])) == b"token-b2"
    assert checked(await case.hub.client.get(URL, headers=token_header(old)))["token"] == new
    case.hub.later(31)
    checked(await case.hub.client.get(URL, headers=token_header(old)), 401, 2000)
    checked(await case.hub.client.get(URL, headers=token_header(new)))


async def test_a_PUT_switches_the_version_to_that_of_its_endpoint(case: Case) -> None:
    old = await case.registered("2.2.1")
    checked(await case.send("PUT", old, "token-b2", "2.3.0"))
    assert (await case.hub.partner())["ocpi_version"] == "2.3.0"


async def test_a_PUT_with_a_token_that_the_partner_does_not_accept_itself_is_3001_and_changes_nothing(
    case: Case,
) -> None:
    """It would be called with that token from then on, and refuse every call."""
    old = await case.registered()
    before = await case.hub.partner()
    response = await case.hub.client.put(
        URL, headers=token_header(old), json=case.peer.credentials("token-b2")
    )
    checked(response, 200, 3001)
    assert base64_header("token-b") not in {header for _, _, header in case.peer.seen[2:]}
    assert await case.hub.partner() == before
    checked(await case.hub.client.get(URL, headers=token_header(old)))


async def test_the_same_PUT_twice_leaves_tokens_that_work(case: Case) -> None:
    old = await case.registered()
    case.peer.accepts.append("token-b2")
    body, headers = case.peer.credentials("token-b2"), {**token_header(old), "X-Request-ID": "same"}
    first = checked(await case.hub.client.put(URL, headers=headers, json=body))["token"]
    again = checked(await case.hub.client.put(URL, headers=headers, json=body))["token"]
    assert again != first
    checked(await case.hub.client.get(URL, headers=token_header(again)))


async def test_a_registration_ends_and_all_tokens_die(case: Case) -> None:
    token_c = await case.registered()
    checked(await case.send("DELETE", token_c))
    checked(await case.hub.client.get("/ocpi/versions", headers=token_header(token_c)), 401, 2000)
    assert (await case.hub.partner())["status"] == "OFFLINE"
    secret = await case.hub.secret("tnm", "token-a2")
    await case.hub.do(ReissueTokenA(partner_id="tnm", token_a=secret))
    checked(await case.send("POST", "token-a2", "token-b3"))


async def test_a_peer_that_takes_its_token_raw_is_called_raw_from_then_on(case: Case) -> None:
    case.peer.raw_tokens = True
    await case.registered()
    assert (await case.hub.partner())["token_raw"] is True


def _http(status: int) -> Response:
    return JSONResponse({"detail": "no"}, status)


@pytest.mark.parametrize(
    ("spoiled", "answer", "status_code"),
    [
        ("versions", lambda: _http(401), 3001),
        ("versions", lambda: _http(500), 3001),
        ("versions", lambda: Response("<html>", 200), 3001),
        ("versions", lambda: enveloped(status_code=2000), 3001),
        ("versions", lambda: enveloped({"not": "a list"}), 3001),
        ("versions", lambda: Response(status_code=307, headers={"Location": "http://127.0.0.1:9/"}), 3001),
        ("details", lambda: _http(404), 3001),
        ("details", lambda: enveloped([]), 3001),
        ("versions", lambda: enveloped([{"version": "2.1.1", "url": "http://x.test/2.1.1"}]), 3002),
        ("versions", lambda: enveloped([]), 3002),
        ("details", lambda: enveloped({"version": "2.3.0", "endpoints": []}), 3003),
    ],
)
async def test_a_call_back_that_fails_is_told_and_token_a_lives_on(
    case: Case, spoiled: str, answer: Any, status_code: int
) -> None:
    case.peer.spoil[spoiled] = answer
    checked(await case.send("POST", "token-a", "token-b"), 200, status_code)
    assert (await case.hub.partner())["status"] == "PLANNED"
    case.peer.spoil.clear()
    checked(await case.send("POST", "token-a", "token-b"))


async def test_no_mutual_version_is_3002_with_what_was_offered(case: Case) -> None:
    case.peer.versions = ("2.1.1", "2.2.1")
    response = await case.send("POST", "token-a", "token-b", "2.3.0")
    checked(response, 200, 3002)
    assert response.json()["status_message"] == "offered: 2.1.1, 2.2.1; needed: 2.3.0"


async def test_a_url_where_nobody_listens_is_3001(case: Case) -> None:
    response = await case.send("POST", "token-a", "token-b", url="http://127.0.0.1:1/versions")
    checked(response, 200, 3001)
    assert "cannot be reached" in response.json()["status_message"]


async def test_a_private_url_is_refused_with_3001_that_names_the_address(case: Case, tmp_path: Path) -> None:
    client = OcpiClient(UrlPolicy(allow_private_urls=False))
    hub = Hub(tmp_path / "strict", HttpPeers(client))
    await hub.plan()
    response = await Case(hub, case.peer).send("POST", "token-a", "token-b")
    checked(response, 200, 3001)
    assert "127.0.0.1" in response.json()["status_message"]
    assert case.peer.seen == []
    await client.aclose()
    await hub.close()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"url": None}, "url"),
        ({"roles": []}, "roles"),
        ({"roles": [ROLE]}, "roles[0].business_details"),
        ({"roles": [{"role": "KING"}]}, "roles[0]"),
        ({"roles": [{**ROLE, "business_details": {"name": "TNM", "x": 10**30}}]}, "roles"),
        ({"token": "a b"}, "token"),
        ({"token": "x" * 65}, "token"),
    ],
)
async def test_what_is_missing_or_wrong_in_credentials_is_2001_by_its_name(
    case: Case, changes: dict[str, Any], named: str
) -> None:
    response = await case.send("POST", "token-a", "token-b", **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    assert case.peer.seen == []


async def test_a_role_may_not_be_named_twice(case: Case) -> None:
    role = case.peer.credentials("x")["roles"][0]
    checked(await case.send("POST", "token-a", "token-b", roles=[role, role]), 200, 2001)


async def test_a_type_must_be_one_of_the_roles(case: Case) -> None:
    case.peer.accepts.append("token-b")
    body = case.peer.credentials("token-b")
    checked(await case.hub.client.post(f"{URL}?type=CPO", headers=A, json=body), 200, 2001)
    checked(await case.hub.client.post(f"{URL}?type=EMSP", headers=A, json=body))


def named(roles: Any) -> list[str]:
    return [f"{role['role']} {role['country_code']}*{role['party_id']}" for role in roles]


def bmw(case: Case) -> dict[str, Any]:
    """The role of a CPO that nobody agreed on."""
    role: dict[str, Any] = case.peer.credentials("x")["roles"][0]
    return {**role, "role": "CPO", "country_code": "DE", "party_id": "BMW"}


async def test_a_role_that_was_not_agreed_on_is_2001_and_waits_and_token_a_lives_on(case: Case) -> None:
    """Agreed on as EMSP NL*TNM: neither another party nor another role of its own can be taken by registering."""
    for role in (bmw(case), {**case.peer.credentials("x")["roles"][0], "role": "CPO"}):
        response = await case.send("POST", "token-a", "token-b", roles=[role])
        checked(response, 200, 2001)
        assert named([role])[0] in response.json()["status_message"]
    partner = await case.hub.partner()
    assert (partner["status"], partner["parties"]) == ("PLANNED", ["NL*TNM"])
    assert named(partner["requested_roles"]) == ["CPO DE*BMW", "CPO NL*TNM"]
    # The party was not taken: who it belongs to can be connected.
    await case.hub.connect("bmw", "bmw-c", parties=("DE*BMW",), role="CPO")
    await case.registered()


async def test_of_the_roles_in_credentials_those_count_that_are_granted_and_the_others_wait(
    case: Case,
) -> None:
    ours = case.peer.credentials("x")["roles"][0]
    token_c = checked(await case.send("POST", "token-a", "token-b", roles=[ours, bmw(case)]))["token"]
    partner = await case.hub.partner()
    assert (named(partner["roles"]), named(partner["requested_roles"])) == (["EMSP NL*TNM"], ["CPO DE*BMW"])
    assert (partner["parties"], partner["waiting"]) == (["NL*TNM"], True)
    await case.hub.do(GrantRoles(partner_id="tnm", roles=(role_of(bmw(case)),)))
    partner = await case.hub.partner()
    assert (partner["parties"], partner["waiting"]) == (["NL*TNM", "DE*BMW"], False)
    # A PUT adds nothing at will, and what it leaves out counts no more.
    other = {**bmw(case), "party_id": "VWX"}
    checked(await case.send("PUT", token_c, "token-b2", roles=[ours, other]))
    partner = await case.hub.partner()
    assert (named(partner["roles"]), named(partner["requested_roles"])) == (["EMSP NL*TNM"], ["CPO DE*VWX"])


def role_of(role: dict[str, Any]) -> PartnerRole:
    return PartnerRole(**role)


async def test_nobody_can_be_the_hub(case: Case) -> None:
    case.peer.party = "DE*HUB"
    checked(await case.send("POST", "token-a", "token-b"), 200, 2001)
    assert case.peer.seen == []


async def test_of_two_POSTs_at_once_one_registers_and_the_other_is_HTTP_405(case: Case) -> None:
    first_answer = case.hub.bus.ask
    done: list[str] = []

    async def slow(command: Command, meta: Any, timeout: float | None = None) -> Any:
        if type(command).__name__ == "Register" and not done:
            done.append("begun")
            checked(await case.send("POST", "token-a", "token-b"))
        return await first_answer(command, meta, timeout)

    case.hub.bus.ask = slow  # type: ignore[method-assign]
    checked(await case.send("POST", "token-a", "token-b"), 405, 2000)
    assert (await case.hub.partner())["status"] == "CONNECTED"


async def test_a_suspended_partner_reads_and_ends_its_registration_and_reaches_nothing_else(
    case: Case,
) -> None:
    token_c = await case.registered()
    await case.hub.do(Suspend(partner_id="tnm"))
    before, calls = await case.hub.partner(), len(case.peer.seen)
    checked(await case.hub.client.get(URL, headers=token_header(token_c)))
    checked(await case.send("PUT", token_c, "token-b2"), 200, 2000)
    assert (await case.hub.partner(), len(case.peer.seen)) == (before, calls)
    checked(await case.hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header(token_c)), 200, 2000)
    checked(await case.send("DELETE", token_c))
