"""Every adapter against a slow, obvious model: the same random batches of writes give equal answers."""

from __future__ import annotations

import asyncio
import copy
import itertools
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.store import (
    HUB,
    JSON,
    Append,
    Applied,
    Condition,
    Document,
    Insert,
    Put,
    PutPart,
    Query,
    ReadStore,
    Remove,
    Scalar,
    Sort,
    Write,
    each_index,
    eq,
    geo_index,
    gt,
    gte,
    has,
    index,
    is_in,
    lt,
    lte,
    prefix,
)
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from tests.laws import tried
from tests.servers import Mongo
from tests.simulation.store import Shelf, SimReadStore

ABSENT = -1


@dataclass
class Model:
    """One dict; every rule of the port in as many words."""

    held: dict[str, Document] = field(default_factory=dict)

    def apply(self, writes: list[Write]) -> Applied:
        applied = sum(self._one(write) for write in writes)
        return Applied(applied, len(writes) - applied)

    def _one(self, write: Write) -> bool:
        old = self.held.get(write.id, {})
        version = old.get("version", ABSENT)
        assert isinstance(version, int)
        match write:
            case Put():
                kept = {name: old[name] for name in write.keep if name in old}
                new = {**write.document, **kept, "version": write.version}
                newer = write.version > version
            case Insert():
                new, newer = {**write.document, "version": 0}, version == ABSENT
            case Remove():
                new, newer = {"_deleted": True, "version": write.version}, write.version > version
            case PutPart():
                part = old.get(write.part, {})
                assert isinstance(part, dict)
                held = part.get("version", ABSENT)
                assert isinstance(held, int)
                new, newer = (
                    {**old, write.part: {**write.value, "version": write.version}},
                    write.version > held,
                )
            case Append():
                new = {**old, **write.set, "version": write.version}
                for name, items in write.push.items():
                    before = new.get(name, [])
                    assert isinstance(before, list)
                    new[name] = [*before, *items][-write.cap :]
                newer = self._visible(old) and version < write.version and write.after in (None, version)
        if newer:
            self.held[write.id] = copy.deepcopy({**new, "_id": write.id})
        return newer

    def _visible(self, document: Document) -> bool:
        return "version" in document and "_deleted" not in document

    def find(self, where: tuple[Condition, ...], sort: tuple[Sort, ...]) -> list[Document]:
        found = [d for d in self.held.values() if self._visible(d) and all(holds(c, d) for c in where)]
        found.sort(key=lambda d: str(d["_id"]), reverse=bool(sort) and sort[-1].descending)
        for key in reversed(sort):
            found.sort(key=lambda d: rank(look(d, key.field)), reverse=key.descending)
        return found


def believing(model: Model, batch: list[Write]) -> list[Write]:
    """The batch with what each writer of a Put believes of the stored document: mostly right, sometimes not."""
    out: list[Write] = []
    parts: dict[str, set[str]] = {}
    for write in batch:
        old = model.held.get(write.id, {})
        if isinstance(write, PutPart):
            parts.setdefault(write.id, set()).add(write.part)
        # Whoever writes the rest of a document of which others write parts keeps these.
        elif isinstance(write, Put) and parts.get(write.id, set()) <= set(write.keep):
            shown = {
                name: value for name, value in old.items() if name not in ("_id", "version", *write.keep)
            }
            body = write.document
            version = old.get("version", ABSENT)
            assert isinstance(version, int)
            # Who writes a part that is to be kept, if it is there, does not know which of the two it will be.
            known = not body.keys() & set(write.keep)
            if known and version < write.version and shown.keys() <= body.keys():
                changed = {k: v for k, v in body.items() if k not in shown or shown[k] != v}
                write = msgspec.structs.replace(write, base=version, changed=changed)
            elif version >= write.version > 0:
                write = msgspec.structs.replace(write, base=write.version - 1)
        out.append(write)
    return out


def look(document: Document, path: str) -> JSON:
    value: JSON = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def rank(value: JSON) -> tuple[int, float, str]:
    assert not isinstance(value, list | dict)
    if value is None:
        return (0, 0, "")
    return (2, 0, value) if isinstance(value, str) else (1, value, "")


def holds(condition: Condition, document: Document) -> bool:
    found, value = look(document, condition.field), condition.value
    if condition.op == "eq":
        return found == value
    if condition.op == "in":
        assert isinstance(value, tuple)
        return found in value
    if condition.op == "has":
        return isinstance(found, list) and value in found
    if found is None:
        return False
    if condition.op == "prefix":
        return str(found).startswith(str(value))
    a, b = rank(found), rank(value)  # type: ignore[arg-type]
    return {"gt": a > b, "gte": a >= b, "lt": a < b, "lte": a <= b}[condition.op]


