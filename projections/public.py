"""Events leave us as CloudEvents on the public topics; this is the contract that `docs/events.md` describes.

What enters: events as they stand in the log. What leaves: payloads that stay as they are for ever, without personal
data. It never appends. A type's payload may gain fields; anything else is a new type with a new version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from commands.base import Meta
from domain import charge_point, session, token
from domain.aggregate import Event, Observation, event_name
from projections.moment import utc_text
from projections.public_payloads import (
    CdrIssued,
    CdrWithheld,
    ChargePointBooted,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointStatus,
    MeterValues,
    Payload,
    SessionEndCorrected,
    SessionEnded,
    SessionStarted,
    SessionUpdated,
    TokenAuthorized,
    TokenPut,
    TokenRemoved,
)
from projections.readings import number, readings_of
from projections.store import Document


class CloudEvent(NamedTuple):
    """One record: `headers` are those of CloudEvents' binary mode over Kafka, `data` the JSON payload."""

    topic: str
    key: str
    headers: tuple[tuple[str, bytes], ...]
    data: bytes


class Structured(msgspec.Struct, frozen=True, omit_defaults=True):
    """One CloudEvent in the structured mode (CloudEvents 1.0.2, JSON event format, 2 and 3): its attributes are those
    of the record's headers, `data` is the record's value."""

    specversion: str
    id: str
    type: str
    source: str
    subject: str
    time: str
    datacontenttype: str
    data: msgspec.Raw
    tenantid: str = ""
    aggregateversion: int | None = None
    correlationid: str = ""
    causationid: str = ""


class Kind(NamedTuple):
    """One line of the contract. `topic` is a key of `streams.log.topology.PUBLIC`; None from `make`: not told."""

    topic: str
    ce_type: str
    payload: type[Payload]
    make: Callable[[Any, Meta], Payload | None]


_encoder = msgspec.json.Encoder()


def cloud_event(event: Event, meta: Meta) -> CloudEvent | None:
    """What the event is in public; None for what is internal."""
    kind = CONTRACT.get(type(event))
    payload = kind.make(event, meta) if kind is not None else None
    if kind is None or payload is None:
        return None
    id = event.originator_id.encode()
    ordinal = event.ordinal.encode()
    noun, _, subject = id.partition(b"|")
    headers = [
        *_FIXED[kind.ce_type],
        ("ce_id", b"%b|%b" % (id, ordinal)),
        ("ce_source", b"/chargesphere/" + noun),
        ("ce_subject", subject),
        ("ce_time", _time(event.happened_at).encode()),
    ]
    if not isinstance(event, Observation):
        headers.append(("ce_aggregateversion", ordinal))
    for name, value in (
        ("ce_tenantid", meta.tenant),
        ("ce_correlationid", meta.correlation_id),
        ("ce_causationid", meta.causation_id or meta.command_id),
    ):
        if value:
            headers.append((name, value.encode()))
    return CloudEvent(kind.topic, event.originator_id, tuple(headers), _encoder.encode(payload))


def structured(headers: Sequence[tuple[str, bytes]], data: bytes) -> bytes:
    """A record of the public topics as one JSON object in one line. Raises KeyError and ValueError for another."""
    given = {name.removeprefix("ce_"): value.decode() for name, value in headers}
    version = given.get("aggregateversion")
    return _encoder.encode(
        Structured(
            specversion=given["specversion"],
            id=given["id"],
            type=given["type"],
            source=given["source"],
            subject=given["subject"],
            time=given["time"],
            datacontenttype=given["content-type"],
            data=msgspec.Raw(data),
            tenantid=given.get("tenantid", ""),
            aggregateversion=int(version) if version is not None else None,
            correlationid=given.get("correlationid", ""),
            causationid=given.get("causationid", ""),
        )
    )


def short_name(ce_type: str) -> str:
    """A type's name where a short one is used: `session_started` for `chargesphere.session.started.v1`; later
    versions keep theirs, as in `session_started_v2`."""
    return ce_type.removeprefix("chargesphere.").removesuffix(".v1").replace(".", "_")


