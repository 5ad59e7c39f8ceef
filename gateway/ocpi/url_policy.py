"""Which URLs of others we call: a host enters, the address to connect to leaves, or `UrlRefusedError`.

A partner names URLs that our machines then call, so they must not lead inside: private, loopback, link-local and
other special addresses are refused unless they are allowed as a whole. The check is on the address that is then
connected to, not on a name that may resolve to another one a moment later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, cast
from urllib.parse import urlsplit

import httpcore
import httpx

from domain.errors import ChargeSphereError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

VERDICT_S: Final = 2.0
"""How long a name may take to be resolved while somebody waits for the verdict; the call itself is judged anew."""

LABEL_MOST: Final = 63
"""Characters of one part of a host's name (RFC 1035, 2.3.4)."""

# Both lists are IANA's registries of special-purpose addresses, also of those blocks that are reachable from
# everywhere (nobody's partner lives there), and what was such a block once:
# https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
SPECIAL_V4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared between a carrier and its customers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112, delegated directly
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the limited broadcast
    )
)
SPECIAL_V6: Final = tuple(
    IPv6Network(block)
    for block in (
        "::/96",  # unspecified, loopback, and IPv4-compatible, deprecated
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b:1::/48",  # translation for local use
        "100::/64",  # discard only
        "100:0:0:1::/64",  # dummy prefix
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, AS112 and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112, delegated directly
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",  # multicast
    )
)
GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All that was ever given out for use between networks."""
NAT64: Final = IPv6Network("64:ff9b::/96")


class UrlRefusedError(ChargeSphereError):
    """The URL is not one that we call; the message names the address."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(cast(str, sockaddr[0]) for *_, sockaddr in found))


class UrlPolicy:
    """Schemes http and https, public addresses only unless `allow_private_urls`."""

    def __init__(self, allow_private_urls: bool = False, resolve: Resolve = system_resolve) -> None:
        self.allow_private_urls = allow_private_urls
        self._resolve = resolve

    def check_form(self, url: str) -> None:
        """Raises UrlRefusedError for what is no plain http(s) URL with a host."""
        try:
            parts = urlsplit(url)
            port = parts.port
            # As the client reads it: what that cannot ask for is refused here.
            read = httpx.URL(url)
            host = read.raw_host.decode("ascii") if read.host else ""
        except (ValueError, httpx.InvalidURL) as error:
            raise UrlRefusedError(f"{url[:100]!r} is no URL: {error}") from None
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or port == 0:
            raise UrlRefusedError(f"{url[:100]!r} is no http or https URL")
        if "@" in parts.netloc:
            raise UrlRefusedError(f"the URL of {parts.hostname} holds a user name or password")
        labels = host.removesuffix(".").split(".")
        if "%" in host or not all(0 < len(label) <= LABEL_MOST for label in labels):
            raise UrlRefusedError(f"{url[:100]!r} names no host that can be resolved")

    async def verdict(self, url: str) -> str:
        """What is wrong with a URL at which somebody wants to be called; empty where nothing is known to be."""
        try:
            self.check_form(url)
            parts = urlsplit(url)
            async with asyncio.timeout(VERDICT_S):
                await self.addresses(
                    parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
                )
        except UrlRefusedError as error:
            return str(error)
        except OSError:
            return ""  # it may be known by the time of the call, which is judged anew
        return ""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host that may be connected to, in order. Raises UrlRefusedError, or OSError."""
        found = await self._resolve(host, port)
        if self.allow_private_urls:
            return found
        allowed = [address for address in found if is_public(address)]
        if found and not allowed:
            raise UrlRefusedError(f"{host} is at {found[0]}, a private or local address, which is not called")
        return allowed


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it is wrapped in an IPv6 one."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        inner = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else ip.ipv4_mapped
        if inner is None:
            return ip in GLOBAL_V6 and not any(ip in block for block in SPECIAL_V6)
        ip = inner
    return not any(ip in block for block in SPECIAL_V4)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that the policy allows, and to nothing else."""

    def __init__(self, policy: UrlPolicy) -> None:
        self._policy = policy
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._policy.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:3]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise UrlRefusedError(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport, on connections that the policy allows."""

    def __init__(self, policy: UrlPolicy, *, connections: int = 200, per_host_idle: int = 50) -> None:
        super().__init__(trust_env=False)
        # httpx has no public way to give its pool a network backend.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=connections,
            max_keepalive_connections=per_host_idle,
            keepalive_expiry=20.0,
            network_backend=_CheckedNetwork(policy),
        )
