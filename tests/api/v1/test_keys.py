"""API keys over a real decider: made, limited, used, turned over and revoked; and what nobody gets by trying."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.v1 import keys as door
from api.v1.caller import IDEMPOTENCY
from application import keys as directory
from application.key_text import PATTERN, key_text
from projections.store import HUB, Query, StoreUnavailableError
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import World, problem

NOON = datetime(2100, 5, 1, 12, tzinfo=UTC)
"""Ahead of the log's clock, which else would say when a command was received."""


@pytest.fixture
def ahead(real: World) -> World:
    real.now = NOON
    return real


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def tenants(ahead: World, *ids: str) -> None:
    for id in ids:
        made = await ahead.call(
            "POST", "/tenants", {**DEMO, "id": id, "configuration": {}}, role="platform_admin"
        )
        assert made.status_code == 201, made.text


async def made(ahead: World, body: dict[str, Any] | None = None, **who: Any) -> dict[str, Any]:
    """A key, with its secret."""
    answer = await ahead.call("POST", "/keys", {"name": "Billing", "role": "operator", **(body or {})}, **who)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def refused(ahead: World, status: int, method: str, path: str, body: object = None, **who: Any) -> str:
    answer = await ahead.call(method, path, body, **who)
    assert answer.status_code == status, answer.text
    return str(problem(answer)["detail"])


async def test_a_key_is_shown_once_used_as_a_token_is_and_revoked_for_good(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead, {"scopes": ["sessions:read", "cdrs:read"], "expires_at": "2101-01-01T00:00:00Z"})
    text = key.pop("key")
    assert PATTERN.fullmatch(text)
    assert key == {
        "id": text.split("_")[1],
        "tenant_id": "demo",
        "name": "Billing",
        "role": "operator",
        "scopes": ["sessions:read", "cdrs:read"],
        "addresses": [],
        "expires_at": "2101-01-01T00:00:00.000Z",
        "state": "active",
        "created_at": "2100-05-01T12:00:00.000Z",
        "created_by": "tenant_admin:ann",
        "rotated_at": None,
        "previous_until": None,
        "revoked_at": None,
        "revoked_by": None,
        "last_used_at": None,
    }
    assert (await ahead.call("GET", "/sessions", key=text)).status_code == 200

    assert ahead.keys is not None
    await ahead.keys.flush_uses()
    shown = (await ahead.call("GET", f"/keys/{key['id']}")).json()
    assert shown == {**key, "last_used_at": "2100-05-01T12:00:00.000Z"}
    listed = (await ahead.call("GET", "/keys?state=active")).json()
    assert listed == {"items": [shown], "next_cursor": None}

    assert (await ahead.call("DELETE", f"/keys/{key['id']}")).status_code == 204
    assert await refused(ahead, 401, "GET", "/sessions", key=text) == "the key was revoked"
    assert (await ahead.call("DELETE", f"/keys/{key['id']}")).status_code == 204
    gone = (await ahead.call("GET", f"/keys/{key['id']}")).json()
    assert (gone["state"], gone["revoked_by"]) == ("revoked", "tenant_admin:ann")
    assert (await ahead.call("GET", "/keys?state=active")).json()["items"] == []
    assert await refused(ahead, 409, "POST", f"/keys/{key['id']}/rotate")


async def test_what_a_key_asks_for_stands_in_the_audit_under_its_id_and_its_secret_nowhere(
    ahead: World,
) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead, {"role": "tenant_admin"})
    assert (await ahead.call("POST", "/chargepoints", CHARGE_POINT, key=key["key"])).status_code == 201
    command = {"command_type": "reset", "parameters": {"type": "Soft"}, "command_id": "r1"}
    asked = await ahead.call("POST", "/chargepoints/CP1/commands", command, key=key["key"])
    assert asked.status_code == 202
    principal = f"key:{key['id']}"
    audit = (await ahead.call("GET", f"/audit?principal={principal}", role="tenant_admin")).json()["items"]
    assert {"charge_point.register.v1", "remote_command.request.v1"} <= {one["command"] for one in audit}

    secret = key["key"].rpartition("_")[2]
    for db in await ahead.store.databases():
        for collection in ("keys", "audit", "stories", "idempotency"):
            assert secret not in str((await ahead.store.find(Query(db, collection, limit=500))).items)
    stories = str((await ahead.store.find(Query(HUB, "stories", limit=500))).items)
    digest = directory.secret_digest(ahead.vault, key["key"])
    assert digest not in stories
    assert digest not in (await ahead.call("GET", "/keys")).text


