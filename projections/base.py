"""Three kinds of read model: a view folds the events of one aggregate into one document; a feed turns each into
writes; blocks gather what many events say in few documents (`projections.blocks`).

All are pure. A view's document carries the version of the last event that it has seen, so that a repeat changes
nothing and two writers agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from commands.base import Meta
from domain.aggregate import Event
from domain.values import plain_json
from projections.blocks import Entry
from projections.store import Document, Write


class Target(NamedTuple):
    """The document that a view's event belongs to."""

    db: str
    id: str


@dataclass(frozen=True, slots=True)
class View:
    """One document an aggregate.

    `evolve(document, event, meta)` gets a copy of the document (None before the first event), whose parts it leaves
    as they are, and returns what it is now, or None for no document. `keep` names subtrees that other sources own.
    With `dense`, every event of the aggregate counts, so that a gap in the versions shows that one was missed.
    `also` says what else of other documents follows from the whole document and its version. After one of `last` no
    more is expected as a rule: whoever holds documents in memory need not hold this one any longer.
    """

    name: str
    kind: str
    collection: str
    target: Callable[[Any, Meta], Target]
    evolve: Callable[[Document | None, Any, Meta], Document | None]
    keep: tuple[str, ...] = ()
    dense: bool = False
    also: Callable[[Target, Document, int], Sequence[Write]] | None = None
    last: tuple[type[Event], ...] = ()


@dataclass(frozen=True, slots=True)
class Feed:
    """Writes that follow from one event alone."""

    name: str
    kind: str
    writes: Callable[[Any, Meta], Sequence[Write]]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Entries of blocks that follow from one event and its place in the log (topic, partition and offset) alone."""

    name: str
    kind: str
    entries: Callable[[Any, Meta, str], Sequence[Entry]]


def builtins(value: object) -> Any:
    """Structs without times to JSON-ready values: Decimals as JSON numbers."""
    return plain_json(msgspec.to_builtins(value, builtin_types=(Decimal,)))
