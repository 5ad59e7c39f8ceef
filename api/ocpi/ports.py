"""What the OCPI doors need from outside, as small protocols; the composition root fills `Ports`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from application.limiter import RateLimiter
from commands.base import Area, Command, Meta
from domain.partner import Endpoint
from domain.values import PartyId, Sealed
from projections.store import ReadStore
from protocols.ocpi import v2_3_0
from streams.log.envelope import Reply


class Bus(Protocol):
    """The way into the log."""

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        """The decision's reply, refusals included. Raises LogUnavailable."""
        ...


class Vault(Protocol):
    """Seals, opens and digests; `application.vault.Vault`. May raise StoreUnavailable."""

    def digest(self, kind: str, text: str) -> str: ...
    def token_key(self, type: str, uid: str) -> str: ...
    def tag_keys(self, id_tag: str) -> tuple[str, ...]: ...
    def subject(self, owner: str, key: str) -> str: ...
    async def seal(self, subject: str, plain: bytes | str) -> Sealed: ...
    async def open(self, sealed: Sealed) -> bytes | None: ...


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
        `patience` seconds as far as it is. Raises LogUnavailable where it is not known."""
        ...

    def holds(self) -> bool:
        """Whether what was said is true of what is read now: other read models may have taken their place."""
        ...


class Peers(Protocol):
    """Calls back in a registration."""

    async def discover(self, versions_url: str, token: str, wanted: Sequence[str]) -> Discovery:
        """The endpoints of the first of the `wanted` versions that is offered; never raises for what a peer does."""
        ...


@dataclass(frozen=True, slots=True)
class TokenPut:
    """Whether the token is new, and whether it was taken: one older than what is known is not."""

    created: bool
    applied: bool = True


class ContendedError(Exception):
    """Others changed the same object again and again meanwhile; nothing of this change was applied."""


class Tokens(Protocol):
    """The tokens of eMSPs. `holder` is the platform that asks: what another one put is not there for it."""

    async def put(self, owner: PartyId, holder: str, token: v2_3_0.Token, meta: Meta) -> TokenPut:
        """Returns once it is decided and, within a short while, readable. Raises LogUnavailable, StoreUnavailable."""
        ...

    async def patch(
        self,
        owner: PartyId,
        holder: str,
        uid: str,
        type: str,
        change: Callable[[v2_3_0.Token], v2_3_0.Token],
        meta: Meta,
    ) -> TokenPut | None:
        """Put what `change` makes of the token as it is, whoever else changes it meanwhile; None for an unknown one.

        Raises what `change` raises, ContendedError, LogUnavailable, StoreUnavailable."""
        ...

    async def get(self, owner: PartyId, holder: str, uid: str, type: str) -> v2_3_0.Token | None:
        """The token with this type and uid, whose case does not matter. Raises StoreUnavailable."""
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