def _session_started(event: session.SessionStarted, meta: Meta) -> Payload:
    owner = event.authorization.owner
    return SessionStarted(
        session_id=event.session_id,
        country_code=event.settings.party.country_code,
        party_id=event.settings.party.party_id,
        charge_point_id=event.charge_point_id,
        connector_id=event.connector_id,
        location_id=event.site.id,
        evse_uid=event.evse_uid,
        evse_id=event.evse_id or None,
        start_date_time=_time(event.happened_at),
        meter_start_wh=event.meter_start,
        currency=event.settings.currency,
        auth_method=event.authorization.auth_method or "WHITELIST",
        authorization_reference=event.authorization.authorization_reference or None,
        owner=str(owner) if owner else None,
        token_owner=token.owner_text(owner, event.tenant),
        token_key=event.id_tag.key,
        token_type=event.authorization.token_type or None,
        status=event.status,
    )


def _session_updated(event: session.UsageRecorded, meta: Meta) -> Payload | None:
    if event.early:
        return None
    return SessionUpdated(
        session_id=_subject(event),
        charge_point_id=event.charge_point_id,
        kwh=number(event.energy_wh / 1000),
        total_cost=event.total_cost,
        last_updated=_time(event.timestamp),
    )


def _session_ended(event: session.SessionEnded, meta: Meta) -> Payload:
    return SessionEnded(provisional=event.provisional, **_end(event))


def _session_end_corrected(event: session.EndCorrected, meta: Meta) -> Payload:
    return SessionEndCorrected(provisional=event.assumed, **_end(event))


def _end(event: session.SessionEnded | session.EndCorrected) -> dict[str, Any]:
    return {
        "session_id": _subject(event),
        "charge_point_id": event.charge_point_id,
        "start_date_time": _time(event.started_at or event.happened_at),
        "end_date_time": _time(event.happened_at),
        "meter_stop_wh": event.meter_stop,
        "kwh": number(event.energy_wh / 1000),
        "total_cost": event.total_cost,
        "reason": event.reason,
        "status": event.status,
    }


def _cdr_issued(event: session.CdrIssued, meta: Meta) -> Payload:
    return CdrIssued(
        cdr_id=event.cdr_id,
        charge_point_id=event.charge_point_id,
        owner=str(event.owner) if event.owner else None,
        token_owner=token.owner_text(event.owner, meta.tenant),
        token_key=event.token_key,
        token_type=event.token_type or None,
        cdr={name: value for name, value in event.cdr.items() if name != "cdr_token"},
        explanation=list(event.explanation),
        warnings=list(event.warnings),
    )


def _cdr_withheld(event: session.CdrWithheld, meta: Meta) -> Payload:
    return CdrWithheld(
        cdr_id=event.cdr_id,
        session_id=_subject(event),
        charge_point_id=event.charge_point_id,
        field=event.field,
        value=event.value,
        reason=event.reason,
    )


def _token_put(event: token.TokenPut, meta: Meta) -> Payload:
    return TokenPut(
        owner=token.owner_text(event.owner, event.tenant),
        key=event.key,
        type=event.token_type,
        valid=event.valid,
        whitelist=event.whitelist or None,
        status=event.status or None,
        expiry_date=utc_text(event.expires_at),
        last_updated=_time(event.last_updated),
    )


def _token_removed(event: token.TokenRemoved, meta: Meta) -> Payload:
    owner, _, key = _subject(event).rpartition("|")
    return TokenRemoved(owner=owner, key=key)


def _token_authorized(event: token.AuthorizationGiven, meta: Meta) -> Payload:
    owner, _, key = _subject(event).rpartition("|")
    return TokenAuthorized(
        owner=owner,
        key=key,
        allowed=event.allowed,
        authorization_reference=event.authorization_reference or None,
        charge_point_id=event.charge_point_id or None,
        location_id=event.location_id or None,
        asked_by=str(event.party) if event.party is not None else None,
    )


def _connected(event: charge_point.ChargePointConnected, meta: Meta) -> Payload:
    return ChargePointConnected(charge_point_id=_point(event), connection=event.epoch)


def _disconnected(event: charge_point.ChargePointDisconnected, meta: Meta) -> Payload:
    return ChargePointDisconnected(charge_point_id=_point(event), connection=event.epoch, reason=event.reason)


def _booted(event: charge_point.ChargePointBooted, meta: Meta) -> Payload:
    return ChargePointBooted(
        charge_point_id=_point(event),
        vendor=event.vendor,
        model=event.model,
        serial_number=event.charge_point_serial_number or event.charge_box_serial_number or None,
        firmware_version=event.firmware_version or None,
        status=event.status,
    )


