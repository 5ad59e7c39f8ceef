"""Whose address it is, behind balancers: X-Forwarded-For, and the PROXY protocol of both versions."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from domain.charge_point import ChargePointConnected
from gateway.ocpp.client_address import (
    SIGNATURE,
    BadPreambleError,
    Preamble,
    Proxies,
    neighbourhood,
    plain,
    read_preamble,
)
from tests.gateway.ocpp.fakes import PASSWORD, World, world
from tests.gateway.ocpp.test_admission import BEHIND

PROXIES = Proxies([ip_network("10.0.0.0/8"), ip_network("2001:db8:ff::/48")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["spoofed, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8:ff::1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, who knows"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_trusted_proxy(
    peer: str, forwarded: Sequence[str], client: str
) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_without_networks_nobody_is_trusted() -> None:
    assert not Proxies().trusts("127.0.0.1")
    assert Proxies().client("127.0.0.1", ["203.0.113.9"]) == "127.0.0.1"


def test_limits_count_an_ipv6_customer_once() -> None:
    assert neighbourhood("2001:db8:0:1::5") == neighbourhood("2001:db8:0:1:ffff::1") == "2001:db8:0:1::/64"
    assert neighbourhood("203.0.113.9") == "203.0.113.9"
    assert plain("::ffff:203.0.113.9") == "203.0.113.9"


def binary(source: str, command: int = 1, more: bytes = b"") -> bytes:
    """A header of version 2 for TCP."""
    known = ip_address(source)
    family = 0x11 if known.version == 4 else 0x21
    body = known.packed * 2 + (4711).to_bytes(2) + (9000).to_bytes(2) + more
    return SIGNATURE + bytes((0x20 | command, family)) + len(body).to_bytes(2) + body


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 9000\r\n", "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 9000\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""),
        (binary("203.0.113.9"), "203.0.113.9"),
        (binary("2001:db8::7"), "2001:db8::7"),
        (binary("203.0.113.9", more=b"\x04\x00\x01\x00"), "203.0.113.9"),
        (binary("203.0.113.9", command=0), ""),
        (SIGNATURE + b"\x21\x00\x00\x00", ""),
    ],
)
def test_a_header_of_the_proxy_protocol_is_read_however_it_is_cut(header: bytes, address: str) -> None:
    for end in range(len(header)):
        assert read_preamble(header[:end]) is None, end
    assert read_preamble(header) == read_preamble(header + b"GET") == Preamble(len(header), address)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 nobody 10.0.0.1 4711 9000\r\n",
        b"PROXY TCP4 999.1.1.1 10.0.0.1 4711 9000\r\n",
        b"PROXY TCP4 " + b"1" * 100,
        SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_begins_as_such_a_header_and_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(BadPreambleError):
        read_preamble(header)


def test_http_has_no_header_of_the_proxy_protocol() -> None:
    assert read_preamble(b"GET /ocpp HTTP/1.1") == Preamble(0, "")
    assert read_preamble(b"PATCH") == Preamble(0, "")


async def opened(w: World, *first: bytes) -> bytes:
    """The answer to a handshake that comes after these bytes, piece by piece; empty where it is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", w.port)
    key = base64.b64encode(f"CP-1:{PASSWORD}".encode())
    request = (
        b"GET /ocpp/demo/CP-1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic " + key + b"\r\n\r\n"
    )
    for part in (*first, request):
        writer.write(part)
        await writer.drain()
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 9000\r\n", binary("203.0.113.9")])
async def test_a_trusted_balancer_says_by_the_proxy_protocol_whom_it_heard(header: bytes) -> None:
    async with world(BEHIND) as w:
        assert b" 101 " in await opened(w, header[:20], header[20:])
        assert w.bus.all(ChargePointConnected)[-1].address == "203.0.113.9"


async def test_a_balancer_need_not_speak_the_proxy_protocol() -> None:
    async with world(BEHIND) as w:
        assert b" 101 " in await opened(w)
        assert w.bus.all(ChargePointConnected)[-1].address == "127.0.0.1"


async def test_a_broken_header_ends_the_connection() -> None:
    async with world(BEHIND) as w:
        assert await opened(w, b"PROXY nonsense\r\n") == b""
        assert not w.bus.all(ChargePointConnected)


async def test_nobody_else_is_believed_by_the_proxy_protocol() -> None:
    async with world() as w:
        assert b" 101 " not in await opened(w, b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 9000\r\n")
        assert not w.bus.all(ChargePointConnected)
