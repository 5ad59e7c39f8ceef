"""One member of a consumer group of events topics, whose records go to sinks.

What enters: the partitions that the group gives to this node. What leaves: each record, read once, to every sink that
takes its topic (`streams.following.sink`). A partition's position is one record of the group: its note holds where
each sink stands, its offset is the least of them. So a sink that is behind holds up no other one, neither here nor at
a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from streams.following.facts import TransientError
from streams.following.sink import MOST_WAITING, Lane, Sink, Standing, Start
from streams.log import (
    Listener,
    Log,
    LogDamagedError,
    LogShortenedError,
    LogUnavailableError,
    Member,
    Position,
    TopicPartition,
)

logger = logging.getLogger(__name__)

COMMIT_AGAIN = 0.2
"""Seconds until positions that could not be committed are committed again."""

_notes = msgspec.json.Decoder(dict[str, Standing])
_encoder = msgspec.json.Encoder()


class Group(Listener):
    """`run` until cancelled. `gather`: seconds that records may wait under load, so that more of them come together.
    What is read for all begins at most `most_apart` before the sink that stands foremost.

    Positions are committed every `commit_every` seconds; of the topics of a sink that is told what is `settled`, as
    soon as they move. `join` makes it a member of something else than the log's group.
    """

    def __init__(
        self,
        log: Log,
        group: str,
        node: str,
        sinks: Sequence[Sink],
        *,
        commit_every: float = 1.0,
        gather: float = 0.05,
        most_apart: int = MOST_WAITING,
        join: Callable[[Listener], Member] | None = None,
    ) -> None:
        self.group = group
        self.sinks = sinks
        self._log = log
        self._topics = tuple(dict.fromkeys(topic for sink in sinks for topic in sink.topics))
        self._node = node
        self._commit_every = commit_every
        self._gather = gather
        self._most_apart = most_apart
        self._join = join or self._join_group
        self._begins: dict[TopicPartition, int] = {}
        self._others: dict[TopicPartition, Mapping[str, Standing]] = {}
        """Of the partitions held: where sinks stand that are not here."""
        self._moved, self._urgent = asyncio.Event(), asyncio.Event()
        for sink in sinks:
            sink.moved, sink.urgent = self._moved, self._urgent

    async def run(self) -> None:
        """Follow until cancelled."""
        member = self._join(self)
        beside: list[asyncio.Task[None]] = []
        try:
            await member.start()
            beside = [asyncio.create_task(sink.look_for_retries()) for sink in self.sinks]
            beside.append(asyncio.create_task(self._commit_forever(member)))
            while True:
                await self._read(member)
        finally:
            beside.extend(task for sink in self.sinks for task in sink.tasks())
            for task in beside:
                task.cancel()
            try:
                await asyncio.gather(*beside, return_exceptions=True)
                with contextlib.suppress(LogUnavailableError, TransientError, TimeoutError):
                    async with asyncio.timeout(2):
                        await self._finish(member)
            finally:
                # Whatever else fails: a member that stays open would hand on to us what it is given.
                self._begins.clear()
                for sink in self.sinks:
                    sink.end()
                await member.close()

    async def _finish(self, member: Member) -> None:
        for sink in self.sinks:
            if sink.keeper is not None:
                await sink.keeper.write()
        await self._commit(member, self._begins)

    def _join_group(self, listener: Listener) -> Member:
        return self._log.member(self.group, self._topics, self._node, listener, self._gather)

    async def _read(self, member: Member) -> None:
        try:
            records = await member.poll(1.0, 2000)
        except LogShortenedError as error:
            for sink in self.sinks:
                sink.shortened(error.places)
        except LogUnavailableError as error:
            logger.warning("%s: %s", self.group, error)
            await asyncio.sleep(0.5)
        except LogDamagedError as error:
            if error.place not in self._begins:
                raise
            for sink in self.sinks:
                sink.halt(error.place, error)
        else:
            for sink in self.sinks:
                for place, batch in records.items():
                    sink.offer(place, batch)
                sink.go_on()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        starts: dict[str, dict[TopicPartition, Start]] = {sink.name: {} for sink in self.sinks}
        for place, position in positions.items():
            taking = [sink for sink in self.sinks if place.topic in sink.topics]
            noted = self._standings(place, position)
            at = {sink.name: noted.pop(sink.name, None) for sink in taking}
            self._others[place] = noted
            # Events are kept for ever: who is new begins with the first one.
            begin = Standing(0 if position.note else position.offset)
            standings = {name: begin if known is None else known for name, known in at.items()}
            foremost = max(standing.offset for standing in standings.values())
            common = min(s.offset for s in standings.values() if s.offset >= foremost - self._most_apart)
            self._begins[place] = common
            for name, standing in standings.items():
                starts[name][place] = Start(standing, at[name] is not None, common)
        for sink in self.sinks:
            sink.gain(starts[sink.name])

    def begin(self, place: TopicPartition, position: Position) -> int:
        return self._begins[place]

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        for place in places:
            self._begins.pop(place, None)
            self._others.pop(place, None)
        for sink in self.sinks:
            sink.lose(places)

    # -- positions ---------------------------------------------------------------------------------------------

    def _standings(self, place: TopicPartition, position: Position) -> dict[str, Standing]:
        """Where each sink stands by this position, those that are not here too; who is new is not among them."""
        return dict(_notes.decode(position.note)) if position.note else {}

    def _position(self, place: TopicPartition, standings: Mapping[str, Standing]) -> Position:
        """Where each sink stands. Those that are not here are not waited for, and keep their place."""
        least = min(standing.offset for standing in standings.values())
        return Position(least, _encoder.encode({**self._others[place], **standings}).decode())

    async def _commit_forever(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._commit_every
        while True:
            if not self._moved.is_set():
                await self._moved.wait()
                due = loop.time() + self._commit_every
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due - loop.time()):
                    await self._urgent.wait()
            self._urgent.clear()
            awaited = {place for sink in self.sinks if sink.settled is not None for place in sink.lanes}
            every = loop.time() >= due
            try:
                for sink in self.sinks:
                    if sink.keeper is not None:
                        await sink.keeper.write_due()
                for sink, place, offset in await self._commit(member, self._begins if every else awaited):
                    if sink.settled is not None:
                        sink.settled(place, offset)
                if every and all(sink.rests for sink in self.sinks):
                    self._moved.clear()
            except Exception as error:
                # Whatever it is, nobody would miss us: positions and what is kept back would stand still in silence.
                if isinstance(error, LogUnavailableError | TransientError):
                    logger.warning("%s: %s", self.group, error)
                else:
                    logger.exception("%s cannot commit", self.group)
                self._urgent.set()
                await asyncio.sleep(COMMIT_AGAIN)
            if every:
                due = loop.time() + self._commit_every

    async def _commit(
        self, member: Member, places: Collection[TopicPartition]
    ) -> Sequence[tuple[Sink, TopicPartition, int]]:
        """Up to where positions are committed now, of those that moved."""
        moved: dict[TopicPartition, dict[Sink, tuple[Lane, Standing]]] = {}
        for place in places:
            lanes = [(sink, lane) for sink in self.sinks if (lane := sink.lanes.get(place)) is not None]
            if any(sink.has_moved(place, lane) for sink, lane in lanes):
                moved[place] = {
                    sink: (lane, sink.standing(place, lane)) for sink, lane in lanes if lane.begun
                }
        if not moved:
            return ()
        await member.commit(
            {
                place: self._position(place, {sink.name: at for sink, (_, at) in lanes.items()})
                for place, lanes in moved.items()
            }
        )
        kept: list[tuple[Sink, TopicPartition, int]] = []
        for place, committed in moved.items():
            for sink, (lane, at) in committed.items():
                if sink.lanes.get(place) is lane:
                    lane.kept, lane.committed = at, True
                    kept.append((sink, place, at.offset))
        return kept
