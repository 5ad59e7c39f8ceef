"""Which MeterValues decide nothing: they are command and event in one record, and no decision follows (ADR 19)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import msgspec

from commands.charge_point.models import RecordMeterValues
from commands.charge_point.presence import OFFSET_MATTERS_S
from domain.charge_point import ReadingTaken, charge_point_key
from domain.values import Carried, RegisterSample

ROUTINE: Final[frozenset[str | None]] = frozenset({None, "Sample.Periodic", "Sample.Clock"})
"""Contexts of samples that mark no moment of a charge; without one it is Sample.Periodic (OCPP 1.6, 7.43)."""
GATHERED_MOST: Final = 100
"""Register samples of a transaction that may stand beside its events and wait to be carried into them."""
VALUES_MOST: Final = 20_000
"""Bytes of one message's readings."""
CARRIED_EVERY_S: Final = 300
"""Seconds after which samples are carried at the latest, however seldom sessions are told."""


class Running(msgspec.Struct, kw_only=True):
    """A transaction of which the log has spoken in an answer on this very connection; `open` as far as that said.

    Of `gathered`, its register samples that stand beside its events, nobody was told yet; `carried` is where those
    before them end. From `due_at` on the next reading is told to the charge point's aggregate, None: at once.
    """

    connector_id: int
    open: bool = True
    carried: Carried | None = None
    gathered: list[RegisterSample] = []
    due_at: datetime | None = None

    def add(self, offset: int, reading: ReadingTaken) -> None:
        """A reading of it stands beside its events, at this offset."""
        assert self.carried is not None
        if offset <= self.carried.offset:
            self.due_at = None  # the topic has lost its end: the mark must be set anew
        self.gathered.extend(reading.samples)
        self.carried = Carried(offset=offset, call=reading.call, until=self.carried.until)

    def told(self, carried: Carried) -> None:
        """A command of it is durable, and carries what was gathered up to this mark."""
        self.gathered, self.carried, self.due_at = [], carried, carried.until


def decides_nothing(
    command: RecordMeterValues,
    running: Running | None,
    contexts: Collection[str | None],
    at: datetime,
    now: datetime,
    clock_offset_s: int,
) -> bool:
    """Whether these MeterValues, received `at`, change nothing but what was read: literally all of this. Where they
    waited for their tenant's rate, or for their charge point's bytes, they are as late as it is `now`: who looks for
    readings behind a mark looks no further than soon after its time.
    """
    return (
        running is not None
        and running.open
        and running.connector_id == command.connector_id
        and command.call is not None
        and not command.flags
        and running.due_at is not None
        and now < running.due_at
        and len(running.gathered) + len(command.samples) <= GATHERED_MOST
        and len(bytes(command.values)) <= VALUES_MOST
        and ROUTINE.issuperset(contexts)
        and command.timestamp is not None
        and abs((command.timestamp - at).total_seconds() - clock_offset_s) <= OFFSET_MATTERS_S
    )


def taken(command: RecordMeterValues, session_id: str, at: datetime, clock_offset_s: int) -> ReadingTaken:
    """The fact that such MeterValues are."""
    assert command.transaction_id is not None and command.call is not None
    return ReadingTaken(
        originator_id=charge_point_key(command.tenant, command.charge_point_id),
        timestamp=at,
        occurred_at=command.timestamp,
        clock_offset_s=clock_offset_s,
        connector_id=command.connector_id,
        transaction_id=command.transaction_id,
        session_id=session_id,
        values=command.values,
        samples=command.samples,
        call=command.call,
    )
