"""What the OCPP gateway needs from outside, as small ports, and the values that they speak in.

Nothing here is implemented: the composition root picks the adapters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from commands.base import Command, Meta
from domain.charge_point import ReadingTaken
from domain.values import Authorization, Carried, Evse, JSONObject, Settings, Site, TagRef
from projections.store import StoreUnavailable
from streams.log.envelope import Reply


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's configuration, as far as its charge points are concerned. Times in seconds."""

    id: str
    settings: Settings
    active: bool = True
    auto_register: bool = False
    default_location: Site | None = None
    id_prefix: str = ""
    lenient: bool = True
    assume_ocpp16: bool = False  # take a handshake without a subprotocol for ocpp1.6 (J-05)
    heartbeat_interval: int = 300
    relay_every: int = 30
    call_timeout: float = 30.0
    default_tariff_id: str = ""
    messages_per_second: float = 0.0  # of all its charge points on one process; 0: as many as come
    queue_enabled: bool = True
    worker_pool_size: int = 4
    max_charge_points: int = 1000
    max_auto_registered: int = 100


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A charge point that its tenant knows. `password_hash` empty: none is asked for (SEC-00).

    `alternative_hash` is that of a new password which it may have taken: right too (SEC-03). `automatic` where no
    operator has said yet what it is, `new` until it was connected.
    """

    charge_point_id: str
    password_hash: str = ""
    alternative_hash: str = ""
    evses: tuple[Evse, ...] = ()
    automatic: bool = False
    new: bool = False


class DirectoryUnavailableError(Exception):
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
    async def charge_point(self, tenant: str, charge_point_id: str) -> Listed | None:
        """The charge point, if its tenant knows it. Raises DirectoryUnavailableError."""

    @abstractmethod
    async def has_room(self, tenant: str) -> bool:
        """Whether one more may take itself in at the tenant's. Raises DirectoryUnavailableError."""

    @abstractmethod
    def connected_on(self, node: str) -> AsyncIterator[tuple[str, str, int]]:
        """Tenant, charge point and epoch of the connections held on a node, as the read models have them.

        Raises DirectoryUnavailableError.
        """

    @abstractmethod
    def learn(self, tenant: str, listed: Listed) -> None:
        """This is how the charge point is now; the read store will follow."""


class Authorizer(Protocol):
    """What is known of an id tag, resolved before the decision."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        """The tag's reference and its authorization; never raises. `for_start`: never waits for a partner."""
        ...


class Tariffs(Protocol):
    """Tariffs as they are now."""

    async def snapshot(self, tenant: str, tariff_ids: Sequence[str]) -> list[JSONObject]:
        """OCPI 2.3.0 Tariff objects in the order asked for, unknown ones left out; never raises."""
        ...


class Vault(Protocol):
    """Opens sealed texts; `application.vault.Vault`."""

    async def open(self, sealed: str) -> bytes | None:
        """The text in UTF-8, or None where its key was destroyed. May raise StoreUnavailable."""
        ...


async def opened(vault: Vault, sealed: str) -> str:
    """The text, or empty where it cannot be read, now or ever."""
    try:
        plain = await vault.open(sealed) if sealed else None
    except StoreUnavailable:
        return ""
    return "" if plain is None else plain.decode(errors="replace")


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One call with its answer, for the audit. Payloads are in the clear: the recorder seals what is personal.

    `direction` is `in` (from the charge point) or `out`; `outcome` is `ok`, an error code, or why none came.
    """

    tenant: str
    charge_point_id: str
    epoch: int
    direction: str
    message_id: str
    action: str
    request: bytes
    response: bytes
    outcome: str
    at: datetime
    seconds: float
    command_id: str


class Frames(Protocol):
    """The audit of frames."""

    def record(self, frame: Frame) -> None:
        """Take the frame; returns at once, never raises, and may drop it under pressure."""
        ...


class Bus(Protocol):
    """The way into the log; `streams.deciding.bus.CommandBus`."""

    async def tell(self, command: Command, meta: Meta) -> None:
        """Returns once the command is durable. Raises LogUnavailable."""
        ...

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        """The decision's reply. Raises LogUnavailable."""
        ...


class Readings(Protocol):
    """Where readings stand that nobody decides; `streams.following.readings.Readings`."""

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        """Returns its offset once it is durable. Raises LogUnavailable."""
        ...

    async def end(self, charge_point: str) -> int:
        """The offset behind all readings that may be this charge point's. Raises LogUnavailable."""
        ...

    async def behind(
        self, charge_point: str, transaction_id: int, carried: Carried
    ) -> Sequence[tuple[int, ReadingTaken]]:
        """The readings of a transaction behind the mark, with their offsets. Raises LogUnavailable."""
        ...


class Clock(Protocol):
    """The time, UTC."""

    def now(self) -> datetime: ...
