"""Dead letters: a document that could not be made enters, and is made anew from the log once it can be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from domain.aggregate import EventRegistry, Observation, kind_of
from domain.errors import ChargeSphereError
from projections.base import Feed, Target, View
from projections.store import HUB, Document, Query, ReadStore, Remove, Write, eq
from streams.following.replay import facts
from streams.log import Log, TopicPartition
from streams.log.envelope import decode_events
from streams.projecting.projector import LETTERS, REREAD_SECONDS, writes_of


class NotRetriedError(ChargeSphereError):
    """The letter is unknown, or its document still cannot be made; the message says which and why."""


async def retry(
    log: Log,
    store: ReadStore,
    views: Sequence[View],
    feeds: Sequence[Feed],
    events: EventRegistry,
    letter: str,
    *,
    settle: float = REREAD_SECONDS + 1.0,
) -> int:
    """Make a parked document anew from the log and take its letters away; returns the version that it has then.

    Running projectors learn of it within `settle` seconds; what they left out meanwhile is folded in after that.
    Raises NotRetriedError, and the letter stays; LogUnavailableError, StoreUnavailableError.
    """
    found = await store.get(HUB, LETTERS, letter)
    if found is None:
        raise NotRetriedError(f"no dead letter {letter!r}")
    name, document = str(found["projection"]), str(found["document"])
    place = TopicPartition(str(found["topic"]), int(str(found["partition"])))
    letters = [letter]
    while True:
        version, writes = await _made_anew(log, place, name, document, views, feeds, events)
        await store.apply(writes)
        if not letters:
            return version
        await store.apply([Remove(HUB, LETTERS, id, 1) for id in letters])
        await asyncio.sleep(settle)
        page = await store.find(Query(HUB, LETTERS, (eq("document", document),), limit=500))
        letters = [str(item["_id"]) for item in page.items]


async def _made_anew(
    log: Log,
    place: TopicPartition,
    name: str,
    document: str,
    views: Sequence[View],
    feeds: Sequence[Feed],
    events: EventRegistry,
) -> tuple[int, list[Write]]:
    view = next((view for view in views if view.name == name), None)
    feed = next((feed for feed in feeds if feed.name == name), None)
    if view is None and feed is None:
        raise NotRetriedError(f"{name!r} is made anew by `chargesphere projections rebuild` alone")
    folded: Document | None = None
    target: Target | None = None
    version = 0
    writes: list[Write] = []
    async with contextlib.aclosing(facts(log, place)) as batches:
        async for batch in batches:
            for fact in batch:
                meta = fact.decision.meta
                for event in decode_events(fact.decision, events):
                    kind = kind_of(event.originator_id)
                    try:
                        if view is not None and kind == view.kind and not isinstance(event, Observation):
                            to = view.target(event, meta)
                            if document == f"{to.db}/{view.collection}/{to.id}":
                                folded = view.evolve(folded, event, meta)
                                target, version = to, event.originator_version
                        elif feed is not None and document == f"{HUB}/{name}/{event.originator_id}":
                            writes.extend(feed.writes(event, meta))
                            version = event.originator_version
                    except Exception as error:
                        raise NotRetriedError(
                            f"{document} at {place.topic}[{place.partition}]@{fact.offset}: "
                            f"{type(error).__name__}: {error}"
                        ) from error
    if view is not None and target is not None:
        writes.extend(writes_of(view, target, version, folded))
    return version, writes
