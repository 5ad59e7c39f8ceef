"""Everything that connections share: ports, options, and how the log has been answering.

It decides nothing and holds no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from application.ports import Authorizer, Bus, Directory, Opener, Quota, Tariffs
from gateway.ocpp.limits import Paces, Shares
from gateway.ocpp.options import Options
from gateway.ocpp.ports import Frames, Readings
from gateway.ocpp.volume import Volumes
from streams.deciding.channel import Channel


class LogHealth:
    """Whether the log answered last time; what need not wait for it then does not."""

    __slots__ = ("_failed_at",)

    def __init__(self) -> None:
        self._failed_at: float | None = None

    def answered(self) -> None:
        self._failed_at = None

    def failed(self, now: float) -> None:
        self._failed_at = now

    def away(self, now: float, within: float = 2.0) -> bool:
        """Whether it failed within the last seconds and has not answered since."""
        return self._failed_at is not None and now - self._failed_at < within


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What each connection works with. The channel's slot and boot id are where downlinks find their way back."""

    channel: Channel
    bus: Bus
    readings: Readings
    directory: Directory
    quota: Quota
    authorizer: Authorizer
    tariffs: Tariffs
    vault: Opener
    frames: Frames
    clock: Callable[[], datetime]
    options: Options = field(default_factory=Options)
    health: LogHealth = field(default_factory=LogHealth)
    shares: Shares = field(default_factory=Shares)
    paces: Paces = field(default_factory=Paces)
    volumes: Volumes = field(default_factory=Volumes)
    busy: Callable[[str, str], bool] = lambda tenant, charge_point_id: False
    """Whether new work of a charge point should be refused, e.g. because its decider lags."""
