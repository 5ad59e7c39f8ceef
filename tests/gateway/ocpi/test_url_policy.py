"""Which URLs of others we call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ocpi import OcpiClient, UrlPolicy, UrlRefusedError
from gateway.ocpi.client import Peer, PeerUnreachableError
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


SPECIAL = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/32",
    "192.0.0.171/32",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
]
"""IANA's registries of special-purpose addresses, but for ::ffff:0:0/96 and 64:ff9b::/96, which hold others."""
BESIDE = ["224.0.0.0/4", "ff00::/8", "fec0::/10", "::/96", "::ffff:0:0:0/96", "4000::/3", "e000::/4"]
"""Multicast (RFC 5771, RFC 4291), what RFC 3879, RFC 4291 and RFC 2765 had given a use, and what is not given out."""


@pytest.mark.parametrize("block", SPECIAL + BESIDE)
def test_no_address_of_a_special_purpose_block_is_public(block: str) -> None:
    network = ip_network(block)
    middle = network[network.num_addresses // 2]
    assert not any(is_public(str(ip)) for ip in (network[0], middle, network[-1]))


@pytest.mark.parametrize("block", [block for block in SPECIAL + BESIDE if "." in block])
@pytest.mark.parametrize("prefix", ["::ffff:0:0", "64:ff9b::", "2002::", "::", "::ffff:0:0:0", "64:ff9b:1::"])
def test_no_wrapping_makes_a_special_address_public(block: str, prefix: str) -> None:
    """Mapped, translated, 6to4, compatible, SIIT and local translation."""
    shift = 80 if prefix == "2002::" else 0
    network = ip_network(block)
    for inner in (network[0], network[-1]):
        assert not is_public(str(IPv6Address(int(IPv6Address(prefix)) | int(inner) << shift)))


@given(st.ip_addresses())
def test_what_python_calls_special_is_never_public(ip: IPv4Address | IPv6Address) -> None:
    """Its own list is another reading of the same registries."""
    inner = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    if not (inner or ip).is_global:
        assert not is_public(str(ip))


@pytest.mark.parametrize("text", ["", "name.test", "1.2.3", "::g"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.88.98.255",
        "192.88.100.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:93.184.216.34",
        "2001:200::",
        "2001:db7:ffff::",
        "2001:db9::",
        "2a00::1",
    ],
)
def test_the_neighbours_of_special_blocks_are_public(address: str) -> None:
    assert is_public(address)


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
        f"http://{'a' * 64}.test/",
        "http://a..test/",
        "http://xn--a.test/",
        "http://a b.test/",
        "http://a\nb.test/",
        "http://\ud800.test/",
    ],
)
def test_only_plain_http_urls_with_a_host_are_called(url: str) -> None:
    with pytest.raises(UrlRefusedError):
        UrlPolicy().check_form(url)


async def test_a_host_with_only_private_addresses_is_refused_by_its_address() -> None:
    with pytest.raises(UrlRefusedError, match=r"intern\.test is at 10\.0\.0\.1"):
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
    with pytest.raises((UrlRefusedError, PeerUnreachableError)):
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


async def test_a_url_is_judged_before_anything_is_promised_of_it() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "nowhere.example":
            raise OSError("no such host")
        return ["10.0.0.7"] if host == "inside.example" else ["8.8.8.8"]

    policy = UrlPolicy(resolve=resolve)
    for url in ("https://a.example/results/1", "http://nowhere.example/"):
        assert await policy.verdict(url) == ""
    long = f"https://{'a' * 64}.example/"
    for url in ("http://inside.example/", "file:///etc/passwd", "https://a:b@a.example/", "x", long):
        assert await policy.verdict(url) != "", url
