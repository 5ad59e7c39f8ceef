"""The memory of a simulated read store: checked writes and queries enter, counts and copies of documents leave.

It does what the port says in plain dictionaries, without a clock, a thread or a file. Of the two real adapters it
follows the weaker: like MongoDB it keeps what came before a refused write, and refuses what BSON cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import bson
import msgspec
from bson.errors import BSONError

from projections.store import (
    ABSENT,
    JSON,
    Append,
    Applied,
    Condition,
    Document,
    IndexSpec,
    Insert,
    Page,
    PositionKey,
    Put,
    PutPart,
    Query,
    Remove,
    Sort,
    StoreRejectedError,
    UniqueViolationError,
    Write,
)
from projections.store.shapes import (
    at,
    check_circle,
    check_limit,
    check_path,
    check_place,
    distance_m,
    make_cursor,
)
from tests.simulation.matching import Predicate, in_order, predicates

URL: Final = "simulated"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, object]).decode


class _Held:
    """What is stored under one id; never changed, only replaced. It is decoded when it is first looked into."""

    __slots__ = ("_document", "live", "packed", "version")

    def __init__(self, version: int, live: bool, document: Mapping[str, JSON]) -> None:
        self.version = version
        self.live = live
        self.packed = _packed(document)
        self._document: Document | None = None

    @property
    def document(self) -> Document:
        """The shelf's own: readers get a `copy`."""
        if self._document is None:
            self._document = _unpack(self.packed)  # type: ignore[assignment]
        return self._document  # type: ignore[return-value]

    def copy(self) -> Document:
        return _copy(self.document)


def _copy(document: Document) -> Document:
    return msgspec.to_builtins(document)  # type: ignore[no-any-return]


