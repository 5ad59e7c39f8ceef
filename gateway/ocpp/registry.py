"""Which connection is a charge point's current one on this process; downlinks find theirs here.

The newest connection wins (J-20). Epochs decide which is newest, never the order in which sockets happen to close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from commands.base import Downlink
from gateway.ocpp import metrics
from gateway.ocpp.connection import ChargePointConnection

Key = tuple[str, str]


class Registry:
    """Connections by tenant and charge point id."""

    def __init__(self, evictions: int, window: float) -> None:
        self._current: dict[Key, ChargePointConnection] = {}
        self._evicted: dict[Key, deque[float]] = {}
        self._evictions = evictions
        self._window = window

    def __len__(self) -> int:
        return len(self._current)

    def __iter__(self) -> Iterator[ChargePointConnection]:
        return iter(tuple(self._current.values()))

    def get(self, tenant: str, charge_point_id: str) -> ChargePointConnection | None:
        return self._current.get((tenant, charge_point_id))

    def put(self, connection: ChargePointConnection, now: float) -> ChargePointConnection | None:
        """Make it current; returns the one to be closed as replaced: the older of the two, by epoch."""
        other = self._current.get(connection.key)
        if other is not None and other.epoch > connection.epoch:
            return connection
        self._current[connection.key] = connection
        if other is not None:
            self._evicted.setdefault(connection.key, deque(maxlen=self._evictions)).append(now)
        return other

    def remove(self, connection: ChargePointConnection) -> None:
        """Forget it, unless another one has taken its place."""
        if self._current.get(connection.key) is connection:
            del self._current[connection.key]

    def storming(self, key: Key, now: float) -> bool:
        """Whether its connections replace one another so fast that two devices must share one id (J-20)."""
        times = self._evicted.get(key)
        if times is None:
            return False
        if now - times[-1] > self._window:
            del self._evicted[key]
            return False
        return len(times) == self._evictions and now - times[0] <= self._window

    async def deliver(self, downlink: Downlink) -> None:
        """Hand a downlink to its connection; one for another epoch is dropped, its call has failed already."""
        connection = self.get(downlink.tenant, downlink.charge_point_id)
        if connection is None or connection.epoch != downlink.connection_epoch:
            metrics.DROPPED.labels("not here" if connection is None else "other epoch").inc()
            return
        connection.call(downlink)
