"""Which URLs of others we call: a host enters, the address to connect to leaves, or `UrlRefused`.

A partner names URLs that our machines then call, so they must not lead inside: private, loopback, link-local and
other special addresses are refused unless they are allowed as a whole. The check is on the address that is then
connected to, not on a name that may resolve to another one a moment later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, cast
from urllib.parse import urlsplit

import httpcore
import httpx

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
_NAT64: Final = IPv6Network("64:ff9b::/96")


class UrlRefused(Exception):
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
        """Raises UrlRefused for what is no plain http(s) URL with a host."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UrlRefused(f"{url[:100]!r} is no URL: {error}") from None
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or port == 0:
            raise UrlRefused(f"{url[:100]!r} is no http or https URL")
        if "@" in parts.netloc:
            raise UrlRefused(f"the URL of {parts.hostname} holds a user name or password")

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host that may be connected to, in order. Raises UrlRefused, or OSError."""
        found = await self._resolve(host, port)
        if self.allow_private_urls:
            return found
        allowed = [address for address in found if is_public(address)]
        if found and not allowed:
            raise UrlRefused(f"{host} is at {found[0]}, a private or local address, which is not called")
        return allowed


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it is wrapped in an IPv6 one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = _inside(ip)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _inside(ip: IPv6Address) -> IPv4Address | None:
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


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
        raise UrlRefused(f"{path} is a socket of this machine")

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
