"""Who may enter: tokens, roles, tenants."""

from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from api.auth import issue_token, verify_token
from application.principal import BadTokenError, Principal
from domain.access import Grant, Role
from tests.api.v1.world import KEY, NOW, PREVIOUS_KEY, World, problem


def test_a_token_carries_the_claims_that_were_promised() -> None:
    token = issue_token(KEY, "operator", "demo", NOW, subject="ann")

    claims = jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
    start = int(NOW.timestamp())
    assert claims == {
        "iss": "chargesphere",
        "sub": "ann",
        "role": "operator",
        "tenant": "demo",
        "iat": start,
        "exp": start + 12 * 3600,
    }
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_a_token_speaks_for_its_subject_until_it_expires() -> None:
    token = issue_token(KEY, "viewer", "demo", NOW, subject="ann")

    assert verify_token(token, [KEY], NOW + timedelta(hours=11)) == Principal(
        subject="ann",
        tenant="demo",
        grant=Grant(role="viewer"),
        issued_at=NOW,
        expires_at=NOW + timedelta(hours=12),
    )
    with pytest.raises(BadTokenError, match="expired"):
        verify_token(token, [KEY], NOW + timedelta(hours=12))


def test_the_previous_key_is_accepted_and_a_third_is_not() -> None:
    token = issue_token(PREVIOUS_KEY, "viewer", "demo", NOW)

    assert verify_token(token, [KEY, PREVIOUS_KEY], NOW).role is Role.VIEWER
    with pytest.raises(BadTokenError):
        verify_token(token, [KEY, b"x" * 32], NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "root"},
        {"role": None},
        {"tenant": None},
        {"tenant": "Not A Tenant"},
        {"role": "platform_admin"},
        {"iss": "somebody"},
        {"exp": "tomorrow"},
        {"iat": int(NOW.timestamp()) + 3600},
        {"sub": None},
        {"sub": ""},
        {"sub": "a" * 257},
    ],
)
def test_claims_that_cannot_be_are_refused(claims: dict[str, object]) -> None:
    start = int(NOW.timestamp())
    good: dict[str, object] = {
        "iss": "chargesphere",
        "sub": "ann",
        "role": "viewer",
        "tenant": "demo",
        "iat": start,
        "exp": start + 60,
    }
    whole = {name: value for name, value in {**good, **claims}.items() if value is not None}
    with pytest.raises(BadTokenError):
        verify_token(jwt.encode(whole, KEY, "HS256"), [KEY], NOW)


def test_no_token_is_signed_for_a_subject_that_nobody_could_revoke() -> None:
    assert verify_token(issue_token(KEY, "viewer", "demo", NOW, subject="a" * 256), [KEY], NOW)
    with pytest.raises(ValueError, match="257 characters"):
        issue_token(KEY, "viewer", "demo", NOW, subject="a" * 257)


@pytest.mark.parametrize(
    ("issued", "expires", "good"),
    [
        (0, 12 * 3600, True),
        (30, 30 + 12 * 3600, True),
        (0, 12 * 3600 + 1, False),
        (-11 * 3600, 3600, True),
        (-20 * 3600, 3600, False),
        (0, 10 * 365 * 86_400, False),
        (-10, True, False),
    ],
)
def test_a_token_lives_12_hours_at_most_whoever_signed_it(issued: int, expires: int, good: bool) -> None:
    start = int(NOW.timestamp())
    claims = {"iss": "chargesphere", "sub": "ann", "role": "viewer", "tenant": "demo"}
    end = expires if expires is True else start + expires
    token = jwt.encode({**claims, "iat": start + issued, "exp": end}, KEY, "HS256")
    if good:
        assert verify_token(token, [KEY], NOW).subject == "ann"
    else:
        with pytest.raises(BadTokenError):
            verify_token(token, [KEY], NOW)


@pytest.mark.parametrize("role", ["platform_admin", "viewer"])
def test_a_token_without_a_signature_is_refused(role: str) -> None:
    claims = {"iss": "chargesphere", "sub": "x", "role": role, "iat": 1, "exp": 9_999_999_999}
    with pytest.raises(BadTokenError):
        verify_token(jwt.encode(claims, "", "none"), [KEY], NOW)


@pytest.mark.parametrize(
    ("role", "tenant"),
    [("platform_admin", "demo"), ("operator", None), ("owner", "demo"), ("viewer", "Démo")],
)
def test_no_token_is_issued_that_nobody_would_accept(role: str, tenant: str | None) -> None:
    with pytest.raises(ValueError, match=r"role|tenant"):
        issue_token(KEY, role, tenant, NOW)


async def test_no_token_is_401_with_a_challenge(world: World) -> None:
    response = await world.http.get("/sessions")

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    problem(response)


async def test_a_bad_token_is_401_and_a_low_role_403(world: World) -> None:
    bad = await world.http.get("/sessions", headers={"authorization": "Bearer nonsense"})
    low = await world.call("DELETE", "/chargepoints/CP1", role="operator")

    assert (bad.status_code, low.status_code) == (401, 403)
    assert "tenant_admin" in str(problem(low)["detail"])
    assert world.bus.asked == []


async def test_requests_without_a_good_token_are_limited_by_address_and_good_ones_pass(world: World) -> None:
    world.limiter.empty = {"api|unknown|127.0.0.1"}

    bad = await world.http.get("/sessions", headers={"authorization": "Bearer nonsense"})
    none = await world.http.get("/sessions")
    good = await world.call("GET", "/sessions")

    assert (bad.status_code, none.status_code, good.status_code) == (429, 429, 200)
    assert bad.headers["retry-after"] == "1"
    problem(bad)


async def test_a_viewer_cannot_try_id_tags(world: World) -> None:
    """It sees no uid in a list: it may not ask for one either."""
    for uid in ("KNOWN", "UNKNOWN"):
        assert (await world.call("GET", f"/tokens/{uid}", role="viewer")).status_code == 403


async def test_a_foreign_tenant_looks_exactly_like_an_unknown_one(world: World) -> None:
    foreign = await world.call("GET", "/sessions?tenant=acme")
    unknown = await world.call("GET", "/sessions?tenant=nobody")
    admin = await world.call("GET", "/sessions?tenant=nobody", role="platform_admin")

    assert foreign.status_code == unknown.status_code == admin.status_code == 404
    assert foreign.text.replace("acme", "nobody") == unknown.text == admin.text


async def test_a_platform_admin_names_the_tenant(world: World) -> None:
    named = await world.call("GET", "/sessions?tenant=acme", role="platform_admin")
    unnamed = await world.call("GET", "/sessions", role="platform_admin")

    assert named.json() == {"items": [], "next_cursor": None}
    assert unnamed.status_code == 422
    assert problem(unnamed)["errors"] == [
        {"in": "query", "path": "tenant", "message": "name the tenant with ?tenant="}
    ]
