"""What the OCPI doors need from outside, as small protocols; the composition root fills `Ports`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from application.limiter import RateLimiter
from application.partner_authorization import PartnerAuthorizations
from application.partner_commands import PartnerCommands
from application.ports import Bus, Tokens, Vault
from commands.base import Area
from domain.partner import Endpoint
from domain.values import PartyId
from projections.store import ReadStore


class Discovery(Protocol):
    """What a call back found. `status_code` is 1000, or 3001, 3002, 3003 with a `message`."""

    @property
    def status_code(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...
    @property
    def token_raw(self) -> bool: ...


class Readable(Protocol):
    """Up to when everything can be read; `streams.following.lag.Lag`."""

    async def reach(self, area: Area, moment: datetime, patience: float) -> datetime:
        """Everything of the area that was received before the answer can be read: `moment` or later, or after
        `patience` seconds as far as it is. Raises LogUnavailableError where it is not known."""
        ...

    def holds(self) -> bool:
        """Whether what was said is true of what is read now: other read models may have taken their place."""
        ...


class Peers(Protocol):
    """Calls back in a registration."""

    async def discover(self, versions_url: str, token: str, wanted: Sequence[str]) -> Discovery:
        """The endpoints of the first of the `wanted` versions that is offered; never raises for what a peer does."""
        ...


def _unique() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that the OCPI doors work with.

    `public_url` is the base of every URL handed out, without a slash at its end. `new_token` makes the text of a
    token: at most 64 characters of U+0021 to U+007E. `rate` and `burst` limit the requests of one partner to one
    module, a second and at once. `max_body` in bytes; `max_page` in objects. In seconds: `visible_within` is how
    long a write waits until it can be read, `complete_within` a list until it holds all that there was at its time.
    """

    bus: Bus
    store: ReadStore
    vault: Vault
    tokens: Tokens
    commands: PartnerCommands
    authorizations: PartnerAuthorizations
    peers: Peers
    limiter: RateLimiter
    readable: Readable
    clock: Callable[[], datetime]
    new_token: Callable[[], str]
    public_url: str
    hub: PartyId
    hub_name: str = "ChargeSphere"
    new_id: Callable[[], str] = field(default=_unique)
    rate: float = 50.0
    burst: float = 200.0
    max_body: int = 1_000_000
    max_page: int = 100
    visible_within: float = 0.3
    complete_within: float = 3.0
