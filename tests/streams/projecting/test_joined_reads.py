"""What several ask in one moment is one query of each collection."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterable, Mapping

import pytest

from projections.store import StoreUnavailableError
from streams.projecting.joined_reads import JoinedReads


class Store:
    """Has every document; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.away = False
        self.go = asyncio.Event()
        self.go.set()

    async def read(self, db: str, collection: str, ids: Iterable[str]) -> Mapping[str, str]:
        ids = list(ids)
        self.asked.append((f"{db}/{collection}", ids))
        await self.go.wait()
        if self.away:
            raise StoreUnavailableError("the store", "it is away")
        return {id: f"{collection} {id}" for id in ids}


async def test_what_is_asked_in_one_moment_is_one_query_a_collection() -> None:
    store = Store()
    reads = JoinedReads(store.read)
    found = await asyncio.gather(
        reads.get(("t", "sessions"), "ab"), reads.get(("t", "sessions"), "bc"), reads.get(("t", "cdrs"), "a")
    )
    assert store.asked == [("t/sessions", ["a", "b", "c"]), ("t/cdrs", ["a"])]
    assert [each["a"] for each in (found[0], found[2])] == ["sessions a", "cdrs a"]
    assert found[1]["c"] == "sessions c"


async def test_who_asks_while_a_query_runs_is_not_answered_by_it() -> None:
    """It may have read before what the later one knows of was written."""
    store = Store()
    reads = JoinedReads(store.read)
    store.go.clear()
    first = asyncio.create_task(reads.get(("t", "sessions"), "a"))
    while not store.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    second = asyncio.create_task(reads.get(("t", "sessions"), "a"))
    while len(store.asked) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    store.go.set()
    assert await first == await second == {"a": "sessions a"}


async def test_an_error_is_everybodys_who_asked_and_one_who_goes_costs_nobody_else_anything() -> None:
    store = Store()
    reads = JoinedReads(store.read)
    store.go.clear()
    gone, left = (asyncio.create_task(reads.get(("t", "sessions"), id)) for id in "ab")
    while not store.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    gone.cancel()
    store.go.set()
    assert (await left)["b"] == "sessions b"

    store.away = True
    both = await asyncio.gather(*(reads.get(("t", "sessions"), id) for id in "ab"), return_exceptions=True)
    assert [type(one) for one in both] == [StoreUnavailableError] * 2
    store.away = False
    with pytest.raises(KeyError):
        (await reads.get(("t", "sessions"), "a"))["b"]


async def test_what_was_read_is_kept_by_nobody_but_who_asked() -> None:
    class Document: ...

    async def read(db: str, collection: str, ids: Iterable[str]) -> Mapping[str, Document]:
        return {id: Document() for id in ids}

    reads = JoinedReads(read)
    found = await reads.get(("t", "sessions"), "a")
    kept = weakref.ref(found["a"])
    del found
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None
