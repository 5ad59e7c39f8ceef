"""What is known of one connected charge point, and how it is spoken to: what its calls and ours work with.

It decides nothing and reads no frame: that is the connection's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

from application.ports import DirectoryUnavailableError, RegisteredChargePoint, Tenant
from commands.charge_point import ConnectedReply
from gateway.ocpp.credentials import Credentials
from gateway.ocpp.services import Services
from gateway.ocpp.transactions import Transactions
from gateway.ocpp.version import Version


class Link(ABC):
    """`epoch` is the version of its `charge_point.connected`; `prefix` begins the command ids of its messages,
    `wishes_mark` tells which of its tenant's wishes it was told."""

    __slots__ = (
        "_credentials",
        "epoch",
        "interval",
        "listed",
        "prefix",
        "registration",
        "services",
        "tenant",
        "transactions",
        "version",
        "wishes_mark",
    )

    def __init__(
        self,
        services: Services,
        credentials: Credentials,
        tenant: Tenant,
        listed: RegisteredChargePoint,
        connected: ConnectedReply,
        version: Version,
    ) -> None:
        self.services = services
        self.version = version
        self.tenant = tenant
        self.listed = listed
        self.epoch = connected.epoch
        self.registration = connected.registration
        self.interval = connected.interval or tenant.heartbeat_interval
        self.wishes_mark: str | None = connected.defaults_mark
        self.transactions = Transactions(connected)
        self.prefix = f"{tenant.id}|{listed.charge_point_id}|{connected.epoch}"
        self._credentials = credentials

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant.id, self.listed.charge_point_id

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether frames can be sent."""

    @abstractmethod
    async def send(self, frame: bytes) -> None:
        """Send one frame, unless the socket is gone; waits where the charge point does not read."""

    @abstractmethod
    def read(self, at: datetime) -> None:
        """It said a reading that no decision follows; told now and then, as it is alive."""

    @abstractmethod
    def told(self) -> None:
        """A command of it says that it is alive."""

    def registered(self, status: str, interval: int) -> None:
        """A BootNotification was answered with this."""
        self.registration, self.interval = status, interval

    async def refresh_tenant(self) -> None:
        """Take the tenant's settings as they are now, where the directory can say."""
        try:
            tenant = await self.services.directory.tenant(self.tenant.id)
        except DirectoryUnavailableError:
            return
        if tenant is not None:
            self.tenant = tenant

    async def still_listed(self) -> bool:
        """Whether the charge point is its tenant's, as far as the directory can say."""
        try:
            return await self.services.directory.charge_point(*self.key) is not None
        except DirectoryUnavailableError:
            return True

    async def refreshed(self) -> RegisteredChargePoint:
        """The charge point as the directory knows it now, or as it was at the handshake."""
        try:
            listed = await self.services.directory.charge_point(*self.key)
        except DirectoryUnavailableError:
            listed = None
        if listed is not None:
            self.listed = listed
        return self.listed

    def learned(self, listed: RegisteredChargePoint) -> None:
        """The charge point was changed by us just now."""
        self.listed = listed
        self.services.directory.learn(self.tenant.id, listed)

    async def hash_password(self, password: bytes) -> str:
        """The text to store for a new password."""
        return await self._credentials.hash(password)