def _packed(document: Mapping[str, JSON]) -> bytes:
    """The document as bytes; raises `StoreRejectedError` for what MongoDB cannot hold."""
    try:
        packed = _pack(document)
        # Zero bytes and big numbers show here, but so do harmless things: then BSON itself is asked.
        if b"\0" in packed or b"\xcf" in packed:
            bson.encode(document)
        return packed
    except (BSONError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreRejectedError(f"read store {URL}: {error}") from error


class _Collection:
    """The documents of one collection, by id, with its indexes."""

    def __init__(self, name: str, false_beliefs: list[str]) -> None:
        self.name = name
        self.false_beliefs = false_beliefs
        self.held: dict[str, _Held] = {}
        self.unique: dict[tuple[Sort, ...], dict[tuple[str, ...], str]] = {}
        self.geo = False
        self.expiry: tuple[str, timedelta] | None = None

    def fork(self, false_beliefs: list[str]) -> _Collection:
        other = _Collection(self.name, false_beliefs)
        other.held = dict(self.held)
        other.unique = {fields: dict(owners) for fields, owners in self.unique.items()}
        other.geo, other.expiry = self.geo, self.expiry
        return other

    def live(self, meeting: Sequence[Predicate] = ()) -> list[_Held]:
        """The visible documents for which all the predicates hold."""
        return [
            held for held in self.held.values() if held.live and all(one(held.document) for one in meeting)
        ]

    def apply(self, write: Write) -> bool:
        """Applies one guarded write; whether it took effect."""
        id = write.id
        held = self.held.get(id)
        version = ABSENT if held is None else held.version
        match write:
            case Put(version=new, document=document):
                if new <= version:
                    return False
                kept: Document = {}
                if held is not None and write.keep:
                    kept = {name: held.document[name] for name in write.keep if name in held.document}
                whole = {**document, **kept, "_id": id, "version": new}
                if held is not None and held.live and write.base == version:
                    self._believed(write, held, whole)
                self._store(id, _Held(new, True, whole))
            case Insert(document=document):
                if version != ABSENT:
                    return False
                self._store(id, _Held(0, True, {**document, "_id": id, "version": 0}))
            case Remove(version=new):
                if new <= version:
                    return False
                self._store(id, _Held(new, False, {}))
            case PutPart(version=new, part=name):
                stored = {} if held is None else held.document
                part = stored.get(name)
                part_version = part.get("version") if isinstance(part, dict) else None
                if isinstance(part_version, int) and new <= part_version:
                    return False
                document = {**stored, name: {**write.value, "version": new}}
                self._store(id, _Held(version, held is not None and held.live, document))
            case Append(version=new):
                if held is None or not held.live or new <= version or write.after not in (None, version):
                    return False
                self._store(id, _Held(new, True, _appended(held.document, write)))
        return True

    def _believed(self, write: Put, held: _Held, whole: Document) -> None:
        """Notes a writer that is wrong about the stored document: an adapter that believes it stores another."""
        merged = {**held.document, **write.changed, "version": write.version}
        if merged != whole and _unpack(_pack(merged)) != _unpack(_pack(whole)):
            self.false_beliefs.append(
                f"{self.name} {write.id!r}: {write.changed} on {held.document} is not {write.document}"
            )

    def _store(self, id: str, new: _Held) -> None:
        if self.expiry is not None:
            self._expires_from(new)
        if self.unique:
            old = self.held.get(id)
            for fields, owners in self.unique.items():
                key = _unique_key(new, fields)
                if key is not None and owners.get(key, id) != id:
                    raise self._violation(id, fields, key)
            for fields, owners in self.unique.items():
                if old is not None and (key := _unique_key(old, fields)) is not None:
                    del owners[key]
                if (key := _unique_key(new, fields)) is not None:
                    owners[key] = id
        self.held[id] = new

    def purge(self, now: datetime) -> int:
        """Takes away what has expired, without a tombstone."""
        if self.expiry is None:
            return 0
        old = now - self.expiry[1]
        gone = [
            id for id, held in self.held.items() if (moment := self._expires_from(held)) and moment <= old
        ]
        for id in gone:
            self._delete(id)
        return len(gone)

    def _expires_from(self, held: _Held) -> datetime | None:
        assert self.expiry is not None
        moment = at(held.document, self.expiry[0]) if held.live else None
        try:
            return datetime.fromisoformat(moment) if isinstance(moment, str) else None
        except ValueError as error:
            raise StoreRejectedError(f"read store {URL}: {self.name}: {error}") from error

    def _delete(self, id: str) -> None:
        held = self.held.pop(id)
        for fields, owners in self.unique.items():
            if (key := _unique_key(held, fields)) is not None:
                del owners[key]

    def ensure(self, spec: IndexSpec) -> None:
        fields = spec.fields
        for field in fields:
            check_path(field.field)
        if spec.geo:
            self.geo = True
        elif spec.expire_after is not None:
            self.expiry = (fields[0].field, timedelta(seconds=spec.expire_after))
        elif not spec.unique:
            self.unique.pop(fields, None)
        elif fields not in self.unique:
            owners: dict[tuple[str, ...], str] = {}
            for id, held in self.held.items():
                key = _unique_key(held, fields)
                if key is not None and owners.setdefault(key, id) != id:
                    raise self._violation(id, fields, key)
            self.unique[fields] = owners

    def _violation(self, id: str, fields: tuple[Sort, ...], key: tuple[str, ...]) -> UniqueViolationError:
        names = ", ".join(field.field for field in fields)
        return UniqueViolationError(f"read store {URL}: {self.name} {id!r}: another holds {names} = {key}")


def _appended(stored: Document, write: Append) -> Document:
    document = {**stored, **write.set, "_id": write.id, "version": write.version}
    for name, items in write.push.items():
        held = stored.get(name)
        document[name] = [*(held if isinstance(held, list) else ()), *items][-write.cap :]
    return document


def _unique_key(held: _Held, fields: tuple[Sort, ...]) -> tuple[str, ...] | None:
    """What the index binds the document by; None where it does not bind it."""
    if not held.live:
        return None
    key = tuple(value for field in fields if isinstance(value := at(held.document, field.field), str))
    return key if len(key) == len(fields) else None


class Shelf:
    """What a read store's server remembers; no method waits, and every document that leaves is a copy.

    `base` and `changed` of a `Put` change nothing here. Where they are wrong, so that an adapter that goes by them
    would store another document, `false_beliefs` says so.
    """

    def __init__(self) -> None:
        self.false_beliefs: list[str] = []
        self._collections: dict[tuple[str, str], _Collection] = {}
        self._positions: dict[PositionKey, int] = {}

    def apply(self, writes: Iterable[Write], positions: Mapping[PositionKey, int] | None = None) -> Applied:
        """Applies checked writes in the order given; a refused one leaves what came before it, and no position."""
        done = {True: 0, False: 0}
        for write in writes:
            done[self._collection(write.db, write.collection).apply(write)] += 1
        if positions:
            self._positions.update(positions)
        return Applied(done[True], done[False])

    def fork(self) -> Shelf:
        """Another one that remembers the same; what is stored is shared, for it never changes."""
        other = Shelf()
        other._positions.update(self._positions)
        for place, held in self._collections.items():
            other._collections[place] = held.fork(other.false_beliefs)
        return other

    def live(self, db: str, collection: str) -> list[Document]:
        """The visible documents themselves, in no order: to be looked at only."""
        held = self._collections.get((db, collection))
        return [] if held is None else [one.document for one in held.live()]

    def positions(self, projector: str) -> dict[PositionKey, int]:
        return {key: place for key, place in self._positions.items() if key.projector == projector}

    def forget_positions(self, projector: str) -> None:
        for key in self.positions(projector):
            del self._positions[key]

    def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        return {id: held.copy() for id, held in self._found(db, collection, ids)}

    def versions(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, int]:
        return {id: held.version for id, held in self._found(db, collection, ids)}

    def find(self, query: Query) -> Page:
        limit = check_limit(query.limit)
        found = in_order(query, self._matching(query.db, query.collection, query.where))
        items = [_copy(document) for document in found[:limit]]
        return Page(items, make_cursor(query, items[-1]) if len(found) > limit else None)

    def find_offset(self, query: Query, offset: int, limit: int) -> tuple[list[Document], int]:
        check_limit(limit)
        query = msgspec.structs.replace(query, cursor=None)
        found = in_order(query, self._matching(query.db, query.collection, query.where))
        first = max(0, offset)
        return [_copy(document) for document in found[first : first + limit]], len(found)

    def count(self, query: Query) -> int:
        return len(self._matching(query.db, query.collection, query.where))

    def near(
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
        radius = check_circle(lon, lat, radius_m)
        check_limit(limit)
        matching = self._matching(db, collection, where)
        held = self._collections.get((db, collection))
        if held is None:
            return []
        if not held.geo:
            raise StoreRejectedError(f"{db}.{collection} has no geo index: declare one with geo_index()")
        found: list[tuple[float, str, Document]] = []
        for document in matching:
            match document.get("geo"):
                case {"coordinates": [int() | float() as x, int() | float() as y]}:
                    away = distance_m(lon, lat, x, y)
                    if away <= radius:
                        found.append((away, str(document["_id"]), document))
        found.sort(key=lambda one: one[:2])
        return [{**_copy(document), "distance_m": round(away, 1)} for away, _, document in found[:limit]]

    def ensure(self, specs: Iterable[IndexSpec]) -> None:
        for spec in specs:
            self._collection(spec.db, spec.collection).ensure(spec)

    def purge(self, now: datetime) -> int:
        return sum(collection.purge(now) for collection in self._collections.values())

    def drop(self, databases: Iterable[str]) -> None:
        """Forgets these databases with their indexes; positions stay."""
        names = set(databases)
        self._collections = {
            place: held for place, held in self._collections.items() if place[0] not in names
        }

    def databases(self) -> list[str]:
        return sorted({db for db, _ in self._collections})

    def _collection(self, db: str, collection: str) -> _Collection:
        held = self._collections.get((db, collection))
        if held is None:
            check_place(db, collection)
            held = self._collections[db, collection] = _Collection(f"{db}.{collection}", self.false_beliefs)
        return held

    def _found(self, db: str, collection: str, ids: Iterable[str]) -> list[tuple[str, _Held]]:
        check_place(db, collection)
        held = self._collections.get((db, collection))
        if held is None:
            return []
        return [(id, one) for id in ids if (one := held.held.get(id)) is not None and one.live]

    def _matching(self, db: str, collection: str, where: tuple[Condition, ...]) -> list[Document]:
        check_place(db, collection)
        conditions = predicates(where)
        held = self._collections.get((db, collection))
        return [] if held is None else [one.document for one in held.live(conditions)]
