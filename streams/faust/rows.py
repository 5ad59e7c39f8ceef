"""Rows of Faust's tables: what each aggregate's documents are, and how a batch of events moves them on.

What enters: events in order, and the rows that the tables hold. What leaves: one set of guarded writes for the whole
batch, each document's last state only, and the rows as they are afterwards. The row of an aggregate of which no more
is expected leaves its table; what comes after all is folded on what the store has. What it never does: apply an event
over a gap. An event that is not exactly the next one of its aggregate, a view that raises, and a document that the
store refuses are left to the sweeper, and counted.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from commands.base import Meta
from domain.aggregate import Event, kind_of
from projections.base import Target, View
from projections.store import Document, Put, ReadStore, Remove, StoreError, Write
from streams.projecting.writer import StoreWriter

logger = logging.getLogger(__name__)

_STORES = frozenset({"_id", "version"})


class Row(msgspec.Struct):
    """A table's value: the version that an aggregate's documents have, and the documents by view and id."""

    version: int
    held: dict[str, Any]


class Change(NamedTuple):
    """One event with what its decision says about it."""

    event: Event
    meta: Meta


class _Written(NamedTuple):
    """A document that a batch has moved: it is written once, as the last event left it."""

    view: View
    target: Target
    version: int


@dataclass(slots=True)
class BatchOutcome:
    """What a batch made: the rows that moved, encoded, None for those that leave the table, and how many events
    changed nothing."""

    rows: dict[str, bytes | None] = field(default_factory=dict)
    gaps: int = 0
    stale: int = 0


CACHED = 10_000
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Row)


class RowProjector:
    """`project` may be called again with the same batch: guarded writes that come twice change nothing."""

    def __init__(self, store: ReadStore, views: Iterable[View]) -> None:
        self._store = store
        self._writer = StoreWriter(store)
        self._views: dict[str, list[View]] = {}
        for view in views:
            self._views.setdefault(view.kind, []).append(view)
        self._last = {event for views in self._views.values() for view in views for event in view.last}
        self._decoded: OrderedDict[str, tuple[bytes, Row]] = OrderedDict()

    async def project(self, changes: Sequence[Change], held: Callable[[str], bytes | None]) -> BatchOutcome:
        """Write what follows from the changes; `held` is the table: an aggregate's row, encoded.

        The rows of the outcome were written, and belong into the table. Raises StoreUnavailableError and
        TransientError while the store is away: nothing may be acknowledged then.
        """
        rows = {id: row for id in _aggregates(changes) if (row := self._taken(id, held(id))) is not None}
        rows.update(await self._resynchronised(changes, rows))
        outcome = BatchOutcome()
        moved: dict[str, bool] = {}
        """Whether the last event that moved it is one after which no more is expected."""
        written: dict[str, dict[str, _Written]] = {}
        for change in changes:
            event = change.event
            row = rows.setdefault(event.originator_id, Row(0, {}))
            if event.originator_version <= row.version:
                outcome.stale += 1
                continue
            if event.begins:
                row.version = event.originator_version - 1
            if event.originator_version > row.version + 1 or not self._evolve(row, change, written):
                outcome.gaps += 1
            else:
                row.version = event.originator_version
                moved[event.originator_id] = type(event) in self._last
        refused = await self._apply({id: _writes(rows[id], written.get(id, {})) for id in moved})
        outcome.gaps += sum(change.event.originator_id in refused for change in changes)
        outcome.rows = {
            id: None if over else self._kept(id, rows[id]) for id, over in moved.items() if id not in refused
        }
        return outcome

    def _taken(self, id: str, data: bytes | None) -> Row | None:
        """The row, decoded; nobody else has it now. One of another release is made anew from the read store."""
        known = self._decoded.pop(id, None)
        if known is not None and known[0] is data:
            return known[1]
        try:
            return None if data is None else _decoder.decode(data)
        except msgspec.ValidationError:
            return None

    def _kept(self, id: str, row: Row) -> bytes:
        data = _encoder.encode(row)
        self._decoded[id] = (data, row)
        if len(self._decoded) > CACHED:
            self._decoded.popitem(last=False)
        return data

    def _evolve(self, row: Row, change: Change, written: dict[str, dict[str, _Written]]) -> bool:
        """All views take the event in, or none does."""
        event, meta = change
        after: list[tuple[str, Document | None, _Written]] = []
        for view in self._views.get(kind_of(event.originator_id), ()):
            try:
                target = view.target(event, meta)
                before = row.held.get(_name(view, target))
                now = view.evolve(dict(before) if before is not None else None, event, meta)
            except Exception as error:
                logger.error("faust leaves %s to the sweeper: %s: %r", event.originator_id, view.name, error)
                return False
            if now is not None or before is not None:
                after.append((_name(view, target), now, _Written(view, target, event.originator_version)))
        for name, document, document_written in after:
            row.held[name] = document
            written.setdefault(event.originator_id, {})[name] = document_written
        return True

    async def _apply(self, writes: Mapping[str, Sequence[Write]]) -> set[str]:
        """All at once; where the store refuses that, one aggregate after the other. Returns whose it refuses."""
        try:
            await self._writer.apply([write for group in writes.values() for write in group])
            return set()
        except StoreError:
            refused: set[str] = set()
        for id, group in writes.items():
            try:
                await self._writer.apply(group)
            except StoreError as error:
                logger.error("faust leaves %s to the sweeper: %s", id, error)
                refused.add(id)
        return refused

    async def _resynchronised(self, changes: Sequence[Change], rows: Mapping[str, Row]) -> dict[str, Row]:
        """What the sweeper has made meanwhile of aggregates whose next event is missing, by one read a collection."""
        missing = _after_a_gap(changes, rows)
        wanted: dict[tuple[str, str], set[str]] = {}
        for change in missing:
            for view, target in self._targets(change):
                wanted.setdefault((target.db, view.collection), set()).add(target.id)
        found = {place: await self._store.get_many(*place, ids) for place, ids in wanted.items()}
        synchronised = ((change.event.originator_id, self._as_stored(change, found)) for change in missing)
        return {id: row for id, row in synchronised if row is not None}

    def _as_stored(
        self, change: Change, found: Mapping[tuple[str, str], Mapping[str, Document]]
    ) -> Row | None:
        """None unless all dense documents have one version, and it lacks nothing of what came before the event."""
        versions: set[object] = set()
        row = Row(0, {})
        for view, target in self._targets(change):
            document = found[target.db, view.collection].get(target.id)
            if view.dense:
                versions.add(document.get("version") if document else None)
            if document is not None:
                row.held[_name(view, target)] = {k: v for k, v in document.items() if k not in _STORES}
        version = versions.pop() if len(versions) == 1 else None
        if not isinstance(version, int) or version < change.event.originator_version - 1:
            return None
        row.version = version
        return row

    def _targets(self, change: Change) -> list[tuple[View, Target]]:
        views = self._views.get(kind_of(change.event.originator_id), ())
        return [(view, view.target(change.event, change.meta)) for view in views]


def _aggregates(changes: Sequence[Change]) -> Iterable[str]:
    return dict.fromkeys(change.event.originator_id for change in changes)


def _after_a_gap(changes: Sequence[Change], rows: Mapping[str, Row]) -> list[Change]:
    """The first change of each aggregate that its row cannot take in."""
    reached = {id: row.version for id, row in rows.items()}
    missing: dict[str, Change] = {}
    for change in changes:
        id, version = change.event.originator_id, change.event.originator_version
        if version > reached.get(id, 0) + 1 and not change.event.begins:
            missing.setdefault(id, change)
        reached[id] = max(version, reached.get(id, 0))
    return list(missing.values())


def _name(view: View, target: Target) -> str:
    return f"{view.name}/{target.id}"


def _writes(row: Row, moved: Mapping[str, _Written]) -> list[Write]:
    writes: list[Write] = []
    for name, (view, target, version) in moved.items():
        document = row.held[name]
        if document is None:
            writes.append(Remove(target.db, view.collection, target.id, version))
            continue
        body = {k: v for k, v in document.items() if k not in view.keep}
        writes.append(Put(target.db, view.collection, target.id, version, body, view.keep))
        if view.also is not None:
            writes.extend(view.also(target, body, version))
    return writes
