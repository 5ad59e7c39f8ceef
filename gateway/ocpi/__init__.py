"""OCPI as a client: our requests to partners, and the handshakes that we begin or call back in.

What enters are a partner's URLs and tokens; what leaves are answers, or errors with names. It never decides what is
sent or when, never follows a redirect, and never connects to an address that the URL policy does not allow.
"""

from gateway.ocpi.client import (
    Broken,
    NotOcpi,
    OcpiAnswer,
    OcpiClient,
    OcpiClientError,
    Peer,
    TimedOut,
    Unreachable,
)
from gateway.ocpi.registration import Discovery, Handshakes, Peers
from gateway.ocpi.url_policy import UrlPolicy, UrlRefused

__all__ = [
    "Broken",
    "Discovery",
    "Handshakes",
    "NotOcpi",
    "OcpiAnswer",
    "OcpiClient",
    "OcpiClientError",
    "Peer",
    "Peers",
    "TimedOut",
    "Unreachable",
    "UrlPolicy",
    "UrlRefused",
]
