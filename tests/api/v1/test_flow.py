"""The whole way: HTTP, the log, the decision, the read model, HTTP."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from api.v1 import indexes
from application.read_back import wait_visible
from commands.base import Meta
from commands.charge_point import Connect, Find, Found, StartTransaction
from commands.partner import Register, RequestRoles
from commands.remote_command import Conclude, RequestRemoteCommand, Status
from domain.charge_point.passwords import verify_password
from domain.intents import Unlock
from domain.partner import PartnerConnection, PartnerRole, Secret
from domain.partner_command import Asker
from domain.values import Authorization, PartyId, Settings, TagRef
from projections.remote_command import indexes as remote_command_indexes
from projections.store import HUB
from streams.log.envelope import Reply, raw
from tests.api.v1.world import NOW, World, problem

LOCATION: dict[str, Any] = {
    "id": "LOC1",
    "name": "Station",
    "address": "Hauptstr. 1",
    "city": "Berlin",
    "postal_code": "10115",
    "country": "DEU",
    "coordinates": {"latitude": "52.52", "longitude": 13.404954},
}
CONNECTOR: dict[str, Any] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "SOCKET",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "tariff_ids": ["T1"],
}
CHARGE_POINT: dict[str, Any] = {
    "id": "CP1",
    "location": LOCATION,
    "evses": [{"uid": "E1", "evse_id": "DE*DEM*E1", "connectors": [CONNECTOR]}],
}
DEMO: dict[str, Any] = {
    "id": "demo",
    "name": "Demo",
    "configuration": {"ocpi": {"country_code": "DE", "party_id": "DEM"}, "time_zone": "Europe/Berlin"},
}


@pytest.fixture
async def demo(real: World) -> World:
    """With the tenant demo."""
    response = await real.call("POST", "/tenants", DEMO, role="platform_admin")
    assert response.status_code == 201, response.text
    return real


async def test_a_tenant_is_readable_in_the_answer_that_creates_it(demo: World) -> None:
    admin = await demo.call("GET", "/tenants", role="platform_admin")
    own = await demo.call("GET", "/tenants/demo", role="viewer")
    again = await demo.call("POST", "/tenants", DEMO, role="platform_admin")

    body = own.json()
    assert admin.json()["items"] == [body]
    assert body["id"] == "demo"
    assert body["database_name"] == "ocpp_demo"
    assert body["configuration"]["ocpi"]["party_id"] == "DEM"
    assert body["configuration"]["max_charge_points"] == 1000
    assert again.status_code == 409


async def test_a_party_belongs_to_one_tenant(demo: World) -> None:
    taken = await demo.call("POST", "/tenants", {**DEMO, "id": "acme"}, role="platform_admin")
    partner = {"id": "p1", "name": "P", "roles": [{"role": "EMSP", "country_code": "DE", "party_id": "DEM"}]}
    partner_too = await demo.call("POST", "/partners", partner, role="platform_admin")

    assert (taken.status_code, partner_too.status_code) == (409, 409)
    assert "DE*DEM" in str(problem(taken)["detail"])
    assert (await demo.call("GET", "/tenants/acme", role="platform_admin")).status_code == 404


async def test_a_new_configuration_replaces_the_old_one_and_its_party_is_free_again(demo: World) -> None:
    changed = await demo.call("PUT", "/tenants/demo/config", {"max_charge_points": 1}, role="platform_admin")
    acme = await demo.call("POST", "/tenants", {**DEMO, "id": "acme"}, role="platform_admin")

    assert changed.json()["configuration"]["max_charge_points"] == 1
    assert changed.json()["configuration"]["ocpi"] is None
    assert acme.status_code == 201


async def test_a_configuration_that_cannot_be_is_refused_by_its_path(demo: World) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"max_charge_points": 0}, "max_charge_points"),
        ({"max_charge_points": 10**400}, "max_charge_points"),
        ({"session_update_seconds": 10**400}, "session_update_seconds"),
        ({"currency": "EURO"}, "currency"),
        ({"colour": "red"}, "colour"),
        ({"message_timeouts": {"call": 3}}, "message_timeouts.call"),
        ({"message_timeouts": {"call_seconds": "x"}}, "message_timeouts.call_seconds"),
        ({"message_timeouts": {"expiry_seconds": 3601}}, "message_timeouts.expiry_seconds"),
        ({"heartbeat_interval": 5}, "heartbeat_interval"),
        ({"retry_policy": {"first_wait_seconds": 5}}, "retry_policy"),
        ({"default_charging_profiles": []}, "default_charging_profiles"),
        ({"features": 1}, "features"),
    ]
    for configuration, path in wrong:
        response = await demo.call("PUT", "/tenants/demo/config", configuration)

        assert response.status_code == 422
        [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
        assert error["path"] == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_charge_points", 10**6),
        ("max_auto_registered", 10**6),
        ("api_rate_limit", 10**6),
        ("ocpp_rate_limit", 10**6),
        ("queue_enabled", False),
        ("worker_pool_size", 10_000),
        ("id_prefix", "TA-1"),
        ("ocpi", {"country_code": "DE", "party_id": "BMW"}),
        ("ocpi", None),
    ],
)
async def test_a_tenant_admin_who_takes_what_the_platform_grants_gets_403_by_its_path(
    demo: World, field: str, value: object
) -> None:
    before = (await demo.call("GET", "/tenants/demo")).json()
    refused = await demo.call("PUT", "/tenants/demo/config", {field: value})

    assert refused.status_code == 403
    [error] = msgspec.convert(problem(refused)["errors"], list[dict[str, str]])
    assert error["path"] == field
    assert (await demo.call("GET", "/tenants/demo")).json() == before
    given = await demo.call("PUT", "/tenants/demo/config", {field: value}, role="platform_admin")
    assert given.status_code == 200, given.text


async def test_a_tenant_admin_keeps_what_the_platform_granted(demo: World) -> None:
    granted = {**DEMO["configuration"], "max_charge_points": 7, "id_prefix": "DEMO-", "worker_pool_size": 2}
    await demo.call("PUT", "/tenants/demo/config", granted, role="platform_admin")

    changed = await demo.call("PUT", "/tenants/demo/config", {"currency": "SEK"})
    repeated = await demo.call("PUT", "/tenants/demo/config", changed.json()["configuration"])

    assert (changed.status_code, repeated.status_code) == (200, 200)
    settings = changed.json()["configuration"]
    assert (settings["currency"], settings["time_zone"]) == ("SEK", "UTC")
    kept = (settings["max_charge_points"], settings["id_prefix"], settings["worker_pool_size"])
    assert kept == (7, "DEMO-", 2)
    assert settings["ocpi"]["party_id"] == "DEM"


async def test_no_tenant_gets_a_prefix_within_anothers_and_an_old_one_is_free_again(demo: World) -> None:
    async def given(tenant: str, prefix: str) -> int:
        body = {"id_prefix": prefix}
        return (await demo.call("PUT", f"/tenants/{tenant}/config", body, role="platform_admin")).status_code

    acme = {"id": "acme", "name": "A", "configuration": {"id_prefix": "TA-"}}
    assert (await demo.call("POST", "/tenants", acme, role="platform_admin")).status_code == 201
    assert [await given("demo", prefix) for prefix in ("TA-1", "T", "TA-")] == [409, 409, 409]
    assert (await demo.call("GET", "/tenants/demo")).json()["configuration"]["id_prefix"] == ""

    assert await given("acme", "TB-") == 200
    async with asyncio.timeout(5):
        while await given("demo", "TA-1") != 200:  # noqa: ASYNC110 - a process releases the old one
            await asyncio.sleep(0.01)
    assert await given("acme", "TA-") == 409


async def test_a_prefix_is_nobodys_where_the_tenant_is_refused(demo: World) -> None:
    async def made(id: str, **configuration: object) -> int:
        body = {"id": id, "name": id, "configuration": configuration}
        return (await demo.call("POST", "/tenants", body, role="platform_admin")).status_code

    taken = DEMO["configuration"]["ocpi"]
    assert await made("acme", id_prefix="TA-", ocpi=taken) == 409
    assert await made("demo", id_prefix="TA-") == 409
    body = {"id_prefix": "TA-", "ocpi": {"country_code": "DE", "party_id": "XYZ"}}
    partner = {"id": "p1", "name": "P", "roles": [{"role": "CPO", "country_code": "DE", "party_id": "XYZ"}]}
    assert (await demo.call("POST", "/partners", partner, role="platform_admin")).status_code == 201
    assert (await demo.call("PUT", "/tenants/demo/config", body, role="platform_admin")).status_code == 409
    assert await made("other", id_prefix="TA-") == 201
    assert await made("other", id_prefix="TA-") == 409
    assert (await demo.call("GET", "/tenants/other", role="platform_admin")).status_code == 200
    assert await made("last", id_prefix="TA-1") == 409


async def test_another_tenant_cannot_be_configured_or_seen(demo: World) -> None:
    await demo.call("POST", "/tenants", {"id": "acme", "name": "A"}, role="platform_admin")

    for method, path in (("GET", "/tenants/acme"), ("PUT", "/tenants/acme/config")):
        foreign = await demo.call(method, path, {} if method == "PUT" else None)
        unknown = await demo.call(method, path.replace("acme", "none"), {} if method == "PUT" else None)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.text.replace("acme", "none") == unknown.text


async def test_a_charge_point_is_taken_in_with_a_password_that_is_shown_once(demo: World) -> None:
    created = await demo.call("POST", "/chargepoints", CHARGE_POINT)
    got = await demo.call("GET", "/chargepoints/CP1", role="viewer")

    assert created.status_code == 201, created.text
    body = got.json()
    password = created.json()["password"]
    assert {**body, "password": password} == created.json()
    assert len(bytes.fromhex(password)) == 16
    assert body["location"]["coordinates"] == {"latitude": "52.52000", "longitude": "13.404954"}
    assert body["location"]["time_zone"] == "Europe/Berlin"
    assert body["connected"] is False
    assert body["connectors"][0]["max_power"] == 3 * 230 * 32
    kept = await demo.store.get(HUB, "credentials", "demo|CP1")
    assert kept is not None
    assert verify_password(password.encode(), str(kept["password_hash"]))


@pytest.mark.parametrize(("id", "path"), [("RDAM 123", "RDAM%20123"), ("5€", "5%E2%82%AC")])
async def test_a_charge_point_with_an_odd_id_is_reached_by_its_path_J_01(
    demo: World, id: str, path: str
) -> None:
    created = await demo.call("POST", "/chargepoints", {**CHARGE_POINT, "id": id})
    reset = {"command_type": "reset", "parameters": {"type": "Soft"}, "command_id": f"{id}/1"}
    taken = await demo.call("POST", f"/chargepoints/{path}/commands", reset)
    command = await demo.call("GET", taken.headers["location"].removeprefix("/api/v1"))

    assert created.headers["location"] == f"/api/v1/chargepoints/{path}"
    assert (await demo.call("GET", f"/chargepoints/{path}")).json()["id"] == id
    assert (taken.status_code, command.json()["command_id"]) == (202, f"{id}/1")


@pytest.mark.parametrize("id", ["A/B", "A:B", "..", " A", "A" * 49])
async def test_an_id_that_no_path_carries_is_refused(demo: World, id: str) -> None:
    refused = await demo.call("POST", "/chargepoints", {**CHARGE_POINT, "id": id})

    assert refused.status_code == 422
    [error] = msgspec.convert(problem(refused)["errors"], list[dict[str, str]])
    assert error["path"] == "id"


async def test_a_charge_point_is_found_near_its_place_until_it_is_removed(demo: World) -> None:
    here = "/locations/search?latitude=52.52&longitude=13.4&radius=1000"
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    found = (await demo.call("GET", here, role="viewer")).json()["items"]
    await demo.call("DELETE", "/chargepoints/CP1")
    gone = (await demo.call("GET", here, role="viewer")).json()["items"]

    assert [one["location"]["id"] for one in found] == [CHARGE_POINT["location"]["id"]]
    assert [one["status"] for one in found[0]["location"]["evses"]] == ["UNKNOWN"]
    assert gone == []


async def test_the_same_idempotency_key_makes_one_charge_point_and_gives_one_password(demo: World) -> None:
    key = {"idempotency-key": "k1"}
    first = await demo.call("POST", "/chargepoints", CHARGE_POINT, headers=key)
    again = await demo.call("POST", "/chargepoints", CHARGE_POINT, headers=key)
    other = await demo.call("POST", "/chargepoints", {**CHARGE_POINT, "id": "CP2"}, headers=key)
    without = await demo.call("POST", "/chargepoints", CHARGE_POINT)

    assert first.status_code == again.status_code == 201
    assert first.json()["password"] == again.json()["password"]
    assert (other.status_code, problem(other)["code"]) == (409, "conflict")
    assert (without.status_code, problem(without)["code"]) == (409, "already_exists")


async def test_an_idempotency_key_is_forgotten_after_a_day(demo: World) -> None:
    await demo.store.ensure(indexes())
    key = {"idempotency-key": "k1"}
    await demo.call("PUT", "/tokens/TAG1", {"status": "Accepted"}, headers=key)

    await demo.store.purge(NOW + timedelta(hours=23))
    kept = await demo.call("PUT", "/tokens/TAG2", {"status": "Accepted"}, headers=key)
    await demo.store.purge(NOW + timedelta(hours=25))
    forgotten = await demo.call("PUT", "/tokens/TAG2", {"status": "Accepted"}, headers=key)

    assert (kept.status_code, forgotten.status_code) == (409, 201)


async def test_a_tenant_has_as_many_charge_points_as_it_may_have_and_a_removed_one_gives_its_place_back(
    demo: World,
) -> None:
    async def counted(version: int) -> tuple[object, object]:
        assert await wait_visible(demo.store, HUB, "tenants", "demo", version, patience=10)
        shown = (await demo.call("GET", "/tenants/demo")).json()
        return shown["charge_points"], shown["automatic_charge_points"]

    await demo.call("PUT", "/tenants/demo/config", {"max_charge_points": 1}, role="platform_admin")
    other, key = {**CHARGE_POINT, "id": "CP2"}, {"idempotency-key": "first"}
    await demo.call("POST", "/chargepoints", CHARGE_POINT, headers=key)
    assert await counted(3) == (1, 0)

    second = await demo.call("POST", "/chargepoints", other)
    assert (second.status_code, problem(second)["code"]) == (409, "limit")
    repeat = await demo.call("POST", "/chargepoints", CHARGE_POINT, headers=key)
    assert repeat.status_code == 201, "the same request again has the same answer"

    await demo.call("DELETE", "/chargepoints/CP1")
    assert await counted(4) == (0, 0)
    assert (await demo.call("POST", "/chargepoints", other)).status_code == 201


async def test_a_charge_point_is_changed_listed_and_removed(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    two = [CHARGE_POINT["evses"][0], {"uid": "E2", "connectors": [CONNECTOR]}]

    changed = await demo.call("PATCH", "/chargepoints/CP1", {"evses": two})
    listed = await demo.call("GET", "/chargepoints?location_id=LOC1")
    removed = await demo.call("DELETE", "/chargepoints/CP1")
    gone = await demo.call("GET", "/chargepoints/CP1")

    assert [one["evse_uid"] for one in changed.json()["connectors"]] == ["E1", "E2"]
    assert listed.json() == {"items": [changed.json()], "next_cursor": None}
    assert (removed.status_code, gone.status_code) == (204, 404)
    assert await demo.store.get(HUB, "credentials", "demo|CP1") is None


async def test_a_new_password_is_kept_as_a_hash_only(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)

    made = await demo.call("POST", "/chargepoints/CP1/credentials", {})
    given = await demo.call("POST", "/chargepoints/CP1/credentials", {"password": "correct-horse"})

    kept = await demo.store.get(HUB, "credentials", "demo|CP1")
    assert len(made.json()["password"]) == 32
    assert given.json() == {"id": "CP1"}
    assert kept is not None
    assert verify_password(b"correct-horse", str(kept["password_hash"]))


async def test_a_tag_is_put_read_listed_and_deleted_and_stands_nowhere_in_the_clear(demo: World) -> None:
    body = {"status": "Accepted", "expiry_date": "2027-01-01T00:00:00Z", "parent_id_tag": "FAMILY"}
    created = await demo.call("PUT", "/tokens/Tag1", body, role="operator")
    again = await demo.call("PUT", "/tokens/TAG1", {"status": "Blocked"}, role="operator")
    got = await demo.call("GET", "/tokens/tag1", role="operator")
    listed = await demo.call("GET", "/tokens", role="viewer")
    stored = msgspec.json.encode(await demo.store.get(HUB, "tokens", _token_id(demo, "tag1")))
    deleted = await demo.call("DELETE", "/tokens/TAG1", role="operator")
    gone = await demo.call("DELETE", "/tokens/TAG1", role="operator")

    assert (created.status_code, again.status_code) == (201, 200)
    shown = {**body, "expiry_date": "2027-01-01T00:00:00.000Z"}
    assert created.json() == {**shown, "uid": "Tag1", "last_updated": "2026-05-01T12:00:00.000Z"}
    assert got.json()["status"] == "Blocked"
    assert [one["uid"] for one in listed.json()["items"]] == ["***"]
    assert b"tag1" not in stored.lower().replace(b"tag1|", b"")
    assert (deleted.status_code, gone.status_code) == (204, 404)


async def test_the_personal_data_of_a_tag_is_erased_for_good_and_for_its_tenant_alone(demo: World) -> None:
    vault = demo.vault
    await demo.call("PUT", "/tokens/Tag1", {"status": "Accepted"}, role="operator")
    document = await demo.store.get(HUB, "tokens", _token_id(demo, "tag1"))
    assert document is not None
    elsewhere = await vault.seal(vault.subjects_of("tenant:acme", "TAG1")[0], "Tag1")
    other = await vault.seal(vault.subjects_of("tenant:demo", "TAG2")[0], "Tag2")

    erased = await demo.call("DELETE", "/tokens/TAG1/personal-data")
    again = await demo.call("DELETE", "/tokens/tag1/personal-data")
    got = await demo.call("GET", "/tokens/tag1", role="operator")
    put = await demo.call("PUT", "/tokens/tag1", {"status": "Accepted"}, role="operator")

    assert (erased.status_code, again.status_code, got.status_code) == (204, 204, 404)
    assert await vault.open(str(document["body"])) is None
    assert (await vault.open(elsewhere), await vault.open(other)) == (b"Tag1", b"Tag2")
    assert put.status_code == 409


async def test_a_uid_that_was_only_seen_is_erased_too(demo: World) -> None:
    """A guest whose card was refused, or whose provider is another."""
    vault = demo.vault
    sealed = await vault.seal(vault.subjects_of("tenant:demo", "GUEST")[4], "guest")
    assert (await demo.call("DELETE", "/tokens/guest/personal-data")).status_code == 204
    assert await vault.open(sealed) is None


def _token_id(world: World, uid: str) -> str:
    return f"tenant:demo|{world.vault.token_key('RFID', uid)}"


async def test_a_tariff_has_the_tenants_party_and_the_paths_id(demo: World) -> None:
    tariff = {
        "currency": "EUR",
        "tax_included": "NO",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
    }
    created = await demo.call("PUT", "/tariffs/T1", tariff)
    again = await demo.call("PUT", "/tariffs/T1", tariff)
    listed = await demo.call("GET", "/tariffs", role="viewer")
    one = await demo.call("GET", "/tariffs/T1", role="viewer")
    assert one.json() == listed.json()["items"][0]
    removed = await demo.call("DELETE", "/tariffs/T1")
    gone = await demo.call("GET", "/tariffs/T1")

    body = created.json()
    assert (created.status_code, again.status_code) == (201, 200)
    assert (body["country_code"], body["party_id"], body["id"]) == ("DE", "DEM", "T1")
    assert body["elements"][0]["price_components"][0]["price"] == 0.25
    assert listed.json()["items"] == [body]
    assert (removed.status_code, gone.status_code) == (204, 404)


async def test_a_tariff_that_cannot_be_is_refused_by_its_path(demo: World) -> None:
    water = {"price_components": [{"type": "WATER", "price": 1, "step_size": 1}]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"currency": None}, "currency"),
        ({"elements": [water]}, "elements[0]"),
        ({"party_id": "XXX"}, "party_id"),
    ]
    for change, path in wrong:
        tariff = {"currency": "EUR", "tax_included": "NO", "elements": [{"price_components": []}], **change}

        response = await demo.call("PUT", "/tariffs/T1", tariff)

        assert response.status_code == 422
        [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
        assert error["path"].startswith(path)


async def test_a_tenant_without_a_party_has_no_tariffs(real: World) -> None:
    await real.call("POST", "/tenants", {"id": "demo", "name": "D"}, role="platform_admin")

    response = await real.call("PUT", "/tariffs/T1", {})

    assert response.status_code == 409


async def test_a_partner_is_planned_with_a_token_that_is_shown_once(demo: World) -> None:
    partner = {
        "id": "p1",
        "name": "Partner",
        "roles": [
            {"role": "EMSP", "country_code": "de", "party_id": "msp", "business_details": {"name": "P"}}
        ],
        "versions_url": "https://partner.example/ocpi/versions",
        "token": "their-token",
    }
    created = await demo.call("POST", "/partners", partner, role="platform_admin")
    got = await demo.call("GET", "/partners/p1", role="platform_admin")
    listed = await demo.call("GET", "/partners?status=PLANNED", role="platform_admin")
    stored = msgspec.json.encode(await demo.store.get(HUB, "partners", "p1"))

    body = created.json()
    token_a = body.pop("token_a")
    assert body == {"id": "p1", "versions_url": "https://hub.example/ocpi/versions", "status": "PLANNED"}
    assert len(token_a) == 32
    assert token_a.encode() not in stored
    assert b"their-token" not in stored
    assert demo.vault.digest("ocpi", token_a).encode() in stored
    assert got.json()["roles"][0]["party_id"] == "MSP"
    assert "digest_a" not in got.text
    assert listed.json()["items"] == [got.json()]


async def test_a_partner_that_is_not_registered_gets_a_new_token_a_and_the_one_before_it_is_dead(
    demo: World,
) -> None:
    roles = [{"role": "EMSP", "country_code": "DE", "party_id": "MSP"}]
    body = {"id": "p1", "name": "P", "roles": roles}
    first = (await demo.call("POST", "/partners", body, role="platform_admin")).json()
    theirs = {"versions_url": "https://new.example/versions", "token": "their-new-token"}
    again = await demo.call("POST", "/partners/p1/token", theirs, role="platform_admin")
    stored = msgspec.json.encode(await demo.store.get(HUB, "partners", "p1"))

    renewed = again.json()
    assert again.status_code == 200
    assert {**renewed, "token_a": ""} == {**first, "token_a": ""}
    assert renewed["token_a"] != first["token_a"]
    assert demo.vault.digest("ocpi", renewed["token_a"]).encode() in stored
    assert demo.vault.digest("ocpi", first["token_a"]).encode() not in stored
    assert b"https://new.example/versions" in stored
    assert b"their-new-token" not in stored


async def test_the_same_request_for_a_new_token_a_again_gets_the_same_one(demo: World) -> None:
    roles = [{"role": "EMSP", "country_code": "DE", "party_id": "MSP"}]
    await demo.call("POST", "/partners", {"id": "p1", "name": "P", "roles": roles}, role="platform_admin")
    key = {"Idempotency-Key": "k1"}
    answers = [
        (await demo.call("POST", "/partners/p1/token", role="platform_admin", headers=key)).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


async def test_a_registered_partner_gets_no_token_a_and_an_unknown_one_is_404(demo: World) -> None:
    roles = [{"role": "EMSP", "country_code": "DE", "party_id": "MSP"}]
    body = {"id": "p1", "name": "P", "roles": roles}
    token_a = (await demo.call("POST", "/partners", body, role="platform_admin")).json()["token_a"]
    connection = PartnerConnection(
        version="2.3.0",
        versions_url="https://p.example/versions",
        endpoints=(),
        roles=(PartnerRole(role="EMSP", country_code="DE", party_id="MSP"),),
        token_b="s1.k.b",
        token_c=Secret(digest="c", sealed="s1.k.c"),
    )
    meta = Meta(command_id="registered", at=demo.now)
    digest = demo.vault.digest("ocpi", token_a)
    reply = await demo.services.bus.ask(
        Register(partner_id="p1", connection=connection, token_a_digest=digest), meta
    )
    assert reply.refusal is None

    registered = await demo.call("POST", "/partners/p1/token", role="platform_admin")
    unknown = await demo.call("POST", "/partners/p9/token", role="platform_admin")

    assert (registered.status_code, unknown.status_code) == (409, 404)
    assert problem(registered)["code"] == "not_allowed"


async def test_roles_that_a_partner_asks_for_are_listed_and_granted_or_refused(demo: World) -> None:
    def role(name: str, party: str) -> dict[str, Any]:
        return {"role": name, "country_code": party[:2], "party_id": party[3:], "business_details": {}}

    async def call(method: str, path: str, body: Any = None) -> Any:
        return await demo.call(method, f"/partners{path}", body, role="platform_admin")

    for id, party in (("p1", "DE*MSP"), ("p2", "FR*OTH")):
        await call("POST", "", {"id": id, "name": id, "roles": [role("EMSP", party)]})
    wanted = [role("CPO", "DE*MSP"), role("CPO", "DE*BMW"), role("EMSP", "FR*OTH")]
    asked = tuple(PartnerRole(**one) for one in wanted)
    meta = Meta(command_id="asked", at=demo.now)
    reply = await demo.services.bus.ask(RequestRoles(partner_id="p1", roles=asked), meta)
    assert await wait_visible(demo.store, HUB, "partners", "p1", reply.version, patience=5)

    waiting = (await call("GET", "?waiting=true")).json()["items"]
    assert [(one["id"], one["requested_roles"]) for one in waiting] == [("p1", wanted)]
    granted = await call("POST", "/p1/roles/grant", {"roles": wanted[:1]})
    taken = await call("POST", "/p1/roles/grant", {"roles": wanted[2:]})
    refused = await call("POST", "/p1/roles/refuse", {"roles": wanted[1:], "reason": "not theirs"})
    again = await call("POST", "/p1/roles/refuse", {"roles": wanted[1:]})
    unknown = await call("POST", "/p9/roles/grant", {"roles": wanted})

    assert (granted.status_code, taken.status_code, refused.status_code) == (200, 409, 200)
    assert granted.json()["granted_roles"] == [role("EMSP", "DE*MSP"), wanted[0]]
    assert refused.json()["requested_roles"] == []
    assert (again.status_code, unknown.status_code) == (404, 404)
    assert (await call("GET", "?waiting=true")).json()["items"] == []
    # What was granted is claimed beside what the platform had, and what was refused is free.
    other = {"id": "p3", "name": "p3", "roles": [role("CPO", "DE*BMW")]}
    assert (await call("POST", "", other)).status_code == 201
    for party in ("DE*MSP", "DE*BMW"):
        body = {"id": "p4", "name": "p4", "roles": [role("CPO", party)]}
        assert (await call("POST", "", body)).status_code == 409


async def test_a_partner_is_suspended_resumed_registered_and_removed(demo: World) -> None:
    roles = [{"role": "EMSP", "country_code": "DE", "party_id": "MSP"}]
    admin = {"role": "platform_admin"}
    theirs = {"versions_url": "https://new.example/versions", "token": "their-token"}
    partner = {"id": "p1", "name": "P", "roles": roles}
    await demo.call("POST", "/partners", partner, **admin)  # type: ignore[arg-type]

    nowhere = await demo.call("POST", "/partners/p1/register", role="platform_admin")
    assert nowhere.status_code == 409
    assert "versions_url" in str(problem(nowhere)["detail"])
    await demo.call("POST", "/partners/p1/token", theirs, role="platform_admin")

    suspended = await demo.call("POST", "/partners/p1/suspend", {"reason": "unpaid"}, role="platform_admin")
    resumed = await demo.call("POST", "/partners/p1/resume", role="platform_admin")
    registered = await demo.call("POST", "/partners/p1/register", role="platform_admin")
    demo.registrar.failure = "versions: 3001"
    failed = await demo.call("POST", "/partners/p1/register", role="platform_admin")
    removed = await demo.call("DELETE", "/partners/p1", role="platform_admin")
    other = await demo.call(
        "POST", "/partners", {"id": "p2", "name": "P", "roles": roles}, role="platform_admin"
    )

    assert [suspended.json()["status"], resumed.json()["status"]] == ["SUSPENDED", "PLANNED"]
    assert (registered.status_code, failed.status_code) == (200, 502)
    assert problem(failed)["detail"] == "versions: 3001"
    assert demo.registrar.registered == ["p1", "p1"]
    assert (removed.status_code, other.status_code) == (204, 201)


async def test_a_command_is_taken_with_its_id_and_can_be_read(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    body = {
        "command_type": "remote_start",
        "parameters": {"connector_id": 1, "id_tag": "TAG1"},
        "command_id": "c1",
    }

    taken = await demo.call("POST", "/chargepoints/CP1/commands", body, role="operator")
    repeat = await demo.call("POST", "/chargepoints/CP1/commands", body, role="operator")
    other = await demo.call(
        "POST", "/chargepoints/CP1/commands", {**body, "parameters": {"id_tag": "TAG2"}}, role="operator"
    )
    got = await demo.call("GET", "/commands/c1", role="operator")
    masked = await demo.call("GET", "/commands/c1", role="viewer")
    listed = await demo.call("GET", "/commands?charge_point_id=CP1&status=pending", role="operator")

    assert (taken.status_code, taken.json()) == (202, {"command_id": "c1", "status": "pending"})
    assert (repeat.status_code, repeat.json()) == (202, taken.json())
    assert (other.status_code, problem(other)["code"]) == (409, "conflict")
    shown = got.json()
    assert shown["parameters"] == {"connector_id": 1, "id_tag": "TAG1"}
    assert masked.json()["parameters"]["id_tag"] == "***"
    names = ("command_id", "command_type", "charge_point_id", "status", "reason", "response", "session_id")
    assert [shown[name] for name in names] == ["c1", "remote_start", "CP1", "pending", None, None, None]
    assert shown["requested_by"] == "operator:ann"
    assert listed.json()["items"] == [shown]


async def test_a_wrong_field_inside_parameters_is_named_by_its_path(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    entries = [{"id_tag": "A", "id_tag_info": {"status": "Fine"}}]
    body = {
        "command_type": "send_local_list",
        "parameters": {"list_version": 1, "update_type": "Full", "local_authorization_list": entries},
    }

    response = await demo.call("POST", "/chargepoints/CP1/commands", body, role="operator")

    assert response.status_code == 422
    assert problem(response)["errors"] == [
        {
            "in": "body",
            "path": "parameters.local_authorization_list[0].id_tag_info.status",
            "message": "the value is not one of the enumeration",
        }
    ]


async def test_a_command_may_wait_to_be_sent_as_long_as_it_says(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    body = {"command_type": "reset", "parameters": {"type": "Soft"}, "command_id": "c1"}

    taken = await demo.call("POST", "/chargepoints/CP1/commands", {**body, "expiry_seconds": 600})
    other = await demo.call("POST", "/chargepoints/CP1/commands", {**body, "expiry_seconds": 601})
    longer = await demo.call("POST", "/chargepoints/CP1/commands", {**body, "expiry_seconds": 3601})
    got = await demo.call("GET", "/commands/c1")

    assert (taken.status_code, other.status_code, longer.status_code) == (202, 409, 422)
    assert got.json()["expires_at"] == "2026-05-01T12:10:00.000Z"


async def test_what_a_partner_asked_for_by_ocpi_is_listed_with_the_delivery_of_its_outcome(
    demo: World,
) -> None:
    asker = Asker(
        partner_id="tnm",
        holder="tnm@1",
        party=PartyId(country_code="NL", party_id="TNM"),
        of=PartyId(country_code="DE", party_id="ABC"),
        command="UNLOCK_CONNECTOR",
        response_url="s1.partner-tnm.x",
    )
    command = RequestRemoteCommand(
        tenant="demo",
        command_id="ocpi-1",
        charge_point_id="CP1",
        command_type="unlock_connector",
        intent=Unlock(connector_id=1),
        fingerprint="f",
        by="partner:tnm",
        expires_at=NOW,
        asker=asker,
    )
    reply = await demo.services.bus.ask(command, Meta(command_id="r", at=NOW, tenant="demo"))
    await wait_visible(demo.store, "ocpp_demo", "commands", "ocpi-1", reply.version)

    [shown] = (await demo.call("GET", "/commands?partner=tnm")).json()["items"]
    assert (shown["requested_by"], shown["parameters"]) == ("partner:tnm", {"connector_id": 1})
    assert shown["ocpi"] == {
        "command": "UNLOCK_CONNECTOR",
        "partner_id": "tnm",
        "party": "NL*TNM",
        "of": "DE*ABC",
        "delivery": "NL*TNM|commands|ocpi-1",
    }
    assert "response_url" not in str(shown)
    assert (await demo.call("GET", "/commands?partner=other")).json()["items"] == []
    assert (await demo.call("GET", "/commands/ocpi-1")).json() == shown


async def test_a_command_with_an_outcome_is_shown_for_two_years_after_it(demo: World) -> None:
    await demo.store.ensure(remote_command_indexes("ocpp_demo"))
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    body = {"command_type": "reset", "parameters": {"type": "Soft"}}
    for id in ("c1", "c2"):
        await demo.call("POST", "/chargepoints/CP1/commands", {**body, "command_id": id})
    conclude = Conclude(
        tenant="demo", command_id="c1", status="rejected", reason="Rejected", response={"status": "Rejected"}
    )
    reply = await demo.services.bus.ask(conclude, Meta(command_id="outcome", at=NOW, tenant="demo"))
    await wait_visible(demo.store, "ocpp_demo", "commands", "c1", reply.version)

    shown = (await demo.call("GET", "/commands/c1")).json()
    assert (shown["status"], shown["reason"], shown["over_at"]) == (
        "rejected",
        "Rejected",
        shown["updated_at"],
    )
    assert len((await demo.call("GET", "/commands")).json()["items"]) == 2
    over_at = datetime.fromisoformat(shown["over_at"])
    await demo.store.purge(over_at + timedelta(days=730, seconds=2))
    assert (await demo.call("GET", "/commands/c1")).status_code == 404
    [left] = (await demo.call("GET", "/commands")).json()["items"]
    assert (left["command_id"], left["over_at"]) == ("c2", None)


async def test_a_password_is_set_by_an_admin_and_shown_to_nobody_SEC_04(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    key = "00112233445566778899aabbccddeeff"
    body = {
        "command_type": "change_configuration",
        "parameters": {"key": "AuthorizationKey", "value": key},
        "command_id": "c1",
    }

    refused = await demo.call("POST", "/chargepoints/CP1/commands", body, role="operator")
    taken = await demo.call("POST", "/chargepoints/CP1/commands", body, role="tenant_admin")
    shown = await demo.call("GET", "/commands/c1", role="platform_admin", tenant="demo")
    listed = await demo.call("GET", "/commands", role="tenant_admin")

    assert (refused.status_code, problem(refused)["code"]) == (403, "forbidden")
    assert taken.status_code == 202
    [item] = listed.json()["items"]
    assert item["parameters"] == {"key": "AuthorizationKey", "value": "***"}
    assert key not in shown.text


async def test_a_command_for_a_charge_point_that_only_the_log_knows_yet_is_taken(world: World) -> None:
    world.bus.replies += [
        Reply(result=raw(Found())),
        Reply(result=raw(Status(command_id="c1", status="pending"))),
    ]
    body = {"command_type": "reset", "parameters": {"type": "Soft"}, "command_id": "c1"}

    response = await world.call("POST", "/chargepoints/CP9/commands", body, role="operator")

    assert response.status_code == 202
    assert [type(command) for command, _ in world.bus.asked] == [Find, RequestRemoteCommand]


async def test_a_warning_stands_in_the_answer(world: World) -> None:
    await world.add_charge_point()
    reply = Status(command_id="c1", status="pending", warning="the id tag is not known")
    world.bus.replies.append(Reply(result=raw(reply)))
    body = {"command_type": "remote_start", "parameters": {"id_tag": "X"}, "command_id": "c1"}

    response = await world.call("POST", "/chargepoints/CP1/commands", body, role="operator")

    assert response.json()["warning"] == "the id tag is not known"


async def test_a_command_for_an_unknown_charge_point_is_404(demo: World) -> None:
    body = {"command_type": "reset", "parameters": {"type": "Soft"}}

    response = await demo.call("POST", "/chargepoints/CP9/commands", body, role="operator")

    assert response.status_code == 404


async def test_a_charge_point_with_a_running_transaction_stays(demo: World) -> None:
    await demo.call("POST", "/chargepoints", CHARGE_POINT)
    connect = Connect(tenant="demo", charge_point_id="CP1", node="n", slot=0, boot="b")
    await demo.services.bus.ask(connect, Meta(command_id="1", at=NOW, tenant="demo"))
    start = StartTransaction(
        tenant="demo",
        charge_point_id="CP1",
        connector_id=1,
        id_tag=TagRef(key="k"),
        meter_start=0,
        timestamp=NOW,
        authorization=Authorization(status="Accepted", source="tag", as_of=NOW),
        settings=Settings(party=PartyId(country_code="DE", party_id="DEM")),
    )
    await demo.services.bus.ask(start, Meta(command_id="2", at=NOW, tenant="demo"))

    response = await demo.call("DELETE", "/chargepoints/CP1")

    assert (response.status_code, problem(response)["code"]) == (409, "not_allowed")
