"""How many bytes a charge point and a tenant send: beyond that their messages wait, so that nobody fills the log.

Nothing is refused: a charge point that waits is not read from, and its own messages come later.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import NamedTuple

logger = logging.getLogger(__name__)

MOST = 50_000
SAY_SECONDS = 60.0
ENVELOPE = 300
"""About what a message takes in the log beside its payload."""


class Volume(NamedTuple):
    """Bytes a second over time, and at once."""

    rate: float
    burst: float


CHARGE_POINT = Volume(4_000, 8_000_000)
"""A busy charge point sends a twentieth of it; the burst is a day of one that was offline."""
TENANT = Volume(1_000_000, 200_000_000)


class Volumes:
    """When what was sent by each is due; of very many the one that sent longest ago is forgotten."""

    def __init__(self) -> None:
        self._due: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._say_at = 0.0

    def wait(
        self,
        tenant: str,
        charge_point_id: str,
        size: int,
        now: float,
        charge_point: Volume = CHARGE_POINT,
        of_tenant: Volume = TENANT,
    ) -> float:
        """Seconds that a message of so many bytes has to wait before it is taken."""
        own = self._wait((tenant, charge_point_id), size + ENVELOPE, now, charge_point)
        # One that waits for its own bytes takes none of its tenant's.
        wait = own or self._wait((tenant, ""), size + ENVELOPE, now, of_tenant)
        if wait > 0 and now >= self._say_at:
            self._say_at = now + SAY_SECONDS
            who = f"charge point {tenant}/{charge_point_id}" if own else f"tenant {tenant}"
            rate = charge_point.rate if own else of_tenant.rate
            logger.warning("the messages of %s wait: more than %d bytes a second", who, rate)
        return wait

    def _wait(self, key: tuple[str, str], size: int, now: float, volume: Volume) -> float:
        due = max(self._due.get(key, 0.0), now) + size / volume.rate
        self._due[key] = due
        self._due.move_to_end(key)
        if len(self._due) > MOST:
            self._due.popitem(last=False)
        return max(0.0, due - now - volume.burst / volume.rate)
