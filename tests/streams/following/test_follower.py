"""A follower hands decisions over in order until they were taken, and never those of stale deciders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from commands.base import Area
from domain.aggregate import UnknownEventError
from projections.store.generations import Generation
from streams.following.facts import Fact, TransientError
from streams.following.follower import Follower
from streams.log import Log, Member, Record, TopicPartition
from streams.log.envelope import decode_events
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic
from tests.streams.counter import EVENTS
from tests.streams.counting import added, claim, write
from tests.streams.damaged import damage, opened
from tests.streams.harness import place_of, until

A = place_of("counter|a")
ELSEWHERE = next(f"c{i}" for i in range(100) if place_of(f"counter|c{i}") != A)


class Taker:
    """Takes facts, after so many failures."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.ids: list[str] = []
        self.tries = 0

    async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise TransientError("away")
        for fact in facts:
            decode_events(fact.decision, EVENTS)
        self.ids.extend(fact.decision.meta.command_id for fact in facts)


@asynccontextmanager
async def following(
    log: Log,
    taker: Taker,
    *,
    behind: float = 0.0,
    batch: int = 500,
    generation: Generation | None = None,
) -> AsyncIterator[Follower]:
    follower = Follower(
        log, "g", [Area.CHARGE_POINT], "one", taker, batch=batch, commit_every=0.02, behind=behind
    )
    follower.generation = generation or Generation()
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def committed(log: Log) -> tuple[int, str]:
    return tuple((await log.committed("g", [A])).get(A, (0, "")))  # type: ignore[return-value]


async def test_a_batch_that_meets_an_absent_neighbour_is_handed_over_again_in_order(
    embedded: SqliteLog,
) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 6)))
    taker = Taker(failures=2)
    async with following(embedded, taker, batch=2):
        await until(lambda: len(taker.ids) == 5)

    assert taker.ids == [f"a-{version}" for version in range(1, 6)]


async def test_what_was_taken_is_not_handed_over_after_a_restart(embedded: SqliteLog) -> None:
    await write(embedded, added("a", 1, 1))
    first, second = Taker(), Taker()
    async with following(embedded, first):
        await until(lambda: first.ids)
    await write(embedded, added("a", 2, 1))
    async with following(embedded, second):
        await until(lambda: second.ids)

    assert (first.ids, second.ids) == (["a-1"], ["a-2"])


async def test_the_position_keeps_the_epoch_so_that_a_stale_decider_is_seen_after_a_restart(
    embedded: SqliteLog,
) -> None:
    old = await claim(embedded, "a")
    await write(embedded, added("a", 1, 1, old))
    new = await claim(embedded, "a")
    await write(embedded, added("a", 2, 1, new))
    first, second = Taker(), Taker()
    async with following(embedded, first):
        await until(lambda: len(first.ids) == 2)
    stale = msgspec.structs.replace(added("a", 2, 99, old), command="stale")
    await write(embedded, stale, added("a", 3, 1, new))
    async with following(embedded, second):
        await until(lambda: second.ids)

    assert await committed(embedded) == (6, str(new))
    assert second.ids == ["a-3"]


async def test_a_batch_under_way_at_the_end_is_handed_over_whole_after_a_restart(embedded: SqliteLog) -> None:
    """Its claim, seen already, must not turn the decisions before it into stale ones."""
    old = await claim(embedded, "a")
    await write(embedded, added("a", 1, 1, old))
    first, stuck, second = Taker(), Taker(failures=10**6), Taker()
    async with following(embedded, first):
        await until(lambda: first.ids)
    await write(embedded, added("a", 2, 1, old))
    new = await claim(embedded, "a")
    await write(embedded, added("a", 3, 1, new))
    async with following(embedded, stuck):
        await until(lambda: stuck.tries)
    async with following(embedded, second):
        await until(lambda: len(second.ids) == 2)

    assert second.ids == ["a-2", "a-3"]


