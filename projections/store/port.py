"""The read store's port: guarded writes over JSON documents enter, documents and pages leave.

A document lives in (database, collection, id). What a read returns is the document with `_id` and `version`
in it; Decimals are strings and times are ISO strings ending in `Z`, put so by the callers, so that both
adapters order them alike. The store never decides anything: every write carries the version that guards it,
and a repeat, or an older write that comes late, changes nothing. The top-level names `_id` and `version` and
those that begin with `_` are the store's; `geo` is a GeoJSON point or null.

    StoreError
    ├── StoreUnavailableError    the connection, the server or the disk: try again later
    │   └── StoreDamagedError    what is stored is not what was written: away until a person repairs it
    ├── StoreRejectedError       this write or query can never succeed: trying again is useless
    │   └── UniqueViolationError another document holds the same unique fields
    └── BadCursorError           a cursor that this store did not make for this query
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from domain.errors import ChargeSphereError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Scalar: TypeAlias = bool | int | float | str | None
Document: TypeAlias = dict[str, JSON]

HUB: Final = "chargesphere"
MAX_LIMIT: Final = 500
ABSENT: Final = -1
"""The version of a document that is not there."""
EARTH_RADIUS_M: Final = 6_378_100.0
"""The sphere that MongoDB measures on; both adapters use it."""


class StoreError(ChargeSphereError):
    """Whatever a read store can raise."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or does not answer in time; `url` names it without credentials."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"read store {url} is unavailable: {cause}")
        self.url = url


class StoreDamagedError(StoreUnavailableError):
    """A file of the store is damaged; nothing is answered from what is. The line says what to do."""


class StoreRejectedError(StoreError):
    """The store can never take this write or answer this query."""


class UniqueViolationError(StoreRejectedError):
    """Another document holds the same values in the fields of a unique index."""


class BadCursorError(StoreError):
    """The cursor is damaged or was made for another query."""


def tenant_database(tenant: str) -> str:
    """The name of the database of one tenant, `ocpp_{tenant}`."""
    return f"ocpp_{tenant}"


class Put(msgspec.Struct, frozen=True):
    """The full document; applies when `version` is higher than the stored one (none counts as ABSENT).

    Top-level subtrees named in `keep` belong to other sources: what is stored there survives.

    `base` spares an adapter work and changes no outcome: the version below `version` at which the writer believes
    the stored document to be, ABSENT for none; `changed` are the fields in which `document` differs from that one,
    which has no others; neither holds any of `keep`.
    """

    db: str
    collection: str
    id: str
    version: int
    document: Mapping[str, JSON]
    keep: tuple[str, ...] = ()
    base: int | None = None
    changed: Mapping[str, JSON] = {}


class PutPart(msgspec.Struct, frozen=True):
    """`document[part] = {**value, "version": version}`; applies when newer than the stored part.

    An absent document is created without a version of its own: reads do not see it until its `Put` came. On a
    tombstone the part stays unseen too, until a newer `Put` that keeps it.
    """

    db: str
    collection: str
    id: str
    part: str
    version: int
    value: Mapping[str, JSON]


class Append(msgspec.Struct, frozen=True):
    """A delta on a visible document; applies when its stored version is lower than `version`.

    Sets the fields of `set`, appends `push` to arrays of which the newest `cap` items stay, sets the version.
    With `after` given the stored version must be exactly that: a gap then waits for a repair.
    """

    db: str
    collection: str
    id: str
    version: int
    set: Mapping[str, JSON] = {}
    push: Mapping[str, Sequence[JSON]] = {}
    cap: int = 500
    after: int | None = None


class Insert(msgspec.Struct, frozen=True):
    """A document that never changes (version 0); a repeat of its id is a no-op."""

    db: str
    collection: str
    id: str
    document: Mapping[str, JSON]


class Remove(msgspec.Struct, frozen=True):
    """Takes the document away, parts included; applies when `version` is higher than the stored one.

    A tombstone stays, which reads do not see and which an older write cannot bring back to life.
    """

    db: str
    collection: str
    id: str
    version: int


Write: TypeAlias = Put | PutPart | Append | Insert | Remove


class Applied(msgspec.Struct, frozen=True):
    """How many writes took effect, and how many the store had already or found too old."""

    applied: int
    stale: int


class PositionKey(msgspec.Struct, frozen=True):
    """Where a projector stands: one offset a projector, topic and partition."""

    projector: str
    topic: str
    partition: int


Op: TypeAlias = Literal["eq", "in", "has", "gte", "gt", "lte", "lt", "prefix"]


class Condition(msgspec.Struct, frozen=True):
    """One condition on a dotted path (`location.id`, `_id`, `version`).

    A path holds one kind of scalar, or null, in all documents of a collection; absent equals null. Only `has`
    looks into an array, of scalars. `in` takes a tuple. Ranges and `prefix` never match null.
    """

    field: str
    op: Op
    value: Scalar | tuple[Scalar, ...]


def eq(field: str, value: Scalar) -> Condition:
    """The field is equal to the value; `None` also matches an absent field."""
    return Condition(field, "eq", value)


def is_in(field: str, values: Iterable[Scalar]) -> Condition:
    """The field is equal to one of the values; none given, none matches."""
    return Condition(field, "in", tuple(values))


def has(field: str, value: Scalar) -> Condition:
    """The array in the field holds the value."""
    return Condition(field, "has", value)


def gte(field: str, value: Scalar) -> Condition:
    """The field is the value or after it."""
    return Condition(field, "gte", value)


def gt(field: str, value: Scalar) -> Condition:
    """The field is after the value."""
    return Condition(field, "gt", value)


def lte(field: str, value: Scalar) -> Condition:
    """The field is the value or before it."""
    return Condition(field, "lte", value)


