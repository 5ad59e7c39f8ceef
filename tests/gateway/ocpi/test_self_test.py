"""A registered partner is looked at over real HTTP: what it offers is asked once, and nothing changes there."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import JSONResponse

from domain.values import PartyId
from gateway.ocpi import OcpiClient, UrlPolicy
from gateway.ocpi.self_test import SelfTest, Step
from tests.gateway.ocpi.peer import STAMP, enveloped
from tests.gateway.ocpi.test_registration import Case, case

__all__ = ["case"]

TOKEN = {
    "country_code": "NL",
    "party_id": "TNM",
    "uid": "012345678",
    "type": "RFID",
    "contract_id": "NL8ACC12E46L89",
    "issuer": "The New Motion",
    "valid": True,
    "whitelist": "ALWAYS",
    "last_updated": STAMP,
}


async def steps_of(case: Case) -> list[Step]:
    client = OcpiClient(UrlPolicy(allow_private_urls=True), timeout=5)
    hub = PartyId(country_code="DE", party_id="HUB")
    steps = await SelfTest(client, case.hub.store, case.hub.vault, hub, lambda: case.hub.now).run("tnm")
    await client.aclose()
    assert steps is not None
    return list(steps)


@pytest.fixture
async def registered(case: Case) -> Case:
    case.peer.lists = {"tokens": [TOKEN, TOKEN], "hubclientinfo": []}
    await case.plan()
    assert (await case.handshakes.register("tnm")).ok
    case.peer.accepts.append("made-there-1")
    case.peer.seen.clear()
    return case


async def test_versions_details_and_each_list_are_asked_and_what_only_takes_is_not(registered: Case) -> None:
    steps = await steps_of(registered)
    assert [(one.name, one.verdict) for one in steps] == [
        ("versions", "ok"),
        ("version 2.3.0", "ok"),
        ("cdrs RECEIVER", "not_called"),
        ("hubclientinfo SENDER", "ok"),
        ("sessions RECEIVER", "not_called"),
        ("tokens SENDER", "ok"),
    ]
    assert {(one.http_status, one.ocpi_status) for one in steps if one.verdict == "ok"} == {(200, 1000)}
    assert {method for method, _, _ in registered.peer.seen} == {"GET"}


async def test_what_is_not_as_the_standard_says_is_named(registered: Case) -> None:
    registered.peer.lists["tokens"] = [{**TOKEN, "valid": "yes"}]
    registered.peer.spoil["hubclientinfo"] = lambda: enveloped([])
    found = {one.name: (one.verdict, one.message) for one in await steps_of(registered)}
    verdict, message = found["tokens SENDER"]
    assert verdict == "not_ocpi" and message.startswith("data[0].valid")
    assert found["hubclientinfo SENDER"] == ("not_ocpi", "a list has the header X-Total-Count")


@pytest.mark.parametrize(
    ("spoil", "verdict", "says"),
    [
        (lambda: enveloped(status_code=3000), "refused", "HTTP 200, OCPI 3000"),
        (lambda: JSONResponse({"detail": "no"}, 503), "refused", "HTTP 503, no OCPI envelope"),
        (lambda: JSONResponse(["no envelope"]), "not_ocpi", "no OCPI envelope"),
    ],
)
async def test_a_partner_that_refuses_is_quoted_and_the_rest_is_asked_all_the_same(
    registered: Case, spoil: Any, verdict: str, says: str
) -> None:
    registered.peer.spoil["versions"] = spoil
    first, *rest = await steps_of(registered)
    assert (first.verdict, says in first.message) == (verdict, True), first
    assert ("tokens SENDER", "ok") in [(one.name, one.verdict) for one in rest]


async def test_endpoints_that_have_moved_and_a_version_that_is_gone_are_named(registered: Case) -> None:
    registered.peer.modules = ("credentials", "cdrs")
    _, details, *_ = await steps_of(registered)
    assert (details.verdict, details.message) == (
        "not_ocpi",
        "changed since it registered: sessions/RECEIVER",
    )
    registered.peer.versions = ("2.2.1",)
    _, details, *_ = await steps_of(registered)
    assert details.message == "is not offered any more, only 2.2.1"


async def test_a_partner_that_is_not_registered_is_not_asked(case: Case) -> None:
    await case.plan()
    client = OcpiClient(UrlPolicy(allow_private_urls=True))
    hub = PartyId(country_code="DE", party_id="HUB")
    assert (
        await SelfTest(client, case.hub.store, case.hub.vault, hub, lambda: case.hub.now).run("tnm") is None
    )
    await client.aclose()
    assert case.peer.seen == []