ids = st.sampled_from(["a", "b", "c"])
versions = st.integers(0, 6)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
numbers = st.integers(-3, 3) | st.sampled_from([0.5, -1.25, 1e18, 2**53])
maybe = st.none()
documents = st.fixed_dictionaries(
    {},
    optional={
        "name": texts | maybe,
        "n": numbers | maybe,
        "ok": st.booleans() | maybe,
        "place": st.fixed_dictionaries({}, optional={"city": texts}),
        "tags": st.lists(st.sampled_from(["x", "y", "$z"]), max_size=3),
        "live": st.fixed_dictionaries({}, optional={"by": texts}),
    },
)
parts = st.sampled_from(["live", "other"])
writes: st.SearchStrategy[Write] = st.one_of(
    st.builds(
        Put,
        st.just(HUB),
        st.just("things"),
        ids,
        versions,
        documents,
        st.lists(parts, unique=True).map(tuple),
    ),
    st.builds(
        PutPart, st.just(HUB), st.just("things"), ids, parts, versions, st.fixed_dictionaries({"by": texts})
    ),
    st.builds(
        Append,
        st.just(HUB),
        st.just("things"),
        ids,
        versions,
        st.fixed_dictionaries({}, optional={"name": texts, "n": numbers}),
        st.fixed_dictionaries({}, optional={"tags": st.lists(st.sampled_from(["x", "y"]), max_size=3)}),
        st.integers(1, 4),
        st.none() | versions,
    ),
    st.builds(Insert, st.just(HUB), st.just("things"), ids, documents),
    st.builds(Remove, st.just(HUB), st.just("things"), ids, versions),
)
batches = st.lists(st.lists(writes, max_size=8), max_size=4)

orderings: list[tuple[Sort, ...]] = [
    (),
    (Sort("n"),),
    (Sort("name", True),),
    (Sort("ok"), Sort("n", True)),
    (Sort("place.city", True), Sort("name")),
    (Sort("version", True),),
]


def conditions(name: str, n: float) -> Iterator[tuple[Condition, ...]]:
    texts_: list[Scalar] = [name, None]
    for one in (eq, gt, gte, lt, lte):
        yield (one("name", name),)
        yield (one("n", n),)
    yield (eq("name", None), eq("ok", True))
    yield (is_in("name", texts_), is_in("n", [n, 0, 1]))
    yield (has("tags", "x"),)
    yield (prefix("name", name),)
    yield (prefix("place.city", name[:1]), lte("version", 4))


async def pages(store: ReadStore, sort: tuple[Sort, ...], limit: int) -> list[Document]:
    found: list[Document] = []
    cursor: str | None = None
    while True:
        page = await store.find(Query(HUB, "things", (), sort, limit, cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


async def compare(stores: list[ReadStore], rounds: list[list[Write]], name: str, n: float) -> None:
    model = Model()
    for store in stores:
        await store.ensure(
            [
                index(HUB, "things", "n"),
                index(HUB, "things", "-name"),
                geo_index(HUB, "things"),
                each_index(HUB, "things", "tags"),
            ]
        )
    for batch in rounds:
        batch = believing(model, batch)
        expected = model.apply(batch)
        for store in stores:
            assert await store.apply(batch) == expected
    for store in stores:
        assert await store.get_many(HUB, "things", "abc") == {str(d["_id"]): d for d in model.find((), ())}
        for sort, limit in zip(orderings, itertools.cycle([1, 2]), strict=False):
            assert await pages(store, sort, limit) == model.find((), sort)
        for down in (False, True):
            by_id, tagged = (Sort("_id", down),), (has("tags", "x"),)
            assert (await store.find(Query(HUB, "things", tagged, by_id))).items == model.find(tagged, by_id)
        for where in conditions(name, n):
            wanted = model.find(where, orderings[1])
            assert await store.find_offset(Query(HUB, "things", where, orderings[1]), 0, 9) == (
                wanted,
                len(wanted),
            )


laws = settings(
    deadline=None,
    max_examples=tried(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@laws
@given(rounds=batches, name=texts, n=numbers)
def test_sqlite_answers_as_the_model_does(rounds: list[list[Write]], name: str, n: float) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqliteReadStore(Path(folder))
            try:
                await compare([store], rounds, name, n)
            finally:
                await store.close()

    asyncio.run(run())


@laws
@given(rounds=batches, name=texts, n=numbers)
def test_the_simulated_store_answers_as_the_model_does(
    rounds: list[list[Write]], name: str, n: float
) -> None:
    shelf = Shelf()
    asyncio.run(compare([SimReadStore(shelf)], rounds, name, n))
    assert shelf.false_beliefs == []


@pytest.mark.mongo
@settings(laws, max_examples=tried(25))
@given(rounds=batches, name=texts, n=numbers)
def test_both_adapters_answer_alike_and_as_the_model_does(
    mongo: Mongo, rounds: list[list[Write]], name: str, n: float
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            stores: list[ReadStore] = [
                SqliteReadStore(Path(folder)),
                MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_"),
            ]
            try:
                await compare(stores, rounds, name, n)
            finally:
                for store in stores:
                    await store.close()

    asyncio.run(run())