def lt(field: str, value: Scalar) -> Condition:
    """The field is before the value."""
    return Condition(field, "lt", value)


def prefix(field: str, value: str) -> Condition:
    """The string in the field begins with the value, case included."""
    return Condition(field, "prefix", value)


class Sort(msgspec.Struct, frozen=True):
    """One sort key; null and absent come first when ascending."""

    field: str
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """Which documents, in which order; `_id` breaks ties in the direction of the last sort key."""

    db: str
    collection: str
    where: tuple[Condition, ...] = ()
    sort: tuple[Sort, ...] = ()
    limit: int = 50
    cursor: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Documents in order, and where the next page begins; `None` when this was the last."""

    items: list[Document]
    next_cursor: str | None


class IndexSpec(msgspec.Struct, frozen=True):
    """One index of one collection.

    `unique` binds documents in which all fields, which are strings, hold one. `geo` makes `near` possible on
    the GeoJSON point in the single field `geo`. `expire_after` (seconds) takes documents away that long after
    the time in the single field, one a collection; every process that writes there must have declared it. With
    `each` the single field is an array of strings: what `has` one of them is found in the order of `_id`.
    """

    db: str
    collection: str
    fields: tuple[Sort, ...]
    unique: bool = False
    geo: bool = False
    expire_after: int | None = None
    each: bool = False


def index(db: str, collection: str, *fields: str, unique: bool = False) -> IndexSpec:
    """A plain index; a leading `-` makes a field descending."""
    keys = tuple(Sort(f.removeprefix("-"), f.startswith("-")) for f in fields)
    return IndexSpec(db, collection, keys, unique=unique)


def geo_index(db: str, collection: str) -> IndexSpec:
    """The index that `near` needs, on the field `geo`."""
    return IndexSpec(db, collection, (Sort("geo"),), geo=True)


def each_index(db: str, collection: str, array: str) -> IndexSpec:
    """The index for `has` on the array, in the order of `_id`."""
    return IndexSpec(db, collection, (Sort(array),), each=True)


def expiry(db: str, collection: str, field: str, seconds: int) -> IndexSpec:
    """Documents go away `seconds` after the time in `field`."""
    return IndexSpec(db, collection, (Sort(field),), expire_after=seconds)


def declared(known: Mapping[IndexSpec, None], wanted: Sequence[IndexSpec]) -> dict[IndexSpec, None]:
    """What is declared with these too, in order: a collection's newest expiry takes the place of the one before."""
    anew = {(spec.db, spec.collection) for spec in wanted if spec.expire_after is not None}
    kept = [spec for spec in known if spec.expire_after is None or (spec.db, spec.collection) not in anew]
    return dict.fromkeys([*kept, *wanted])


class ReadStore(ABC):
    """Read models in databases `chargesphere` and `ocpp_{tenant}`, and what no rebuild may drop in `chargesphere_…`.

    All methods may raise `StoreUnavailableError`.
    """

    @abstractmethod
    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        """Applies the writes, those to one document in order, then moves the positions, never before them."""

    @abstractmethod
    async def positions(self, projector: str) -> dict[PositionKey, int]:
        """Every position that this projector has saved."""

    @abstractmethod
    async def set_positions(self, positions: Mapping[PositionKey, int]) -> None:
        """Saves the positions as given, backwards too."""

    @abstractmethod
    async def forget_positions(self, projector: str) -> None:
        """Deletes every position of this projector, so that it begins anew."""

    @abstractmethod
    async def get(self, db: str, collection: str, id: str) -> Document | None:
        """The visible document with this id."""

    @abstractmethod
    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        """The visible documents among these ids, by id."""

    @abstractmethod
    async def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        """The versions of the visible documents among these ids, by id."""

    @abstractmethod
    async def find(self, query: Query) -> Page:
        """One page by keyset: inserts meanwhile move no document across the cursor."""

    @abstractmethod
    async def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        """The items from `offset` on and the total; the query's own limit and cursor do not count."""

    @abstractmethod
    async def count(self, query: Query) -> int:
        """How many visible documents match; limit and cursor do not count."""

    @abstractmethod
    async def near(
        self,
        db: str,
        collection: str,
        *,
        lon: float,
        lat: float,
        radius_m: float,
        where: tuple[Condition, ...] = (),
        limit: int = 50,
    ) -> list[Document]:
        """Documents within the radius, nearest first, with `distance_m` (metres); needs a `geo` index."""

    @abstractmethod
    async def ensure(self, specs: Iterable[IndexSpec]) -> None:
        """Makes the indexes that are missing; an existing one with other options is made anew."""

    @abstractmethod
    async def purge(self, now: datetime) -> int:
        """Deletes what has expired and says how many; 0 where the server does that by itself."""

    @abstractmethod
    async def drop_all(self, databases: Iterable[str]) -> None:
        """Empties these databases; positions stay, and indexes declared through this store come back."""

    @abstractmethod
    async def discard(self, databases: Iterable[str]) -> None:
        """Takes these databases away for good, which nobody uses any more, with their indexes; positions may stay."""

    @abstractmethod
    async def databases(self) -> list[str]:
        """The databases that hold anything, sorted."""

    @abstractmethod
    async def ping(self) -> None:
        """Returns when the store answers."""

    @abstractmethod
    async def close(self) -> None:
        """Ends what is open; afterwards every other method raises `StoreUnavailableError`."""


def objects(value: object) -> list[Document]:
    """The objects of a list in a document; none where it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


async def every(store: ReadStore, query: Query) -> AsyncIterator[Document]:
    """Every document of the query, `limit` at a time."""
    while True:
        page = await store.find(query)
        for document in page.items:
            yield document
        if page.next_cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.next_cursor)
