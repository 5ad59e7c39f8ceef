"""Which URLs of others we call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.ocpi import OcpiClient, UrlPolicy, UrlRefused
from gateway.ocpi.client import Peer, Unreachable
from gateway.ocpi.url_policy import is_public


def resolving(*addresses: str) -> UrlPolicy:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return UrlPolicy(resolve=resolve)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x.test/",
        "file:///etc/passwd",
        "//x.test/",
        "http://",
        "http://a:b@x.test/",
        "http://x:99999/",
    ],
)
def test_only_plain_http_urls_with_a_host_are_called(url: str) -> None:
    with pytest.raises(UrlRefused):
        UrlPolicy().check_form(url)


async def test_a_host_with_only_private_addresses_is_refused_by_its_address() -> None:
    with pytest.raises(UrlRefused, match=r"intern\.test is at 10\.0\.0\.1"):
        await resolving("10.0.0.1", "::1").addresses("intern.test", 80)


async def test_only_the_public_addresses_of_a_host_are_connected_to() -> None:
    assert await resolving("10.0.0.1", "93.184.216.34").addresses("mixed.test", 80) == ["93.184.216.34"]


async def test_private_addresses_are_called_where_that_is_allowed() -> None:
    policy = UrlPolicy(allow_private_urls=True)
    assert await policy.addresses("127.0.0.1", 80) == ("127.0.0.1",)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "http://0x7f000001:9/",
        "http://2130706433:9/",
        "http://127.1:9/",
        "http://localhost:9/",
    ],
)
async def test_every_spelling_of_loopback_is_refused_before_a_connection(url: str) -> None:
    client = OcpiClient(UrlPolicy())
    with pytest.raises((UrlRefused, Unreachable)):
        await client.request("GET", url, Peer("t"))
    await client.aclose()


async def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """The name is resolved once: what it resolves to a moment later changes nothing."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"host: name.test:" in head.lower()
        body = b'{"status_code":1000,"timestamp":"2026-03-01T12:00:00Z"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = OcpiClient(UrlPolicy(allow_private_urls=True, resolve=resolve))
    assert (await client.request("GET", f"http://name.test:{port}/", Peer("t"))).ok
    assert asked == ["name.test"]
    await client.aclose()
    server.close()
    await server.wait_closed()
