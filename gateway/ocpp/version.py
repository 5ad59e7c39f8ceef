"""What a connection needs of the version of OCPP that its charge point speaks: one table, filled in a folder each.

It reads and writes nothing: `gateway/ocpp/v16` is the first such folder, `gateway.ocpp.versions` lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from commands.remote_command_request import Fits
from domain.charge_point.announced import Learned
from domain.intents import Intent
from domain.values import JSONObject
from protocols.ocpp.message import Confirmation, Decoded, Mode, Request, WireError


class WireCall(NamedTuple):
    """A call of ours as its version says it; `kept` is of its payload what may be kept (SEC-04)."""

    action: str
    payload: bytes
    kept: bytes


class Judged(NamedTuple):
    """What an answer means: accepted when the charge point does what was asked, else rejected, or failed.

    `reason` is the charge point's own status, `response` its answer in its own words, without secrets, `learned` what
    it teaches; `kept` is of its payload what may be kept (SEC-04).
    """

    status: str
    reason: str
    response: JSONObject | None
    learned: Learned
    kept: bytes


class DecodeRequest(Protocol):
    """Reads the payload of a charge point's call."""

    def __call__(
        self,
        action: str,
        payload: bytes | msgspec.Raw,
        *,
        mode: Mode = ...,
        received_at: datetime | None = ...,
    ) -> Decoded[Request] | WireError: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of OCPP.

    Of a charge point's calls: all `actions`, by which messages are counted; `handlers` of those that it may send;
    those that are taken although its last boot was not accepted (`before_accepted`), those that are always read
    leniently, and those that say nothing but that it is alive. Of ours: what an intent is called, its whole request,
    what it teaches when it is answered, and whether it can be said at all.
    """

    actions: Collection[str]
    handlers: Mapping[str, Callable[[Any, Any], Awaitable[Confirmation]]]
    before_accepted: frozenset[str]
    always_lenient: frozenset[str]
    signs_of_life: frozenset[str]
    decode_request: DecodeRequest
    encode: Callable[[Confirmation], bytes]
    calls: Mapping[type[Intent], str]
    request: Callable[[Intent], WireCall | WireError]
    judge: Callable[[Intent, msgspec.Raw], Judged]
    fits: Fits

    def label(self, action: str) -> str:
        """The action itself where this version knows it, else `unknown`."""
        return action if action in self.actions else "unknown"
