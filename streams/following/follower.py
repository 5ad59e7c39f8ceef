"""A follower reads decisions from events topics as one member of a consumer group, for one function.

What enters: the partitions that the group gives to this node. What leaves: batches of admitted decisions
(`streams.following.sink`). What is followed into read models holds for one generation of them: the position's note
says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from commands.base import Area
from projections.store.generations import Generation
from streams.following.delays import Delays
from streams.following.group import Group
from streams.following.parking import Parked
from streams.following.sink import MOST_WAITING, Forget, Handle, Keeper, Settled, Sink, Standing
from streams.log import Listener, Log, Member, Position, TopicPartition
from streams.log.topology import OBSERVED, readings_topic


class Follower(Group):
    """`run` until cancelled; the options are those of a `Sink` that has the group's name, and of a `Group`; readings
    may wait for `gather_readings` seconds under load. The attribute `generation` is that of the read models which the
    facts go into; a position that holds for another one counts as its floor.
    """

    def __init__(
        self,
        log: Log,
        group: str,
        areas: Sequence[Area],
        node: str,
        handle: Handle,
        *,
        readings: bool = False,
        batch: int = 500,
        commit_every: float = 1.0,
        behind: float = 0.0,
        gather: float = 0.05,
        gather_readings: float = 0.05,
        forget: Forget | None = None,
        settled: Settled | None = None,
        keeper: Keeper | None = None,
        may_commit: Callable[[TopicPartition], bool] | None = None,
        most_waiting: int = MOST_WAITING,
        join: Callable[[Listener], Member] | None = None,
    ) -> None:
        self.sink = Sink(
            log,
            group,
            areas,
            handle,
            readings=readings,
            batch=batch,
            behind=behind,
            forget=forget,
            settled=settled,
            keeper=keeper,
            may_commit=may_commit,
            most_waiting=most_waiting,
        )
        self.generation = Generation()
        self._gather_readings = {readings_topic(area): gather_readings for area in OBSERVED}
        super().__init__(log, group, node, [self.sink], commit_every=commit_every, gather=gather, join=join)

    @property
    def handled(self) -> int:
        """Facts."""
        return self.sink.handled

    @property
    def failures(self) -> int:
        """How often the function raised."""
        return self.sink.failures

    @property
    def delays(self) -> Delays:
        """Of the newest facts, from the log to the end of their handling."""
        return self.sink.delays

    @property
    def halted(self) -> Mapping[TopicPartition, str]:
        """Partitions that cannot go on, and why."""
        return self.sink.halted

    @property
    def parked(self) -> Sequence[Parked]:
        """The aggregates of the partitions held whose facts wait."""
        return self.sink.parked

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """The next offset of each partition held, everything before it handled."""
        return self.sink.positions

    def gather(self, topic: str, least: float) -> float:
        return self._gather_readings.get(topic, least)

    def _standings(self, place: TopicPartition, position: Position) -> dict[str, Standing]:
        offset, epoch = standing(position, place, self.generation)
        if offset >= position.offset:
            offset, epoch = position.offset, _epoch(position)
        return {self.sink.name: Standing(offset, epoch)}

    def _position(self, place: TopicPartition, standings: Mapping[str, Standing]) -> Position:
        at = standings[self.sink.name]
        return Position(at.offset, noted(at.epoch, self.generation))


def noted(epoch: int, generation: Generation) -> str:
    """What stands beside a position: the fence's epoch, and of the later generations the number."""
    if generation.number:
        return f"{epoch}/{generation.number}"
    return str(epoch) if epoch >= 0 else ""


def standing(position: Position, place: TopicPartition, generation: Generation) -> tuple[int, int]:
    """The first offset that is not in these read models, where a group has this position; and the epoch there."""
    number = position.note.partition("/")[2]
    if int(number or 0) == generation.number:
        return position.offset, _epoch(position)
    return generation.floor(*place)


def _epoch(position: Position) -> int:
    return int(position.note.partition("/")[0] or -1)
