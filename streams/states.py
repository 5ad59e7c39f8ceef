"""The decider's aggregates of one partition: hot ones as objects, cold ones as the bytes of their stored state.

A million tokens at rest are a million short byte strings; an aggregate becomes an object when a command or an event
names it, and bytes again when it has not been needed for long.
"""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict
from datetime import datetime
from typing import Any

import msgspec

from domain.aggregate import Aggregate, EventRegistry, kind_of
from streams.envelope import VERSION, Reply, encode

logger = logging.getLogger(__name__)

COPIED_EVERY = 16
"""Events of an aggregate after which it is copied anew, so that a handler that raises can be undone."""
REMEMBERED = 64
"""How many command ids, with their replies, each aggregate remembers."""


PACKED_FROM = 60_000
"""Bytes from which on a stored state is packed."""
LARGEST = 900_000
"""Bytes of a stored state, packed. A larger one is not kept: its partition is then folded from its beginning."""
_PACKED, _TOO_LARGE = b"z", b"-"


class UnreadableStateError(Exception):
    """A stored state that this release cannot read. States are a cache: the partition is folded from its events."""


class StoredState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One aggregate in the state topic; `epoch` is that of the decider which wrote it there."""

    v: int = 1
    epoch: int = -1
    id: str
    version: int
    modified_on: datetime
    due: datetime | None = None
    recent: list[tuple[str, Reply]] = []
    state: msgspec.Raw


class _Due(msgspec.Struct):
    id: str
    due: datetime | None = None
    epoch: int = -1


class Entry:
    """A hot aggregate with the replies that its latest command ids got."""

    __slots__ = ("aggregate", "copy", "recent", "since")

    def __init__(self, aggregate: Aggregate[Any], recent: OrderedDict[str, Reply] | None = None) -> None:
        self.aggregate = aggregate
        self.recent: OrderedDict[str, Reply] = recent if recent is not None else OrderedDict()
        self.copy: tuple[bytes, int, datetime] | None = None
        """State, version and time of its last change as they were some events ago; `since` are these events."""
        self.since: list[msgspec.Raw] = []

    def remember(self, command_id: str, reply: Reply) -> None:
        self.recent[command_id] = reply
        if len(self.recent) > REMEMBERED:
            self.recent.popitem(last=False)


_stored = msgspec.json.Decoder(StoredState)
_due = msgspec.json.Decoder(_Due)


class States:
    """The aggregates of one partition."""

    def __init__(self, registry: EventRegistry, hot: int = 2_000) -> None:
        self._registry = registry
        self._limit = hot
        self._hot: OrderedDict[str, Entry] = OrderedDict()
        self._cold: dict[str, bytes] = {}
        self._decoders: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {}
        self.dirty: set[str] = set()

    def __len__(self) -> int:
        return len(self._hot) + len(self._cold)

    def entry(self, id: str) -> Entry:
        """The aggregate, blank where nothing is known of it. Raises UnreadableStateError."""
        entry = self._hot.get(id)
        if entry is not None:
            self._hot.move_to_end(id)
            return entry
        data = self._cold.get(id)
        entry = Entry(self._registry.aggregate(kind_of(id)).blank(id)) if data is None else self._thaw(data)
        self._hot[id] = entry
        self._cold.pop(id, None)
        return entry

    def shrink(self) -> None:
        """Turn the longest unused aggregates back into bytes; only called while no decision is in the air."""
        while len(self._hot) > self._limit:
            id, entry = self._hot.popitem(last=False)
            if entry.aggregate.exists or entry.recent:
                self._cold[id] = self._freeze(entry)

    def frozen(self, id: str, epoch: int) -> bytes | None:
        """The stored form of an aggregate, written under this epoch; None where nothing is known of it."""
        entry = self._hot.get(id)
        if entry is None:
            data = self._cold.get(id)
            if data is None:
                return None
            entry = self._thaw(data)
        return _packed(id, self._freeze(entry, epoch))

    def load(self, data: bytes) -> tuple[str, datetime | None, int]:
        """Take a stored state; returns its id, when it is due, and its writer's epoch. Raises
        UnreadableStateError."""
        try:
            if data.startswith(_PACKED):
                data = zlib.decompress(data[len(_PACKED) :])
            head = _due.decode(data)
        except (zlib.error, msgspec.DecodeError) as error:
            raise UnreadableStateError(f"a stored state cannot be read: {error}") from error
        self._cold[head.id] = data
        return head.id, head.due, head.epoch

    def before_change(self, entry: Entry) -> None:
        """See that `undone` can undo what comes next: a copy is made for some changes at a time."""
        if entry.copy is None or len(entry.since) >= COPIED_EVERY:
            aggregate = entry.aggregate
            entry.copy = encode(aggregate.state), aggregate.version, aggregate.modified_on
            entry.since = []

    def undone(self, id: str, entry: Entry) -> Entry:
        """The aggregate as it was before whatever happened to it last, which made no event that counts; the replies
        that it remembers stay."""
        assert entry.copy is not None
        state, version, modified_on = entry.copy
        kind = kind_of(id)
        aggregate = self._registry.aggregate(kind).restore(
            id, version, modified_on, self._decoder(kind).decode(state)
        )
        for event in entry.since:
            self._registry.decode(event).mutate(aggregate)
        restored = self._hot[id] = Entry(aggregate, entry.recent)
        return restored

    def _decoder(self, kind: str) -> msgspec.json.Decoder[msgspec.Struct]:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = msgspec.json.Decoder(self._registry.aggregate(kind).state_type)
            self._decoders[kind] = decoder
        return decoder

    def _freeze(self, entry: Entry, epoch: int = -1) -> bytes:
        aggregate = entry.aggregate
        return encode(
            StoredState(
                epoch=epoch,
                id=aggregate.id,
                version=aggregate.version,
                modified_on=aggregate.modified_on,
                due=aggregate.next_due(),
                recent=list(entry.recent.items()),
                state=msgspec.Raw(encode(aggregate.state)),
            )
        )

    def _thaw(self, data: bytes) -> Entry:
        try:
            stored = _stored.decode(data)
            if stored.v > VERSION:
                raise UnreadableStateError(f"the state of {stored.id} is of version {stored.v}")
            kind = kind_of(stored.id)
            state = self._decoder(kind).decode(stored.state)
        except msgspec.DecodeError as error:
            raise UnreadableStateError(f"a stored state cannot be read: {error}") from error
        aggregate = self._registry.aggregate(kind).restore(
            stored.id, stored.version, stored.modified_on, state
        )
        return Entry(aggregate, OrderedDict(stored.recent))


def _packed(id: str, data: bytes) -> bytes:
    """A state as it is stored; one that is too large even so is marked as missing, and said."""
    if len(data) < PACKED_FROM:
        return data
    packed = _PACKED + zlib.compress(data, 1)
    if len(packed) <= LARGEST:
        return packed
    logger.error(
        "the state of %s has %d bytes, packed %d, over %d: its partition starts from its events",
        id,
        len(data),
        len(packed),
        LARGEST,
    )
    return _TOO_LARGE
