"""Events as MQTT messages: each aggregate's small view and one event enter, the next view and the messages leave.

Pure, so that what a tenant sees can be tested line by line. A view is all that must be remembered of an aggregate to
write its next message; it carries the version of the last event it has seen, so that an event told again tells the
same and moves nothing. Personal data never leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from hashlib import sha1
from typing import ClassVar
from uuid import UUID

import msgspec

from commands.base import Meta
from domain.aggregate import Event, event_name
from domain.charge_point import events as charge_point
from domain.remote_command import RemoteCommandConcluded, RemoteCommandRequested
from domain.session import EndCorrected, SessionEnded, SessionStarted, UsageRecorded
from projections.moment import utc_text
from projections.readings import number, readings_of
from projections.store import JSON, Document

EVERY = timedelta(seconds=60)
"""A running session's `meter_value` on its session topic comes at most this often."""

MESSAGES = UUID("3f1b6d0a-52a7-4b6f-8a55-0f0a6f1c9e21")
"""The namespace of event ids. For ever."""

_NAME_BITS = ~(0xF << 76 | 0x3 << 62)
_NAME_BASED = 5 << 76 | 0x2 << 62
"""Version and variant of a UUID made of a name (RFC 9562, section 5.5)."""

_UNUSABLE = frozenset({"Faulted", "Unavailable"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `payload` None clears what the broker retains. `key` names whose order it belongs to."""

    topic: str
    payload: Document | None
    event_id: str
    key: str
    retain: bool = False


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is remembered of one aggregate. `done_at` is set once nothing more will be told of it."""

    kind: ClassVar[str]
    version: int = 0
    tenant: str = ""
    charge_point_id: str = ""
    done_at: datetime | None = None


class ConnectorView(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    last_update: datetime


class ChargePointView(View, frozen=True, kw_only=True, omit_defaults=True):
    """`epoch` is that of the connection there is, 0 for none."""

    kind: ClassVar[str] = "charge_point"
    epoch: int = 0
    connectors: dict[int, ConnectorView] = {}


class SessionView(View, frozen=True, kw_only=True, omit_defaults=True):
    """`told_at` and `told_version` are those of the last `meter_value` on the session topic."""

    kind: ClassVar[str] = "session"
    connector_id: int = 0
    started_at: datetime | None = None
    told_at: datetime | None = None
    told_version: int = 0


class CommandView(View, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "remote_command"
    command_id: str = ""


VIEWS: dict[str, type[View]] = {view.kind: view for view in (ChargePointView, SessionView, CommandView)}


def segment(id: str) -> str:
    """A topic level: `%`, `/`, `+` and `#` percent-encoded."""
    for character, code in (("%", "%25"), ("/", "%2F"), ("+", "%2B"), ("#", "%23")):
        id = id.replace(character, code)
    return id


@lru_cache(maxsize=16_384)
def status_topic(tenant: str, charge_point_id: str) -> str:
    return f"ocpp/status/{segment(tenant)}/{segment(charge_point_id)}"


def response_topic(tenant: str, charge_point_id: str) -> str:
    return f"ocpp/responses/{segment(tenant)}/{segment(charge_point_id)}"


@lru_cache(maxsize=16_384)
def event_topic(tenant: str, charge_point_id: str, what: str) -> str:
    """`what` is session, meter_value or fault."""
    return f"ocpp/events/{segment(tenant)}/{segment(charge_point_id)}/{what}"


def message_id(event: Event, what: str) -> str:
    """The same for the same message of the same event, whenever and by whomever it is told."""
    return id_of(event.originator_id, event.ordinal, what)


def id_of(aggregate: str, ordinal: str, what: str) -> str:
    """The id of the message that tells this fact of an aggregate: `uuid5(MESSAGES, …)`, without its objects."""
    name = f"{aggregate}|{ordinal}|{what}"
    number = int.from_bytes(sha1(MESSAGES.bytes + name.encode(), usedforsecurity=False).digest()[:16], "big")
    text = f"{number & _NAME_BITS | _NAME_BASED:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def overall(view: ChargePointView) -> str:
    """Available where a connector is free; Faulted when offline, or nothing can be used; else Occupied."""
    if not view.epoch:
        return "Faulted"
    statuses = {id: connector.status for id, connector in view.connectors.items()}
    if statuses.pop(0, "") in _UNUSABLE:
        return "Faulted"
    found = set(statuses.values())
    if not found or "Available" in found:
        return "Available"
    return "Faulted" if found <= _UNUSABLE else "Occupied"


def response(command_id: str | None, status: str, reason: str, at: datetime, body: JSON = None) -> Document:
    """The payload on the responses topic."""
    return {
        "command_id": command_id,
        "status": status,
        "reason": reason or None,
        "timestamp": utc_text(at),
        "response": body,
    }


def tell(view: View | None, event: Event, meta: Meta) -> tuple[View | None, tuple[Message, ...]]:
    """The view after the event, and what is told of the event; None before anything is known."""
    route = _ROUTES.get(type(event))
    if route is None:
        return view, ()
    after, messages = route(view, event, meta)
    if after is view or (view is not None and event.originator_version <= view.version):
        return view, messages
    if after is not None:
        after = msgspec.structs.replace(after, version=event.originator_version)
    return after, messages


_Told = tuple[View | None, tuple[Message, ...]]


def _charge_point(view: View | None, event: Event, meta: Meta) -> _Told:
    assert view is None or isinstance(view, ChargePointView)
    before = view
    _, tenant, id = event.originator_id.split("|", 2)
    now = view or ChargePointView(tenant=tenant, charge_point_id=id)
    messages: list[Message] = []
    fresh = event.originator_version > now.version
    match event:
        case charge_point.ChargePointRegistered() | charge_point.ChargePointChanged():
            now = msgspec.structs.replace(now, done_at=None)
        case charge_point.ChargePointRemoved():
            if fresh:
                now = ChargePointView(tenant=tenant, charge_point_id=id, done_at=event.timestamp)
        case charge_point.ChargePointConnected():
            if fresh:
                now = msgspec.structs.replace(now, epoch=event.epoch, done_at=None)
        case charge_point.ChargePointDisconnected():
            if now.epoch == event.epoch and fresh:
                now = msgspec.structs.replace(now, epoch=0)
        case charge_point.StatusReported():
            if event.status == "Faulted" or event.error_code != "NoError":
                messages.append(_fault(now, event))
            if event.stale:
                return before, tuple(messages)
            if fresh:
                at = min(event.happened_at, event.timestamp)
                reported = ConnectorView(status=event.status, last_update=at)
                connectors = {**now.connectors, event.connector_id: reported}
                now = msgspec.structs.replace(now, connectors=dict(sorted(connectors.items())))
    messages.append(status_message(now, message_id(event, "status")))
    return now, tuple(messages)


def status_message(view: ChargePointView, id: str) -> Message:
    """What the broker retains of a charge point."""
    topic, key = status_topic(view.tenant, view.charge_point_id), view.charge_point_id
    if view.done_at is not None:
        return Message(topic, None, id, key, retain=True)
    payload: Document = {
        "charge_point_id": view.charge_point_id,
        "status": overall(view),
        "connected": bool(view.epoch),
        "connectors": [
            {"id": id, "status": connector.status, "last_update": utc_text(connector.last_update)}
            for id, connector in view.connectors.items()
            if id > 0
        ],
    }
    return Message(topic, payload, id, key, retain=True)


def _fault(view: ChargePointView, event: charge_point.StatusReported) -> Message:
    data: Document = {
        "connector_id": event.connector_id,
        "status": event.status,
        "error_code": event.error_code,
        "info": event.info or None,
        "vendor_id": event.vendor_id or None,
        "vendor_error_code": event.vendor_error_code or None,
    }
    return _event(view, event, "fault", "fault", event.session_id, data)


def _readings(view: View | None, event: Event, meta: Meta) -> _Told:
    assert isinstance(event, _READINGS)
    values = event.data if isinstance(event, charge_point.TransactionStopped) else event.values
    readings = readings_of(values, event.timestamp, event.clock_offset_s)
    if not readings:
        return view, ()
    _, tenant, id = event.originator_id.split("|", 2)
    data: Document = {
        "connector_id": event.connector_id,
        "transaction_id": event.transaction_id or None,
        "readings": list[JSON](readings),
    }
    whose = View(tenant=tenant, charge_point_id=id)
    return view, (_event(whose, event, "meter_value", "meter_value", event.session_id, data),)


def _session(view: View | None, event: Event, meta: Meta) -> _Told:
    assert view is None or isinstance(view, SessionView)
    if isinstance(event, SessionStarted):
        session = SessionView(
            tenant=event.tenant,
            charge_point_id=event.charge_point_id,
            connector_id=event.connector_id,
            started_at=event.happened_at,
        )
        return session, (_of_session(session, event, "session_started", Decimal(0)),)
    if isinstance(event, EndCorrected):
        # It may come long after the end, when the session is remembered no more.
        known = view or SessionView(
            tenant=meta.tenant, charge_point_id=event.charge_point_id, connector_id=event.connector_id
        )
        corrected = msgspec.structs.replace(known, done_at=event.timestamp)
        return corrected, (_of_session(corrected, event, "session_corrected", event.energy_wh),)
    if view is None:
        # It came before the start, whose own events tell of it again.
        return None, ()
    if isinstance(event, SessionEnded):
        ended = msgspec.structs.replace(view, done_at=event.timestamp)
        return ended, (_of_session(view, event, "session_stopped", event.energy_wh),)
    assert isinstance(event, UsageRecorded)
    due = view.told_at is None or event.timestamp - view.told_at >= EVERY
    if not due and event.originator_version != view.told_version:
        return view, ()
    told = msgspec.structs.replace(view, told_at=event.timestamp, told_version=event.originator_version)
    return told, (_of_session(view, event, "meter_value", event.energy_wh),)


def _of_session(
    view: SessionView,
    event: SessionStarted | UsageRecorded | SessionEnded | EndCorrected,
    event_type: str,
    energy_wh: Decimal,
) -> Message:
    at, started_at = event.happened_at, view.started_at
    if isinstance(event, SessionEnded | EndCorrected):
        started_at = event.started_at or started_at
    since = at - started_at if started_at else timedelta(0)
    data: Document = {
        "connector_id": view.connector_id,
        "energy_wh": number(energy_wh),
        "duration_seconds": max(0, int(since.total_seconds())),
    }
    if isinstance(event, SessionEnded | EndCorrected):
        data["provisional"] = event.provisional if isinstance(event, SessionEnded) else event.assumed
    session_id = event.originator_id.partition("|")[2]
    return _event(view, event, "session", event_type, session_id, data, at)


def _event(
    view: View,
    event: Event,
    what: str,
    event_type: str,
    session_id: str,
    data: Document,
    at: datetime | None = None,
) -> Message:
    id = message_id(event, what)
    payload: Document = {
        "event_type": event_type,
        "event_id": id,
        "timestamp": utc_text(at or event.happened_at),
        "tenant_id": view.tenant,
        "charge_point_id": view.charge_point_id,
        "session_id": session_id or None,
        "data": data,
    }
    return Message(event_topic(view.tenant, view.charge_point_id, what), payload, id, view.charge_point_id)


def _command(view: View | None, event: Event, meta: Meta) -> _Told:
    assert view is None or isinstance(view, CommandView)
    if isinstance(event, RemoteCommandRequested):
        return (
            CommandView(
                tenant=event.tenant, charge_point_id=event.charge_point_id, command_id=event.command_id
            ),
            (),
        )
    if view is None:
        return None, ()
    assert isinstance(event, RemoteCommandConcluded)
    body = without_sealed(event.response)
    payload = response(view.command_id, event.status, event.told_reason, event.timestamp, body)
    topic = response_topic(view.tenant, view.charge_point_id)
    message = Message(topic, payload, message_id(event, "response"), view.charge_point_id)
    return msgspec.structs.replace(view, done_at=event.timestamp), (message,)


def without_sealed(value: JSON) -> JSON:
    """The value with every sealed text replaced by null."""
    if isinstance(value, str):
        return None if value.startswith("s1.") else value
    if isinstance(value, dict):
        return {name: without_sealed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_sealed(item) for item in value]
    return value


_ROUTES: dict[type[Event], Callable[[View | None, Event, Meta], _Told]] = {
    charge_point.ChargePointRegistered: _charge_point,
    charge_point.ChargePointChanged: _charge_point,
    charge_point.ChargePointRemoved: _charge_point,
    charge_point.ChargePointConnected: _charge_point,
    charge_point.ChargePointDisconnected: _charge_point,
    charge_point.StatusReported: _charge_point,
    charge_point.MeterValuesRecorded: _readings,
    charge_point.ReadingTaken: _readings,
    charge_point.TransactionStopped: _readings,
    SessionStarted: _session,
    UsageRecorded: _session,
    SessionEnded: _session,
    EndCorrected: _session,
    RemoteCommandRequested: _command,
    RemoteCommandConcluded: _command,
}
TOLD = frozenset(event_name(event) for event in _ROUTES)
"""The names of the events that anything is told of."""

_READINGS = (charge_point.MeterValuesRecorded, charge_point.ReadingTaken, charge_point.TransactionStopped)
_BEGINNINGS = (SessionStarted, RemoteCommandRequested)


def remembered(events: Iterable[Event]) -> set[str]:
    """The aggregates whose view must be known to tell these events, which are in order.

    Readings are told without one, and what begins an aggregate makes its view anew.
    """
    begun: set[str] = set()
    needed: set[str] = set()
    for event in events:
        if isinstance(event, _BEGINNINGS):
            begun.add(event.originator_id)
        elif not isinstance(event, _READINGS) and event.originator_id not in begun:
            needed.add(event.originator_id)
    return needed
