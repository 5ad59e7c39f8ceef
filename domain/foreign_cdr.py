"""The CDR of a charge at somebody else's charge point, as its CPO posts it: once, and it never changes.

Beside it stands what it comes to by its own periods and tariffs. Only what tells a repeat from another content is
kept in the state, and that for ever: the id is never free again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import msgspec

from domain.aggregate import Aggregate, Event
from domain.bearer import Bearer
from domain.values import JSONObject, PartyId, Sealed, Value


def foreign_cdr_aggregate_id(owner: PartyId, cdr_id: str) -> str:
    """Ids of OCPI are compared without case."""
    return f"foreign_cdr|{owner}|{cdr_id.lower()}"


class CdrDifference(Value, frozen=True, kw_only=True):
    """A number that is not what periods and tariffs give; `path` is where it stands in the CDR."""

    path: str
    stated: Decimal | None = None
    expected: Decimal | None = None
    why: str


class CdrCheck(Value, frozen=True, kw_only=True):
    """What our pricing says of a CDR: `outcome` equal, differs, or not_checked, where `warnings` say what is missing.

    `total_cost` is OCPI's Price as we compute it, `explanation` how each amount comes about.
    """

    outcome: str
    differences: tuple[CdrDifference, ...] = ()
    warnings: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
    total_cost: JSONObject | None = None


class ForeignCdrState(msgspec.Struct, omit_defaults=True):
    source: str = ""
    fingerprint: str = ""


class ForeignCdr(Aggregate[ForeignCdrState]):
    """`foreign_cdr|{owner party}|{id}`."""

    kind: ClassVar[str] = "foreign_cdr"
    state_type = ForeignCdrState


class ForeignCdrPosted(Event, frozen=True, kw_only=True, tag="foreign_cdr.posted.v1"):
    """An OCPI 2.3.0 CDR without `cdr_token` and `signed_data`, which stand sealed beside it, the latter in `private`.

    `source` is the platform that posted it (`domain.partner.holder_text`), `session_id` that of its session here,
    `FR*CPO|s1`. `fingerprint` is a keyed hash of the whole.
    """

    source: str
    bearer: Bearer
    cdr: JSONObject
    private: Sealed = ""
    session_id: str = ""
    fingerprint: str

    def apply(self, aggregate: ForeignCdr) -> None:
        aggregate.state.source, aggregate.state.fingerprint = self.source, self.fingerprint


class ForeignCdrChecked(Event, frozen=True, kw_only=True, tag="foreign_cdr.checked.v1"):
    """It was priced again when it came."""

    check: CdrCheck

    def apply(self, aggregate: ForeignCdr) -> None:
        """A fact for readers."""


AGGREGATE_EVENTS = (ForeignCdrPosted, ForeignCdrChecked)
