"""The audit of OCPP frames (`ocpp_{tenant}.frames`): one document for each call with its answer, for 30 days.

What enters: records of the frames topic, whose personal data is sealed. What leaves: inserts; nothing is decided.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from projections.base import utc_text
from projections.store import IndexSpec, Insert, expiry, index, tenant_database

KEEP_S = 30 * 86_400


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call with its answer as it stands in the frames topic, kept there for 30 days.

    `request` and `response` are the payloads as on the wire, as JSON text with personal data and secrets as sealed
    texts; what was no JSON is one sealed text, and what there was not is empty. Of a text that was too long only the
    beginning is there, and `cut` says so. `direction` is `in` (from the charge point) or `out`.
    """

    v: int = 1
    tenant: str
    charge_point_id: str
    epoch: int
    direction: str
    message_id: str
    action: str
    request: str = ""
    response: str = ""
    cut: bool = False
    outcome: str
    at: datetime
    seconds: float
    command_id: str = ""


def insert(record: FrameRecord, place: str) -> Insert:
    """The document; `place` (partition and offset) makes a repeat the same one.

    Payloads stay texts: no number and no name in them is one that a store could refuse.
    """
    return Insert(
        tenant_database(record.tenant),
        "frames",
        place,
        {
            "charge_point_id": record.charge_point_id,
            "epoch": record.epoch,
            "direction": record.direction,
            "message_id": record.message_id,
            "action": record.action,
            "request": record.request or None,
            "response": record.response or None,
            "cut": record.cut,
            "outcome": record.outcome,
            "at": utc_text(record.at),
            "milliseconds": round(record.seconds * 1000, 3),
            "command_id": record.command_id or None,
        },
    )


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "frames", "charge_point_id", "-at"),
        expiry(db, "frames", "at", KEEP_S),
    )
