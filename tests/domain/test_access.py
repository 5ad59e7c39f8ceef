"""A grant never hands on more than it allows, whatever chain of makers there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import ROLES, SCOPES, Grant, exceeds, network_text, wrong_in

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTS = ("192.0.2.7", "192.0.2.200", "198.51.100.1", "2001:db8::7", "2001:db9::1")
NETWORKS = ("192.0.2.0/24", "192.0.2.128/25", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::/0")
GRANTS = st.builds(
    Grant,
    role=st.sampled_from(sorted(ROLES)),
    scopes=st.lists(st.sampled_from(SCOPES[:4]), max_size=3, unique=True).map(tuple),
    expires_at=st.none() | st.integers(1, 3).map(lambda hours: NOON + timedelta(hours=hours)),
    addresses=st.lists(st.sampled_from(NETWORKS), max_size=2, unique=True).map(tuple),
)


def may(grant: Grant, role: str, scope: str, host: str, at: datetime) -> bool:
    """What a request needs, said in the plainest way."""
    alive = grant.expires_at is None or at < grant.expires_at
    return alive and ROLES[grant.role] >= ROLES[role] and grant.allows(scope) and grant.admits(host)


@given(st.lists(GRANTS, min_size=2, max_size=4))
def test_the_last_of_a_chain_of_makers_may_nothing_that_the_first_may_not(chain: list[Grant]) -> None:
    made = [chain[0]]
    for grant in chain[1:]:
        if not exceeds(grant, made[-1]):
            made.append(grant)
    first, last = made[0], made[-1]
    for role in ROLES:
        for scope in SCOPES[:5]:
            for host in HOSTS:
                for hour in range(4):
                    at = NOON + timedelta(hours=hour)
                    assert not may(last, role, scope, host, at) or may(first, role, scope, host, at)


@given(GRANTS)
def test_whoever_may_make_keys_may_make_one_like_itself(grant: Grant) -> None:
    assert exceeds(grant, grant) == ""


@given(GRANTS, GRANTS)
def test_what_exceeds_its_maker_is_named_by_its_field(grant: Grant, maker: Grant) -> None:
    wrong = exceeds(grant, maker)
    assert wrong == "" or wrong.partition(": ")[0] in ("role", "scopes", "expires_at", "addresses")


@pytest.mark.parametrize(
    ("grant", "field"),
    [
        (Grant(role="tenant_admin"), "role"),
        (Grant(role="operator"), "scopes"),
        (Grant(role="operator", scopes=("cdrs:read", "tokens:write")), "scopes"),
        (Grant(role="viewer", scopes=("cdrs:read",)), "expires_at"),
        (Grant(role="viewer", scopes=("cdrs:read",), expires_at=NOON + timedelta(days=2)), "expires_at"),
        (Grant(role="viewer", scopes=("cdrs:read",), expires_at=NOON), "addresses"),
        (
            Grant(role="viewer", scopes=("cdrs:read",), expires_at=NOON, addresses=("192.0.0.0/16",)),
            "addresses",
        ),
        (Grant(role="viewer", scopes=("cdrs:read",), expires_at=NOON, addresses=("::/0",)), "addresses"),
        (Grant(role="operator", scopes=("cdrs:read",), expires_at=NOON, addresses=("192.0.2.7/32",)), ""),
    ],
)
def test_a_limited_key_makes_no_less_limited_one(grant: Grant, field: str) -> None:
    maker = Grant(
        role="operator",
        scopes=("cdrs:read", "keys:write"),
        expires_at=NOON + timedelta(days=1),
        addresses=("192.0.2.0/24",),
    )
    assert exceeds(grant, maker).partition(": ")[0] == field


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.7", False),
        ("2001:db8::7", True),
        ("2001:db8::7%eth0", True),
        ("2001:db9::7", False),
        ("", False),
        ("testclient", False),
    ],
)
def test_an_address_is_admitted_by_the_networks_of_the_grant(address: str, admitted: bool) -> None:
    grant = Grant(role="viewer", addresses=("192.0.2.0/24", "2001:db8::/32"))
    assert grant.admits(address) is admitted
    assert Grant(role="viewer").admits(address)


@pytest.mark.parametrize(
    ("grant", "tenant", "wrong"),
    [
        (Grant(role="root"), "demo", "role"),
        (Grant(role="platform_admin"), "demo", "role"),
        (Grant(role="tenant_admin"), "", "role"),
        (Grant(role="viewer", scopes=("cdrs:all",)), "demo", "scopes"),
        (Grant(role="viewer", scopes=("stories:write",)), "demo", "scopes"),
        (Grant(role="viewer", expires_at=NOON), "demo", "expires_at"),
        (Grant(role="viewer", addresses=("192.0.2.7",)), "demo", "addresses"),
        (Grant(role="viewer", addresses=("home",)), "demo", "addresses"),
        (Grant(role="viewer", addresses=tuple(f"10.0.0.{n}/32" for n in range(51))), "demo", "addresses"),
        (Grant(role="viewer", addresses=("192.0.2.7/32",)), "demo", ""),
        (Grant(role="platform_admin"), "", ""),
    ],
)
def test_a_grant_that_cannot_be_is_named_by_its_field(grant: Grant, tenant: str, wrong: str) -> None:
    assert wrong_in(grant, tenant, NOON).partition(": ")[0] == wrong


def test_a_network_is_kept_in_one_form() -> None:
    assert [network_text(text) for text in ("192.0.2.7", " 192.0.2.9/24", "2001:DB8::1")] == [
        "192.0.2.7/32",
        "192.0.2.0/24",
        "2001:db8::1/128",
    ]
    assert all(str(ip_network(text)) == text for text in NETWORKS)
