"""What edges need from the log, the read models and the vault, as ports, and the values that they speak in.

Nothing here is implemented: the composition root picks the adapters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from commands.base import Command, Meta
from domain.charge_point.wanted import Wish
from domain.errors import ChargeSphereError
from domain.values import Authorization, Evse, JSONObject, PartyId, Sealed, Settings, Site, TagRef
from protocols.ocpi import v2_3_0
from streams.log.envelope import Reply


class Bus(Protocol):
    """The way into the log; `streams.deciding.bus.CommandBus`."""

    async def tell(self, command: Command, meta: Meta) -> None:
        """Returns once the command is durable. Raises LogUnavailableError."""
        ...

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        """The decision's reply, refusals included. Raises LogUnavailableError."""
        ...


class Opener(Protocol):
    """Opens sealed texts; `application.vault.Vault`."""

    async def open(self, sealed: Sealed) -> bytes | None:
        """The text in UTF-8, or None where its key was destroyed. May raise StoreUnavailableError."""
        ...


class Digests(Protocol):
    """Keyed hashes; `application.vault.Vault`."""

    def digest(self, kind: str, text: str) -> str: ...


class Vault(Opener, Digests, Protocol):
    """Seals, opens and digests; `application.vault.Vault`. May raise StoreUnavailableError."""

    def token_key(self, type: str, uid: str) -> str: ...
    def tag_keys(self, id_tag: str) -> tuple[str, ...]: ...
    def subject(self, owner: str, key: str) -> str: ...
    async def seal(self, subject: str, plain: bytes | str) -> Sealed: ...


class Authorizer(Protocol):
    """What is known of an id tag, resolved before the decision."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        """The tag's reference and its authorization; never raises. `for_start`: never waits for a partner."""
        ...


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's configuration, as far as its charge points are concerned. Times in seconds.

    `wishes` are variables that all of them shall have; the mark tells one set of wishes from another.
    """

    id: str
    settings: Settings
    active: bool = True
    auto_register: bool = False
    default_location: Site | None = None
    id_prefix: str = ""
    lenient: bool = True
    assume_ocpp16: bool = False  # take a handshake without a subprotocol for ocpp1.6 (J-05)
    heartbeat_interval: int = 300
    wishes: tuple[Wish, ...] = ()
    wishes_mark: str = ""
    relay_every: int = 30
    call_timeout: float = 30.0
    default_tariff_id: str = ""
    messages_per_second: float = 0.0  # of all its charge points on one process; 0: as many as come
    queue_enabled: bool = True
    worker_pool_size: int = 4


class RegisteredChargePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point that its tenant knows. `password_hash` empty: none is asked for (SEC-00).

    `alternative_hash` is that of a new password which it may have taken: right too (SEC-03). `automatic` where no
    operator has said yet what it is, `new` until it was connected. `site` is where it stands by its Location's master
    data, None where there are none.
    """

    charge_point_id: str
    password_hash: str = ""
    alternative_hash: str = ""
    evses: tuple[Evse, ...] = ()
    automatic: bool = False
    new: bool = False
    site: Site | None = None


class DirectoryUnavailableError(ChargeSphereError):
    """The read store is away and nothing was cached: whether the charge point is known cannot be said now."""


class Directory(ABC):
    """Who may connect. May answer from what it read some seconds ago."""

    @abstractmethod
    async def tenant(self, id: str) -> Tenant | None:
        """The tenant with this id. Raises DirectoryUnavailableError."""

    @abstractmethod
    async def tenants_of(self, charge_point_id: str) -> Sequence[Tenant]:
        """Whose charge point an id without a tenant is: one, none, or several that nothing tells apart.

        Raises DirectoryUnavailableError.
        """

    @abstractmethod
    async def charge_point(self, tenant: str, charge_point_id: str) -> RegisteredChargePoint | None:
        """The charge point, if its tenant knows it. Raises DirectoryUnavailableError."""

    @abstractmethod
    def connected_on(self, node: str) -> AsyncIterator[tuple[str, str, int]]:
        """Tenant, charge point and epoch of the connections held on a node, as the read models have them.

        Raises DirectoryUnavailableError.
        """

    @abstractmethod
    def learn(self, tenant: str, listed: RegisteredChargePoint) -> None:
        """This is how the charge point is now; the read store will follow."""


class QuotaUnavailableError(ChargeSphereError):
    """A tenant's room was not told in time, or not at all."""


class Quota(ABC):
    """How many charge points a tenant may have more."""

    @abstractmethod
    async def take(self, tenant: str) -> bool:
        """Whether one more may take itself in at the tenant's now. Raises LogUnavailableError,
        QuotaUnavailableError."""


class Tariffs(Protocol):
    """Tariffs as they are now."""

    async def snapshot(self, tenant: str, tariff_ids: Sequence[str]) -> list[JSONObject]:
        """OCPI 2.3.0 Tariff objects in the order asked for, unknown ones left out; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """Whether the token is new, and whether it was taken: one older than what is known is not."""

    created: bool
    applied: bool = True


class ContendedError(ChargeSphereError):
    """Others changed the same object again and again meanwhile; nothing of this change was applied."""


class Tokens(Protocol):
    """The tokens of eMSPs. `holder` is the platform that asks: what another one put is not there for it."""

    async def put(
        self, owner: PartyId, holder: str, token: v2_3_0.Token, meta: Meta, *, shared: bool
    ) -> PutOutcome:
        """Returns once it is decided and, within a short while, readable; `shared` with all, not with one party
        alone. Raises LogUnavailableError, StoreUnavailableError."""
        ...

    async def patch(
        self,
        owner: PartyId,
        holder: str,
        uid: str,
        type: str,
        change: Callable[[v2_3_0.Token], v2_3_0.Token],
        meta: Meta,
        *,
        shared: bool,
    ) -> PutOutcome | None:
        """Put what `change` makes of the token as it is, whoever else changes it meanwhile; None for an unknown one.

        Raises what `change` raises, ContendedError, LogUnavailableError, StoreUnavailableError."""
        ...

    async def get(self, owner: PartyId, holder: str, uid: str, type: str) -> v2_3_0.Token | None:
        """The token with this type and uid, whose case does not matter. Raises StoreUnavailableError."""
        ...
