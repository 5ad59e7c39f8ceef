"""The aggregate `charge_point`: the state that its events fold to, and what can be read from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID, uuid5

import msgspec

from domain.aggregate import Aggregate
from domain.charge_point.own_calls import OwnCall, next_own_call
from domain.charge_point.state import CALL_GRACE, STATUSES_LAST, ChargePointState, Open
from domain.clock import lasting, later

SESSIONS = UUID("7c0f1f5e-6b1d-4f0e-9a55-3f6b8f0c2d11")
"""The namespace of session ids. For ever."""


class ChargePoint(Aggregate[ChargePointState]):
    """One charge point of one tenant, from its provisioning on."""

    kind: ClassVar[str] = "charge_point"
    state_type: ClassVar[type[msgspec.Struct]] = ChargePointState

    def next_due(self) -> datetime | None:
        """When the system calls it by itself, the oldest open call is overdue, the connection too silent, its
        statuses old, a transaction given up, or a reservation over."""
        dues = [later(call.expires_at, CALL_GRACE) for call in self.state.calls.values()]
        dues += [due for one in self.state.open.values() if (due := self.abandoned_at(one)) is not None]
        dues += [one.over_at() for one in self.state.reservations.values() if one.runs]
        dues += [due for due in (self.own_call_due, self.silent_at, self.lapses_at) if due is not None]
        return min(dues, default=None)

    @property
    def own_call(self) -> OwnCall | None:
        """The next call of our own to it."""
        return next_own_call(self.state)

    @property
    def own_call_due(self) -> datetime | None:
        """When it is made."""
        call = self.own_call
        return None if call is None else call.due

    @property
    def silent_at(self) -> datetime | None:
        """When its connection is over unless it says something before; a whole minute, so that it moves seldom."""
        if self.state.connection is None:
            return None
        at = self.modified_on + self.state.patience()
        past = timedelta(seconds=at.second, microseconds=at.microsecond)
        return at - past + timedelta(minutes=1) if past else at

    @property
    def lapses_at(self) -> datetime | None:
        """When its statuses say nothing any more; None while it is connected, and once that was said."""
        state = self.state
        if not state.provisioned or state.offline_since is None or state.lapsed or not state.connectors:
            return None
        return state.offline_since + STATUSES_LAST

    def abandoned_at(self, transaction: Open) -> datetime | None:
        """When the transaction is given up, unless its charge point comes back before (BOOT-6).

        One whose charge point is connected may charge for days without a word, unless its connector is free again.
        """
        since = transaction.left_at
        if self.state.connection is None:
            since = max(transaction.heard_at, self.state.offline_since or transaction.heard_at)
        return None if since is None else since + lasting(3600 * transaction.abandoned_after_h)

    def running_on(self, connector_id: int) -> list[tuple[int, Open]]:
        """The open transactions of a connector, the one that began first first."""
        found = [(number, one) for number, one in self.state.open.items() if one.connector_id == connector_id]
        return sorted(found, key=lambda pair: (pair[1].started_at, pair[0]))

    def holders_of_cable(self, connector_id: int) -> set[str]:
        """The platforms whose tokens charge on a connector or, unless it is free again, charged there last; empty
        texts for tokens of no platform."""
        state = self.state
        running = {one.holder for _, one in self.running_on(connector_id)}
        status = state.connectors.get(connector_id)
        if running or (status is not None and status.status == "Available"):
            return running
        before = [(one.at, number) for number, one in state.ended.items() if one.connector_id == connector_id]
        return {state.ended[max(before)[1]].holder} if before else set()


def charge_point_key(tenant: str, charge_point_id: str) -> str:
    """The aggregate's id, which is its group too."""
    return f"{ChargePoint.kind}|{tenant}|{charge_point_id}"


def orphan_id(tenant: str, charge_point_id: str, key: str) -> str:
    """The id of a stop that belongs to no transaction; `key` is its content key."""
    return str(uuid5(SESSIONS, f"orphan|{tenant}|{charge_point_id}|{key}"))


def reservation_id(tenant: str, charge_point_id: str, version: int) -> str:
    """The id of a reservation, by the version of the event that asks for it."""
    return str(uuid5(SESSIONS, f"reservation|{tenant}|{charge_point_id}|{version}"))


def session_id(tenant: str, charge_point_id: str, transaction_id: int) -> str:
    """The id of the session, and of its CDR, that a transaction becomes."""
    return str(uuid5(SESSIONS, f"{tenant}|{charge_point_id}|{transaction_id}"))
