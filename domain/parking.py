"""What the connector said of a charge comes in, the times in which the vehicle asked for no power go out.

From SuspendedEV or Finishing to the next other status. Changes stand in the order of their time, whenever they came.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

from domain.values import Value

PARKING = frozenset({"SuspendedEV", "Finishing"})
CHANGES_MOST = 500
"""Changes that are kept of one charge."""


class StatusChange(Value, frozen=True, kw_only=True):
    """What the connector said while the session ran: OCPP's ChargePointStatus."""

    at: datetime
    status: str

    @property
    def parking(self) -> bool:
        """Whether the vehicle asks for no power from now on."""
        return self.status in PARKING


def with_change(changes: Sequence[StatusChange], change: StatusChange) -> list[StatusChange]:
    """In the order of time, of one moment in the order in which they came."""
    found = list(changes)
    found.insert(bisect_right(found, change.at, key=_at), change)
    return found


def fewer(changes: Sequence[StatusChange]) -> list[StatusChange]:
    """At most `CHANGES_MOST` of them: first the oldest go that changed nothing, then the two that lie closest."""
    kept = list(changes)
    while len(kept) > CHANGES_MOST:
        same = (i for i in range(1, len(kept)) if kept[i].parking == kept[i - 1].parking)
        index = next(same, None)
        if index is not None:
            del kept[index]
        else:
            index = min(range(len(kept) - 1), key=lambda i: kept[i + 1].at - kept[i].at)
            del kept[index : index + 2]
    return kept


def parked(
    changes: Sequence[StatusChange], since: datetime, until: datetime
) -> list[tuple[datetime, datetime]]:
    """The times between the two in which the vehicle asked for no power; only the changes between them are read."""
    found: list[tuple[datetime, datetime]] = []
    index = bisect_right(changes, since, key=_at)
    begun = since if index > 0 and changes[index - 1].parking else None
    for change in changes[index:]:
        if change.at >= until:
            break
        if change.parking:
            begun = begun if begun is not None else change.at
        elif begun is not None:
            found.append((begun, change.at))
            begun = None
    if begun is not None and until > begun:
        found.append((begun, until))
    return [(first, last) for first, last in found if last > first]


def flips(
    changes: Sequence[StatusChange], since: datetime | None = None, until: datetime | None = None
) -> list[datetime]:
    """When charging became parking or the other way round, strictly between the two where they are given."""
    first = 0 if since is None else bisect_right(changes, since, key=_at)
    found: list[datetime] = []
    for index in range(first, len(changes)):
        change = changes[index]
        if until is not None and change.at >= until:
            break
        if change.parking != (index > 0 and changes[index - 1].parking):
            found.append(change.at)
    return found


def _at(change: StatusChange) -> datetime:
    return change.at
