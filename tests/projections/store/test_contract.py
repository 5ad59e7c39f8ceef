"""What every adapter of the read store promises; each test runs against each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from projections.store import (
    ABSENT,
    HUB,
    JSON,
    Append,
    Applied,
    BadCursorError,
    Condition,
    Document,
    Insert,
    PositionKey,
    Put,
    PutPart,
    Query,
    ReadStore,
    Remove,
    Scalar,
    Sort,
    StoreRejectedError,
    StoreUnavailableError,
    UniqueViolationError,
    Write,
    each_index,
    eq,
    every,
    geo_index,
    gt,
    gte,
    has,
    index,
    is_in,
    lt,
    lte,
    prefix,
    tenant_database,
)

TENANT = tenant_database("demo")


def put(id: str, version: int, **document: JSON) -> Put:
    return Put(TENANT, "sessions", id, version, document)


def put_keeping(id: str, version: int, **document: JSON) -> Put:
    return Put(TENANT, "sessions", id, version, document, keep=("live",))


def part(id: str, version: int, value: Mapping[str, JSON]) -> PutPart:
    return PutPart(TENANT, "sessions", id, "live", version, value)


def append(id: str, version: int, *items: JSON, cap: int = 500, after: int | None = None) -> Append:
    return Append(TENANT, "sessions", id, version, {"last": version}, {"readings": list(items)}, cap, after)


def remove(id: str, version: int) -> Remove:
    return Remove(TENANT, "sessions", id, version)


async def seen(store: ReadStore, id: str = "s1") -> Document | None:
    return await store.get(TENANT, "sessions", id)


def query(
    *where: Condition, sort: tuple[Sort, ...] = (), limit: int = 50, cursor: str | None = None
) -> Query:
    return Query(TENANT, "sessions", where, sort, limit, cursor)


async def ids(store: ReadStore, *where: Condition, sort: tuple[Sort, ...] = ()) -> list[JSON]:
    return [item["_id"] for item in (await store.find(query(*where, sort=sort))).items]


# Guarded writes


async def test_a_put_document_is_read_back_with_its_id_and_version(store: ReadStore) -> None:
    done = await store.apply([put("s1", 3, status="active", energy="1.250", nested={"a": [1, None, 2.5]})])
    assert done == Applied(applied=1, stale=0)
    assert await seen(store) == {
        "_id": "s1",
        "version": 3,
        "status": "active",
        "energy": "1.250",
        "nested": {"a": [1, None, 2.5]},
    }


async def test_a_number_beyond_32_bits_comes_back_as_one_that_json_can_say(store: ReadStore) -> None:
    await store.apply([put("s1", 0, energy=2**31, nested={"most": 2**63 - 1})])
    document = await seen(store)
    assert document is not None
    assert (
        msgspec.json.encode([document["energy"], document["nested"]])
        == b'[2147483648,{"most":9223372036854775807}]'
    )


async def test_names_with_dots_and_dollars_inside_a_document_survive(store: ReadStore) -> None:
    await store.apply([put("s1", 0, configuration={"a.b": 1, "$c": "$version", "d": {"$literal": 1}})])
    assert (await seen(store) or {})["configuration"] == {"a.b": 1, "$c": "$version", "d": {"$literal": 1}}


async def test_a_field_whose_text_looks_like_an_expression_stays_text(store: ReadStore) -> None:
    await store.apply(
        [put("s1", 0, status="$version"), part("s1", 0, {"text": "$$ROOT"}), append("s1", 1, "$_id")]
    )
    assert await seen(store) == {
        "_id": "s1",
        "version": 1,
        "status": "$version",
        "live": {"text": "$$ROOT", "version": 0},
        "last": 1,
        "readings": ["$_id"],
    }


@pytest.mark.parametrize("version", [1, 2])
async def test_an_older_or_equal_put_changes_nothing_and_is_counted_stale(
    store: ReadStore, version: int
) -> None:
    await store.apply([put("s1", 2, status="new")])
    assert await store.apply([put("s1", version, status="old")]) == Applied(applied=0, stale=1)
    assert (await seen(store) or {})["status"] == "new"


async def test_a_put_takes_away_fields_that_it_does_not_name(store: ReadStore) -> None:
    await store.apply([put("s1", 1, a=1)])
    await store.apply([put("s1", 2, b=2)])
    assert await seen(store) == {"_id": "s1", "version": 2, "b": 2}


async def test_writes_of_one_batch_to_one_document_take_effect_in_order(store: ReadStore) -> None:
    done = await store.apply(
        [put("s1", 1), append("s1", 2, "a"), append("s1", 3, "b"), put("s2", 1), put("s1", 3)]
    )
    assert done == Applied(applied=4, stale=1)
    assert (await seen(store) or {})["readings"] == ["a", "b"]


async def test_the_newest_of_racing_writers_of_a_new_document_always_wins(store: ReadStore) -> None:
    for round_ in range(40):
        id = f"race-{round_}"
        done = await asyncio.gather(
            *(store.apply([put(id, version, by=version)]) for version in (5, 1, 8, 2, 7, 3, 6, 4))
        )
        assert (await seen(store, id) or {})["by"] == 8
        assert sum(one.applied + one.stale for one in done) == 8


@pytest.mark.parametrize("base", [ABSENT, 1, 2, 3, 4, None])
@pytest.mark.parametrize(
    "before",
    [
        [],
        [put("s1", 2, a=1, b=1)],
        [put("s1", 3, a=1, b=1)],
        [put("s1", 5, a=7)],
        [remove("s1", 3)],
        [remove("s1", 9)],
        [part("s1", 3, {"connected": True})],
        [put("s1", 2, a=1, b=1), part("s1", 8, {"connected": True})],
        [put("s1", 3, a=1, b=1), part("s1", 8, {"connected": True})],
    ],
)
async def test_whatever_a_writer_believes_of_the_stored_document_the_outcome_is_that_of_the_whole(
    store: ReadStore, before: Sequence[Write], base: int | None
) -> None:
    """The belief is right where the base is the stored version, and nothing else of it counts."""
    whole = {"a": 2, "b": 1}
    puts = [
        Put(TENANT, collection, "s1", 5, whole, ("live",), believed, {"a": 2})
        for collection, believed in (("sessions", base), ("others", None))
    ]
    for collection in ("sessions", "others"):
        await store.apply([msgspec.structs.replace(write, collection=collection) for write in before])
    done = [await store.apply([write]) for write in puts]

    assert done[0] == done[1]
    assert await seen(store) == await store.get(TENANT, "others", "s1")
    assert await store.apply(puts) == Applied(0, 2)


async def test_many_changes_and_new_documents_of_one_batch_take_effect_each_by_itself(
    store: ReadStore,
) -> None:
    """More than go into one update; every third document is another than its writer believes."""
    ids_ = [str(number) for number in range(450)]
    await store.apply([put(id, 2 if int(id) % 3 else 7, a=0, b=int(id)) for id in ids_])
    changed = [
        Put(TENANT, "sessions", id, 3, {"a": int(id), "b": int(id)}, (), 2, {"a": int(id)}) for id in ids_
    ]
    new = [Put(TENANT, "sessions", f"new-{id}", 1, {"a": 1}, (), ABSENT) for id in ids_]

    assert await store.apply([*changed, *new]) == Applied(750, 150)
    found = await store.get_many(TENANT, "sessions", ids_)
    assert {id: (found[id]["version"], found[id]["a"]) for id in ids_} == {
        id: (3, int(id)) if int(id) % 3 else (7, 0) for id in ids_
    }


async def test_racing_changes_of_one_document_leave_the_newest(store: ReadStore) -> None:
    for round_ in range(20):
        id = f"race-{round_}"
        await store.apply([put(id, 0, by=0, other="x")])
        done = await asyncio.gather(
            *(
                store.apply([Put(TENANT, "sessions", id, n, {"by": n, "other": "x"}, (), n - 1, {"by": n})])
                for n in (5, 1, 8, 2, 7, 3, 6, 4)
            )
        )
        assert await seen(store, id) == {"_id": id, "version": 8, "by": 8, "other": "x"}
        assert sum(one.applied + one.stale for one in done) == 8


# Subtrees of other sources


async def test_a_kept_subtree_written_before_the_document_shows_with_it(store: ReadStore) -> None:
    await store.apply([part("s1", 7, {"connected": True})])
    assert await seen(store) is None
    assert await ids(store) == []
    await store.apply([put_keeping("s1", 1, status="active")])
    assert await seen(store) == {
        "_id": "s1",
        "version": 1,
        "status": "active",
        "live": {"connected": True, "version": 7},
    }


async def test_a_kept_subtree_written_after_the_document_survives_the_next_one(store: ReadStore) -> None:
    await store.apply([put_keeping("s1", 1, status="a")])
    await store.apply([part("s1", 1, {"connected": True})])
    await store.apply([put_keeping("s1", 2, status="b", live={"from": "document"})])
    assert (await seen(store) or {})["live"] == {"connected": True, "version": 1}
    assert (await seen(store) or {})["status"] == "b"


async def test_a_subtree_that_is_not_kept_goes_with_the_old_document(store: ReadStore) -> None:
    await store.apply([put("s1", 1), part("s1", 9, {"connected": True}), put("s1", 2)])
    assert await seen(store) == {"_id": "s1", "version": 2}


async def test_an_older_subtree_changes_nothing_whatever_the_document_version(store: ReadStore) -> None:
    await store.apply([put("s1", 100), part("s1", 5, {"x": "new"})])
    assert await store.apply([part("s1", 5, {"x": "old"}), part("s1", 4, {"x": "older"})]) == Applied(0, 2)
    assert await store.apply([part("s1", 6, {"x": "newest"})]) == Applied(1, 0)
    assert await seen(store) == {"_id": "s1", "version": 100, "live": {"x": "newest", "version": 6}}


# Deltas


async def test_an_append_keeps_the_newest_items_up_to_its_cap(store: ReadStore) -> None:
    await store.apply([put("s1", 1, readings=[1, 2])])
    await store.apply([append("s1", 2, 3, 4, 5, cap=4)])
    assert await seen(store) == {"_id": "s1", "version": 2, "last": 2, "readings": [2, 3, 4, 5]}
    await store.apply([append("s1", 3, 6, 7, 8, 9, 10, cap=4)])
    assert (await seen(store) or {})["readings"] == [7, 8, 9, 10]


async def test_a_repeated_or_older_append_adds_nothing(store: ReadStore) -> None:
    await store.apply([put("s1", 1), append("s1", 3, "a")])
    assert await store.apply([append("s1", 3, "a"), append("s1", 2, "b")]) == Applied(0, 2)
    assert (await seen(store) or {})["readings"] == ["a"]


@pytest.mark.parametrize("before", ["nothing", "only a part", "a tombstone"])
async def test_an_append_needs_a_visible_document(store: ReadStore, before: str) -> None:
    writes: dict[str, list[Write]] = {
        "nothing": [],
        "only a part": [part("s1", 1, {})],
        "a tombstone": [remove("s1", 1)],
    }
    await store.apply(writes[before])
    assert await store.apply([append("s1", 9, "a")]) == Applied(0, 1)
    assert await seen(store) is None


async def test_an_append_with_a_base_waits_for_the_gap_to_be_filled(store: ReadStore) -> None:
    await store.apply([put("s1", 1)])
    assert await store.apply([append("s1", 3, "c", after=2)]) == Applied(0, 1)
    assert await store.apply([append("s1", 2, "b", after=1), append("s1", 3, "c", after=2)]) == Applied(2, 0)
    assert (await seen(store) or {})["readings"] == ["b", "c"]


async def test_what_has_an_item_is_found_in_order_by_an_index_of_each(store: ReadStore) -> None:
    """Also after arrays have grown, documents have gone, and items were there before the index was."""

    def block(id: str, version: int, *keys: str) -> Put:
        return Put(TENANT, "blocks", id, version, {"n": version, "keys": list(keys)})

    async def found(key: str, *where: Condition, down: bool = False) -> list[str]:
        ids: list[str] = []
        query = Query(TENANT, "blocks", (has("keys", key), *where), (Sort("_id", down),), limit=2)
        async for document in every(store, query):
            ids.append(str(document["_id"]))
        return ids

    await store.apply([block("a", 1, "x", "y"), block("b", 1, "x")])
    await store.ensure([each_index(TENANT, "blocks", "keys")])
    await store.apply([block("c", 1, "y"), block("d", 1, "x", "x"), block("e", 1, "x")])
    assert await found("x") == ["a", "b", "d", "e"]
    assert await found("x", down=True) == ["e", "d", "b", "a"]
    assert await found("y") == ["a", "c"]
    assert await found("x", gte("_id", "b"), lt("_id", "e")) == ["b", "d"]
    assert await found("x", gte("_id", "b"), lt("_id", "e"), down=True) == ["d", "b"]
    await store.apply([block("c", 2, "y", "x"), block("e", 2, "x"), Remove(TENANT, "blocks", "b", 2)])
    assert await found("x") == ["a", "c", "d", "e"]
    await store.apply([block("b", 3, "x"), block("a", 2, "y")])
    assert await found("x") == ["b", "c", "d", "e"]
    assert await found("x", eq("n", 1)) == ["d"]
    assert await found("z") == []


# Inserts and removals


async def test_a_repeated_insert_is_a_no_op(store: ReadStore) -> None:
    frame = Insert(TENANT, "frames", "f1", {"at": "2026-01-01T00:00:00Z"})
    assert await store.apply([frame, frame]) == Applied(1, 1)
    assert await store.apply([Insert(TENANT, "frames", "f1", {"at": "other"})]) == Applied(0, 1)
    assert await store.get(TENANT, "frames", "f1") == {
        "_id": "f1",
        "version": 0,
        "at": "2026-01-01T00:00:00Z",
    }


async def test_a_removed_document_is_seen_by_no_read(store: ReadStore) -> None:
    await store.apply([put("s1", 1, a=1), put("s2", 1, a=1)])
    assert await store.apply([remove("s1", 2)]) == Applied(1, 0)
    assert await seen(store) is None
    assert await store.get_many(TENANT, "sessions", ["s1", "s2"]) == {
        "s2": {"_id": "s2", "version": 1, "a": 1}
    }
    assert await ids(store) == ["s2"]
    assert await store.count(query()) == 1
    assert await store.find_offset(query(), 0, 10) == ([{"_id": "s2", "version": 1, "a": 1}], 1)


async def test_an_older_put_does_not_bring_a_removed_document_back_and_a_newer_one_does(
    store: ReadStore,
) -> None:
    await store.apply([put("s1", 1, a=1), remove("s1", 3)])
    assert await store.apply([put("s1", 2, a=2), put("s1", 3, a=3), remove("s1", 2)]) == Applied(0, 3)
    assert await seen(store) is None
    await store.apply([put("s1", 4, a=4)])
    assert await seen(store) == {"_id": "s1", "version": 4, "a": 4}


async def test_a_removal_that_overtook_its_document_still_holds(store: ReadStore) -> None:
    assert await store.apply([remove("s1", 2)]) == Applied(1, 0)
    assert await store.apply([put("s1", 1)]) == Applied(0, 1)
    assert await seen(store) is None


async def test_a_removal_takes_kept_subtrees_with_it(store: ReadStore) -> None:
    await store.apply([put_keeping("s1", 1), part("s1", 1, {"x": 1}), remove("s1", 2)])
    await store.apply([put_keeping("s1", 3)])
    assert await seen(store) == {"_id": "s1", "version": 3}


async def test_the_versions_of_documents_are_read_without_them(store: ReadStore) -> None:
    await store.apply([put("s1", 4, a=1), put("s2", 1), remove("s2", 2), part("s3", 1, {})])
    assert await store.versions(TENANT, "sessions", ["s1", "s2", "s3", "s4"]) == {"s1": 4}
    assert await store.versions(TENANT, "nothing", ["s1"]) == {}


# Positions


async def test_positions_are_saved_with_the_writes_and_forgotten_by_projector(store: ReadStore) -> None:
    mine, other = PositionKey("sweeper", "events.session", 3), PositionKey("samples", "events.session", 3)
    assert await store.positions("sweeper") == {}
    await store.apply([put("s1", 1)], {mine: 41, other: 7})
    await store.set_positions({mine: 40, PositionKey("sweeper", "events.token", 0): 2})
    assert await store.positions("sweeper") == {mine: 40, PositionKey("sweeper", "events.token", 0): 2}
    await store.forget_positions("sweeper")
    assert await store.positions("sweeper") == {}
    assert await store.positions("samples") == {other: 7}


async def test_positions_stay_where_they_were_when_a_write_is_refused(store: ReadStore) -> None:
    key = PositionKey("sweeper", "events.token", 0)
    await store.ensure([index(TENANT, "tokens", "uid", unique=True)])
    await store.apply([Put(TENANT, "tokens", "a", 1, {"uid": "U"})], {key: 1})
    with pytest.raises(UniqueViolationError):
        await store.apply([Put(TENANT, "tokens", "b", 1, {"uid": "U"})], {key: 2})
    assert await store.positions("sweeper") == {key: 1}


# Queries


async def test_what_was_never_written_reads_as_empty(store: ReadStore) -> None:
    assert await store.get(TENANT, "nothing", "x") is None
    assert (await store.find(Query(tenant_database("nobody"), "nothing"))).items == []
    assert await store.count(Query(HUB, "nothing")) == 0
    assert await store.near(HUB, "nothing", lon=0, lat=0, radius_m=10) == []


PEOPLE: list[dict[str, JSON]] = [
    {"name": "anna", "age": 30, "member": True, "place": {"city": "Köln"}, "tags": ["a", "b"]},
    {"name": "Anna", "age": 31.5, "member": False, "place": {"city": "Bonn"}, "tags": []},
    {"name": "annabel", "age": None, "member": True, "place": {}},
    {"name": "ann", "age": -2, "place": {"city": "Köln"}, "tags": ["b"]},
    {"name": "\ud7ff€", "age": 0, "member": False, "tags": ["€"]},
    {"age": 30},
]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (eq("name", "anna"), "0"),
        (eq("age", 30), "05"),
        (eq("age", 31.5), "1"),
        (eq("age", None), "2"),
        (eq("member", True), "02"),
        (eq("member", None), "35"),
        (eq("place.city", "Köln"), "03"),
        (eq("place.city", None), "245"),
        (eq("_id", "4"), "4"),
        (eq("version", 1), "012345"),
        (is_in("age", [0, -2, 99]), "34"),
        (is_in("age", [None, 0]), "24"),
        (is_in("member", [False]), "14"),
        (is_in("name", []), ""),
        (is_in("_id", ["1", "5", "9"]), "15"),
        (has("tags", "b"), "03"),
        (has("tags", "€"), "4"),
        (gt("age", 30), "1"),
        (gte("age", 30), "015"),
        (lt("age", 0), "3"),
        (lte("age", 0), "34"),
        (gt("name", "ann"), "024"),
        (lte("name", "ann"), "13"),
        (prefix("name", "ann"), "023"),
        (prefix("name", "anna"), "02"),
        (prefix("name", ""), "01234"),
        (prefix("name", "\ud7ff"), "4"),
        (prefix("place.city", "K"), "03"),
        (prefix("_id", "5"), "5"),
    ],
)
async def test_each_condition_finds_the_documents_that_it_describes(
    store: ReadStore, condition: Condition, expected: str
) -> None:
    await store.apply([put(str(n), 1, **person) for n, person in enumerate(PEOPLE)])
    assert await ids(store, condition) == list(expected)
    assert await store.count(query(condition)) == len(expected)


async def test_all_conditions_must_hold_even_two_on_one_field(store: ReadStore) -> None:
    await store.apply([put(str(n), 1, age=n) for n in range(6)])
    assert await ids(store, gt("age", 1), lt("age", 5), gte("age", 3)) == ["3", "4"]


async def test_sorting_puts_null_first_and_breaks_ties_by_id(store: ReadStore) -> None:
    await store.apply([put(str(n), 1, **person) for n, person in enumerate(PEOPLE)])
    assert await ids(store, sort=(Sort("age"),)) == list("234051")
    assert await ids(store, sort=(Sort("age", True),)) == list("150432")
    assert await ids(store, sort=(Sort("member"), Sort("age", True))) == list("531402")
    assert await ids(store, sort=(Sort("_id", True),)) == list("543210")


@pytest.mark.parametrize(
    "sort",
    [
        (),
        (Sort("at"),),
        (Sort("at", True),),
        (Sort("state"), Sort("at", True)),
        (Sort("state", True), Sort("at")),
        (Sort("_id", True),),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 25])
async def test_pages_put_together_are_the_whole_in_order(
    store: ReadStore, sort: tuple[Sort, ...], limit: int
) -> None:
    states: list[Scalar] = [None, "active", "completed"]
    await store.apply([put(f"{n:02}", 1, state=states[n % 3], at=(n * 7) % 5 or None) for n in range(25)])
    whole = await ids(store, sort=sort)
    pages: list[JSON] = []
    cursor: str | None = None
    while True:
        page = await store.find(query(sort=sort, limit=limit, cursor=cursor))
        pages += [item["_id"] for item in page.items]
        assert len(page.items) == limit or page.next_cursor is None
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(whole) == 25
    assert pages == whole


async def test_a_cursor_neither_repeats_nor_misses_while_others_insert(store: ReadStore) -> None:
    await store.apply([put(f"{n:03}", 1, at=n) for n in range(0, 60, 2)])
    found: list[JSON] = []
    cursor: str | None = None
    for round_ in range(100):
        page, _ = await asyncio.gather(
            store.find(query(sort=(Sort("at", True),), limit=4, cursor=cursor)),
            store.apply([put(f"{60 + round_:03}", 1, at=100 + round_), put(f"x{round_}", 1, at=-1 - round_)]),
        )
        found += [item["at"] for item in page.items]
        cursor = page.next_cursor
        if cursor is None or len(found) > 40:
            break
    old = [at for at in found if isinstance(at, int) and 0 <= at < 60]
    assert old == sorted(range(0, 60, 2), reverse=True)
    assert len(found) == len(set(map(str, found)))


async def test_a_foreign_or_damaged_cursor_is_refused(store: ReadStore) -> None:
    await store.apply([put(str(n), 1, at=n) for n in range(3)])
    cursor = (await store.find(query(sort=(Sort("at"),), limit=1))).next_cursor
    assert cursor is not None
    for wrong in (
        query(sort=(Sort("at", True),), cursor=cursor),
        query(cursor="no cursor"),
        query(cursor=""),
    ):
        with pytest.raises(BadCursorError):
            await store.find(wrong)


async def test_offset_paging_gives_the_items_and_the_total(store: ReadStore) -> None:
    await store.apply([put(str(n), 1, at=n, odd=n % 2) for n in range(9)])
    items, total = await store.find_offset(query(eq("odd", 0), sort=(Sort("at"),)), 2, 2)
    assert ([item["at"] for item in items], total) == ([4, 6], 5)
    assert await store.find_offset(query(), 20, 5) == ([], 9)


# Indexes


async def test_a_unique_index_refuses_the_second_and_lets_the_owner_change(store: ReadStore) -> None:
    await store.ensure([index(HUB, "tokens", "owner", "uid", unique=True)])
    await store.apply([Put(HUB, "tokens", "a", 1, {"owner": "X", "uid": "1"})])
    with pytest.raises(UniqueViolationError):
        await store.apply([Put(HUB, "tokens", "b", 1, {"owner": "X", "uid": "1"})])
    await store.apply([Put(HUB, "tokens", "a", 2, {"owner": "X", "uid": "1", "valid": False})])
    await store.apply([Put(HUB, "tokens", "c", 1, {"owner": "Y", "uid": "1"})])
    assert await store.count(Query(HUB, "tokens")) == 2


async def test_a_unique_index_leaves_tombstones_parts_and_absent_fields_alone(store: ReadStore) -> None:
    await store.ensure([index(HUB, "tokens", "owner", "uid", unique=True)])
    await store.apply([Put(HUB, "tokens", id, 1, {"owner": "X"}) for id in "ab"])
    await store.apply([Put(HUB, "tokens", id, 1, {"owner": None, "uid": "1"}) for id in "cd"])
    await store.apply([PutPart(HUB, "tokens", id, "live", 1, {}) for id in "ef"])
    await store.apply([Put(HUB, "tokens", "g", 1, {"owner": "X", "uid": "9"}), Remove(HUB, "tokens", "g", 2)])
    await store.apply([Put(HUB, "tokens", "h", 1, {"owner": "X", "uid": "9"}), Remove(HUB, "tokens", "h", 2)])
    assert await store.count(Query(HUB, "tokens")) == 4


async def test_declaring_indexes_again_or_otherwise_is_harmless(store: ReadStore) -> None:
    await store.apply([Put(HUB, "tokens", "a", 1, {"uid": "1"})])
    for unique in (True, False, True, True):
        await store.ensure([index(HUB, "tokens", "uid", unique=unique), index(HUB, "tokens", "-at", "uid")])
    with pytest.raises(UniqueViolationError):
        await store.apply([Put(HUB, "tokens", "b", 1, {"uid": "1"})])
    await store.ensure([index(HUB, "tokens", "uid")])
    assert await store.apply([Put(HUB, "tokens", "b", 1, {"uid": "1"})]) == Applied(1, 0)


# Places


def place(id: str, lon: float, lat: float, **more: JSON) -> Put:
    return Put(HUB, "locations", id, 1, {"geo": {"type": "Point", "coordinates": [lon, lat]}, **more})


async def test_near_gives_distances_ascending_and_nothing_beyond_the_radius(store: ReadStore) -> None:
    await store.ensure([geo_index(HUB, "locations")])
    await store.apply([place("far", 6.0, 50.9), place("two", 6.97, 50.95), place("one", 6.96, 50.94)])
    found = await store.near(HUB, "locations", lon=6.96, lat=50.94, radius_m=5_000)
    assert [item["_id"] for item in found] == ["one", "two"]
    # 0.01 degrees each way at 50.94 N: hypot(1113.2, 1113.2 * cos(50.945 deg)) metres.
    assert [item["distance_m"] for item in found] == [0, pytest.approx(1316, abs=2)]
    assert "version" in found[0]


async def test_near_sees_across_the_antimeridian_and_around_the_poles(store: ReadStore) -> None:
    await store.ensure([geo_index(HUB, "locations")])
    spots = [
        place("west", 179.99, 0),
        place("east", -179.98, 0),
        place("edge", 180, 0),
        place("pole", 90, 89.99),
    ]
    await store.apply(spots)

    async def order(lon: float, lat: float, radius_m: float) -> list[JSON]:
        found = await store.near(HUB, "locations", lon=lon, lat=lat, radius_m=radius_m)
        return [item["_id"] for item in found]

    assert await order(-179.999, 0, 5_000) == ["edge", "west", "east"]
    assert await order(179.999, 0, 5_000) == ["edge", "west", "east"]
    assert await order(-180, 0, 1) == ["edge"]
    assert await order(-90, 89.99, 3_000) == ["pole"]
    assert await order(0, 90, 2_000) == ["pole"]
    assert set(await order(0, -90, 11_000_000)) == {"edge", "east", "west"}


async def test_near_follows_moves_removals_and_conditions(store: ReadStore) -> None:
    await store.apply([place("before", 6.96, 50.94, power=11, standards=["IEC_62196_T2"])])
    await store.ensure([geo_index(HUB, "locations")])
    await store.apply([place("a", 6.96, 50.941, power=150, standards=["IEC_62196_T2_COMBO"])])
    await store.apply(
        [place("b", 6.96, 50.942), place("c", 6.96, 50.943), Put(HUB, "locations", "none", 1, {})]
    )
    await store.apply([Remove(HUB, "locations", "b", 2), Put(HUB, "locations", "c", 2, {"geo": None})])

    async def found(*where: Condition) -> list[JSON]:
        items = await store.near(HUB, "locations", lon=6.96, lat=50.94, radius_m=5_000, where=where)
        return [item["_id"] for item in items]

    assert await found() == ["before", "a"]
    assert await found(gte("power", 50)) == ["a"]
    assert await found(has("standards", "IEC_62196_T2")) == ["before"]
    assert [
        item["_id"]
        for item in await store.near(HUB, "locations", lon=6.96, lat=50.94, radius_m=5_000, limit=1)
    ] == ["before"]


async def test_near_without_its_index_is_refused(store: ReadStore) -> None:
    await store.apply([place("a", 1, 1)])
    with pytest.raises(StoreRejectedError, match="geo"):
        await store.near(HUB, "locations", lon=1, lat=1, radius_m=10)


# Refusals, rebuild, life and death


@pytest.mark.parametrize(
    "write",
    [
        Put("admin", "x", "1", 1, {}),
        Put(HUB, "system.users", "1", 1, {}),
        Put(HUB, "x", "1", -1, {}),
        Put(HUB, "x", "1", 1, {"geo": {"type": "Point", "coordinates": [0, 91]}}),
        Put(HUB, "x", "1", 1, {"geo": "here"}),
        PutPart(HUB, "x", "1", "a.b", 1, {}),
        PutPart(HUB, "x", "1", "version", 1, {}),
        Append(HUB, "x", "1", 1, {"a": 1}, {"a": [1]}),
        Append(HUB, "x", "1", 1, cap=0),
    ],
)
async def test_a_write_that_no_adapter_could_take_is_refused_before_any_other(
    store: ReadStore, write: Put | PutPart | Append
) -> None:
    with pytest.raises(StoreRejectedError):
        await store.apply([Put(HUB, "x", "good", 1, {}), write])
    assert await store.get(HUB, "x", "good") is None


@pytest.mark.parametrize(
    "condition",
    [eq("a b", 1), eq("a.0", 1), gt("a", None), prefix("$where", "1"), has("a", None), eq("a", 2**63)],
)
async def test_a_condition_that_makes_no_sense_is_refused(store: ReadStore, condition: Condition) -> None:
    with pytest.raises(StoreRejectedError):
        await store.find(query(condition))


@pytest.mark.parametrize("limit", [0, -1, 501])
async def test_a_limit_outside_its_range_is_refused(store: ReadStore, limit: int) -> None:
    with pytest.raises(StoreRejectedError, match="1 to 500"):
        await store.find(query(limit=limit))
    with pytest.raises(StoreRejectedError, match="1 to 500"):
        await store.find_offset(query(), 0, limit)


async def test_dropping_empties_the_named_databases_and_keeps_positions_and_indexes(store: ReadStore) -> None:
    key = PositionKey("sweeper", "events.session", 0)
    await store.ensure([index(HUB, "tokens", "uid", unique=True), geo_index(HUB, "locations")])
    await store.apply([Put(HUB, "tokens", "a", 9, {"uid": "1"}), place("l", 1, 1), put("s1", 9)], {key: 5})
    other = Put(tenant_database("acme"), "sessions", "s1", 1, {})
    await store.apply([other])
    assert await store.databases() == [HUB, tenant_database("acme"), TENANT]

    await store.drop_all([HUB, TENANT])

    assert tenant_database("acme") in await store.databases()
    assert TENANT not in await store.databases()
    assert await seen(store) is None
    assert await store.near(HUB, "locations", lon=1, lat=1, radius_m=10) == []
    assert await store.positions("sweeper") == {key: 5}
    assert await store.get(other.db, "sessions", "s1") is not None
    assert await store.apply([Put(HUB, "tokens", "a", 1, {"uid": "1"}), place("l", 1, 1)]) == Applied(2, 0)
    assert len(await store.near(HUB, "locations", lon=1, lat=1, radius_m=10)) == 1
    with pytest.raises(UniqueViolationError):
        await store.apply([Put(HUB, "tokens", "b", 1, {"uid": "1"})])


async def test_tenants_do_not_see_each_other(store: ReadStore) -> None:
    acme = tenant_database("acme")
    await store.apply([put("s1", 1, of="demo"), Put(acme, "sessions", "s1", 5, {"of": "acme"})])
    assert (await seen(store) or {})["of"] == "demo"
    assert (await store.get(acme, "sessions", "s1") or {})["of"] == "acme"


async def test_a_closed_store_is_unavailable_and_closing_twice_is_harmless(store: ReadStore) -> None:
    await store.ping()
    await store.apply([put("s1", 1)])
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.apply([put("s1", 2)])
    with pytest.raises(StoreUnavailableError):
        await seen(store)
    with pytest.raises(StoreUnavailableError):
        await store.ping()
