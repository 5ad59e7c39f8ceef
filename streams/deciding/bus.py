"""The edges' way in: a command is appended to its group's partition, and either its decision is awaited or not.

What enters: commands. What leaves: appends, each partition's commands in the order in which they came. Told commands
wait with patience; a command whose decision somebody awaits goes in haste, and takes along what waits.
"""

from __future__ import annotations

import asyncio

from commands.base import Command, Meta
from streams.deciding.channel import Channel
from streams.log import Log, LogUnavailableError, Record, TopicPartition
from streams.log.envelope import CommandRecord, Reply, ReplyTo, raw, record
from streams.log.topology import commands_topic


class CommandBus:
    """`tell` returns once the command is durable; `ask` once its decision is in the log and counts."""

    def __init__(self, log: Log, channel: Channel, *, patience: float = 5.0) -> None:
        self._log = log
        self._channel = channel
        self._patience = patience

    async def tell(self, command: Command, meta: Meta) -> None:
        """Raises LogUnavailableError: whether the command will be decided is then unknown."""
        place, one = self._record(command, meta, None)
        await self._log.append_patiently(*place, [one])

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        """The decision's reply, refusals included. Raises LogUnavailableError when none comes in time."""
        reply_to, future = self._channel.expect()
        try:
            async with asyncio.timeout(timeout or self._patience):
                place, one = self._record(command, meta, reply_to)
                await self._log.append(*place, [one])
                return await future
        except TimeoutError:
            raise LogUnavailableError(
                f"no decision on {meta.command_id} in {timeout or self._patience:g} s"
            ) from None
        finally:
            future.cancel()

    def _record(
        self, command: Command, meta: Meta, reply_to: ReplyTo | None
    ) -> tuple[TopicPartition, Record]:
        group = command.group
        value = CommandRecord(
            aggregate=command.aggregate_id, meta=meta, reply_to=reply_to, command=raw(command)
        )
        place = TopicPartition(commands_topic(command.area), self._log.layout.partition_of(group))
        return place, record(group, value, meta.tenant)
