"""What CPOs pushed of charges with foreign tokens: each tenant sees those of its own, a platform admin all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from commands.base import Meta
from domain.aggregate import Event, EventRegistry
from domain.bearer import Bearer
from domain.foreign_cdr import AGGREGATE_EVENTS as CDR_EVENTS
from domain.foreign_cdr import ForeignCdr
from domain.foreign_session import AGGREGATE_EVENTS as SESSION_EVENTS
from domain.foreign_session import ForeignSession
from domain.values import PartyId
from projections import foreign_cdr, foreign_session
from projections.base import View
from projections.store import HUB, Put
from tests.api.v1.world import World, problem
from tests.domain.golden import golden

EVENTS = EventRegistry({ForeignSession: SESSION_EVENTS, ForeignCdr: CDR_EVENTS})
TOKEN = b'{"country_code":"DE","party_id":"DEM","uid":"TAG1","type":"RFID","contract_id":"C-1"}'


async def keep(world: World, view: View, id: str, tenant: str, *names: str) -> None:
    """The document that follows from these golden events, of a token of a tenant, or else of a partner."""
    owner = PartyId(country_code="DE", party_id="DEM" if tenant else "MSP")
    bearer = Bearer(
        owner=owner,
        holder="" if tenant else "msp@1",
        tenant=tenant,
        key="9f2c",
        token_type="RFID",
        sealed=await world.vault.seal("k", TOKEN),
        fingerprint="aa",
    )
    document = None
    for name in names:
        event: Event = EVENTS.decode(golden(view.kind, f"{view.kind}.{name}.v1"))
        changed: dict[str, Any] = {"bearer": bearer} if hasattr(event, "bearer") else {}
        if hasattr(event, "private"):
            changed["private"] = await world.vault.seal("k", b'{"signed_data":{"encoding_method":"OCMF"}}')
        event = msgspec.structs.replace(event, originator_id=f"{view.kind}|FR*CPO|{id}", **changed)
        document = view.evolve(document, event, Meta(command_id="c", at=event.timestamp))
    assert document is not None
    await world.store.apply([Put(HUB, view.collection, f"FR*CPO|{id}", 2, document, view.keep)])


@pytest.fixture
async def received(world: World) -> World:
    """A session and a CDR of demo's, and one each that went on to an eMSP."""
    for id, tenant in (("a/1", "demo"), ("b", "")):
        await keep(world, foreign_session.VIEW, id, tenant, "begun", "patched")
        await keep(world, foreign_cdr.VIEW, id, tenant, "posted", "checked")
    return world


async def ids(world: World, path: str, **who: Any) -> list[str]:
    response = await world.call("GET", path, **who)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


@pytest.mark.parametrize("module", ["sessions", "cdrs"])
async def test_a_tenant_sees_those_of_its_tokens_and_a_platform_admin_all(
    received: World, module: str
) -> None:
    path = f"/{module}/received"
    assert await ids(received, path) == ["FR*CPO|a/1"]
    assert await ids(received, path, tenant="acme") == []
    assert sorted(await ids(received, path, role="platform_admin")) == ["FR*CPO|a/1", "FR*CPO|b"]
    for id, who, status in (
        ("FR*CPO|a%2F1", {}, 200),
        ("FR*CPO|b", {}, 404),
        ("FR*CPO|a%2F1", {"tenant": "acme"}, 404),
        ("FR*CPO|b", {"role": "platform_admin"}, 200),
    ):
        response = await received.call("GET", f"{path}/{id}", **who)  # type: ignore[arg-type]
        assert response.status_code == status
        if status == 404:
            problem(response)


@pytest.mark.parametrize("module", ["sessions", "cdrs"])
async def test_they_are_none_of_our_own(received: World, module: str) -> None:
    assert await ids(received, f"/{module}?tenant=demo", role="platform_admin") == []
    assert (await received.call("GET", f"/{module}/FR*CPO|a%2F1")).status_code == 404
    assert await ids(received, "/cdrs", role="platform_admin") == []
    assert (await received.call("GET", "/cdrs/FR*CPO|b", role="platform_admin")).status_code == 404


async def test_lists_are_filtered_by_cpo_and_by_state(received: World) -> None:
    assert await ids(received, "/cdrs/received?check=differs&party=fr*cpo") == ["FR*CPO|a/1"]
    assert await ids(received, "/cdrs/received?check=equal") == []
    assert await ids(received, "/cdrs/received?party=FR*OTH") == []
    assert await ids(received, "/sessions/received?status=ACTIVE") == ["FR*CPO|a/1"]
    assert await ids(received, "/sessions/received?status=COMPLETED") == []


async def test_a_cdr_shows_what_it_comes_to_with_each_difference(received: World) -> None:
    shown = (await received.call("GET", "/cdrs/received/FR*CPO|a%2F1", role="operator")).json()
    assert (shown["tenant_id"], shown["party"], shown["delivery"]) == ("demo", "FR*CPO", None)
    assert shown["check"]["outcome"] == "differs"
    assert shown["check"]["total_cost"]["before_taxes"] == 3
    [difference] = shown["check"]["differences"]
    assert (difference["path"], difference["stated"], difference["expected"]) == (
        "total_cost.before_taxes",
        4,
        3,
    )


async def test_the_token_and_what_meters_signed_is_for_who_may_see_people(received: World) -> None:
    for role, uid, signed in (("viewer", None, False), ("operator", "TAG1", True)):
        for module, field in (("sessions", "session"), ("cdrs", "cdr")):
            response = await received.call("GET", f"/{module}/received/FR*CPO|a%2F1", role=role)
            body = response.json()[field]
            assert body["cdr_token"] == "***" if uid is None else body["cdr_token"]["uid"] == uid
            assert ("signed_data" in body) == (signed and module == "cdrs")
            assert "s1." not in response.text
