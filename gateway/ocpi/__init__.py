"""OCPI as a client: our requests to partners, and the handshakes that we begin or call back in.

What enters are a partner's URLs and tokens; what leaves are answers, or errors with names. It never decides what is
sent or when, never follows a redirect, and never connects to an address that the URL policy does not allow.
"""

from gateway.ocpi.client import (
    NotOcpiError,
    OcpiAnswer,
    OcpiClient,
    OcpiClientError,
    Peer,
    PeerBrokenError,
    PeerTimedOutError,
    PeerUnreachableError,
)
from gateway.ocpi.registration import Discovery, Handshakes, Peers
from gateway.ocpi.url_policy import UrlPolicy, UrlRefusedError

__all__ = [
    "Discovery",
    "Handshakes",
    "NotOcpiError",
    "OcpiAnswer",
    "OcpiClient",
    "OcpiClientError",
    "Peer",
    "PeerBrokenError",
    "PeerTimedOutError",
    "PeerUnreachableError",
    "Peers",
    "UrlPolicy",
    "UrlRefusedError",
]
