"""The edges' way in: a command is appended to its group's partition, and either its decision is awaited or not.

What enters: commands. What leaves: appends, each partition's commands in the order in which they came. Told commands
wait up to 20 ms after the appends before them, so that under load those of all partitions go together; a command
whose decision somebody awaits takes them along at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from commands.base import Command, Meta
from streams.deciding.channel import Channel
from streams.log import Log, LogError, LogUnavailableError, Record, TopicPartition
from streams.log.batching import portions
from streams.log.envelope import CommandRecord, Reply, ReplyTo, raw, record
from streams.log.topology import commands_topic

GATHER_S = 0.02


class _Waiting(NamedTuple):
    record: Record
    done: asyncio.Future[None]


class CommandBus:
    """`tell` returns once the command is durable; `ask` once its decision is in the log and counts."""

    def __init__(self, log: Log, channel: Channel, *, patience: float = 5.0) -> None:
        self._log = log
        self._channel = channel
        self._patience = patience
        self._waiting: dict[TopicPartition, list[_Waiting]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._sending: set[asyncio.Task[None]] = set()

    async def tell(self, command: Command, meta: Meta) -> None:
        """Raises LogUnavailableError: whether the command will be decided is then unknown."""
        done = self._wait(command, meta, None)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if (left := self._sent_at + GATHER_S - loop.time()) > 0:
                self._timer = loop.call_later(left, self._send)
            else:
                self._send()
        await done

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        """The decision's reply, refusals included. Raises LogUnavailableError when none comes in time."""
        reply_to, future = self._channel.expect()
        try:
            async with asyncio.timeout(timeout or self._patience):
                done = self._wait(command, meta, reply_to)
                self._send()
                await done
                return await future
        except TimeoutError:
            raise LogUnavailableError(
                f"no decision on {meta.command_id} in {timeout or self._patience:g} s"
            ) from None
        finally:
            future.cancel()

    def _wait(self, command: Command, meta: Meta, reply_to: ReplyTo | None) -> asyncio.Future[None]:
        group = command.group
        value = CommandRecord(
            aggregate=command.aggregate_id, meta=meta, reply_to=reply_to, command=raw(command)
        )
        place = TopicPartition(commands_topic(command.area), self._log.layout.partition_of(group))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, []).append(_Waiting(record(group, value, meta.tenant), done))
        return done

    def _send(self) -> None:
        """All that waits; what is told from now on waits for the next time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sent_at = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, {}
        for place, commands in waiting.items():
            sending = asyncio.create_task(self._append(place, commands))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _append(self, place: TopicPartition, commands: Sequence[_Waiting]) -> None:
        """Each portion is all or nothing; one that fails costs the others nothing."""
        left = deque(commands)
        try:
            for portion in portions(one.record for one in commands):
                own = [left.popleft() for _ in portion]
                try:
                    await self._log.append(*place, portion)
                except LogError as error:
                    _fail(own, error)
                except BaseException:
                    left.extendleft(reversed(own))
                    raise
                else:
                    for one in own:
                        if not one.done.done():  # its caller may have gone
                            one.done.set_result(None)
        finally:
            _fail(left, LogUnavailableError(f"an append to {place.topic}[{place.partition}] was broken off"))


def _fail(commands: Iterable[_Waiting], error: LogError) -> None:
    for one in commands:
        if not one.done.done():
            one.done.set_exception(error)
