"""What only the simulated store promises: one shelf for many processes, a network that fails, MongoDB's refusals.

That it keeps the port's contract is held by tests/projections/store, where it is one more adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from projections.store import (
    ABSENT,
    HUB,
    JSON,
    Append,
    Applied,
    Document,
    Insert,
    PositionKey,
    Put,
    PutPart,
    Query,
    Remove,
    StoreRejectedError,
    StoreUnavailableError,
    UniqueViolationError,
    Write,
    eq,
    expiry,
    gt,
    index,
    tenant_database,
)
from tests.simulation.store import URL, Shelf, SimReadStore, Straight

TENANT = tenant_database("demo")
KEY = PositionKey("sweeper", "events.session", 3)


def put(id: str, version: int = 1, *, collection: str = "sessions", **document: JSON) -> Put:
    return Put(TENANT, collection, id, version, document)


def seen(shelf: Shelf, collection: str = "sessions") -> dict[str, JSON]:
    """The visible documents, by id, with their versions."""
    return {str(item["_id"]): item["version"] for item in shelf.find(Query(TENANT, collection)).items}


class Failing(Straight):
    """Notes what passes, loses what it is told to lose, and cuts bulks short."""

    def __init__(self, *, lose: str = "", cut: int | None = None) -> None:
        self.passed: list[str] = []
        self._lose = lose
        self._cut = cut

    async def request(self, kind: str) -> None:
        self._pass(f"request {kind}")

    async def response(self, kind: str) -> None:
        self._pass(f"response {kind}")

    def cut(self, count: int) -> int:
        self.passed.append(f"cut {count}")
        return count if self._cut is None else self._cut

    def _pass(self, message: str) -> None:
        if message.startswith(self._lose) and self._lose:
            raise StoreUnavailableError(URL, f"lost: {message}")
        self.passed.append(message)


# One shelf, many processes


async def test_what_one_process_wrote_another_reads_also_after_the_first_has_closed() -> None:
    shelf = Shelf()
    one, other = SimReadStore(shelf), SimReadStore(shelf)
    await one.apply([put("s1", 3, a=1)], {KEY: 7})
    await one.close()
    assert await other.get(TENANT, "sessions", "s1") == {"_id": "s1", "version": 3, "a": 1}
    assert await other.positions("sweeper") == {KEY: 7}
    with pytest.raises(StoreUnavailableError):
        await one.get(TENANT, "sessions", "s1")


async def test_dropping_brings_back_the_indexes_of_the_process_that_dropped_and_no_others() -> None:
    shelf = Shelf()
    one, other = SimReadStore(shelf), SimReadStore(shelf)
    await one.ensure([index(HUB, "tokens", "uid", unique=True)])
    await other.ensure([index(HUB, "tokens", "number", unique=True)])
    await one.drop_all([HUB])
    await one.apply([Put(HUB, "tokens", "a", 1, {"uid": "1", "number": "1"})])
    await one.apply([Put(HUB, "tokens", "b", 1, {"uid": "2", "number": "1"})])
    with pytest.raises(UniqueViolationError):
        await other.apply([Put(HUB, "tokens", "c", 1, {"uid": "1", "number": "2"})])


async def test_neither_writers_nor_readers_reach_what_is_stored() -> None:
    store = SimReadStore(Shelf())
    written: dict[str, JSON] = {"nested": {"list": [1]}}
    await store.apply([Put(TENANT, "sessions", "s1", 1, written), put("s2", 1, nested=written["nested"])])
    kept = {"_id": "s1", "version": 1, "nested": {"list": [1]}}

    def spoil(document: Mapping[str, JSON] | None) -> None:
        assert document is not None
        nested = document["nested"]
        assert isinstance(nested, dict)
        assert isinstance(nested["list"], list)
        nested["list"].append(2)
        nested["more"] = 1

    spoil(written)
    assert await store.get(TENANT, "sessions", "s1") == kept
    spoil(await store.get(TENANT, "sessions", "s1"))
    spoil((await store.find(Query(TENANT, "sessions"))).items[0])
    spoil((await store.find_offset(Query(TENANT, "sessions"), 0, 1))[0][0])
    assert await store.get_many(TENANT, "sessions", ["s1"]) == {"s1": kept}


async def test_what_a_delta_adds_and_a_put_keeps_stays_apart_from_what_readers_hold() -> None:
    store = SimReadStore(Shelf())
    await store.apply([put("s1", 1), PutPart(TENANT, "sessions", "s1", "live", 1, {"list": [1]})])
    await store.apply([Put(TENANT, "sessions", "s1", 2, {}, keep=("live",))])
    await store.apply([Append(TENANT, "sessions", "s1", 3, push={"readings": [{"list": [1]}]})])
    held: Document | None = await store.get(TENANT, "sessions", "s1")
    assert held is not None
    assert held == {
        "_id": "s1",
        "version": 3,
        "live": {"list": [1], "version": 1},
        "readings": [{"list": [1]}],
    }
    held.clear()
    assert await store.versions(TENANT, "sessions", ["s1"]) == {"s1": 3}


async def test_purge_takes_what_has_expired_away_and_frees_its_unique_fields() -> None:
    store = SimReadStore(Shelf())
    await store.ensure([expiry(TENANT, "frames", "at", 3600), index(TENANT, "frames", "uid", unique=True)])
    await store.apply(
        [
            Insert(TENANT, "frames", "old", {"at": "2026-01-01T10:59:58Z", "uid": "1"}),
            Insert(TENANT, "frames", "new", {"at": "2026-01-01T11:00:01.500Z", "uid": "2"}),
            Insert(TENANT, "frames", "never", {}),
        ]
    )
    assert await store.purge(datetime(2026, 1, 1, 12, 0, tzinfo=UTC)) == 1
    again = Insert(TENANT, "frames", "again", {"at": "2026-01-01T11:30:00Z", "uid": "1"})
    assert await store.apply([again]) == Applied(1, 0)
    assert await store.count(Query(TENANT, "frames")) == 3


async def test_a_unique_index_over_documents_that_break_it_is_refused() -> None:
    store = SimReadStore(Shelf())
    await store.apply([put("a", uid="1"), put("b", uid="1")])
    with pytest.raises(UniqueViolationError):
        await store.ensure([index(TENANT, "sessions", "uid", unique=True)])


async def test_numbers_texts_and_booleans_never_meet() -> None:
    store = SimReadStore(Shelf())
    await store.apply([put("number", v=1), put("truth", v=True), put("text", v="1"), put("null", v=None)])
    for value, expected in ((1, "number"), (True, "truth"), ("1", "text"), (None, "null")):
        found = (await store.find(Query(TENANT, "sessions", (eq("v", value),)))).items
        assert [item["_id"] for item in found] == [expected]
    found = (await store.find(Query(TENANT, "sessions", (gt("v", 0),)))).items
    assert [item["_id"] for item in found] == ["number"]


# What MongoDB refuses


WRITES: list[Callable[[Any], Write]] = [
    lambda value: put("s1", 2, field=value),
    lambda value: Put(TENANT, "sessions", "s1", 2, {"field": value}, keep=("live",)),
    lambda value: PutPart(TENANT, "sessions", "s1", "live", 1, {"field": value}),
    lambda value: Append(TENANT, "sessions", "s1", 2, set={"field": value}),
    lambda value: Append(TENANT, "sessions", "s1", 2, push={"field": [value]}),
    lambda value: Insert(TENANT, "sessions", "new", {"field": value}),
]


@pytest.mark.parametrize("made", WRITES)
@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 2**64, [{"deep": [2**63]}], {"a\0b": 1}, [{"": {"\0": None}}], "\ud800"],
)
async def test_what_bson_cannot_hold_is_refused_wherever_it_stands(
    made: Callable[[Any], Write], value: JSON
) -> None:
    shelf = Shelf()
    store = SimReadStore(shelf)
    await store.apply([put("s1", 1, a=1)])
    with pytest.raises(StoreRejectedError):
        await store.apply([made(value)])
    assert seen(shelf) == {"s1": 1}
    assert await store.get(TENANT, "sessions", "s1") == {"_id": "s1", "version": 1, "a": 1}


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**32, 0.5, -0.0, "\0", "Ώρα", {"": {"$a.b": "\0"}}])
async def test_what_bson_can_hold_comes_back_as_it_was(value: JSON) -> None:
    store = SimReadStore(Shelf())
    await store.apply([put("s1", 1, field=value)])
    assert (await store.get(TENANT, "sessions", "s1") or {})["field"] == value


async def test_a_refused_write_leaves_what_came_before_it_and_no_position() -> None:
    """MongoDB has no transaction here; whoever relies on one finds out in the simulation."""
    shelf = Shelf()
    store = SimReadStore(shelf)
    with pytest.raises(StoreRejectedError):
        await store.apply([put("s1"), put("s2", field=2**63), put("s3")], {KEY: 5})
    assert seen(shelf) == {"s1": 1}
    assert await store.positions("sweeper") == {}


async def test_a_writer_that_is_wrong_about_the_stored_document_is_found_out() -> None:
    """MongoDB would store the change alone: the field b would stay. Only a base that is stored counts."""
    shelf = Shelf()
    store = SimReadStore(shelf)

    def changed(version: int, base: int, whole: Mapping[str, JSON], change: Mapping[str, JSON]) -> Put:
        return Put(TENANT, "sessions", "s1", version, whole, ("live",), base, change)

    await store.apply([changed(1, ABSENT, {"a": 1, "b": 1}, {"a": 1, "b": 1})])
    await store.apply([PutPart(TENANT, "sessions", "s1", "live", 1, {"x": 1})])
    await store.apply([changed(2, 1, {"a": 2, "b": 1}, {"a": 2})])
    await store.apply([changed(4, 3, {"a": 4}, {"a": 4})])
    assert shelf.false_beliefs == []
    await store.apply([changed(5, 4, {"b": 5}, {"b": 5})])
    assert await store.get(TENANT, "sessions", "s1") == {
        "_id": "s1",
        "version": 5,
        "b": 5,
        "live": {"x": 1, "version": 1},
    }
    assert len(shelf.false_beliefs) == 1


# The network


async def test_every_operation_asks_and_answers_over_the_network() -> None:
    network = Failing()
    store = SimReadStore(Shelf(), network)
    query = Query(TENANT, "sessions")
    operations: dict[str, Coroutine[Any, Any, Any]] = {
        "apply": store.apply([put("s1")]),
        "positions": store.positions("sweeper"),
        "set_positions": store.set_positions({KEY: 1}),
        "forget_positions": store.forget_positions("sweeper"),
        "get": store.get(TENANT, "sessions", "s1"),
        "get_many": store.get_many(TENANT, "sessions", ["s1"]),
        "versions": store.versions(TENANT, "sessions", ["s1"]),
        "find": store.find(query),
        "find_offset": store.find_offset(query, 0, 1),
        "count": store.count(query),
        "near": store.near(TENANT, "nothing", lon=0, lat=0, radius_m=1),
        "ensure": store.ensure([]),
        "purge": store.purge(datetime(2026, 1, 1, tzinfo=UTC)),
        "databases": store.databases(),
        "ping": store.ping(),
    }
    for kind, operation in operations.items():
        network.passed.clear()
        await operation
        assert network.passed == [f"request {kind}", f"response {kind}"]
    network.passed.clear()
    await store.drop_all([TENANT])
    assert network.passed == [
        "request drop_all",
        "response drop_all",
        "request ensure",
        "response ensure",
    ]


async def test_a_lost_question_has_no_effect() -> None:
    shelf = Shelf()
    store = SimReadStore(shelf, Failing(lose="request"))
    for attempt in (store.apply([put("s1")], {KEY: 1}), store.set_positions({KEY: 1})):
        with pytest.raises(StoreUnavailableError):
            await attempt
    assert seen(shelf) == {}
    assert shelf.positions("sweeper") == {}


async def test_a_lost_answer_leaves_the_effect_so_that_the_repeat_is_stale() -> None:
    shelf = Shelf()
    with pytest.raises(StoreUnavailableError):
        await SimReadStore(shelf, Failing(lose="response")).apply([put("s1")], {KEY: 1})
    assert shelf.positions("sweeper") == {KEY: 1}
    assert await SimReadStore(shelf).apply([put("s1")]) == Applied(0, 1)


async def test_a_refusal_can_be_lost_too() -> None:
    shelf = Shelf()
    with pytest.raises(StoreUnavailableError):
        await SimReadStore(shelf, Failing(lose="response")).apply([put("s1"), put("s2", field=2**63)])
    assert seen(shelf) == {"s1": 1}


BULK: list[Write] = [
    put("a1"),
    put("b1", collection="others"),
    Remove(TENANT, "sessions", "a2", 1),
    put("a3"),
]


@pytest.mark.parametrize(
    ("done", "sessions", "others"),
    [
        (0, set(), set()),
        (1, {"a1"}, set()),
        (2, {"a1"}, set()),
        (3, {"a1", "a3"}, set()),
        (4, {"a1", "a3"}, {"b1"}),
    ],
)
async def test_a_bulk_cut_short_did_its_first_writes_collection_by_collection_and_no_position(
    done: int, sessions: set[str], others: set[str]
) -> None:
    shelf, network = Shelf(), Failing(cut=done)
    with pytest.raises(StoreUnavailableError):
        await SimReadStore(shelf, network).apply(BULK, {KEY: 1})
    assert network.passed == ["request apply", "cut 5", "response apply"]
    assert seen(shelf).keys() == sessions
    assert seen(shelf, "others").keys() == others
    assert shelf.positions("sweeper") == {}
    assert await SimReadStore(shelf).apply(BULK, {KEY: 1}) == Applied(4 - done, done)
    assert shelf.positions("sweeper") == {KEY: 1}


async def test_a_bulk_that_is_not_cut_is_whole_and_a_single_write_is_never_cut() -> None:
    shelf = Shelf()
    assert await SimReadStore(shelf, Failing(cut=4)).apply(BULK) == Applied(4, 0)
    assert await SimReadStore(shelf, Failing(cut=0)).apply([put("s9")]) == Applied(1, 0)


def test_a_straight_network_takes_no_turn_of_the_loop() -> None:
    call = SimReadStore(Shelf()).apply([put("s1"), put("s2")])
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    assert ended.value.value == Applied(2, 0)
