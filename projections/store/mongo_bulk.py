"""How the writes to one collection become few operations: writes enter, at most two bulks leave, mostly one.

What is said to be new is inserted, changes of documents that are there are one update for many, the rest are guarded
updates of their own. Where an insert meets a document, or a change finds another version than it expects, the guarded
update of the same write follows: it alone decides. So does, in order, what writes to one document more than once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import InsertOne, UpdateMany, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from projections.store import mongo_query as mql
from projections.store.port import ABSENT, JSON, Append, Insert, Put, Write

Collection = AsyncCollection[dict[str, JSON]]
Operation = InsertOne[Any] | UpdateMany | UpdateOne

DUPLICATE_KEY = 11000
FEW = 4
"""Up to so many inserts beside updates are said as updates too: a command more costs more than they do."""
CHANGES = 200
"""In one update: each document looks for its own change among them."""


async def write_group(collection: Collection, writes: Sequence[Write], expires_by: str | None) -> int:
    """Applies the writes, those to one document in order; returns how many took effect. Raises PyMongoError."""
    times = Counter(write.id for write in writes)
    plan = _Plan(expires_by)
    for write in writes:
        plan.add(write, alone=times[write.id] == 1)
    applied, again = await _first(collection, plan)
    if again:
        operations = [_guarded(write, expires_by) for write in again]
        done = await collection.bulk_write(operations, ordered=True)
        applied += done.modified_count + done.upserted_count
    return applied


@dataclass(slots=True)
class _Plan:
    """The writes to one collection, by how they are said first."""

    expires_by: str | None
    inserts: list[Put | Insert] = field(default_factory=list)
    changes: list[mql.Change] = field(default_factory=list)
    changed: list[Put] = field(default_factory=list)
    others: list[Write] = field(default_factory=list)
    chained: list[Write] = field(default_factory=list)

    def add(self, write: Write, alone: bool) -> None:
        if not alone:
            self.chained.append(write)
        elif isinstance(write, Insert) or (isinstance(write, Put) and write.base == ABSENT):
            self.inserts.append(write)
        elif isinstance(write, Put | Append) and (change := mql.change(write, self.expires_by)) is not None:
            self.changes.append(change)
            if isinstance(write, Put):
                self.changed.append(write)
        else:
            self.others.append(write)


async def _first(collection: Collection, plan: _Plan) -> tuple[int, list[Write]]:
    """How many took effect, and those that are to be said again, guarded and in order."""
    if len(plan.inserts) <= FEW and (plan.changes or plan.others or plan.chained):
        plan.others.extend(plan.inserts)
        plan.inserts.clear()
    # An order would end a bulk at the first insert that meets a document.
    late = plan.chained if plan.inserts else []
    updates = plan.others if late else [*plan.others, *plan.chained]
    size = len(plan.inserts) + len(plan.changes) + len(updates)
    operations: list[Operation] = [InsertOne(mql.whole(write, plan.expires_by)) for write in plan.inserts]
    for first in range(0, len(plan.changes), CHANGES):
        operations.append(UpdateMany(*mql.changing(plan.changes[first : first + CHANGES])))
    operations.extend(_guarded(write, plan.expires_by) for write in updates)
    if not operations:
        return 0, late
    met: list[Write] = []
    try:
        done = await collection.bulk_write(operations, ordered=not plan.inserts)
        counts: Mapping[str, Any] = done.bulk_api_result
    except BulkWriteError as error:
        counts = error.details
        places = [wrong["index"] for wrong in counts["writeErrors"] if wrong["code"] == DUPLICATE_KEY]
        met = [plan.inserts[place] for place in places if place < len(plan.inserts)]
        if counts["writeConcernErrors"] or len(met) < len(counts["writeErrors"]):
            raise
    applied = int(counts["nInserted"] + counts["nModified"] + counts["nUpserted"])
    if applied + len(met) < size:
        # Some were too old, and some changes may have met another version than theirs.
        met.extend(plan.changed)
    return applied, [*met, *late]


def _guarded(write: Write, expires_by: str | None) -> UpdateOne:
    return UpdateOne({"_id": write.id}, mql.pipeline(write, expires_by), upsert=not isinstance(write, Append))
