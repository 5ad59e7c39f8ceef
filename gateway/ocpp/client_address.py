"""Whose address a handshake comes from, where balancers stand in between.

What enters: the peer of a socket and what a trusted proxy said of it, by the PROXY protocol or X-Forwarded-For. What
leaves: the nearest address that is no trusted proxy. What anybody else says of itself counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from domain.errors import ChargeSphereError

Network = IPv4Network | IPv6Network

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_LINE, _LONGEST_HEADER = 107, 16 + 2048
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN[^\r\n]*|TCP[46] ([0-9a-fA-F.:]+) [0-9a-fA-F.:]+ \d{1,5} \d{1,5})\r\n"
)
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+")


class Proxies:
    """The proxies that are believed; none where there are no networks."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: str) -> bool:
        """Whether it is one of them."""
        if not self._networks:
            return False
        try:
            known = ip_address(plain(address))
        except ValueError:
            return False
        return any(known in network for network in self._networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client of a request with these X-Forwarded-For headers: each proxy adds whom it heard at the end."""
        client = plain(peer)
        hops = [hop.strip() for header in forwarded for hop in header.split(",")]
        while hops and self.trusts(client):
            try:
                client = str(ip_address(plain(hops.pop())))
            except ValueError:
                break  # no address: whoever wrote it is not believed beyond this
        return client


def plain(address: str) -> str:
    """Without brackets and port; an IPv4 address that is written as IPv6 is IPv4."""
    found = _WITH_PORT.fullmatch(address)
    text = (found[1] or found[2]) if found is not None else address
    try:
        known = ip_address(text)
    except ValueError:
        return text
    mapped = known.ipv4_mapped if isinstance(known, IPv6Address) else None
    return str(mapped or known)


def neighbourhood(address: str) -> str:
    """What limits count by: an IPv4 address, or the IPv6 network of 64 bits that one customer has."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    return str(known) if known.version == 4 else str(ip_network((known, 64), strict=False))


class Preamble(NamedTuple):
    """A PROXY header: its length, and the client's address, empty where the proxy speaks for itself."""

    length: int
    address: str


class BadPreambleError(ChargeSphereError):
    """It begins as a PROXY header and is none."""


def read_preamble(data: bytes) -> Preamble | None:
    """The header of the PROXY protocol (1 or 2) that a connection begins with; of length 0 where there is none.

    None where more bytes are needed. Raises BadPreambleError.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _text(data)
    return Preamble(0, "")


def _text(data: bytes) -> Preamble | None:
    end = data.find(b"\r\n")
    if end < 0 and len(data) < _LONGEST_LINE:
        return None
    found = _LINE.match(data)
    if found is None:
        raise BadPreambleError
    return Preamble(found.end(), _address(found[1].decode()) if found[1] else "")


def _binary(data: bytes) -> Preamble | None:
    if len(data) < 16:
        return None
    version, command, family = data[12] >> 4, data[12] & 15, data[13] >> 4
    length = 16 + int.from_bytes(data[14:16])
    if version != 2 or command > 1 or length > _LONGEST_HEADER:
        raise BadPreambleError
    if len(data) < length:
        return None
    size = {1: 4, 2: 16}.get(family, 0)
    if command == 0 or not size:  # the proxy's own check of health, or no IP
        return Preamble(length, "")
    if length < 16 + 2 * size + 4:
        raise BadPreambleError
    return Preamble(length, plain(str(ip_address(data[16 : 16 + size]))))


def _address(text: str) -> str:
    try:
        return plain(str(ip_address(text)))
    except ValueError:
        raise BadPreambleError from None
