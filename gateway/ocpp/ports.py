"""What the OCPP gateway needs from outside, as small ports, and the values that they speak in.

Nothing here is implemented: the composition root picks the adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from application.ports import Opener
from commands.base import Meta
from domain.charge_point import ReadingTaken
from domain.values import Carried
from projections.store import StoreUnavailableError


async def opened(vault: Opener, sealed: str) -> str:
    """The text, or empty where it cannot be read, now or ever."""
    try:
        plain = await vault.open(sealed) if sealed else None
    except StoreUnavailableError:
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


class Readings(Protocol):
    """Where readings stand that nobody decides; `streams.following.readings.Readings`."""

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        """Returns its offset once it is durable. Raises LogUnavailableError."""
        ...

    async def end(self, charge_point: str) -> int:
        """The offset behind all readings that may be this charge point's. Raises LogUnavailableError."""
        ...

    async def behind(
        self, charge_point: str, transaction_id: int, carried: Carried
    ) -> Sequence[tuple[int, ReadingTaken]]:
        """The readings of a transaction behind the mark, with their offsets. Raises LogUnavailableError."""
        ...
