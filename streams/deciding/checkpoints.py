"""Checkpoints: the states of a partition's aggregates, written beside its decisions, some at a time.

What enters: a partition that has been decided on. What leaves: records of the compacted state topic, the mark last: a
state may then be younger than its mark, and what it holds already, folding passes over. Behind the mark what is over
for long is marked as gone, and what an earlier checkpoint marked is deleted (ADR 16). It decides nothing, and nothing
waits for it; deleting what it wrote changes only how long a start takes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from streams.deciding.partition import Partition
from streams.deciding.states import Ended, gone_record
from streams.log import Log, Record, TopicPartition
from streams.log.batching import append_all
from streams.log.envelope import encode

logger = logging.getLogger(__name__)

CHECKPOINT_KEY = b"\x00checkpoint"
SAVED_AT_ONCE = 200
"""States that are frozen between two batches of decisions; some 10 ms of the loop."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every state up to events offset `folded` is in the state topic; what was known of the partition then.

    `since` is where the state topic ended when its writer (of this `epoch`) claimed the partition: a state of an
    older writer at or after it was written by a decider that had lost the partition meanwhile. `release` stands for
    the folds that made the states (`partition.release_of_folds`).
    """

    v: int = 1
    folded: int
    epoch: int
    decided_through: int
    decided: list[tuple[int, str]] = []
    since: int = 0
    release: str = ""


def _something_to_do(partition: Partition) -> bool:
    states = partition.states
    return bool(states.dirty or states.obsolete) or states.over_since(partition.forgotten_before)


@dataclass(slots=True)
class _Saving:
    """A checkpoint under way: the aggregates whose states are still to be written, and what they belong to.

    Behind its mark come the aggregates that are to be forgotten (`ended`), the keys that are to be marked as gone,
    and those that are to be deleted. `behind` is what the portion that is being written does of these.
    """

    mark: Checkpoint
    ids: frozenset[str]
    left: list[str]
    ended: list[Ended]
    obsolete: list[bytes]
    gone: list[bytes]
    behind: _Behind
    writing: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Behind:
    """What one portion marks as gone, and deletes."""

    ended: list[Ended]
    obsolete: list[bytes]
    gone: list[bytes]


class Saver:
    """The checkpoints of one partition. `wake` is told when a portion has been written.

    `since`: see `Checkpoint`. `one_at_a_time` is shared by all partitions of a process.
    """

    def __init__(
        self,
        log: Log,
        place: TopicPartition,
        every: float,
        wake: Callable[[], None],
        one_at_a_time: asyncio.Semaphore,
    ) -> None:
        self.since = 0
        self._log = log
        self._place = place
        self._every = every
        self._wake = wake
        self._one_at_a_time = one_at_a_time
        self._saving: _Saving | None = None
        self.saved_at = time.monotonic()

    @property
    def writing(self) -> asyncio.Task[None] | None:
        """The portion that is being written, or was; None while no checkpoint is under way."""
        return None if self._saving is None else self._saving.writing

    def due_in(self, partition: Partition) -> float | None:
        """Seconds until a checkpoint is to begin; None where there is nothing to save or one is under way."""
        if self._saving is not None or not _something_to_do(partition):
            return None
        return self.saved_at + self._every - time.monotonic()

    def go_on(self, partition: Partition) -> None:
        """Begin a checkpoint that is due, or go on with it; called while no decision is in the air."""
        saving = self._saving
        if saving is None:
            if time.monotonic() - self.saved_at <= self._every:
                return
            self.saved_at = time.monotonic()
            if not _something_to_do(partition):
                return
            saving = self._saving = self._begun(partition)
        elif saving.writing is not None:
            if not saving.writing.done():
                return
            if error := saving.writing.exception():
                logger.warning("%s[%d] is not saved: %s", self._place.topic, self._place.partition, error)
                self._give_up(partition, saving)
                return
            self._written(partition, saving.behind)
            if not (saving.left or saving.ended or saving.obsolete or saving.gone):
                self._saving = None
                return
        records = self._next(partition, saving)
        saving.writing = asyncio.create_task(self._write(records))
        saving.writing.add_done_callback(lambda _: self._wake())

    def begin(self) -> None:
        """Begin a checkpoint as soon as can be."""
        self.saved_at = -math.inf
        self._wake()

    def stop(self) -> None:
        """Forget what is under way: the partition is another's, or begins anew."""
        if self._saving is not None and self._saving.writing is not None:
            self._saving.writing.cancel()
        self._saving = None

    def _begun(self, partition: Partition) -> _Saving:
        """What is over for long now had its last event before this mark. A key is deleted once a decision of ours
        stands behind the knowledge that it is marked: then nobody who claimed before that has missed the mark. What
        has changed since its key was perhaps marked is written under another."""
        states = partition.states
        dirty, states.dirty = states.dirty, set()
        for id in dirty:
            if states.key_of(id) in states.doubtful:
                states.begin_life(states.entry(id), partition.folded, stood=True)
        return _Saving(
            self._mark(partition),
            frozenset(dirty),
            sorted(dirty),
            states.take_over(partition.forgotten_before),
            sorted(states.obsolete),
            sorted(key for key, known_at in states.gone.items() if known_at < partition.folded),
            _Behind([], [], []),
        )

    def _next(self, partition: Partition, saving: _Saving) -> list[Record]:
        """The next portion: states, the last ones with the mark, or what comes behind it."""
        states = partition.states
        if saving.left or saving.writing is None:
            ids, saving.left = saving.left[:SAVED_AT_ONCE], saving.left[SAVED_AT_ONCE:]
            frozen = [(id, states.frozen(id, partition.epoch)) for id in ids]
            # Nothing is known of what was forgotten meanwhile, and what marks it stays.
            records = [Record(states.key_of(id), data) for id, data in frozen if data is not None]
            if not saving.left:
                records.append(Record(CHECKPOINT_KEY, encode(saving.mark)))
            return records
        ended, saving.ended = saving.ended[:SAVED_AT_ONCE], saving.ended[SAVED_AT_ONCE:]
        obsolete, saving.obsolete = saving.obsolete[:SAVED_AT_ONCE], saving.obsolete[SAVED_AT_ONCE:]
        gone, saving.gone = saving.gone[:SAVED_AT_ONCE], saving.gone[SAVED_AT_ONCE:]
        saving.behind = _Behind([one for one in ended if states.is_still(one)], obsolete, gone)
        marked = [*(states.key_of(one.id) for one in saving.behind.ended), *obsolete]
        return [
            *(gone_record(key, partition.epoch) for key in marked),
            *(Record(key, None) for key in gone),
        ]

    @staticmethod
    def _written(partition: Partition, behind: _Behind) -> None:
        """What is marked as gone leaves memory, unless something has happened to it meanwhile: then its state is
        written again, under a key of its own."""
        states = partition.states
        states.obsolete.difference_update(behind.obsolete)
        for key in behind.gone:
            states.gone.pop(key, None)
        for key in behind.obsolete:
            states.gone[key] = partition.folded
        for one in behind.ended:
            states.gone[states.key_of(one.id)] = partition.folded
            if states.is_still(one):
                partition.forget(one.id)
            else:
                states.begin_life(states.entry(one.id), partition.folded)
        behind.ended, behind.obsolete, behind.gone = [], [], []

    def _give_up(self, partition: Partition, saving: _Saving) -> None:
        """What was not written, the next checkpoint writes. Marks may arrive all the same, and late."""
        states = partition.states
        states.dirty |= saving.ids
        states.doubtful |= {states.key_of(one.id) for one in saving.behind.ended}
        states.ask_again([*saving.behind.ended, *saving.ended])
        self._saving = None

    def _mark(self, partition: Partition) -> Checkpoint:
        return Checkpoint(
            folded=partition.folded,
            epoch=partition.epoch,
            decided_through=partition.decided_through,
            decided=list(partition.decided),
            since=self.since,
            release=partition.rules.release,
        )

    async def _write(self, records: Sequence[Record]) -> None:
        async with self._one_at_a_time:
            await append_all(self._log, *self._place, records, patiently=True)
