"""New work is refused while the decider is far behind: a command enters, and goes on to the log or not at all.

The one place where HTTP writes meet that limit; each door answers as it does while the log is away, HTTP 503 with
Retry-After. Nothing was appended then, so that the request can simply be sent again.
"""

from __future__ import annotations

from typing import Protocol

from application.ports import Bus
from commands.base import Area, Command, Meta
from streams.log import LogUnavailableError
from streams.log.envelope import Reply
from streams.log.layout import Layout


class Behind(Protocol):
    """How long the decider's oldest command waits; `streams.following.lag.Lag`."""

    def behind_seconds(self, area: Area, partition: int | None = None) -> float: ...


class RefusingBus:
    """A bus that raises LogUnavailableError for a command whose partition is more than `limit` seconds behind."""

    def __init__(self, bus: Bus, behind: Behind, layout: Layout, limit: float) -> None:
        self._bus = bus
        self._behind = behind
        self._layout = layout
        self._limit = limit

    async def tell(self, command: Command, meta: Meta) -> None:
        self._check(command)
        await self._bus.tell(command, meta)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        self._check(command)
        return await self._bus.ask(command, meta, timeout)

    def _check(self, command: Command) -> None:
        behind = self._behind.behind_seconds(command.area, self._layout.partition_of(command.group))
        if behind > self._limit:
            raise LogUnavailableError(
                f"the decider of {command.area.value} is {behind:.0f} s behind, over {self._limit:g}"
            )
