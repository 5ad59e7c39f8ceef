"""The decider's aggregates of one partition: hot ones as objects, cold ones as the bytes of their stored state.

A million tokens at rest are a million short byte strings; an aggregate becomes an object when a command or an event
names it, and bytes again when it has not been needed for long. What is over is forgotten at last: its key is marked
as gone by a checkpoint and deleted by a later one, and a key that was marked is never written again (ADR 16).
"""

from __future__ import annotations

import heapq
import logging
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from domain.aggregate import Aggregate, EventRegistry, kind_of
from domain.errors import ChargeSphereError
from streams.log import Record
from streams.log.envelope import VERSION, Reply, encode

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


class UnreadableStateError(ChargeSphereError):
    """A stored state that this release cannot read. States are a cache: the partition is folded from its events."""


class StoredState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One aggregate in the state topic; `epoch` is that of the decider which wrote it there, `life` is a
    number that is not 0 where it began, or came back, after it may have been forgotten."""

    v: int = 1
    epoch: int = -1
    id: str
    life: int = 0
    version: int
    modified_on: datetime
    over: bool = False
    due: datetime | None = None
    recent: list[tuple[str, Reply]] = []
    state: msgspec.Raw


class GoneState(msgspec.Struct, frozen=True, kw_only=True):
    """What stands under the key of an aggregate that was forgotten, until a later checkpoint deletes the key; `epoch`
    is that of the decider which wrote it."""

    v: int = 1
    epoch: int
    gone: str


class _Head(msgspec.Struct):
    id: str = ""
    gone: str = ""
    due: datetime | None = None
    epoch: int = -1
    life: int = 0
    modified_on: datetime | None = None
    over: bool = False


class Loaded(NamedTuple):
    """What a record of the state topic was: `id` is empty for the mark of what is gone. `due`: its timer; `epoch`:
    who wrote it."""

    id: str
    due: datetime | None
    epoch: int


class Ended(NamedTuple):
    """An aggregate that is over, as it was then."""

    modified_on: datetime
    id: str


class Entry:
    """A hot aggregate with the replies that its latest command ids got. `life`: see StoredState; `looked_up`: where
    it is blank, nothing of it is in the log."""

    __slots__ = ("aggregate", "copy", "life", "looked_up", "recent", "since")

    def __init__(
        self, aggregate: Aggregate[Any], recent: OrderedDict[str, Reply] | None = None, life: int = 0
    ) -> None:
        self.aggregate = aggregate
        self.recent: OrderedDict[str, Reply] = recent if recent is not None else OrderedDict()
        self.copy: tuple[bytes, int, datetime] | None = None
        """State, version and time of its last change as they were some events ago; `since` are these events."""
        self.since: list[msgspec.Raw] = []
        self.life = life
        self.looked_up = False

    def remember(self, command_id: str, reply: Reply) -> None:
        self.recent[command_id] = reply
        if len(self.recent) > REMEMBERED:
            self.recent.popitem(last=False)


_stored = msgspec.json.Decoder(StoredState)
_head = msgspec.json.Decoder(_Head)


def gone_record(key: bytes, epoch: int) -> Record:
    """The mark of what is gone, written under this epoch."""
    id = key.partition(b"\0")[0].decode()
    return Record(key, encode(GoneState(epoch=epoch, gone=id)))


def state_key(id: str, life: int) -> bytes:
    """Under which an aggregate stands in the state topic: a key of its own for each life."""
    return f"{id}\0{life}".encode() if life else id.encode()


class States:
    """The aggregates of one partition. `dirty` are those that the next checkpoint writes, `obsolete` the keys that it
    marks as gone; `gone` are those that stand marked, and how far the partition was folded when that was known;
    `doubtful` those that may stand marked, by an append that failed."""

    def __init__(self, registry: EventRegistry, hot: int = 2_000) -> None:
        self._registry = registry
        self._limit = hot
        self._hot: OrderedDict[str, Entry] = OrderedDict()
        self._cold: dict[str, bytes] = {}
        self._lives: dict[str, int] = {}
        self._over: dict[str, datetime] = {}
        self._ended: list[Ended] = []
        self._decoders: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {}
        self.dirty: set[str] = set()
        self.gone: dict[bytes, int] = {}
        self.obsolete: set[bytes] = set()
        self.doubtful: set[bytes] = set()

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

    def load(self, key: bytes, data: bytes) -> Loaded:
        """Take a stored state, or the mark of what is gone. Raises UnreadableStateError."""
        try:
            if data.startswith(_PACKED):
                data = zlib.decompress(data[len(_PACKED) :])
            head = _head.decode(data)
        except (zlib.error, msgspec.DecodeError) as error:
            raise UnreadableStateError(f"a stored state cannot be read: {error}") from error
        if head.gone:
            self.gone[key] = -1
            return Loaded("", None, head.epoch)
        known = self._lives.get(head.id, 0) if head.id in self._cold else -1
        if head.life < known:
            self.obsolete.add(key)
            return Loaded("", None, head.epoch)
        if known >= 0:
            self.obsolete.add(state_key(head.id, known))
        self._cold[head.id] = data
        if head.life:
            self._lives[head.id] = head.life
        self._note(head.id, head.modified_on if head.over else None)
        return Loaded(head.id, head.due, head.epoch)

    def put(self, id: str, entry: Entry) -> None:
        """Replace an aggregate with what the log says of it."""
        self._hot[id] = entry

    # -- what is over -----------------------------------------------------------------------------------------

    def begin_life(self, entry: Entry, number: int, *, stood: bool = False) -> None:
        """From now on it stands under a key of its own: it may have been forgotten, and its key marked, before.

        The number is above those of its lives before; `stood`: it was known under another key.
        """
        before = state_key(entry.aggregate.id, entry.life)
        self.doubtful.discard(before)
        if stood:
            self.obsolete.add(before)
        entry.life = self._lives[entry.aggregate.id] = number

    def note(self, entry: Entry) -> None:
        """What happened to it last may have been its end."""
        aggregate = entry.aggregate
        self._note(aggregate.id, aggregate.modified_on if aggregate.ends and aggregate.over else None)

    def _note(self, id: str, since: datetime | None) -> None:
        if since is None:
            self._over.pop(id, None)
        elif self._over.get(id) != since:
            self._over[id] = since
            heapq.heappush(self._ended, Ended(since, id))

    def over_since(self, before: datetime) -> bool:
        """Whether one has been over since before this time, as far as can be seen at once."""
        return bool(self._ended) and self._ended[0].modified_on < before

    def take_over(self, before: datetime) -> list[Ended]:
        """Those that have been over since before this time, each once, until it comes back by `ask_again`."""
        taken: list[Ended] = []
        while self.over_since(before):
            ended = heapq.heappop(self._ended)
            if self._over.get(ended.id) == ended.modified_on:
                taken.append(ended)
        return taken

    def ask_again(self, every: Iterable[Ended]) -> None:
        """Those that were taken and not forgotten."""
        for ended in every:
            heapq.heappush(self._ended, ended)

    def is_still(self, ended: Ended) -> bool:
        """Whether nothing has happened to it since it was over."""
        return self._over.get(ended.id) == ended.modified_on and ended.id not in self.dirty

    def key_of(self, id: str) -> bytes:
        """The key under which its state stands."""
        return state_key(id, self._lives.get(id, 0))

    def forget(self, id: str) -> None:
        """Nothing is known of it any more; what stands under its key is seen to by who calls."""
        self._hot.pop(id, None)
        self._cold.pop(id, None)
        self.doubtful.discard(self.key_of(id))
        self._lives.pop(id, None)
        self._over.pop(id, None)
        self.dirty.discard(id)

    # -- forms -------------------------------------------------------------------------------------------------

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
            aggregate.take_in(self._registry.decode(event))
        restored = self._hot[id] = Entry(aggregate, entry.recent, entry.life)
        restored.looked_up = entry.looked_up
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
                life=entry.life,
                version=aggregate.version,
                modified_on=aggregate.modified_on,
                over=aggregate.ends and aggregate.over,
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
        return Entry(aggregate, OrderedDict(stored.recent), stored.life)


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
