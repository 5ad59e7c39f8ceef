"""Stories (`chargesphere.stories`): every decision under the correlation id that led to it, and under its session.

What enters: one decision, refused or not. What leaves: one insert for each story that it belongs to, with the names
of its events and a few short facts of each, never personal data. Routine records (heartbeats, statuses, meter values
that no session was told of) are not worth a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from commands.base import Meta, Refusal
from projections.moment import utc_text
from projections.retention import KEEP_S
from projections.store import HUB, JSON, Document, IndexSpec, Insert, expiry, index

ROUTINE = frozenset(
    {
        "charge_point.see.v1",
        "charge_point.report_status.v1",
        "charge_point.reading_taken.v1",
        "charge_point.take_over.v1",
        "knocking.report.v1",
        "fleet.count_charge_point.v1",
        "tenant.count_part.v1",
        "tenant.ask_room.v1",
        "directory.ask_owner.v1",
        "job.find.v1",
        "session.find.v1",
        "job_items.issue.v1",
        "pushes.take_over.v1",
        "pushes.report.v1",
    }
)
METER_VALUES = "charge_point.record_meter_values.v1"
TIMER = "timer.due.v1"

FACTS = (
    *(
        "charge_point_id",
        "connector_id",
        "transaction_id",
        "session_id",
        "cdr_id",
        "command_id",
        "action",
        "kind",
    ),
    *("status", "error_code", "reason", "outcome", "allowed", "vendor", "model", "epoch", "automatic"),
    *("meter_start", "meter_stop", "energy_wh", "remote_command_id", "superseded"),
    *("field", "count", "job_id", "item"),
    *("module", "object_id", "wanted", "sent", "attempt", "http_status", "seconds", "message_id"),
)
"""What may be told of an event: scalar fields that hold neither personal data nor secrets."""


class _Relayed(msgspec.Struct):
    """Whether a session is told of meter values."""

    relay: list[msgspec.Raw] = []


_relayed = msgspec.json.Decoder(_Relayed)
_event = msgspec.json.Decoder(
    msgspec.defstruct("_Event", [(name, object, None) for name in ("type", "to", "intent", *FACTS)])
)
"""Of an event only what may be told: the rest, which may be long, is passed over."""


class _Place(Protocol):
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class _Reply(Protocol):
    @property
    def aggregate(self) -> str: ...
    @property
    def refusal(self) -> Refusal | None: ...
    @property
    def message(self) -> str: ...


class _Decision(Protocol):
    @property
    def command(self) -> str: ...
    @property
    def meta(self) -> Meta: ...
    @property
    def reply(self) -> _Reply: ...
    @property
    def repeat(self) -> bool: ...
    @property
    def events(self) -> Sequence[msgspec.Raw]: ...


class DecisionInLog(Protocol):
    """A decision and where it stands; `streams.following.follower.Fact` is one."""

    @property
    def place(self) -> _Place: ...
    @property
    def offset(self) -> int: ...
    @property
    def written_at(self) -> datetime: ...
    @property
    def decision(self) -> _Decision: ...


def story_writes(fact: DecisionInLog) -> list[Insert]:
    """The lines that this decision adds, one a story; none for routine and for repeats."""
    decision = fact.decision
    if decision.repeat or decision.command in ROUTINE:
        return []
    refusal = decision.reply.refusal
    if refusal is None:
        if decision.command == METER_VALUES and not any(_relayed.decode(e).relay for e in decision.events):
            return []
        if decision.command == TIMER and not decision.events:
            return []
    events = [msgspec.structs.asdict(_event.decode(event)) for event in decision.events]
    meta = decision.meta
    aggregate = decision.reply.aggregate
    line: Document = {
        "at": utc_text(fact.written_at),
        "tenant_id": meta.tenant or None,
        "command": decision.command,
        "command_id": meta.command_id,
        "causation_id": meta.causation_id or None,
        "aggregate": aggregate,
        "refusal": str(refusal) if refusal is not None else None,
        "message": decision.reply.message or None,
        "events": [_told(event) for event in events],
    }
    place = f"{fact.place.topic}|{fact.place.partition}|{fact.offset}"
    return [
        Insert(HUB, "stories", f"{place}|{correlation}", {"correlation_id": correlation, **line})
        for correlation in _correlations(meta, aggregate, events)
    ]


def _told(event: dict[str, object]) -> JSON:
    out: Document = {"type": str(event["type"])}
    for name in FACTS:
        value = event[name]
        if isinstance(value, str) and value.startswith("s1."):
            continue
        if isinstance(value, str | int | float | bool) and value != "":
            out[name] = value
    intent, party = event["intent"], event["to"]
    if isinstance(intent, dict):
        out["kind"] = str(intent.get("kind"))
    if isinstance(party, dict):
        out["to"] = f"{party.get('country_code')}*{party.get('party_id')}"
    return out


def _correlations(meta: Meta, aggregate: str, events: Sequence[dict[str, object]]) -> list[str]:
    """Each once, the correlation id first."""
    found = [meta.correlation_id or meta.command_id]
    kind, _, id = aggregate.partition("|")
    if kind in ("session", "foreign_session", "foreign_cdr"):
        found.append(id)
    elif kind == "delivery":
        _, module, object_id = id.split("|", 2)
        if module in ("sessions", "cdrs"):
            found.append(object_id)
    found.extend(str(event["session_id"] or "") for event in events)
    return [one for one in dict.fromkeys(found) if one]


def indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "stories", "correlation_id", "at"),
        index(HUB, "stories", "tenant_id", "-at"),
        expiry(HUB, "stories", "at", KEEP_S),
    )
