"""Keys that are asked for one by one and read together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from application.batched_reads import MOST, BatchedReads


class Reads:
    """What was read; the first read waits until it is let go."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, ...]] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.broken = False

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.keys.append(tuple(keys))
        self.begun.set()
        await self.go.wait()
        if self.broken:
            raise OSError("gone")
        return {key: len(key) for key in keys if key != "none"}


async def test_who_asks_during_a_read_is_in_the_next_one() -> None:
    reads = Reads()
    together = BatchedReads(reads)
    first = [asyncio.create_task(together.get(key)) for key in ("a", "bb", "none", "a")]
    await reads.begun.wait()
    second = [asyncio.create_task(together.get(key)) for key in ("a", "cccc")]
    await asyncio.sleep(0)
    reads.go.set()
    assert await asyncio.gather(*first) == [1, 2, None, 1]
    assert await asyncio.gather(*second) == [1, 4]
    assert reads.keys == [("a", "bb", "none"), ("a", "cccc")]


async def test_one_read_has_a_bounded_number_of_keys() -> None:
    reads = Reads()
    reads.go.set()
    together = BatchedReads(reads)
    await asyncio.gather(*(together.get(f"{number}") for number in range(MOST + 1)))
    assert [len(keys) for keys in reads.keys] == [MOST, 1]


async def test_a_read_that_fails_fails_for_those_who_wait_and_nobody_else() -> None:
    reads = Reads()
    reads.go.set()
    reads.broken = True
    together = BatchedReads(reads)
    found = await asyncio.gather(together.get("a"), together.get("b"), return_exceptions=True)
    assert [type(one) for one in found] == [OSError, OSError]
    reads.broken = False
    assert await together.get("a") == 1


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    reads = Reads()
    together = BatchedReads(reads)
    impatient, patient = (asyncio.create_task(together.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    reads.go.set()
    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient
