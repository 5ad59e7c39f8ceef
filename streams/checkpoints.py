"""Checkpoints: the states of a partition's aggregates, written beside its decisions, some at a time.

What enters: a partition that has been decided on. What leaves: records of the compacted state topic, the mark last: a
state may then be younger than its mark, and what it holds already, folding passes over. It decides nothing, and
nothing waits for it; deleting what it wrote changes only how long a start takes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from streams.envelope import encode
from streams.log import Log, Record, TopicPartition
from streams.partition import Partition
from streams.portions import append_all

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


@dataclass(slots=True)
class _Saving:
    """A checkpoint under way: the aggregates whose states are still to be written, and what they belong to."""

    mark: Checkpoint
    ids: frozenset[str]
    left: list[str]
    writing: asyncio.Task[None] | None = None


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

    def due_in(self, partition: Partition) -> float | None:
        """Seconds until a checkpoint is to begin; None where there is nothing to save or one is under way."""
        if self._saving is not None or not partition.states.dirty:
            return None
        return self.saved_at + self._every - time.monotonic()

    def go_on(self, partition: Partition) -> None:
        """Begin a checkpoint that is due, or go on with it; called while no decision is in the air."""
        saving = self._saving
        if saving is None:
            if time.monotonic() - self.saved_at <= self._every:
                return
            self.saved_at = time.monotonic()
            if not partition.states.dirty:
                return
            dirty, partition.states.dirty = partition.states.dirty, set()
            saving = self._saving = _Saving(self._mark(partition), frozenset(dirty), sorted(dirty))
        elif saving.writing is not None:
            if not saving.writing.done():
                return
            if error := saving.writing.exception():
                logger.warning("%s[%d] is not saved: %s", self._place.topic, self._place.partition, error)
                partition.states.dirty |= saving.ids
                saving.left.clear()
            if not saving.left:
                self._saving = None
                return
        ids, saving.left = saving.left[:SAVED_AT_ONCE], saving.left[SAVED_AT_ONCE:]
        records = [Record(id.encode(), partition.states.frozen(id, partition.epoch)) for id in ids]
        if not saving.left:
            records.append(Record(CHECKPOINT_KEY, encode(saving.mark)))
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
            await append_all(self._log, *self._place, records)
