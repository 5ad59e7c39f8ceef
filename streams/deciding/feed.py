"""What a decider has decided, for a follower in its own process: a membership whose partitions the decider gives.

What enters: the events partitions that the decider claims and leaves, and the decisions that it has proven there.
What leaves: the same as from a group of the log's, without reading them from it. The follower's positions go to the
decider, which keeps them in the notes of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from streams.log import Listener, Member, Position, Stored, TopicPartition

GATHER_S = 0.02
"""How long decisions wait for others to be followed together with."""


class Feed(Member):
    """Between one decider and one follower. It keeps nothing: what nobody has polled is read from the log again."""

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self._positions: dict[TopicPartition, Position] = {}
        self._newest: dict[TopicPartition, Stored] = {}
        self._begun: set[TopicPartition] = set()
        """Those that the follower is to be told of."""
        self._waiting: dict[TopicPartition, list[Stored]] = {}
        self._some = asyncio.Event()
        self.moved = asyncio.Event()
        """Set when positions of the follower have moved; the decider clears it."""
        self._started = False

    # -- the decider's side ------------------------------------------------------------------------------------

    async def begin(self, place: TopicPartition, position: Position, claim: Stored) -> None:
        """The partition was claimed: it is followed from this position on, up to the claim out of the log."""
        await self.end(place)
        self._positions[place] = position
        self._newest[place] = claim
        self._begun.add(place)
        self._some.set()

    async def end(self, place: TopicPartition) -> None:
        """The partition is not ours any more, or is to be claimed again."""
        if self._positions.pop(place, None) is None:
            return
        del self._newest[place]
        self._waiting.pop(place, None)
        if place in self._begun:
            self._begun.discard(place)
        elif self._started and self._listener is not None:
            await self._listener.lost(frozenset([place]))

    def offer(self, place: TopicPartition, records: Sequence[Stored]) -> None:
        """These stand in the log, and count."""
        if place in self._positions:
            self._newest[place] = records[-1]
            if self._started and place not in self._begun:
                self._waiting.setdefault(place, []).extend(records)
                self._some.set()

    def position(self, place: TopicPartition) -> Position | None:
        """Up to where it was followed; None where it is not ours."""
        return self._positions.get(place)

    # -- the follower's side -----------------------------------------------------------------------------------

    def join(self, listener: Listener) -> Member:
        """The follower that is fed, again after it has ended by a mistake."""
        self._listener = listener
        return self

    async def start(self) -> None:
        self._started = True
        self._begun = set(self._positions)
        if self._begun:
            self._some.set()

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        """What was decided, once something is, however long that takes; of partitions that begin, together, the
        newest that they have, if it was not followed."""
        await self._some.wait()
        await asyncio.sleep(GATHER_S)
        self._some.clear()
        waiting, self._waiting = self._waiting, {}
        begun, self._begun = self._begun, set()
        for place in begun:
            if self._newest[place].offset >= self._positions[place].offset:
                waiting[place] = [self._newest[place]]
        if begun and self._listener is not None:
            await self._listener.gained({place: self._positions[place] for place in begun})
        return waiting

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        for place, position in positions.items():
            if place in self._positions:
                self._positions[place] = position
                self.moved.set()

    async def close(self) -> None:
        self._started = False
        self._waiting.clear()