async def test_a_key_without_scopes_may_do_all_of_its_role_and_no_more(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = (await made(ahead, {"role": "operator"}))["key"]
    for path in ("/sessions", "/cdrs", "/chargepoints", "/tokens"):
        assert (await ahead.call("GET", path, key=key)).status_code == 200, path
    assert "tenant_admin" in await refused(
        ahead, 403, "POST", "/keys", {"name": "x", "role": "viewer"}, key=key
    )


async def test_a_scope_that_is_missing_is_403_and_named(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = (await made(ahead, {"role": "tenant_admin", "scopes": ["sessions:read"]}))["key"]
    assert "chargepoints:write" in await refused(ahead, 403, "POST", "/chargepoints", CHARGE_POINT, key=key)
    assert "sessions:write" in await refused(
        ahead, 403, "POST", "/sessions/s/end", {"reason": "over"}, key=key
    )
    assert "keys:read" in await refused(ahead, 403, "GET", "/keys", key=key)


async def test_a_key_is_accepted_from_its_addresses_alone(ahead: World) -> None:
    await tenants(ahead, "demo")
    here = (await made(ahead, {"addresses": ["127.0.0.1", "2001:db8::/32"]}))["key"]
    elsewhere = (await made(ahead, {"addresses": ["192.0.2.0/24"]}))["key"]
    assert (await ahead.call("GET", "/sessions", key=here)).status_code == 200
    assert "address" in await refused(ahead, 401, "GET", "/sessions", key=elsewhere)


async def test_a_key_ends_at_its_time(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = (await made(ahead, {"expires_at": "2100-05-01T12:01:00Z"}))["key"]
    ahead.now = later(59)
    assert (await ahead.call("GET", "/sessions", key=key)).status_code == 200
    ahead.now = later(60)
    assert await refused(ahead, 401, "GET", "/sessions", key=key) == "the key has expired"


async def test_a_rotated_key_has_two_secrets_for_as_long_as_was_said(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead)
    turned = await ahead.call("POST", f"/keys/{key['id']}/rotate", {"overlap_seconds": 60})
    assert turned.status_code == 200
    old, new = key["key"], turned.json()["key"]
    assert turned.json()["previous_until"] == "2100-05-01T12:01:00.000Z"
    assert old != new
    assert [(await ahead.call("GET", "/sessions", key=one)).status_code for one in (old, new)] == [200, 200]
    ahead.now = later(60)
    assert await refused(ahead, 401, "GET", "/sessions", key=old) == "the key is not valid here"
    assert (await ahead.call("GET", "/sessions", key=new)).status_code == 200
    assert (await ahead.call("DELETE", f"/keys/{key['id']}")).status_code == 204
    assert await refused(ahead, 401, "GET", "/sessions", key=new)


async def test_a_repeat_with_its_idempotency_key_is_shown_the_same_secret(ahead: World) -> None:
    await tenants(ahead, "demo")
    body, headers = {"name": "Billing", "role": "viewer"}, {"idempotency-key": "k1"}
    first = await ahead.call("POST", "/keys", body, headers=headers)
    again = await ahead.call("POST", "/keys", body, headers=headers)
    assert (again.status_code, again.json()["key"]) == (201, first.json()["key"])
    assert len((await ahead.call("GET", "/keys")).json()["items"]) == 1
    assert await refused(ahead, 409, "POST", "/keys", {**body, "role": "operator"}, headers=headers)


async def test_the_platform_makes_keys_for_itself_and_for_a_tenant(ahead: World) -> None:
    await tenants(ahead, "demo")
    root = await made(ahead, {"role": "platform_admin"}, role="platform_admin")
    assert root["tenant_id"] is None
    assert (await ahead.call("GET", "/sessions?tenant=demo", key=root["key"])).status_code == 200
    own = (await ahead.call("GET", "/keys", key=root["key"])).json()["items"]
    assert [one["id"] for one in own] == [root["id"]]

    made_for = await ahead.call("POST", "/keys?tenant=demo", {"name": "x", "role": "viewer"}, key=root["key"])
    assert (made_for.json()["tenant_id"], made_for.json()["created_by"]) == ("demo", f"key:{root['id']}")
    found = (await ahead.call("GET", f"/keys?created_by=key:{root['id']}")).json()["items"]
    assert [one["id"] for one in found] == [made_for.json()["id"]]
    who = {"role": "platform_admin"}
    assert "role" in await refused(ahead, 422, "POST", "/keys", {"name": "x", "role": "viewer"}, **who)
    wrong = {"name": "x", "role": "platform_admin"}
    assert "role" in await refused(ahead, 422, "POST", "/keys?tenant=demo", wrong, **who)


async def test_another_tenants_key_opens_nothing_here_and_looks_like_an_unknown_one(ahead: World) -> None:
    await tenants(ahead, "demo", "acme")
    key = await made(ahead, {"role": "tenant_admin"}, tenant="acme")
    assert await refused(ahead, 404, "GET", "/sessions?tenant=demo", key=key["key"])
    for method, path in (
        ("GET", f"/keys/{key['id']}"),
        ("DELETE", f"/keys/{key['id']}"),
        ("POST", f"/keys/{key['id']}/rotate"),
    ):
        foreign = await refused(ahead, 404, method, path, tenant="demo")
        unknown = await refused(ahead, 404, method, path.replace(key["id"], "000000000000"), tenant="demo")
        assert foreign.replace(key["id"], "000000000000") == unknown
    assert (await ahead.call("GET", "/keys", tenant="demo")).json()["items"] == []
    assert (await ahead.call("GET", "/sessions", key=key["key"])).status_code == 200


async def test_a_tenants_admin_does_not_reach_the_platforms_keys(ahead: World) -> None:
    await tenants(ahead, "demo")
    root = await made(ahead, {"role": "platform_admin"}, role="platform_admin")
    for method, path in (("DELETE", f"/keys/{root['id']}"), ("POST", f"/keys/{root['id']}/rotate")):
        assert await refused(ahead, 404, method, path)
    assert (await ahead.call("GET", "/sessions?tenant=demo", key=root["key"])).status_code == 200


async def test_nobody_makes_a_key_that_may_do_more_than_its_maker(ahead: World) -> None:
    await tenants(ahead, "demo")
    limits = {
        "role": "tenant_admin",
        "scopes": ["keys:read", "keys:write", "cdrs:read"],
        "expires_at": "2100-06-01T00:00:00Z",
        "addresses": ["127.0.0.0/8"],
    }
    maker = (await made(ahead, limits))["key"]
    for more, field in (
        ({"scopes": []}, "scopes"),
        ({"scopes": ["cdrs:read", "tokens:write"]}, "scopes"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": "2100-06-01T00:00:01Z"}, "expires_at"),
        ({"addresses": []}, "addresses"),
        ({"addresses": ["0.0.0.0/0"]}, "addresses"),
    ):
        answer = await ahead.call("POST", "/keys", {"name": "x", **limits, **more}, key=maker)
        assert (answer.status_code, problem(answer)["errors"][0]["path"]) == (403, field), answer.text  # type: ignore[index,call-overload]
    fewer = await made(ahead, {**limits, "role": "viewer", "scopes": ["cdrs:read"]}, key=maker)
    assert (await ahead.call("GET", "/cdrs", key=fewer["key"])).status_code == 200

    for role in ("viewer", "operator"):
        assert await refused(ahead, 403, "POST", "/keys", {"name": "x", "role": "viewer"}, role=role)
    wrong = {"name": "x", "role": "platform_admin"}
    assert "role" in await refused(ahead, 422, "POST", "/keys", wrong)


async def test_nobody_gets_the_secret_of_a_key_that_may_do_more(ahead: World) -> None:
    await tenants(ahead, "demo")
    full = await made(ahead, {"role": "tenant_admin"})
    limited = (await made(ahead, {"role": "tenant_admin", "scopes": ["keys:write"]}))["key"]
    assert await refused(ahead, 403, "POST", f"/keys/{full['id']}/rotate", key=limited)
    assert (await ahead.call("GET", "/sessions", key=full["key"])).status_code == 200


async def test_keys_that_are_guessed_cut_or_made_up_are_all_the_same_401(
    ahead: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead)
    text = key["key"]
    tries = {
        "cut": text[:-1],
        "longer": text + "0",
        "checksum": text[:-6] + "000000",
        "another secret": key_text(key["id"], "0" * 43),
        "an id of nobody": key_text("0" * 12, "0" * 43),
        "the hash": key_text(key["id"], directory.secret_digest(ahead.vault, text).ljust(43, "0")),
        "no key": "chsp_",
    }
    compared: list[str] = []

    def watched(one: str, other: str) -> bool:
        compared.append(other)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(directory, "hmac", type("Hmac", (), {"compare_digest": staticmethod(watched)}))
    for what, tried in tries.items():
        assert await refused(ahead, 401, "GET", "/sessions", key=tried) == "the key is not valid here", what
    assert compared  # secrets are compared in constant time, by their keyed hashes
    assert text not in compared
    ahead.limiter.empty = {"api|unknown|127.0.0.1"}
    assert await refused(ahead, 429, "GET", "/sessions", key=tries["another secret"])
    assert (await ahead.call("GET", "/sessions", key=text)).status_code == 200


async def test_a_keys_requests_count_for_its_tenants_rate(ahead: World) -> None:
    await tenants(ahead, "demo")
    key = (await made(ahead))["key"]
    ahead.limiter.empty = {"api|demo"}
    assert await refused(ahead, 429, "GET", "/sessions", key=key)


async def test_a_tenant_has_so_many_secrets_made_in_a_time_and_revokes_as_many_as_there_are(
    ahead: World,
) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead)
    ahead.limiter.empty = {"keys|demo"}
    body = {"name": "x", "role": "viewer"}
    for path, sent in (("", body), (f"/{key['id']}/rotate", {}), ("/revoke-subject", {"subject": "bob"})):
        assert await refused(ahead, 429, "POST", f"/keys{path}", sent) == "too many keys in too short a time"
    assert (await ahead.call("DELETE", f"/keys/{key['id']}")).status_code == 204
    assert ("keys|demo", 100, 0.1) in ahead.limiter.taken


async def test_nobody_is_shown_a_secret_by_the_idempotency_key_of_another_subject(ahead: World) -> None:
    """Whatever stands in a subject, as the `|` of an identity provider."""
    await tenants(ahead, "demo")
    first, again, other = [
        await made(ahead, subject=subject, headers={"Idempotency-Key": key})
        for subject, key in (("auth0|7", "abc"), ("auth0|7", "abc"), ("auth0", "7|abc"))
    ]
    assert first["key"] == again["key"]
    assert other["key"] != first["key"]
    assert other["created_by"] == "tenant_admin:auth0"


async def test_an_idempotency_key_that_was_forgotten_is_no_answer_to_another_request(ahead: World) -> None:
    """After a day the log still knows the command that was made of it."""
    await tenants(ahead, "demo")
    header = {"Idempotency-Key": "billing"}
    key = await made(ahead, headers=header)
    await ahead.store.drop_all([IDEMPOTENCY])
    turned = await ahead.call("POST", f"/keys/{key['id']}/rotate", {"overlap_seconds": 0}, headers=header)
    assert turned.json()["key"] != key["key"]
    assert await refused(ahead, 401, "GET", "/sessions", key=key["key"]) == "the key is not valid here"
    key["key"] = turned.json()["key"]
    await ahead.store.drop_all([IDEMPOTENCY])
    assert (await ahead.call("DELETE", f"/keys/{key['id']}", headers=header)).status_code == 204
    assert await refused(ahead, 401, "GET", "/sessions", key=key["key"]) == "the key was revoked"


async def test_tokens_of_a_subject_are_refused_once_they_are_revoked_and_later_ones_are_not(
    ahead: World,
) -> None:
    await tenants(ahead, "demo", "acme")
    body = {"subject": "ann"}
    ahead.now = later(1)
    answer = await ahead.call("POST", "/keys/revoke-subject", body)
    assert answer.json() == {"subject": "ann", "tenant_id": "demo", "before": "2100-05-01T12:00:01Z"}
    assert await refused(ahead, 401, "GET", "/sessions") == "the token was revoked"
    assert (await ahead.call("GET", "/sessions", tenant="acme")).status_code == 200
    assert (await ahead.call("GET", "/sessions?tenant=demo", role="platform_admin")).status_code == 200
    ahead.now = later(2)
    assert (await ahead.call("GET", "/sessions")).status_code == 200

    answer = await ahead.call("POST", "/keys/revoke-subject", body, role="platform_admin")
    assert answer.json()["tenant_id"] is None
    assert await refused(ahead, 401, "GET", "/keys", role="platform_admin")
    assert (await ahead.call("GET", "/sessions")).status_code == 200


async def test_a_subject_is_revoked_each_time_though_a_script_has_one_idempotency_key(ahead: World) -> None:
    await tenants(ahead, "demo")
    header = {"Idempotency-Key": "revoke bob"}
    for seconds in (1, 40 * 86_400):
        ahead.now = later(seconds)
        assert (await ahead.call("GET", "/sessions", subject="bob")).status_code == 200
        await ahead.call("POST", "/keys/revoke-subject", {"subject": "bob"}, headers=header)
        assert await refused(ahead, 401, "GET", "/sessions", subject="bob") == "the token was revoked"


async def test_a_key_is_revoked_while_the_read_store_is_away(
    ahead: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tenants(ahead, "demo")
    key = await made(ahead)
    assert (await ahead.call("GET", "/sessions", key=key["key"])).status_code == 200

    async def away(*_: object) -> object:
        raise StoreUnavailableError("read store", "away")

    for name in ("get", "get_many", "find", "apply"):
        monkeypatch.setattr(ahead.store, name, away)
    assert await refused(ahead, 503, "GET", "/sessions", key=key["key"])
    header = {"Idempotency-Key": "some clients send one always"}
    assert (await ahead.call("DELETE", f"/keys/{key['id']}", headers=header)).status_code == 204
    assert await refused(ahead, 401, "GET", "/sessions", key=key["key"]) == "the key was revoked"
    monkeypatch.undo()


async def test_a_tenant_that_is_suspended_has_no_way_in(world: World) -> None:
    tenant = await world.store.get(HUB, "tenants", "demo")
    assert tenant is not None
    await world.keep(HUB, "tenants", "gone", {**tenant, "status": "suspended"})
    assert await refused(world, 403, "GET", "/sessions", tenant="gone") == "tenant gone is suspended"
    assert (await world.call("GET", "/sessions?tenant=gone", role="platform_admin")).status_code == 200
    assert await refused(world, 404, "GET", "/sessions", tenant="nobody")


def test_what_is_shown_of_a_key_never_holds_what_its_secret_is_known_by() -> None:
    assert set(door.HIDDEN) == {"secret_digest", "previous_digest"}
