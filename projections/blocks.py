"""Blocks: a document of the read store holds many entries of a list, in the order in which the log has them.

Entries of one partition enter, blocks leave; and pages of a list are read from them. A block is a fold: it begins
with an entry, whose offset is the end of its id, takes all that follow in its lane (one tenant, one partition, one
span of the list's times and one of the times from which they are kept), and is full before it exceeds `BLOCK_SIZE`.
So the same log makes the same blocks, whoever folds it and whenever they are written, and a block at version v holds
all that is to be in it up to the offset v. Another `BLOCK_SIZE`, or another span, needs a rebuild.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import msgspec

from projections.moment import utc_text
from projections.store import (
    ABSENT,
    JSON,
    BadCursorError,
    Condition,
    Document,
    IndexSpec,
    Page,
    Put,
    Query,
    Sort,
    each_index,
    expiry,
    gte,
    lt,
    lte,
    prefix,
)
from projections.store import has as holds
from projections.store.shapes import make_cursor, read_cursor

BLOCK_SIZE = 16_000
"""Characters of entries in a block; one entry that has more is a block of its own."""
AT_ONCE: Final = 64
"""Blocks that are read at once, at most."""


@dataclass(frozen=True, slots=True)
class List:
    """What a collection of blocks holds. `minutes` is the span of a block's times, a part of an hour."""

    collection: str
    minutes: int
    newest_first: bool

    def span(self, at: datetime) -> datetime:
        """The beginning of the span that a time is in."""
        at = at.astimezone(UTC)
        return at.replace(minute=at.minute // self.minutes * self.minutes, second=0, microsecond=0)

    def indexes(self, db: str) -> tuple[IndexSpec, ...]:
        return (each_index(db, self.collection, "keys"),)

    def expiry(self, db: str, seconds: int) -> IndexSpec:
        """Blocks go away so long after the end of the span from which their entries are kept: none earlier."""
        return expiry(db, self.collection, "kept_from", seconds)


class Entry(NamedTuple):
    """One item of a list. `at` is what it is ordered by, `text` its JSON; it is found by each of its `keys`."""

    db: str
    list: List
    at: datetime
    kept_from: datetime
    keys: tuple[str, ...]
    text: str


class Lane(NamedTuple):
    """What follows one another in a block. `name` is the beginning of the ids of its blocks."""

    db: str
    collection: str
    name: str

    def newest_until(self, offset: int) -> Query:
        """Asks for the newest block of this lane that began at this offset or before."""
        named = f"{self.name}|"
        where = (prefix("_id", named), lte("_id", f"{named}{offset:016d}"))
        return Query(self.db, self.collection, where, (Sort("_id", True),), 1)


def lane_of(entry: Entry, source: str) -> Lane:
    """Where an entry goes that stands in this partition; `source` names it."""
    own, kept = entry.list.span(entry.at), entry.list.span(entry.kept_from)
    return Lane(entry.db, entry.list.collection, f"{utc_text(own)}|{utc_text(kept)}|{source}")


@dataclass(slots=True)
class Block:
    """Entries of one lane, oldest first. `stored` is the version that its writer believes to be in the store."""

    db: str
    collection: str
    id: str
    kept_from: str
    version: int = ABSENT
    first_at: str = ""
    last_at: str = ""
    keys: dict[str, None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    size: int = 0
    new: int = 0
    """How many entries are not written yet."""
    stored: int = ABSENT
    stored_keys: int = 0

    @classmethod
    def begin(cls, lane: Lane, entry: Entry, offset: int) -> Block:
        kept_until = entry.list.span(entry.kept_from) + timedelta(minutes=entry.list.minutes)
        return cls(
            lane.db,
            lane.collection,
            f"{lane.name}|{offset:016d}",
            str(utc_text(kept_until)),
        )

    @classmethod
    def of(cls, lane: Lane, stored: Document) -> Block:
        """The block as it stands in the store."""
        text, version = str(stored["entries"]), cast(int, stored["version"])
        keys = dict.fromkeys(cast("list[str]", stored["keys"]))
        return cls(
            lane.db,
            lane.collection,
            str(stored["_id"]),
            str(stored["kept_from"]),
            version,
            str(stored["first_at"]),
            str(stored["last_at"]),
            keys,
            [text],
            len(text),
            stored=version,
            stored_keys=len(keys),
        )

    @property
    def source(self) -> str:
        """The partition from which its entries come."""
        return self.id.split("|")[2]

    def has_room(self, entries: Sequence[Entry]) -> bool:
        """Whether what stands at one offset goes into it; the first always does."""
        return not self.texts or self.size + sum(len(entry.text) + 1 for entry in entries) <= BLOCK_SIZE

    def add(self, entries: Sequence[Entry], offset: int) -> None:
        """Take in what stands at this offset, unless that was done before."""
        if offset <= self.version:
            return
        for entry in entries:
            at = str(utc_text(entry.at))
            self.first_at = min(self.first_at or at, at)
            self.last_at = max(self.last_at, at)
            self.size += len(entry.text) + bool(self.texts)
            self.texts.append(entry.text)
            self.keys.update(dict.fromkeys(entry.keys))
        self.new += len(entries)
        self.version = offset

    def put(self) -> Put:
        """The write that brings the store to this version."""
        self.texts = [",".join(self.texts)]
        moving: Document = {"first_at": self.first_at, "last_at": self.last_at, "entries": self.texts[0]}
        keys: list[JSON] = [*self.keys]
        document = {"kept_from": self.kept_from, "keys": keys, **moving}
        if len(keys) > self.stored_keys:
            moving["keys"] = keys
        changed = {} if self.stored == ABSENT else moving
        return Put(self.db, self.collection, self.id, self.version, document, (), self.stored, changed)

    def was_stored(self, put: Put) -> None:
        """The store has taken this write, or had a newer one."""
        self.stored, self.stored_keys = put.version, len(cast("list[str]", put.document["keys"]))


class Item(Protocol):
    """An entry as it is read: its place in the order of the list."""

    @property
    def at_text(self) -> str: ...
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Item)


class Search(NamedTuple):
    """One page of what a key finds; `since` and `until` (not included) bound the times."""

    db: str
    list: List
    key: str
    limit: int
    cursor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Finder(Protocol):
    """What is needed of a read store."""

    async def find(self, query: Query) -> Page: ...


async def page(
    store: Finder, search: Search, decode: Callable[[bytes], Sequence[T]], wanted: Callable[[T], bool]
) -> tuple[list[T], str | None]:
    """The items that are wanted, in the order of the list, and the cursor of the next page.

    Read span after span, so that at most two spans more are read than the page is of. Raises BadCursorError.
    """
    down = search.list.newest_first
    order = Query(search.db, search.list.collection, sort=(Sort("at", down),), cursor=search.cursor)
    behind = _place(read_cursor(order))
    since, until = utc_text(search.since), utc_text(search.until)

    def fits(item: T) -> bool:
        place = (item.at_text, item.id)
        if behind is not None and (place >= behind if down else place <= behind):
            return False
        return (since is None or place[0] >= since) and (until is None or place[0] < until) and wanted(item)

    found: list[T] = []
    async for blocks in _spans(store, search, behind):
        every = (item for block in blocks for item in decode(f"[{block['entries']}]".encode()))
        # One that stands in the log twice is one item.
        items = {(item.at_text, item.id): item for item in every if fits(item)}
        found.extend(items[place] for place in sorted(items, reverse=down))
        if len(found) > search.limit:
            last = found[search.limit - 1]
            return found[: search.limit], make_cursor(order, {"at": last.at_text, "_id": last.id})
    return found, None


def _place(values: Sequence[Any] | None) -> tuple[str, str] | None:
    if values is None:
        return None
    at, id = values
    try:
        datetime.fromisoformat(at)
    except (TypeError, ValueError):
        raise BadCursorError("the cursor is damaged: take next_cursor as it was given") from None
    return at, str(id)


async def _spans(
    store: Finder, search: Search, behind: tuple[str, str] | None
) -> AsyncIterator[list[Document]]:
    """The blocks in which the key finds something, all of a span together, in the order of the list."""
    down = search.list.newest_first
    where: list[Condition] = [holds("keys", search.key)]
    # An id begins with its span, followed by "|".
    if search.since is not None:
        where.append(gte("_id", utc_text(search.list.span(search.since))))
    if search.until is not None:
        where.append(lt("_id", utc_text(search.until)))
    if behind is not None:
        span = str(utc_text(search.list.span(datetime.fromisoformat(behind[0]))))
        where.append(lt("_id", f"{span}}}") if down else gte("_id", span))
    size = min(search.limit + 1, AT_ONCE)
    query = Query(search.db, search.list.collection, tuple(where), (Sort("_id", down),), size)
    held: list[Document] = []
    while True:
        found = await store.find(query)
        for block in found.items:
            if held and _span_of(block) != _span_of(held[0]):
                yield held
                held = []
            held.append(block)
        if found.next_cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=found.next_cursor)
    if held:
        yield held


def _span_of(block: Document) -> str:
    return str(block["_id"]).partition("|")[0]
