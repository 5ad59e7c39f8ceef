"""OCPP 1.6 with the security extension: what its charge points' calls become, and how intents are said to them."""

from __future__ import annotations

from typing import Final

from gateway.ocpp.v16.answers import judge
from gateway.ocpp.v16.calls import CALLS, fits, request
from gateway.ocpp.v16.handlers import BEFORE_ACCEPTED, HANDLERS, SIGNS_OF_LIFE
from gateway.ocpp.version import Version
from protocols.ocpp.v16 import REQUESTS
from protocols.ocpp.v16.codec import ALWAYS_LENIENT, decode_request, encode

__all__ = ["V16"]

V16: Final = Version(
    actions=REQUESTS,
    handlers=HANDLERS,
    before_accepted=BEFORE_ACCEPTED,
    always_lenient=ALWAYS_LENIENT,
    signs_of_life=SIGNS_OF_LIFE,
    decode_request=decode_request,
    encode=encode,
    calls=CALLS,
    request=request,
    judge=judge,
    fits=fits,
)
