"""Pages of a list are read from blocks as if each entry were a document of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from projections import blocks, frame
from projections.blocks import Entry, List, Search, page
from projections.frame import FRAMES, FrameRecord, by_action, by_charge_point, frames_of
from projections.store import BadCursorError, Page, Query, ReadStore, mongo_query, sqlite_sql
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from tests.laws import tried
from tests.projections.blocks import blocks_of
from tests.servers import Mongo
from tests.simulation.store import Shelf, SimReadStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Line(msgspec.Struct, frozen=True):
    """An entry of a list for tests."""

    id: str
    at_text: str
    who: int


_lines = msgspec.json.Decoder(list[Line])


def lines_of(text: bytes) -> Sequence[Line]:
    return _lines.decode(text)


def line(number: int, seconds: int, who: int, list: List) -> Entry:
    at = NOON + timedelta(seconds=seconds)
    text = msgspec.json.encode(Line(str(number), f"{at:%Y-%m-%dT%H:%M:%S}.000Z", who)).decode()
    return Entry("ocpp_demo", list, at, NOON, (str(who),), text)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 150)
    monkeypatch.setattr(blocks, "AT_ONCE", 3)
    yield


@settings(max_examples=tried(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(st.tuples(st.integers(-400, 400), st.integers(0, 2)), max_size=40),
    down=st.booleans(),
    limit=st.integers(1, 7),
    bounds=st.tuples(st.none() | st.integers(-400, 400), st.none() | st.integers(-400, 400)),
)
def test_page_after_page_is_all_that_a_key_finds_in_order(
    small: None,
    entries: list[tuple[int, int]],
    down: bool,
    limit: int,
    bounds: tuple[int | None, int | None],
) -> None:
    """Whatever the order in which late entries came, of which partition, and where pages and spans end."""
    kind = List("lines", minutes=1, newest_first=down)
    since, until = (None if one is None else NOON + timedelta(seconds=one) for one in bounds)

    async def run() -> None:
        store = SimReadStore(Shelf())
        made = [line(number, at, who, kind) for number, (at, who) in enumerate(entries)]
        for partition in (0, 1):
            own = [(number, one) for number, one in enumerate(made) if number % 2 == partition]
            await store.apply(blocks_of(own, f"lines-{partition}"))
        expected = sorted(
            (
                (one.at, str(number))
                for number, one in enumerate(made)
                if one.keys == ("1",)
                and (since is None or one.at >= since)
                and (until is None or one.at < until)
            ),
            reverse=down,
        )
        found: list[str] = []
        search = Search("ocpp_demo", kind, "1", limit, since=since, until=until)
        while True:
            items, cursor = await page(store, search, lines_of, lambda one: one.who == 1)
            found += [one.id for one in items]
            assert len(items) == limit or cursor is None
            if cursor is None:
                break
            search = search._replace(cursor=cursor)
        assert found == [id for _, id in expected]

    asyncio.run(run())


@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsWzEsMl1d"])
async def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursorError):
        await page(
            SimReadStore(Shelf()), Search("ocpp_demo", FRAMES, "k", 5, cursor), frames_of, lambda _: True
        )


# -- the newest frames of one charge point among many ---------------------------------------------------------------

CHARGE_POINTS = 10_000
PARTITION = 417
"""Charge points of one partition of 24."""
ROUNDS = 100
FROM = datetime(2126, 3, 1, 12, tzinfo=UTC)
"""A time that no server's clock has passed: it would take away what has expired."""


class Watched:
    """Notes the queries for blocks, and how many documents they gave."""

    def __init__(self, store: ReadStore) -> None:
        self.store = store
        self.queries: list[Query] = []
        self.documents = 0

    async def find(self, query: Query) -> Page:
        found = await self.store.find(query)
        self.queries.append(query)
        self.documents += len(found.items)
        return found


def frame_of(charge_point: int, number: int, at: datetime, action: str = "Heartbeat") -> Entry:
    record = FrameRecord(
        tenant="demo",
        charge_point_id=f"CP-{charge_point}",
        epoch=1,
        direction="in",
        message_id=str(number),
        action=action,
        request="{}" if action == "Heartbeat" else '{"connectorId":1,"meterValue":' + "7" * 300 + "}",
        response='{"currentTime":"2026-03-01T12:00:00.000Z"}' if action == "Heartbeat" else "{}",
        outcome="ok",
        at=at,
        seconds=0.004,
    )
    return frame.entry(record, msgspec.json.encode(record), f"3-{number}")


