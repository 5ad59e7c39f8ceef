"""What a caller of `/api/v1` may do: its role, and of a key the scopes, the addresses and the end that limit it.

`exceeds` says whether one grant allows more than another: what nobody may hand on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from domain.values import Value

Network = IPv4Network | IPv6Network


class Role(IntEnum):
    """Who may do what; a higher one may do all that a lower one may."""

    VIEWER = 1
    OPERATOR = 2
    TENANT_ADMIN = 3
    PLATFORM_ADMIN = 4

    @property
    def text(self) -> str:
        return self.name.lower()


ROLES: Final = {role.text: role for role in Role}

RESOURCES: Final = (
    "audit",
    "cdrs",
    "chargepoints",
    "commands",
    "deliveries",
    "events",
    "jobs",
    "keys",
    "locations",
    "partners",
    "quotes",
    "readings",
    "reservations",
    "sessions",
    "stories",
    "tariffs",
    "tenants",
    "tokens",
)
"""What routes are grouped by."""
READ_ONLY: Final = frozenset({"audit", "events", "quotes", "readings", "stories"})
SCOPES: Final = tuple(
    f"{resource}:{act}"
    for resource in RESOURCES
    for act in ("read", "write")
    if act == "read" or resource not in READ_ONLY
)
"""All that there are. One for writing lets nobody read."""
MOST_ADDRESSES: Final = 50


class Grant(Value, frozen=True, kw_only=True):
    """What is allowed: all of the role where there are no `scopes`, from anywhere where there are no `addresses`
    (networks such as 192.0.2.0/24), without end where there is no `expires_at`."""

    role: str
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    addresses: tuple[str, ...] = ()

    def allows(self, scope: str) -> bool:
        return not self.scopes or scope in self.scopes

    def admits(self, address: str) -> bool:
        """Whether it counts for who asks from this address."""
        if not self.addresses:
            return True
        try:
            host = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        seen = getattr(host, "ipv4_mapped", None) or host
        return any(seen in _network(network) for network in self.addresses)


@lru_cache(maxsize=1024)
def _network(text: str) -> Network:
    """Parsed once: a key's are looked at in every request."""
    return ip_network(text)


def network_text(text: str) -> str:
    """An address or a network as it is kept. Raises ValueError."""
    return str(ip_network(text.strip(), strict=False))


def wrong_in(grant: Grant, tenant: str, at: datetime) -> str:
    """What cannot be of a grant made at this time, as `field: reason`, or nothing; `tenant` is empty for the
    platform's."""
    role = ROLES.get(grant.role)
    if role is None:
        return f"role: must be one of {', '.join(ROLES)}"
    if (role is Role.PLATFORM_ADMIN) == bool(tenant):
        return "role: a platform_admin has no tenant, every other role has one"
    if unknown := next((scope for scope in grant.scopes if scope not in SCOPES), None):
        return f"scopes: {unknown[:40]!r} is none of {', '.join(SCOPES)}"
    if grant.expires_at is not None and grant.expires_at <= at:
        return "expires_at: must lie in the future"
    if len(grant.addresses) > MOST_ADDRESSES:
        return f"addresses: must be at most {MOST_ADDRESSES}"
    for network in grant.addresses:
        try:
            if network_text(network) != network:
                return f"addresses: {network[:60]!r} is not written as {network_text(network)}"
        except ValueError:
            return f"addresses: {network[:60]!r} is no address and no network such as 192.0.2.0/24"
    return ""


def exceeds(grant: Grant, maker: Grant) -> str:
    """The first field in which a grant allows more than its maker's, as `field: reason`, or nothing."""
    if ROLES[grant.role] > ROLES[maker.role]:
        return f"role: {grant.role} is above your own, {maker.role}"
    if maker.scopes:
        if not grant.scopes:
            return f"scopes: name some of your own, {', '.join(maker.scopes)}"
        if more := next((scope for scope in grant.scopes if scope not in maker.scopes), None):
            return f"scopes: {more} is none of your own, {', '.join(maker.scopes)}"
    if maker.expires_at is not None and (grant.expires_at is None or grant.expires_at > maker.expires_at):
        return "expires_at: must not be after the end of the key that asks"
    if maker.addresses:
        if not grant.addresses:
            return "addresses: name some of those of the key that asks"
        if more := _outside(grant.addresses, maker.addresses):
            return f"addresses: {more} lies in none of those of the key that asks"
    return ""


def _outside(networks: Iterable[str], within: Iterable[str]) -> str:
    around = [_network(network) for network in within]
    return next((text for text in networks if not any(_inside(_network(text), one) for one in around)), "")


def _inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)