def _status(event: charge_point.StatusReported, meta: Meta) -> Payload:
    return ChargePointStatus(
        charge_point_id=_point(event),
        connector_id=event.connector_id,
        status=event.status,
        error_code=event.error_code,
        info=event.info or None,
        vendor_id=event.vendor_id or None,
        vendor_error_code=event.vendor_error_code or None,
        session_id=event.session_id or None,
        reported_at=_time(event.shown_at),
        happened_at=_time(min(event.happened_at, event.timestamp)),
        stale=event.stale,
    )


def _metered(
    event: charge_point.MeterValuesRecorded | charge_point.ReadingTaken, meta: Meta
) -> Payload | None:
    return _meter_values(event, readings_of(event.values, event.timestamp, event.clock_offset_s))


def _stopped(event: charge_point.TransactionStopped, meta: Meta) -> Payload | None:
    return _meter_values(event, readings_of(event.data, event.timestamp, event.clock_offset_s))


def _meter_values(
    event: charge_point.MeterValuesRecorded | charge_point.ReadingTaken | charge_point.TransactionStopped,
    readings: list[Document],
) -> Payload | None:
    if not readings:
        return None
    return MeterValues(
        charge_point_id=_point(event),
        connector_id=event.connector_id,
        transaction_id=event.transaction_id or None,
        session_id=event.session_id or None,
        clock_offset_s=event.clock_offset_s,
        readings=readings,
    )


def _subject(event: Event) -> str:
    return event.originator_id.partition("|")[2]


def _point(event: Event) -> str:
    return event.originator_id.split("|", 2)[2]


def _time(moment: datetime) -> str:
    return utc_text(moment) or ""


CONTRACT: dict[type[Event], Kind] = {
    session.SessionStarted: Kind(
        "sessions", "chargesphere.session.started.v1", SessionStarted, _session_started
    ),
    session.UsageRecorded: Kind(
        "sessions", "chargesphere.session.updated.v1", SessionUpdated, _session_updated
    ),
    session.SessionEnded: Kind("sessions", "chargesphere.session.ended.v1", SessionEnded, _session_ended),
    session.EndCorrected: Kind(
        "sessions",
        "chargesphere.session.end_corrected.v1",
        SessionEndCorrected,
        _session_end_corrected,
    ),
    session.CdrIssued: Kind("cdrs", "chargesphere.cdr.issued.v1", CdrIssued, _cdr_issued),
    session.CdrWithheld: Kind("cdrs", "chargesphere.cdr.withheld.v1", CdrWithheld, _cdr_withheld),
    token.TokenPut: Kind("tokens", "chargesphere.token.put.v1", TokenPut, _token_put),
    token.TokenRemoved: Kind("tokens", "chargesphere.token.removed.v1", TokenRemoved, _token_removed),
    token.AuthorizationGiven: Kind(
        "tokens", "chargesphere.token.authorized.v1", TokenAuthorized, _token_authorized
    ),
    charge_point.ChargePointConnected: Kind(
        "charge-points", "chargesphere.charge_point.connected.v1", ChargePointConnected, _connected
    ),
    charge_point.ChargePointDisconnected: Kind(
        "charge-points", "chargesphere.charge_point.disconnected.v1", ChargePointDisconnected, _disconnected
    ),
    charge_point.ChargePointBooted: Kind(
        "charge-points", "chargesphere.charge_point.booted.v1", ChargePointBooted, _booted
    ),
    charge_point.StatusReported: Kind(
        "charge-points", "chargesphere.charge_point.status.v1", ChargePointStatus, _status
    ),
    charge_point.MeterValuesRecorded: Kind(
        "meter-values", "chargesphere.meter_values.recorded.v1", MeterValues, _metered
    ),
    charge_point.ReadingTaken: Kind(
        "meter-values", "chargesphere.meter_values.recorded.v1", MeterValues, _metered
    ),
    charge_point.TransactionStopped: Kind(
        "meter-values", "chargesphere.meter_values.recorded.v1", MeterValues, _stopped
    ),
}
"""The whole contract; `docs/events.md` shows it."""

SHORT_NAMES = {short_name(kind.ce_type): kind for kind in CONTRACT.values()}
"""The types of the contract by their short names."""

TOLD = frozenset(event_name(event) for event in CONTRACT)
"""The names of the events that are public."""

_FIXED = {
    kind.ce_type: (
        ("ce_specversion", b"1.0"),
        ("ce_type", kind.ce_type.encode()),
        ("content-type", b"application/json"),
    )
    for kind in CONTRACT.values()
}
"""The headers that all events of one type have alike."""