async def test_an_unknown_event_halts_its_partition_and_the_others_go_on(embedded: SqliteLog) -> None:
    unknown = msgspec.structs.replace(
        added("a", 1, 1),
        events=[
            msgspec.Raw(
                b'{"type":"counter.rewound.v9","aggregate":"counter|a","version":1,"received_at":"2026-01-01T00:00:00Z"}'
            )
        ],
    )
    await write(embedded, unknown, added("a", 2, 1))
    taker = Taker()
    async with following(embedded, taker) as follower:
        await until(lambda: follower.halted)
        await write(embedded, added(ELSEWHERE, 1, 1))
        await until(lambda: taker.ids)
        [why] = follower.halted.values()

    assert why == str(UnknownEventError("counter.rewound.v9"))
    assert taker.ids == [f"{ELSEWHERE}-1"]
    assert await committed(embedded) == (0, "")


@pytest.mark.parametrize("form", ["event", "record"])
async def test_what_stands_before_a_fact_of_a_newer_release_is_taken_though_it_came_with_it(
    embedded: SqliteLog, form: str
) -> None:
    newer = added("a", 3, 1)
    if form == "event":
        event = bytes(newer.events[0]).replace(b"counter.added.v1", b"counter.added.v2")
        newer = msgspec.structs.replace(newer, events=[msgspec.Raw(event)])
    else:
        newer = msgspec.structs.replace(newer, v=2)
    await write(embedded, added("a", 1, 1), added("a", 2, 1), newer, added("a", 4, 1))
    taker = Taker()
    async with following(embedded, taker) as follower:
        await until(lambda: follower.halted)
        [why] = follower.halted.values()

    assert why.endswith("written by a newer release, upgrade this process")
    assert taker.ids == ["a-1", "a-2"]


async def test_a_damaged_record_halts_its_partition_however_much_comes_behind_it(embedded: SqliteLog) -> None:
    """Its queue may not stop the reading of the others."""
    place = TopicPartition(events_topic(Area.CHARGE_POINT), Layout().partition_of("counter|a"))
    await embedded.append(*place, [Record(None, b"damaged"), *[Record(None, b"more")] * 6000])
    taker = Taker()
    async with following(embedded, taker) as follower:
        await until(lambda: follower.halted)
        await write(embedded, added(ELSEWHERE, 1, 1))
        await until(lambda: taker.ids)
        halted = list(follower.halted)

    assert halted == [place]


async def test_a_partition_that_is_damaged_in_the_log_halts_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    async with opened(path) as log:
        await write(log, added("a", 1, 1), added("a", 2, 1), added(ELSEWHERE, 1, 1))
    damage(path, A, 1)
    taker = Taker()
    async with opened(path) as log:
        async with following(log, taker) as follower:
            await until(lambda: follower.halted and taker.ids)
            await write(log, added(ELSEWHERE, 2, 1))
            await until(lambda: len(taker.ids) == 2)
            halted = dict(follower.halted)
        assert await committed(log) == (0, "")

    assert taker.ids == [f"{ELSEWHERE}-1", f"{ELSEWHERE}-2"]
    assert list(halted) == [A]
    assert f"{path} is damaged at {A.topic}[{A.partition}]: the record at offset 1" in halted[A]
    assert [r.levelname for r in caplog.records].count("ERROR") == 1


