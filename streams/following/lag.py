"""How far behind the log its readers are: the decider in seconds and records, the read models as a point in time.

What enters: a log's ends and the positions of consumer groups, once a second. What leaves: for each area of commands
how long its oldest undecided record has waited, and up to which time everything that was received can be read. What
it never does: read a record, or ask the log when somebody wants to know; who waits for a later time only brings the
next sample forward.

At each sample a mark is set where a topic ends. A group whose positions have passed a mark has done everything that
was there at that time. A mark in an events topic carries the time up to which its commands were decided, so that what
has passed it was received, decided and projected up to that time.

Less `UNDER_WAY`: an edge notes the time of a command before it appends it, and the append may end behind the mark.
However long that takes, no decision is from before the mark less `UNDER_WAY`: the log notes by its own clock when it
took the command, and a decision takes the edge's time only as far as `LATE` before that (`envelope.decode_command`).
So two things are left: `LATE`, and by how much the log's clock may differ from ours, the time from the log's note to
the moment at which readers see the record included (`APART`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from commands.base import Area
from projections.store import StoreUnavailableError
from projections.store.generations import Generation
from streams.following.follower import standing
from streams.log import LogUnavailableError, Position, TopicPartition
from streams.log.envelope import LATE
from streams.log.topology import FAUST, commands_topic, events_topic

logger = logging.getLogger(__name__)

DECIDER: Final = "decider"
APART: Final = timedelta(seconds=0.2)
"""Between the log's clock and ours, and from the log's note of a record to its sight."""
UNDER_WAY: Final = LATE + APART
"""What a mark says less this is sure: whatever the log takes later is decided as received later."""
SOONEST: Final = 0.1
"""Between two samples, in seconds, while somebody waits."""
MOST_MARKS: Final = 256
SETTLED: Final = timedelta(seconds=15)
"""After a new generation nobody writes into the one before any more, but who was frozen."""


class Offsets(Protocol):
    """What is asked of a log."""

    def places(self, topic: str) -> list[TopicPartition]: ...

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]: ...

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]: ...


class Course:
    """Marks along one topic: a time, and where every partition ended then. The newest that was passed is kept."""

    def __init__(self) -> None:
        self._marks: list[tuple[datetime, Sequence[int]]] = []

    def set(self, mark: datetime, ends: Sequence[int]) -> None:
        """What the topic holds up to these ends belongs to this time; a time known already is not set again."""
        if self._marks and mark <= self._marks[-1][0]:
            return
        if len(self._marks) >= MOST_MARKS:
            self._marks = self._marks[::2]
        self._marks.append((mark, ends))

    def reached(self, positions: Sequence[int]) -> datetime | None:
        """The newest time whose mark every position has passed; None where there is none, or no longer."""
        while len(self._marks) > 1 and _passed(positions, self._marks[1][1]):
            del self._marks[0]
        if not self._marks or not _passed(positions, self._marks[0][1]):
            return None
        return self._marks[0][0]

    def waiting_since(self, partition: int, position: int) -> datetime | None:
        """When the partition's next record was there at the latest; None where nothing waits."""
        first = bisect_right(self._marks, position, key=lambda mark: mark[1][partition])
        return self._marks[first][0] if first < len(self._marks) else None


def _passed(positions: Sequence[int], ends: Sequence[int]) -> bool:
    return all(position >= end for position, end in zip(positions, ends, strict=True))


class Generations(Protocol):
    """Which read models are read; `projections.store.generations.GenerationStore`."""

    known: Generation

    async def newest(self) -> Generation:
        """Asked anew; `known` is the same then. Raises StoreUnavailableError."""
        ...


class _One:
    """Read models without generations."""

    known = Generation()

    async def newest(self) -> Generation:
        return self.known


