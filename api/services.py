"""What the HTTP doors need from outside: ports and settings that the composition root fills.

Nothing is built here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from application.limiter import RateLimiter
from application.live.fanout import Fanout
from application.ports import Authorizer, Bus
from application.principal import Principal
from application.remote_commands import RemoteCommandPorts
from application.tenant_documents import TenantDocuments
from application.vault import Vault
from commands.remote_command_request import Fits
from domain.values import PartyId
from projections.store import ReadStore


class Registration(Protocol):
    """How a handshake ended; `reason` says at which step it failed and why, without secrets."""

    @property
    def ok(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class PartnerRegistrar(Protocol):
    """OCPI handshakes from our side. Raises LogUnavailableError."""

    async def register(self, partner_id: str) -> Registration:
        """Fetch versions and details, post our credentials, keep theirs."""
        ...

    async def rotate(self, partner_id: str) -> Registration:
        """New tokens both ways, and the newest version that both speak."""
        ...

    async def unregister(self, partner_id: str) -> Registration:
        """End the registration; ours ends whatever the partner answers."""
        ...


class Step(Protocol):
    """One request of a self-test; `gateway.ocpi.self_test.Step`."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def http_status(self) -> int: ...
    @property
    def ocpi_status(self) -> int: ...
    @property
    def milliseconds(self) -> int: ...
    @property
    def message(self) -> str: ...


class PartnerTest(Protocol):
    """Looks whether a registered partner can be used, without changing anything there."""

    async def run(self, partner_id: str) -> Sequence[Step] | None:
        """What was asked and what came; None where it is not registered."""
        ...


class Credentials(Protocol):
    """What is known of API keys and of revoked tokens; `application.keys.LogKeys`."""

    async def of_key(self, text: str, address: str) -> Principal:
        """Raises BadTokenError; LogUnavailableError and StoreUnavailableError where it cannot be told."""
        ...

    async def check_token(self, principal: Principal) -> None:
        """Raises BadTokenError where it was revoked, LogUnavailableError before anything is known."""
        ...

    async def hear(self, aggregate_id: str, version: int, patience: float) -> None:
        """Wait until this process knows of an event, or for so many seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that `/api/v1` works with.

    `jwt_keys`: the current key first, then the previous one. `public_url` is the base of every URL handed out.
    `visible_within`: seconds that a write waits until it can be read.
    """

    store: ReadStore
    tenants: TenantDocuments
    bus: Bus
    vault: Vault
    limiter: RateLimiter
    credentials: Credentials
    authorizer: Authorizer
    registrar: PartnerRegistrar
    partner_test: PartnerTest
    live: Fanout
    clock: Callable[[], datetime]
    fits: Fits
    jwt_keys: tuple[bytes, ...]
    hub: PartyId
    public_url: str
    visible_within: float = 0.3

    @property
    def remote_commands(self) -> RemoteCommandPorts:
        """What it takes to ask charge points for something."""
        return RemoteCommandPorts(self.store, self.bus, self.vault, self.authorizer, self.clock, self.fits)
