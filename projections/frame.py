"""The audit of OCPP frames (`ocpp_{tenant}.frames`): calls with their answers in blocks, for 30 days.

What enters: records of the frames topic, whose personal data is sealed. What leaves: entries of blocks, which hold
the records as they are, and from blocks the items of a list; nothing is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from projections.blocks import Entry, List
from projections.moment import utc_text
from projections.store import Document, IndexSpec, tenant_database

KEEP_S: Final = 30 * 86_400
FRAMES: Final = List("frames", minutes=1, newest_first=True)


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


def entry(record: FrameRecord, bytes_: bytes, place: str) -> Entry:
    """The record as it stands in the log; `place` (partition and offset) is the id that it is shown with.

    Raises ValueError for what is no text.
    """
    keys = [by_charge_point(record.charge_point_id), by_action(record.charge_point_id, record.action)]
    if record.direction == "out":
        keys.append(sent_to(record.charge_point_id))
    text = f'["{place}",{bytes_.decode()}]'
    return Entry(tenant_database(record.tenant), FRAMES, record.at, record.at, tuple(keys), text)


def by_charge_point(charge_point_id: str) -> str:
    """The key of all frames of a charge point."""
    return f"|{charge_point_id}"


def by_action(charge_point_id: str, action: str) -> str:
    """The key of those with this action."""
    return f"{action}|{charge_point_id}"


def sent_to(charge_point_id: str) -> str:
    """The key of our own calls, which are few."""
    return f">|{charge_point_id}"


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A frame as it is read."""

    id: str
    record: FrameRecord

    @property
    def at_text(self) -> str:
        return str(utc_text(self.record.at))

    def document(self) -> Document:
        """As it is listed. Payloads are texts, None where there was none."""
        record = self.record
        return {
            "id": self.id,
            "charge_point_id": record.charge_point_id,
            "epoch": record.epoch,
            "direction": record.direction,
            "message_id": record.message_id,
            "action": record.action,
            "request": record.request or None,
            "response": record.response or None,
            "cut": record.cut,
            "outcome": record.outcome,
            "at": self.at_text,
            "milliseconds": round(record.seconds * 1000, 3),
            "command_id": record.command_id or None,
        }


_frames = msgspec.json.Decoder(list[Frame])


def frames_of(entries: bytes) -> Sequence[Frame]:
    """The frames of a block, in the order of the log."""
    return _frames.decode(entries)


def indexes(db: str) -> tuple[IndexSpec, ...]:
    return (*FRAMES.indexes(db), FRAMES.expiry(db, KEEP_S))
