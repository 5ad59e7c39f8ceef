"""One charge point: provisioning, connections, boots, statuses, meter values, transactions and calls.

What enters: values that a handler decided on. What leaves: events and the state that they fold to. It never reads
a frame, resolves an id tag or prices anything.
"""

from domain.charge_point.aggregate import ChargePoint, charge_point_key, orphan_id, session_id
from domain.charge_point.events import (
    AGGREGATE_EVENTS,
    Booted,
    CallConcluded,
    CallRequested,
    CallSent,
    Changed,
    ClockOffsetNoted,
    Connected,
    CredentialsSet,
    DataTransferred,
    Disconnected,
    MeterValuesRecorded,
    Notified,
    Registered,
    Removed,
    Seen,
    StatusReported,
    StopConflicted,
    StopSettled,
    StopUnmatched,
    TagAuthorized,
    TransactionClosed,
    TransactionStarted,
    TransactionStopped,
    TransactionSuperseded,
)
from domain.charge_point.state import ChargePointState, Flag

__all__ = [
    "AGGREGATE_EVENTS",
    "Booted",
    "CallConcluded",
    "CallRequested",
    "CallSent",
    "Changed",
    "ChargePoint",
    "ChargePointState",
    "ClockOffsetNoted",
    "Connected",
    "CredentialsSet",
    "DataTransferred",
    "Disconnected",
    "Flag",
    "MeterValuesRecorded",
    "Notified",
    "Registered",
    "Removed",
    "Seen",
    "StatusReported",
    "StopConflicted",
    "StopSettled",
    "StopUnmatched",
    "TagAuthorized",
    "TransactionClosed",
    "TransactionStarted",
    "TransactionStopped",
    "TransactionSuperseded",
    "charge_point_key",
    "orphan_id",
    "session_id",
]
