"""A charge: what the charge point says becomes its session, and in the end its CDR.

transaction_started → the session starts · samples → usage · connector states → charging or parking ·
transaction_stopped → the end, the price and the CDR · superseded, closed → an end that nobody reported. All times
are told as the charge point's clock showed them, with that clock's offset.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from commands.base import Command, Meta, Policy
from commands.session import EndSession, RecordConnector, RecordUsage, StartSession
from domain.aggregate import Event
from domain.charge_point.events import (
    MeterValuesRecorded,
    StatusReported,
    TransactionClosed,
    TransactionStarted,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.charge_point.state import Flag
from domain.session import End


def started(event: TransactionStarted, meta: Meta) -> Sequence[Command]:
    """The tag's status is the one that the charge point was answered, e.g. ConcurrentTx."""
    return (
        StartSession(
            session_id=event.session_id,
            tenant=event.tenant,
            charge_point_id=event.charge_point_id,
            connector_id=event.connector_id,
            transaction_id=event.transaction_id,
            evse_uid=event.evse_uid,
            evse_id=event.evse_id,
            connector=event.ocpi_connector,
            site=event.site,
            id_tag=event.id_tag,
            authorization=msgspec.structs.replace(event.authorization, status=event.status),
            status=event.status,
            start=event.shown_at,
            clock_offset_s=event.clock_offset_s,
            meter_start=event.meter_start,
            settings=event.settings,
            tariffs=event.tariffs,
            remote_command_id=event.remote_command_id,
            flags=event.flags,
        ),
    )


def measured(event: MeterValuesRecorded, meta: Meta) -> Sequence[Command]:
    if not event.relay or not event.session_id:
        return ()
    return (
        RecordUsage(session_id=event.session_id, samples=event.relay, clock_offset_s=event.clock_offset_s),
    )


def reported(event: StatusReported, meta: Meta) -> Sequence[Command]:
    if not event.session_id:
        return ()
    return (
        RecordConnector(
            session_id=event.session_id,
            at=event.shown_at,
            status=event.status,
            clock_offset_s=event.clock_offset_s,
        ),
    )


def stopped(event: TransactionStopped, meta: Meta) -> Sequence[Command]:
    end = End(
        at=event.shown_at,
        meter_stop=event.meter_stop,
        reason=event.reason,
        clock_offset_s=event.clock_offset_s,
        assumed=event.assumed,
        flags=event.flags,
    )
    return (
        EndSession(session_id=event.session_id, end=end, samples=event.samples, after_all=event.after_all),
    )


def superseded(event: TransactionSuperseded, meta: Meta) -> Sequence[Command]:
    end = End(
        at=event.shown_at, reason="Other", clock_offset_s=event.clock_offset_s, flags=(Flag.SUPERSEDED,)
    )
    return (EndSession(session_id=event.session_id, end=end, samples=event.samples),)


def closed(event: TransactionClosed, meta: Meta) -> Sequence[Command]:
    end = End(
        at=event.shown_at,
        reason="Other",
        clock_offset_s=event.clock_offset_s,
        by=event.by,
        note=event.note,
        flags=(event.why,),
    )
    return (EndSession(session_id=event.session_id, end=end, samples=event.samples),)


POLICIES: dict[type[Event], Policy] = {
    TransactionStarted: started,
    MeterValuesRecorded: measured,
    StatusReported: reported,
    TransactionStopped: stopped,
    TransactionSuperseded: superseded,
    TransactionClosed: closed,
}
