"""A view under test: golden events go in, the document comes out, as the projector engine feeds it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec

from commands.base import Meta
from domain.aggregate import Aggregate, Event, EventRegistry
from projections.base import View
from projections.store import Document
from tests.domain.golden import golden


def fold(
    view: View, aggregate: type[Aggregate[Any]], events: tuple[type[Event], ...], *names: str
) -> Document | None:
    """The document after these golden events; it must be plain JSON, and none before it is changed by the next."""
    registry = EventRegistry({aggregate: events})
    document: Document | None = None
    for name in names:
        event = registry.decode(golden(aggregate.kind, name))
        meta = Meta(command_id="c", at=event.timestamp)
        before, held = document, deepcopy(document)
        document = view.evolve(None if before is None else before.copy(), event, meta)
        assert before == held
    assert msgspec.json.decode(msgspec.json.encode(document)) == document
    return document
