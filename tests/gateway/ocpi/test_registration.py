"""We begin the handshake with a partner's platform, over real HTTP both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.ocpi import Handshakes, OcpiClient, Peers, UrlPolicy
from tests.api.ocpi.hub import Hub, checked, serving, token_header
from tests.gateway.ocpi.peer import Platform, base64_header, enveloped


class Case:
    """A hub that serves, a platform that serves, and the handshakes that the hub begins."""

    def __init__(self, hub: Hub, peer: Platform, client: OcpiClient) -> None:
        self.hub = hub
        self.peer = peer
        self.behind = False
        self.handshakes = Handshakes(
            client,
            hub.store,
            hub.vault,
            hub.bus,
            hub.identity.credentials,
            self.visible,
            lambda: hub.now,
            hub.new_token,
        )

    async def visible(self, db: str, collection: str, id: str, version: int) -> object:
        return not self.behind and await self.hub.visible(db, collection, id, version)

    async def plan(self, url: str = "", theirs: str = "their-a") -> None:
        sealed = await self.hub.vault.seal("partner-tnm", theirs)
        await self.hub.plan(versions_url=url or f"{self.peer.base}/versions", their_token_a=sealed)


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with AsyncExitStack() as stack:
        peer = Platform(accepts=["their-a"])
        peer.base = await stack.enter_async_context(serving(peer.app))
        client = OcpiClient(UrlPolicy(allow_private_urls=True), timeout=5)
        stack.push_async_callback(client.aclose)
        hub = Hub(tmp_path, Peers(client))
        stack.push_async_callback(hub.close)
        base = await stack.enter_async_context(serving(hub.app))
        hub.publish(base)
        yield Case(hub, peer, client)


async def test_we_register_with_a_partner_that_calls_back_in_the_open_request(case: Case) -> None:
    await case.plan()
    result = await case.handshakes.register("tnm")
    assert (result.ok, result.reason) == (True, "")
    assert [(m, p) for m, p, _ in case.peer.seen] == [
        ("GET", "/versions"),
        ("GET", "/2.3.0/details"),
        ("POST", "/2.3.0/credentials"),
    ]
    assert {header for _, _, header in case.peer.seen} == {base64_header("their-a")}
    partner = await case.hub.partner()
    assert (partner["status"], partner["ocpi_version"]) == ("CONNECTED", "2.3.0")
    assert await case.hub.vault.open(str(partner["sealed_b"])) == b"made-there-1"
    checked(await case.hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header(case.peer.ours)))


async def test_the_newest_mutual_version_is_chosen(case: Case) -> None:
    case.peer.versions = ("2.1.1", "2.2.1", "3.0")
    sent: list[dict[str, Any]] = []

    async def keep(theirs: dict[str, Any]) -> None:
        sent.append(theirs)

    case.peer.on_credentials = keep
    await case.plan()
    assert (await case.handshakes.register("tnm")).ok
    assert (await case.hub.partner())["ocpi_version"] == "2.2.1"
    assert [role["role"] for role in sent[0]["roles"]] == ["HUB"]


async def test_until_the_handshake_ends_its_token_opens_versions_alone(case: Case) -> None:
    await case.plan()
    seen: list[Any] = []

    async def look(theirs: dict[str, Any]) -> None:
        header = token_header(theirs["token"])
        for path in ("versions", "2.3.0", "2.3.0/credentials", "2.3.0/sender/cdrs"):
            seen.append((await case.hub.client.get(f"/ocpi/{path}", headers=header)).status_code)

    case.peer.on_credentials = look
    assert (await case.handshakes.register("tnm")).ok
    assert seen == [200, 200, 401, 401]


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [("versions", "versions: 3001"), ("details", "versions: 3001"), ("credentials", "credentials: HTTP 200")],
)
async def test_a_handshake_that_fails_leaves_everything_as_it_was(
    case: Case, spoiled: str, reason: str
) -> None:
    await case.plan()
    case.peer.spoil[spoiled] = lambda: enveloped(status_code=3000)
    result = await case.handshakes.register("tnm")
    assert (result.ok, result.reason.startswith(reason)) == (False, True), result
    partner = await case.hub.partner()
    assert (partner["status"], partner["digest_pending"], partner["sealed_b"]) == ("PLANNED", None, None)
    checked(await case.hub.client.get("/ocpi/versions", headers=token_header("made-here-1")), 401, 2000)
    case.peer.spoil.clear()
    assert (await case.handshakes.register("tnm")).ok


async def test_nobody_is_asked_to_call_back_with_a_token_that_would_not_be_recognised(case: Case) -> None:
    await case.plan()
    case.behind = True
    assert "behind" in (await case.handshakes.register("tnm")).reason
    assert "POST" not in [method for method, _, _ in case.peer.seen]
    assert (await case.hub.partner())["digest_pending"] is None


async def test_credentials_that_are_none_are_named(case: Case) -> None:
    await case.plan()
    case.peer.spoil["credentials"] = lambda: enveloped({"token": "x", "url": "http://x.test"})
    result = await case.handshakes.register("tnm")
    assert "roles" in result.reason and not result.ok


async def test_roles_that_the_operator_did_not_grant_end_the_handshake_and_wait(case: Case) -> None:
    await case.plan()
    case.peer.party = "FR*OTH"
    result = await case.handshakes.register("tnm")
    assert "none is granted to this platform, got EMSP FR*OTH" in result.reason
    partner = await case.hub.partner()
    assert (partner["status"], partner["digest_pending"]) == ("PLANNED", None)
    assert [role["party_id"] for role in partner["requested_roles"]] == ["OTH"]  # type: ignore[union-attr, index, call-overload]


async def test_without_their_token_and_url_nothing_can_begin(case: Case) -> None:
    await case.hub.plan()
    assert "versions_url and token" in (await case.handshakes.register("tnm")).reason
    assert "no partner" in (await case.handshakes.register("nobody")).reason
    assert case.peer.seen == []


async def test_new_tokens_both_ways_by_PUT(case: Case) -> None:
    await case.plan()
    await case.handshakes.register("tnm")
    old = case.peer.ours
    assert (await case.handshakes.rotate("tnm")).ok
    assert case.peer.seen[-1][:2] == ("PUT", "/2.3.0/credentials")
    assert case.peer.ours != old
    checked(await case.hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header(case.peer.ours)))
    assert await case.hub.vault.open(str((await case.hub.partner())["sealed_b"])) == b"made-there-2"
    case.hub.later(31)
    checked(await case.hub.client.get("/ocpi/versions", headers=token_header(old)), 401, 2000)


async def test_a_rotation_that_fails_leaves_the_tokens_alive(case: Case) -> None:
    await case.plan()
    await case.handshakes.register("tnm")
    case.peer.spoil["credentials"] = lambda: enveloped(status_code=2000)
    assert not (await case.handshakes.rotate("tnm")).ok
    checked(await case.hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header(case.peer.ours)))
    assert (await case.hub.partner())["status"] == "CONNECTED"


async def test_a_registration_ends_on_both_sides(case: Case) -> None:
    await case.plan()
    await case.handshakes.register("tnm")
    assert (await case.handshakes.unregister("tnm")).ok
    assert case.peer.accepts == []
    assert (await case.hub.partner())["status"] == "OFFLINE"
    checked(await case.hub.client.get("/ocpi/versions", headers=token_header(case.peer.ours)), 401, 2000)
    assert (await case.handshakes.unregister("tnm")).reason == "it is not registered"


async def test_a_registration_ends_here_although_the_partner_is_away(case: Case) -> None:
    await case.plan()
    await case.handshakes.register("tnm")
    case.peer.spoil["credentials"] = lambda: enveloped(status_code=3000, http=500)
    result = await case.handshakes.unregister("tnm")
    assert (result.ok, result.reason) == (False, "HTTP 500, OCPI 3000")
    assert (await case.hub.partner())["status"] == "OFFLINE"


async def test_what_is_registered_is_not_registered_again(case: Case) -> None:
    await case.plan()
    await case.handshakes.register("tnm")
    assert (await case.handshakes.register("tnm")).reason == "it is registered already"
