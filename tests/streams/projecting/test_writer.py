"""The writer of a process: what comes together goes together, at rest at once, under load a moment apart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from projections.store import (
    HUB,
    Applied,
    Insert,
    PositionKey,
    Query,
    StoreRejectedError,
    StoreUnavailableError,
    Write,
)
from projections.store.sqlite import SqliteReadStore
from streams.following.facts import TransientError
from streams.projecting.writer import StoreWriter
from tests.streams.harness import until


class Noting(SqliteReadStore):
    """Notes the moment and the size of each bulk; refuses documents named `bad`, and all while it is away."""

    away = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bulks: list[tuple[float, int]] = []

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.bulks.append((asyncio.get_running_loop().time(), len(writes)))
        if self.away:
            raise StoreUnavailableError("memory", "away")
        if any(write.id == "bad" for write in writes):
            raise StoreRejectedError("bad")
        if any(write.id == "odd" for write in writes):
            raise RuntimeError("unforeseen")
        return await super().apply(writes, positions)


@pytest.fixture
def store(tmp_path: Path) -> Noting:
    return Noting(tmp_path / "read")


def insert(id: str, collection: str = "x") -> Insert:
    return Insert(HUB, collection, id, {})


async def test_what_comes_while_a_bulk_is_under_way_goes_together_next_whatever_its_collection(
    store: Noting,
) -> None:
    writer = StoreWriter(store)
    first = asyncio.create_task(writer.apply([insert("0")]))
    await until(lambda: store.bulks)
    rest = [writer.apply([insert(str(n), f"c{n % 3}")]) for n in range(1, 21)]
    done = await asyncio.gather(first, *rest)

    assert [size for _, size in store.bulks] == [1, 20]
    assert sum(one.applied for one in done) == 21
    await store.close()


async def test_a_gathering_writer_writes_at_once_at_rest_and_a_moment_apart_under_load(store: Noting) -> None:
    writer = StoreWriter(store, gather=0.2)
    await writer.apply([insert("0")])
    rest = []
    for number in range(1, 6):
        rest.append(asyncio.create_task(writer.apply([insert(str(number))])))
        await asyncio.sleep(0)
    await asyncio.gather(*rest)

    (first, one), (second, five) = store.bulks
    assert (one, five) == (1, 5)
    assert second - first >= 0.19
    await store.close()


async def test_a_bulk_is_not_larger_than_the_limit_by_more_than_one_batch(store: Noting) -> None:
    writer = StoreWriter(store, 10)
    batches = [[insert(f"{n}-{m}") for m in range(4)] for n in range(6)]
    await asyncio.gather(*(writer.apply(batch) for batch in batches))

    assert [size for _, size in store.bulks] == [12, 12]
    await store.close()


async def test_what_the_store_refuses_fails_alone(store: Noting) -> None:
    writer = StoreWriter(store)
    good, bad, other = await asyncio.gather(
        writer.apply([insert("a")]),
        writer.apply([insert("bad")]),
        writer.apply([insert("b")]),
        return_exceptions=True,
    )

    assert (good, other) == (Applied(1, 0), Applied(1, 0))
    assert isinstance(bad, StoreRejectedError)
    assert await store.count(Query(HUB, "x")) == 2
    await store.close()


async def test_writes_on_which_the_store_raises_what_nobody_foresaw_fail_alone(store: Noting) -> None:
    writer = StoreWriter(store)
    good, odd, other = await asyncio.gather(
        writer.apply([insert("a")]),
        writer.apply([insert("odd")]),
        writer.apply([insert("b")]),
        return_exceptions=True,
    )

    assert (good, other) == (Applied(1, 0), Applied(1, 0))
    assert isinstance(odd, RuntimeError)
    await store.close()


async def test_while_the_store_is_away_everybody_is_told_so(store: Noting) -> None:
    store.away = True
    writer = StoreWriter(store)
    for told in await asyncio.gather(
        *(writer.apply([insert(str(n))]) for n in range(3)), return_exceptions=True
    ):
        assert isinstance(told, TransientError)
    assert len(store.bulks) == 1
    await store.close()