class Lag:
    """`run` until cancelled. `readers` says for an area which groups write its read models.

    Where several do, one partition is as far as the furthest of them: the sweeper repairs within seconds what a
    killed Faust skipped. `generations` says which read models are read: a position that holds for others
    counts as the floor of these, and Faust's, which note none, count once the sweeper has passed where the log ended
    `SETTLED` after the change.
    """

    def __init__(
        self,
        log: Offsets,
        clock: Callable[[], datetime],
        readers: Mapping[Area, Sequence[str]] | None = None,
        *,
        every: float = 1.0,
        generations: Generations | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._readers = dict(readers or {})
        self._every = every
        self._generations = generations or _One()
        self._number: int | None = None
        self._changed_at: datetime | None = None
        self._settled: Mapping[TopicPartition, int] = {}
        self._commands = {area: Course() for area in Area}
        self._events = {area: Course() for area in self._readers}
        self._behind: dict[Area, Sequence[float]] = {}
        self._records: dict[Area, int] = {}
        self._until: dict[Area, datetime | None] = {}
        self._wanted = asyncio.Event()
        self._sampled = asyncio.Event()

    async def run(self) -> None:
        """Sample until cancelled; while the log is away, everything stays as it was known last."""
        away = False
        while True:
            self._wanted.clear()
            try:
                await self.sample()
                away = False
            except LogUnavailableError as error:
                if not away:
                    logger.warning("the lag is not known: %s", error)
                away = True
            await asyncio.sleep(SOONEST)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every - SOONEST):
                    await self._wanted.wait()

    async def sample(self) -> None:
        """Learn how far everybody is, now. Raises LogUnavailableError."""
        groups: dict[str, list[TopicPartition]] = {}
        for area in Area:
            groups.setdefault(DECIDER, []).extend(self._log.places(commands_topic(area)))
        for area, names in self._readers.items():
            for name in names:
                groups.setdefault(name, []).extend(self._log.places(events_topic(area)))
        # Positions first: whatever a position says was done stands before the ends that are read after it.
        found = await asyncio.gather(*(self._log.committed(name, asked) for name, asked in groups.items()))
        positions = dict(zip(groups, found, strict=True))
        now = self._clock()
        ends = await self._log.ends(list({place for asked in groups.values() for place in asked}))
        generation = await self._generation_read()
        number = None if generation is None else generation.number
        if number != self._number:
            self._number, self._changed_at, self._settled = number, now, {}
        elif self._changed_at is not None and now - self._changed_at > SETTLED:
            self._changed_at, self._settled = None, ends
        for area in Area:
            self._measure(area, now, ends, positions, generation or self._generations.known)
        self._sampled.set()
        self._sampled = asyncio.Event()

    def _measure(
        self,
        area: Area,
        now: datetime,
        ends: Mapping[TopicPartition, int],
        positions: Mapping[str, Mapping[TopicPartition, Position]],
        generation: Generation,
    ) -> None:
        course, places = self._commands[area], self._log.places(commands_topic(area))
        at = [_offset(positions[DECIDER], place) for place in places]
        course.set(now, [ends[place] for place in places])
        decided = course.reached(at)
        since = [course.waiting_since(number, position) for number, position in enumerate(at)]
        self._behind[area] = [0.0 if moment is None else (now - moment).total_seconds() for moment in since]
        self._records[area] = sum(
            max(0, ends[place] - position) for place, position in zip(places, at, strict=True)
        )
        if area not in self._readers:
            return
        course, places = self._events[area], self._log.places(events_topic(area))
        if decided is not None:
            course.set(decided, [ends[place] for place in places])
        read = [
            self._projected(
                {name: positions[name].get(place) for name in self._readers[area]}, place, generation
            )
            for place in places
        ]
        reached = course.reached(read)
        self._until[area] = None if reached is None else reached - UNDER_WAY

    def _projected(
        self, positions: Mapping[str, Position | None], place: TopicPartition, generation: Generation
    ) -> int:
        """How far this partition stands in the read models that are read."""
        known = {name: position for name, position in positions.items() if position is not None}
        furthest = max((position.offset for position in known.values()), default=0)
        if not generation.number:
            return furthest
        noted = [
            standing(position, place, generation)[0] for name, position in known.items() if name != FAUST
        ]
        sure = max(noted, default=generation.floor(*place)[0])
        settled = self._changed_at is None and sure >= self._settled.get(place, 0)
        return furthest if settled else sure

    @property
    def measured(self) -> Iterable[Area]:
        """The areas that are known about; none before the first sample."""
        return self._behind.keys()

    def behind_seconds(self, area: Area, partition: int | None = None) -> float:
        """How long the oldest undecided command has waited at least, of one partition or of the area."""
        behind = self._behind.get(area, ())
        if partition is None:
            return max(behind, default=0.0)
        return behind[partition] if behind else 0.0

    def records(self, area: Area) -> int:
        """How many commands of the area are undecided, or decided and not yet confirmed."""
        return self._records.get(area, 0)

    def projected_until(self, area: Area) -> datetime | None:
        """Everything received before this time can be read; None where that is not known, as after a sample of read
        models that are read no more."""
        return self._until.get(area) if self.holds() else None

    def holds(self) -> bool:
        """Whether the newest sample is of the read models that are read now."""
        return self._generations.known.number == self._number

    async def _generation_read(self) -> Generation | None:
        """Asked after the positions: none of them is of a newer one. None while the store is away."""
        try:
            return await self._generations.newest()
        except StoreUnavailableError:
            return None

    async def reach(self, area: Area, moment: datetime, patience: float) -> datetime:
        """`projected_until` once it is `moment` or later, or after `patience` seconds as far as it is.

        Raises LogUnavailableError where it is not known.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while (until := self.projected_until(area)) is None or until < moment:
                    sampled = self._sampled
                    self._wanted.set()
                    await sampled.wait()
        until = self.projected_until(area)
        if until is None:
            raise LogUnavailableError(f"it is not known up to when {area.value}s can be read")
        return until


def _offset(positions: Mapping[TopicPartition, Position], place: TopicPartition) -> int:
    """The position; a group that has committed nothing stands at the beginning."""
    position = positions.get(place)
    return 0 if position is None else position.offset
