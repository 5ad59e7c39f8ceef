"""The aggregate `charge_point`: the state that its events fold to, and what can be read from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

from domain.aggregate import Aggregate
from domain.charge_point.state import (
    CALL_GRACE,
    CONFIGURATION_AFTER,
    CONFIGURATION_EVERY,
    ChargePointState,
    Open,
)

SESSIONS = UUID("7c0f1f5e-6b1d-4f0e-9a55-3f6b8f0c2d11")
"""The namespace of session ids. For ever."""


class ChargePoint(Aggregate[ChargePointState]):
    """One charge point of one tenant, from its provisioning on."""

    kind: ClassVar[str] = "charge_point"
    state_type: ClassVar[type[msgspec.Struct]] = ChargePointState

    def next_due(self) -> datetime | None:
        """When its configuration is to be asked for, the oldest open call overdue, or the connection too silent."""
        dues = [call.expires_at + CALL_GRACE for call in self.state.calls.values()]
        dues += [due for due in (self.configuration_due, self.silent_at) if due is not None]
        return min(dues, default=None)

    @property
    def configuration_due(self) -> datetime | None:
        """When it is to be asked for its configuration; None where it is not, or could not answer."""
        state = self.state
        registration, connection = state.registration, state.connection
        if not state.configuration_wanted or registration is None or connection is None:
            return None
        if not state.accepted():
            return None
        due = max(registration.at, connection.since + timedelta(seconds=connection.quiet_s))
        if state.own_call_at is not None:
            due = max(due, state.own_call_at + CONFIGURATION_EVERY)
        return due + CONFIGURATION_AFTER

    @property
    def silent_at(self) -> datetime | None:
        """When its connection is over unless it says something before; a whole minute, so that it moves seldom."""
        if self.state.connection is None:
            return None
        at = self.modified_on + self.state.patience()
        past = timedelta(seconds=at.second, microseconds=at.microsecond)
        return at - past + timedelta(minutes=1) if past else at

    def running_on(self, connector_id: int) -> list[tuple[int, Open]]:
        """The open transactions of a connector, the one that began first first."""
        found = [(number, one) for number, one in self.state.open.items() if one.connector_id == connector_id]
        return sorted(found, key=lambda pair: (pair[1].started_at, pair[0]))


def charge_point_key(tenant: str, charge_point_id: str) -> str:
    """The aggregate's id, which is its group too."""
    return f"{ChargePoint.kind}|{tenant}|{charge_point_id}"


def session_id(tenant: str, charge_point_id: str, transaction_id: int) -> str:
    """The id of the session, and of its CDR, that a transaction becomes."""
    return str(uuid5(SESSIONS, f"{tenant}|{charge_point_id}|{transaction_id}"))