def a_busy_partition() -> Iterator[tuple[int, Entry]]:
    """417 charge points by turns, each 6 s after its last; but CP-1 a fifth as often: what is asked for stands far
    apart."""
    number = 0
    for round in range(ROUNDS):
        for charge_point in range(PARTITION):
            if charge_point == 1 and round % 5:
                continue
            at = FROM + timedelta(seconds=6 * round + 6 * charge_point / PARTITION)
            action = "MeterValues" if charge_point else "Heartbeat"
            yield number, frame_of(charge_point, number, at, action)
            number += 1


def is_of(charge_point_id: str, one: frame.Frame) -> bool:
    return one.record.charge_point_id == charge_point_id


async def fill(store: ReadStore) -> int:
    """How many blocks there are: those of one partition, and one of each of the other charge points."""
    await store.ensure(frame.indexes("ocpp_demo"))
    writes = blocks_of(a_busy_partition(), "frames-3")
    writes += blocks_of(
        ((number, frame_of(number, number, FROM)) for number in range(PARTITION, CHARGE_POINTS)), "frames-4"
    )
    for at in range(0, len(writes), 500):
        await store.apply(writes[at : at + 500])
    return len(writes)


@contextlib.asynccontextmanager
async def opened(
    kind: str, request: pytest.FixtureRequest, folder: Path
) -> AsyncIterator[tuple[ReadStore, str]]:
    prefix = f"t{uuid.uuid4().hex[:10]}_"
    store: ReadStore = (
        SqliteReadStore(folder)
        if kind == "sqlite"
        else MongoReadStore(request.getfixturevalue("mongo").url, database_prefix=prefix)
    )
    try:
        yield store, prefix
    finally:
        await store.close()


def examined(mongo: Mongo, database: str, query: Query) -> tuple[int, str]:
    """How many documents the server meets for a query, and its plan."""
    with MongoClient[Any](mongo.url) as client:
        found = client[database]["frames"].find(
            mongo_query.visible(query.where, *mongo_query.behind(query)),
            sort=mongo_query.order(query),
            limit=query.limit + 1,
        )
        told = found.explain()
    return int(told["executionStats"]["totalDocsExamined"]), json.dumps(told["queryPlanner"]["winningPlan"])


@pytest.mark.long(6)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)])
async def test_the_newest_frames_of_one_charge_point_are_found_by_their_blocks_alone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each block that is read holds one of them; nothing is sorted, and no other document is met."""
    async with opened(kind, request, tmp_path) as (store, prefix):
        every = await fill(store)
        for charge_point, count in ((0, 100), (1, 20)):
            watched = Watched(store)
            id = f"CP-{charge_point}"
            search = Search("ocpp_demo", FRAMES, by_charge_point(id), 100)
            items, _ = await page(watched, search, frames_of, partial(is_of, id))
            numbers = [int(one.record.message_id) for one in items]
            assert numbers == sorted(numbers, reverse=True)
            assert len(items) == count
            assert watched.documents <= count + 1 < every / 10
            for query in watched.queries:
                if kind == "mongo":
                    met, plan = await asyncio.to_thread(
                        examined, request.getfixturevalue("mongo"), f"{prefix}ocpp_demo", query
                    )
                    assert met <= query.limit + 1
                    assert "IXSCAN" in plan
                    assert '"SORT"' not in plan
                else:
                    assert plan_of(tmp_path, query)[0].startswith("SEARCH e_frames_")
        rare = Search("ocpp_demo", FRAMES, by_action("CP-0", "MeterValues"), 100)
        watched = Watched(store)
        assert await page(watched, rare, frames_of, lambda _: True) == ([], None)
        assert watched.documents == 0


def plan_of(folder: Path, query: Query) -> list[str]:
    """What SQLite does for a query; no line of it sorts."""
    [each] = [spec for spec in frame.indexes("ocpp_demo") if spec.each]
    whole = sqlite_sql.by_each(query, each)
    assert whole is not None
    connection = sqlite3.connect(folder / "ocpp_demo.db")
    rows = connection.execute(f"EXPLAIN QUERY PLAN SELECT id {whole.text}", whole.values).fetchall()
    connection.close()
    plan = [str(row[3]) for row in rows]
    assert not any("TEMP B-TREE" in one or "SCAN" in one for one in plan), plan
    return plan
