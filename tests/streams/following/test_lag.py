"""How far behind the log its readers are, by positions and ends that a test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Area, Meta
from projections.store import StoreUnavailableError
from projections.store.generations import Generation
from streams.following.lag import APART, UNDER_WAY, Course, Lag
from streams.log import LogUnavailableError, Position, Stored, TopicPartition
from streams.log.envelope import LATE, CommandRecord, decode_command, encode, raw
from streams.log.topology import FAUST, commands_topic, events_topic
from tests.laws import tried

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COMMANDS = TopicPartition(commands_topic(Area.SESSION), 3)
EVENTS = TopicPartition(events_topic(Area.SESSION), 5)
SWEEPER = "sweeper"
SWITCHED = Generation(2, {EVENTS: (30, 0)})


class Offsets:
    """A log of which nothing but ends and positions is known; it counts what it is asked."""

    def __init__(self) -> None:
        self.end: dict[TopicPartition, int] = {}
        self.at: dict[tuple[str, TopicPartition], int] = {}
        self.notes: dict[tuple[str, TopicPartition], str] = {}
        self.asked = 0
        self.away = False

    def places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(24)]

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        self._ask()
        return {
            place: Position(self.at[group, place], self.notes.get((group, place), ""))
            for place in places
            if (group, place) in self.at
        }

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self._ask()
        return {place: self.end.get(place, 0) for place in places}

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise LogUnavailableError("the log is away")


class Read:
    """Which read models are read; `known` is what the process had learnt."""

    def __init__(self) -> None:
        self.current = self.known = Generation()
        self.away = False

    async def newest(self) -> Generation:
        if self.away:
            raise StoreUnavailableError("here", "away")
        self.known = self.current
        return self.known


class Watched:
    """A lag over offsets, with a clock that a test moves."""

    def __init__(self) -> None:
        self.log = Offsets()
        self.read = Read()
        self.now = NOON
        self.lag = Lag(self.log, lambda: self.now, {Area.SESSION: (FAUST, SWEEPER)}, generations=self.read)

    async def after(self, seconds: float) -> None:
        """A sample so many seconds after noon."""
        self.now = NOON + timedelta(seconds=seconds)
        await self.lag.sample()

    @property
    def until(self) -> float | None:
        """Seconds after noon up to which everything can be read, what is under way at an edge included."""
        moment = self.lag.projected_until(Area.SESSION)
        return None if moment is None else (moment + UNDER_WAY - NOON).total_seconds()


async def test_where_nothing_waits_everything_is_projected_until_now() -> None:
    watched = Watched()
    await watched.after(7)
    assert watched.until == 7
    assert (watched.lag.behind_seconds(Area.SESSION), watched.lag.records(Area.SESSION)) == (0, 0)


async def test_before_the_first_sample_nothing_is_known() -> None:
    assert Watched().until is None


async def test_the_lag_of_the_decider_is_the_time_that_its_oldest_record_waits() -> None:
    watched = Watched()
    await watched.after(0)
    watched.log.end[COMMANDS] = 10
    await watched.after(1)
    watched.log.end[COMMANDS] = 15
    await watched.after(4)
    assert watched.lag.behind_seconds(Area.SESSION) == 3
    assert watched.lag.behind_seconds(Area.SESSION, COMMANDS.partition) == 3
    assert watched.lag.behind_seconds(Area.SESSION, COMMANDS.partition + 1) == 0
    assert watched.lag.behind_seconds(Area.TOKEN) == 0
    assert watched.lag.records(Area.SESSION) == 15


async def test_the_lag_falls_as_the_decider_catches_up() -> None:
    watched = Watched()
    for second in range(5):
        watched.log.end[COMMANDS] = 10 * second
        await watched.after(second)
    watched.log.at["decider", COMMANDS] = 25
    await watched.after(5)
    assert (watched.lag.behind_seconds(Area.SESSION), watched.lag.records(Area.SESSION)) == (2, 15)
    watched.log.at["decider", COMMANDS] = 40
    await watched.after(6)
    assert (watched.lag.behind_seconds(Area.SESSION), watched.lag.records(Area.SESSION)) == (0, 0)


async def test_an_undecided_command_holds_the_time_back() -> None:
    watched = Watched()
    await watched.after(1)
    watched.log.end[COMMANDS] = 1
    await watched.after(2)
    assert watched.until == 1
    await watched.after(3)
    assert watched.until == 1
    watched.log.at["decider", COMMANDS] = 1
    await watched.after(4)
    assert watched.until == 4


async def test_an_event_that_is_not_projected_holds_the_time_back_though_its_command_is_decided() -> None:
    watched = Watched()
    await watched.after(1)
    watched.log.end[COMMANDS] = watched.log.at["decider", COMMANDS] = 1
    watched.log.end[EVENTS] = 1
    await watched.after(2)
    assert watched.until == 1
    watched.log.at[SWEEPER, EVENTS] = 1
    await watched.after(3)
    assert watched.until == 3


async def test_what_was_decided_at_a_sample_is_projected_once_the_ends_of_then_are_passed() -> None:
    """Under traffic no position ever is at the end, and the time moves on nevertheless."""
    watched = Watched()
    for second in range(10):
        watched.log.end[COMMANDS] = watched.log.end[EVENTS] = 10 * (second + 1)
        watched.log.at["decider", COMMANDS] = 10 * second
        watched.log.at[FAUST, EVENTS] = 10 * second
        await watched.after(second)
    # At 9 s the marks of 8 s were decided; at 8 s, whose ends are projected now, those of 7 s had been decided.
    assert watched.until == 7


async def test_the_furthest_of_the_groups_that_write_a_partition_counts() -> None:
    watched = Watched()
    await watched.after(1)
    watched.log.end[EVENTS] = 9
    watched.log.at[SWEEPER, EVENTS] = 4
    await watched.after(2)
    assert watched.until == 1
    watched.log.at[FAUST, EVENTS] = 9
    await watched.after(3)
    assert watched.until == 3


async def test_while_read_models_are_built_again_it_is_not_known_what_they_hold() -> None:
    watched = Watched()
    watched.log.end[EVENTS] = watched.log.at[FAUST, EVENTS] = 9
    await watched.after(1)
    watched.log.at[FAUST, EVENTS] = 0
    await watched.after(2)
    assert watched.until is None
    watched.log.at[FAUST, EVENTS] = 9
    await watched.after(3)
    assert watched.until == 3


async def test_while_the_log_is_away_the_time_known_last_stays() -> None:
    watched = Watched()
    await watched.after(1)
    watched.log.away = True
    with pytest.raises(LogUnavailableError):
        await watched.after(2)
    assert watched.until == 1
    assert await watched.lag.reach(Area.SESSION, NOON, 0.01) == NOON + timedelta(seconds=1) - UNDER_WAY


async def test_who_waits_gets_a_later_time_without_asking_the_log() -> None:
    watched = Watched()
    running = asyncio.create_task(watched.lag.run())
    try:
        many = [
            asyncio.create_task(watched.lag.reach(Area.SESSION, NOON + timedelta(seconds=1), 5))
            for _ in range(50)
        ]
        await asyncio.sleep(0)
        watched.now = NOON + timedelta(seconds=2)
        assert set(await asyncio.gather(*many)) == {NOON + timedelta(seconds=2) - UNDER_WAY}
        assert watched.log.asked <= 3 * 4
    finally:
        running.cancel()


async def test_a_time_that_does_not_come_soon_is_not_waited_for_longer_than_the_patience() -> None:
    watched = Watched()
    await watched.after(1)
    late = NOON + timedelta(hours=1)
    assert await watched.lag.reach(Area.SESSION, late, 0.01) == NOON + timedelta(seconds=1) - UNDER_WAY


async def test_a_time_that_is_not_known_is_said() -> None:
    with pytest.raises(LogUnavailableError, match="not known"):
        await Watched().lag.reach(Area.SESSION, NOON, 0.01)


Step = tuple[list[int], list[int]]
Pairs = st.lists(st.integers(0, 5), min_size=2, max_size=2)
steps = st.lists(st.tuples(Pairs, Pairs), min_size=1, max_size=600)


@settings(deadline=None, max_examples=tried(50))
@given(steps)
def test_a_course_never_says_more_than_was_passed_and_never_forgets_that_something_waits(
    moves: list[Step],
) -> None:
    """Whatever is appended and read, also where so many marks wait that every other one is left out."""
    course, ends, positions = Course(), [0, 0], [0, 0]
    history: list[tuple[datetime, list[int]]] = []
    for second, (appended, read) in enumerate(moves):
        ends = [end + more for end, more in zip(ends, appended, strict=True)]
        positions = [min(end, at + more) for end, at, more in zip(ends, positions, read, strict=True)]
        history.append((NOON + timedelta(seconds=second), ends))
        course.set(*history[-1])
        reached = course.reached(positions)
        passed = [at for at, then in history if all(p >= e for p, e in zip(positions, then, strict=True))]
        assert reached is None or reached in passed
        for number in range(2):
            since = course.waiting_since(number, positions[number])
            assert (since is not None) == (positions[number] < ends[number])
            assert since is None or since >= next(
                at for at, then in history if then[number] > positions[number]
            )


# -- what is still under way at an edge ------------------------------------------------------------------------------


def command(at: datetime, landed: datetime) -> Stored:
    """A command that carries `at`, and that the log took at `landed` by its own clock."""
    record = CommandRecord(aggregate="session|1", meta=Meta(command_id="c1", at=at), command=raw({}))
    timestamp = round(landed.timestamp() * 1000)
    return Stored(COMMANDS.topic, COMMANDS.partition, 0, timestamp, b"session|1", encode(record))


async def test_a_command_whose_append_takes_seconds_is_decided_as_of_after_the_end_of_every_list() -> None:
    """Received at 0 s, it lands at 4 s; meanwhile lists were told that end behind its receipt."""
    watched = Watched()
    at = NOON
    await watched.after(3.9)
    until = watched.lag.projected_until(Area.SESSION)
    assert until is not None and until > at
    landed = command(at, NOON + timedelta(seconds=4))
    watched.log.end[COMMANDS] = 1
    assert decode_command(landed).meta.at >= until
    assert decode_command(landed).meta.at == NOON + timedelta(seconds=4) - LATE


def test_a_command_that_is_in_the_log_soon_keeps_the_time_of_its_edge() -> None:
    assert decode_command(command(NOON, NOON + LATE)).meta.at == NOON
    assert decode_command(command(NOON + timedelta(hours=1), NOON)).meta.at == NOON + timedelta(hours=1)


millis = st.integers(0, 20_000).map(lambda number: timedelta(milliseconds=number))


@given(
    received=millis,
    marked=millis,
    later=millis,
    apart=st.floats(-1, 1).map(lambda share: share * APART),
    slow=st.integers(-3600, 3600).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_what_the_log_takes_behind_a_mark_is_never_decided_as_of_before_the_time_that_the_mark_gives(
    received: timedelta, marked: timedelta, later: timedelta, apart: timedelta, slow: timedelta
) -> None:
    """Whatever the edge's clock says, and however the log's clock differs from ours within `APART`."""
    mark = NOON + marked
    landed = mark + later + apart
    at = NOON + received - slow
    # The log's time is in whole milliseconds.
    assert decode_command(command(at, landed)).meta.at >= mark - UNDER_WAY - timedelta(milliseconds=1)


# -- read models that take the place of others --------------------------------------------------------------------


async def switched() -> Watched:
    """At 10 s everything to offset 40 was projected; then read models are read that have what stands before 30."""
    watched = Watched()
    watched.log.end[EVENTS] = 40
    for group in (FAUST, SWEEPER):
        watched.log.at[group, EVENTS] = 40
    watched.log.notes[SWEEPER, EVENTS] = "0"
    await watched.after(10)
    assert watched.until == 10
    watched.read.current = SWITCHED
    return watched


async def test_what_was_said_of_read_models_that_are_read_no_more_holds_no_longer() -> None:
    watched = await switched()
    assert watched.lag.holds()
    watched.read.known = SWITCHED
    assert not watched.lag.holds()
    assert watched.until is None


async def test_a_position_in_other_read_models_counts_as_the_floor_of_those_that_are_read() -> None:
    watched = await switched()
    await watched.after(12)
    assert watched.until is None
    watched.log.at[SWEEPER, EVENTS], watched.log.notes[SWEEPER, EVENTS] = 40, "0/2"
    await watched.after(13)
    assert watched.until == 13


async def test_faust_counts_again_once_the_sweeper_has_passed_what_it_may_have_written_elsewhere() -> None:
    watched = await switched()
    await watched.after(12)
    watched.log.notes[SWEEPER, EVENTS] = "0/2"
    watched.log.end[EVENTS] = watched.log.at[FAUST, EVENTS] = 50
    watched.log.at[SWEEPER, EVENTS] = 45
    for second in (13, 28, 29):
        await watched.after(second)
        assert watched.until == 12
    watched.log.at[SWEEPER, EVENTS] = 50
    await watched.after(30)
    assert watched.until == 30
    watched.log.end[EVENTS] = watched.log.at[FAUST, EVENTS] = 60
    await watched.after(31)
    assert watched.until == 31


async def test_while_the_store_is_away_the_decider_is_measured_and_nothing_is_said_of_read_models() -> None:
    watched = Watched()
    watched.read.away = True
    await watched.after(0)
    watched.log.end[COMMANDS] = 10
    await watched.after(1)
    await watched.after(4)
    assert watched.lag.behind_seconds(Area.SESSION) == 3
    assert watched.until is None
