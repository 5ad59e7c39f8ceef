"""Samples (`ocpp_{tenant}.samples`): what charge points measured, in blocks, for as long as their tenant's
`readings_days` says.

What enters: a message with readings as it stands in the log, from whatever topic. What leaves: an entry of a block,
which holds the wire's list as it is, and from blocks the items of a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import (
    ChargePoint,
    MeterValuesRecorded,
    ReadingTaken,
    StopUnmatched,
    TransactionStopped,
)
from projections.base import Blocks
from projections.blocks import Entry, List
from projections.moment import utc_text
from projections.store import IndexSpec, tenant_database

SAMPLES: Final = List("samples", minutes=5, newest_first=False)
_NOTHING: Final = (b"", b"null", b"[]")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One message with readings: `values` is the wire's list, `timestamp` its newest one's by our clock.

    `reported_at` is the same by the charge point's own clock, which runs `clock_offset_s` ahead. `unmatched` where
    the charge point named a transaction that we do not know. `id` is unique in the tenant.
    """

    id: str
    charge_point_id: str
    connector_id: int
    transaction_id: int | None
    session_id: str | None
    timestamp: str
    reported_at: str
    received_at: str
    clock_offset_s: int
    values: msgspec.Raw
    flags: tuple[str, ...]
    unmatched: bool

    @property
    def at_text(self) -> str:
        return self.timestamp


def entry(
    tenant: str,
    charge_point_id: str,
    place: str,
    *,
    connector_id: int,
    transaction_id: int,
    session_id: str,
    at: datetime,
    reported_at: datetime,
    received_at: datetime,
    clock_offset_s: int,
    values: msgspec.Raw,
    flags: Sequence[str],
) -> Entry | None:
    """The message that stands at this place of the log, or bears this id; None where it has no readings."""
    if bytes(values).strip() in _NOTHING:
        return None
    sample = Sample(
        id=place,
        charge_point_id=charge_point_id,
        connector_id=connector_id,
        transaction_id=transaction_id or None,
        session_id=session_id or None,
        timestamp=str(utc_text(at)),
        reported_at=str(utc_text(reported_at)),
        received_at=str(utc_text(received_at)),
        clock_offset_s=clock_offset_s,
        values=values,
        flags=tuple(flags),
        unmatched=not session_id and transaction_id != 0,
    )
    keys = [by_charge_point(charge_point_id)]
    if session_id:
        keys.append(by_session(session_id))
    if sample.unmatched:
        keys.append(by_unmatched(charge_point_id))
    text = msgspec.json.encode(sample).decode()
    return Entry(tenant_database(tenant), SAMPLES, at, received_at, tuple(keys), text)


def by_charge_point(charge_point_id: str) -> str:
    """The key of all samples of a charge point."""
    return f"c|{charge_point_id}"


def by_session(session_id: str) -> str:
    """The key of those of a session."""
    return f"s|{session_id}"


def by_unmatched(charge_point_id: str) -> str:
    """The key of those of a charge point's transactions that we do not know."""
    return f"u|{charge_point_id}"


def entries(event: Event, meta: Meta, place: str) -> Sequence[Entry]:
    """The readings that an event of a charge point holds."""
    if isinstance(event, MeterValuesRecorded | ReadingTaken):
        values, connector, session = event.values, event.connector_id, event.session_id
    elif isinstance(event, TransactionStopped):
        values, connector, session = event.data, event.connector_id, event.session_id
    elif isinstance(event, StopUnmatched):
        values, connector, session = event.data, 0, ""
    else:
        return ()
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    beside = isinstance(event, ReadingTaken)
    found = entry(
        tenant,
        charge_point_id,
        # A reading may stand twice beside the events, and bears the same id.
        f"{charge_point_id}|{event.ordinal}" if beside else f"{place}-{event.originator_version}",
        connector_id=connector,
        transaction_id=event.transaction_id,
        session_id=session,
        at=event.happened_at,
        reported_at=event.shown_at,
        received_at=event.timestamp,
        clock_offset_s=event.clock_offset_s,
        values=values,
        flags=() if isinstance(event, ReadingTaken) else event.flags,
    )
    return () if found is None else (found,)


_samples = msgspec.json.Decoder(list[Sample])


def samples_of(text: bytes) -> Sequence[Sample]:
    """The samples of a block, in the order of the log."""
    return _samples.decode(text)


BLOCKS = Blocks("samples", ChargePoint.kind, entries)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return SAMPLES.indexes(db)


def readings_expiry(db: str, days: int) -> IndexSpec:
    """How long a tenant's readings can be read: counted from their receipt, whatever their own clock said."""
    return SAMPLES.expiry(db, days * 86_400)