@pytest.mark.parametrize("behind", [0.3])
async def test_a_sweeper_hands_over_nothing_younger_than_it_was_told(
    embedded: SqliteLog, behind: float
) -> None:
    ages: list[float] = []

    class Ages(Taker):
        async def __call__(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
            ages.extend((datetime.now(UTC) - fact.written_at).total_seconds() for fact in facts)

    async with following(embedded, Ages(), behind=behind):
        await write(embedded, added("a", 1, 1))
        await write(embedded, added("a", 2, 1))
        await until(lambda: len(ages) == 2)

    assert min(ages) >= behind


async def test_a_follower_whose_last_position_is_not_committed_in_time_leaves_its_group_all_the_same(
    embedded: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that stayed open would hand on to it what it is given, beside the one of its next run."""

    async def hang(self: Follower, member: Member, places: object) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as away:
        away.setattr(Follower, "_commit", hang)
        async with following(embedded, Taker()) as follower:
            await until(lambda: follower.positions)
    await write(embedded, added("a", 1, 1))
    taker = Taker()
    async with following(embedded, taker):
        await until(lambda: taker.ids)

    assert taker.ids == ["a-1"]


async def test_a_position_of_other_read_models_counts_as_the_floor_of_those_that_are_followed_into(
    embedded: SqliteLog,
) -> None:
    await write(embedded, *(added("a", version, 1) for version in range(1, 6)))
    first = Taker()
    async with following(embedded, first):
        await until(lambda: _is_at(embedded, (5, "0")))
    taker = Taker()
    generation = Generation(3, {(A.topic, A.partition): (2, 0)})
    async with following(embedded, taker, generation=generation):
        await until(lambda: _is_at(embedded, (5, "0/3")))
    again = Taker()
    async with following(embedded, again, generation=generation):
        await write(embedded, added("a", 6, 1))
        await until(lambda: again.ids)

    assert taker.ids == ["a-3", "a-4", "a-5"]
    assert again.ids == ["a-6"]


async def _is_at(log: Log, place: tuple[int, str]) -> bool:
    return await committed(log) == place


class Keeping:
    """Keeps everything back until it may be written, and writes it then."""

    def __init__(self) -> None:
        self.first: tuple[int, int] | None = None
        self.may_write = False

    async def handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        self.first = self.first or (facts[0].offset, facts[0].decision.epoch)

    async def write_due(self) -> None:
        if self.may_write:
            await self.write()
        elif self.first is not None:
            raise TransientError("away")

    async def write(self) -> None:
        if not self.may_write:
            raise TransientError("away")
        self.first = None

    def unwritten(self, place: TopicPartition) -> tuple[int, int] | None:
        return self.first


async def test_whatever_a_commit_raises_positions_move_again_after_it(embedded: SqliteLog) -> None:
    """They, and what is kept back, would stand still and nobody would say so."""

    class Breaking(Keeping):
        broken = True

        async def write_due(self) -> None:
            if self.broken:
                self.broken = False
                raise ZeroDivisionError("a mistake of ours")
            await super().write_due()

    begun = await claim(embedded, "a")
    await write(embedded, added("a", 1, 5, begun))
    keeping = Breaking()
    keeping.may_write = True
    follower = Follower(
        embedded, "g", [Area.CHARGE_POINT], "one", keeping.handle, commit_every=0.02, keeper=keeping
    )
    task = asyncio.create_task(follower.run())
    await until(lambda: _is_at(embedded, (begun + 2, str(begun))))
    assert not keeping.broken
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_no_position_passes_what_is_kept_back(embedded: SqliteLog) -> None:
    """Also when the follower ends; what was kept back is handed over again after that."""
    begun = await claim(embedded, "a")
    await write(embedded, added("a", 1, 5, begun), added("a", 2, 5, begun))
    keeping = Keeping()
    for _ in range(2):
        keeping.first = None
        follower = Follower(
            embedded, "g", [Area.CHARGE_POINT], "one", keeping.handle, commit_every=0.02, keeper=keeping
        )
        task = asyncio.create_task(follower.run())
        await until(lambda: follower.handled == 2)  # noqa: B023
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        position = (await embedded.committed("g", [A])).get(A)
        assert position is None or position.offset <= begun + 1
        assert keeping.first == (begun + 1, begun)
    keeping.may_write = True
    follower = Follower(
        embedded, "g", [Area.CHARGE_POINT], "one", keeping.handle, commit_every=0.02, keeper=keeping
    )
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(20):
        while (found := (await embedded.committed("g", [A])).get(A)) is None or found.offset < begun + 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert found.note == str(begun)
