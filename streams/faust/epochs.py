"""Whose decisions count at which place of the log, for a reader that begins, goes back or jumps as Faust does.

What enters: the sweeper's positions with their epochs, and the log from there on. What leaves: each record's
decision, or None for a claim and for a stale decider's record. What was written before the sweeper's position and is
of an older epoch than that looks stale: the sweeper has had it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from streams.log import Log, Stored, TopicPartition
from streams.log.envelope import DamagedRecordError, Decision, Fence


class _Course:
    """One partition's epochs: the first, and each later one from which offset on, all known before `known`."""

    __slots__ = ("_at", "_epochs", "_fence", "_first", "_offsets", "known")

    def __init__(self, epoch: int, offset: int) -> None:
        self.known = offset
        self._at = offset
        self._first = epoch
        self._fence = Fence(epoch)
        self._offsets: list[int] = []
        self._epochs: list[int] = []

    def admit(self, stored: Stored) -> Decision | None:
        if stored.offset != self._at:
            earlier = bisect_left(self._offsets, stored.offset)
            self._fence = Fence(self._epochs[earlier - 1] if earlier else self._first)
        before = self._fence.epoch
        decision = self._fence.admit(stored)
        self._at = stored.offset + 1
        if stored.offset >= self.known:
            self.known = self._at
            if self._fence.epoch > before:
                self._offsets.append(stored.offset)
                self._epochs.append(self._fence.epoch)
        return decision


class Epochs:
    """`find` the places that are read, then `admit` their records. Both raise LogUnavailableError."""

    def __init__(self, log: Log, group: str) -> None:
        self._log = log
        self._group = group
        self._courses: dict[TopicPartition, _Course] = {}

    async def find(self, places: Sequence[TopicPartition]) -> None:
        """Every place's epochs at once, from the group's positions to the ends."""
        positions = await self._log.committed(self._group, places)
        begins, ends = await self._log.beginnings(places), await self._log.ends(places)
        for place in places:
            position = positions.get(place)
            epoch = int(position.note) if position is not None and position.note else -1
            self._courses[place] = _Course(epoch, begins[place] if position is None else position.offset)
        await self._read(ends)

    async def admit(self, stored: Stored) -> Decision | None:
        """Raises DamagedRecordError, also where a record before it is damaged."""
        place = stored.place
        if place not in self._courses:
            await self.find([place])
        course = self._courses[place]
        if stored.offset > course.known:
            await self._read({place: stored.offset})
            if stored.offset > course.known:
                raise DamagedRecordError(f"{place.topic}[{place.partition}]@{course.known} cannot be read")
        return course.admit(stored)

    async def _read(self, ends: Mapping[TopicPartition, int]) -> None:
        """Up to these ends, or to a record that is damaged."""
        courses = self._courses
        open_ = {place: courses[place].known for place, end in ends.items() if courses[place].known < end}
        if not open_:
            return
        reader = self._log.reader()
        try:
            await reader.assign(open_)
            while open_:
                for place, batch in (await reader.poll(1.0, 5000)).items():
                    if place in open_ and _follow(courses[place], batch, ends[place]):
                        del open_[place]
        finally:
            await reader.close()


def _follow(course: _Course, batch: Sequence[Stored], end: int) -> bool:
    """Whether this was all that is to be read."""
    for stored in batch:
        if stored.offset >= end:
            course.known = end
            return True
        try:
            course.admit(stored)
        except DamagedRecordError:
            return True
    return course.known >= end
