"""Sessions as OCPI shows them (`chargesphere.sessions`) and as their tenant does (`ocpp_{tenant}.sessions`).

Personal data stays sealed here: `cdr_token` and `id_tag` are opened by who is allowed to show them. Times are by our
clock, the same as in the CDR; the tenant's view has the charge point's own beside them where they differ.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from commands.base import Meta
from domain.pricing.charging_period import kwh
from domain.session import (
    CdrIssued,
    CdrWithheld,
    ConnectorChanged,
    EndCorrected,
    EndHeld,
    ReadingsRefused,
    Session,
    SessionEnded,
    SessionMended,
    SessionStarted,
    UsageRecorded,
)
from domain.values import Authorization
from projections.base import Target, View
from projections.moment import utc_text
from projections.readings import number
from projections.store import HUB, JSON, Document, IndexSpec, index, tenant_database

NEWEST = 500
SessionEvent = (
    SessionStarted
    | UsageRecorded
    | ReadingsRefused
    | ConnectorChanged
    | EndHeld
    | SessionEnded
    | EndCorrected
    | CdrWithheld
    | SessionMended
    | CdrIssued
)


def _id(event: SessionEvent) -> str:
    return event.originator_id.partition("|")[2]


def hub_target(event: SessionEvent, meta: Meta) -> Target:
    return Target(HUB, _id(event))


def tenant_target(event: SessionEvent, meta: Meta) -> Target:
    return Target(tenant_database(meta.tenant), _id(event))


def _auth_method(authorization: Authorization) -> str:
    return authorization.auth_method or "WHITELIST"


def evolve_hub(document: Document | None, event: SessionEvent, meta: Meta) -> Document | None:
    """`session` is an OCPI 2.3.0 Session without `cdr_token`; `last_updated` moves with every change that shows."""
    if isinstance(event, SessionStarted):
        owner = event.authorization.owner
        start = utc_text(event.happened_at)
        last_updated = utc_text(event.timestamp)
        session: Document = {
            "country_code": event.settings.party.country_code,
            "party_id": event.settings.party.party_id,
            "id": event.session_id,
            "start_date_time": start,
            "kwh": 0,
            "auth_method": _auth_method(event.authorization),
            "location_id": event.site.id,
            "evse_uid": event.evse_uid,
            "connector_id": event.connector.id if event.connector else str(event.connector_id),
            "currency": event.settings.currency,
            "charging_periods": [],
            "status": event.status,
            "last_updated": last_updated,
        }
        if event.authorization.authorization_reference:
            session["authorization_reference"] = event.authorization.authorization_reference
        return {
            "tenant_id": event.tenant,
            "charge_point_id": event.charge_point_id,
            "party": str(event.settings.party),
            "owner": str(owner) if owner else None,
            "holder": event.authorization.holder or None,
            "status": event.status,
            "start_date_time": start,
            "reported_start": utc_text(event.shown_at),
            "clock_offset_s": event.clock_offset_s,
            "last_updated": last_updated,
            "cdr_token": event.authorization.cdr_token,
            "session": session,
        }
    if document is None:
        return None
    session = dict(_object(document["session"]))
    if isinstance(event, UsageRecorded | SessionEnded | EndCorrected):
        session["kwh"] = number(kwh(event.energy_wh))
        if event.clock_offset_s != document["clock_offset_s"]:
            document["clock_offset_s"] = event.clock_offset_s
            start = _ours(event, document["reported_start"])
            session["start_date_time"] = document["start_date_time"] = start
        if event.total_cost is not None:
            session["total_cost"] = event.total_cost
    if isinstance(event, SessionEnded | EndCorrected):
        session["status"] = event.status
        session["end_date_time"] = utc_text(event.happened_at)
        document["status"] = event.status
    if isinstance(event, CdrIssued) and not event.cdr.get("credit"):
        session["charging_periods"] = event.cdr.get("charging_periods", [])
        if event.was_withheld:
            session["kwh"], session["total_cost"] = event.cdr["total_energy"], event.cdr["total_cost"]
            session["end_date_time"] = event.cdr["end_date_time"]
            session["currency"] = event.cdr["currency"]
    session["last_updated"] = document["last_updated"] = utc_text(event.timestamp)
    return {**document, "session": session}


def evolve_tenant(document: Document | None, event: SessionEvent, meta: Meta) -> Document | None:
    """The tenant's own view, with the newest 500 energy readings."""
    if isinstance(event, SessionStarted):
        return {
            "tenant_id": event.tenant,
            "charge_point_id": event.charge_point_id,
            "connector_id": event.connector_id,
            "transaction_id": event.transaction_id,
            "id_tag": event.id_tag.sealed,
            "start_time": utc_text(event.happened_at),
            "stop_time": None,
            "reported_start_time": utc_text(event.shown_at),
            "reported_stop_time": None,
            "clock_offset_s": event.clock_offset_s,
            "start_meter_value": event.meter_start,
            "stop_meter_value": None,
            "energy_wh": 0,
            "total_cost": None,
            "currency": event.settings.currency,
            "meter_values": [],
            "authorization_status": event.authorization.status,
            "remote_command_id": event.remote_command_id or None,
            "cdr": None,
            "cdr_id": None,
            "cdr_withheld": None,
            "unusable_readings": 0,
            "reason": None,
            "provisional": False,
            "ended_by": None,
            "end_note": None,
            "flags": list(event.flags),
            "status": "active" if event.status != "INVALID" else "faulted",
        }
    if document is None:
        return None
    out = dict(document)
    if isinstance(event, UsageRecorded | EndCorrected) and event.samples:
        values: list[JSON] = [
            {
                "timestamp": utc_text(event.corrected(sample.at)),
                "reported_at": utc_text(sample.at),
                "value": number(sample.energy_wh),
                "unit": "Wh",
            }
            for sample in event.samples
        ]
        out["meter_values"] = [*_list(document["meter_values"]), *values][-NEWEST:]
    if isinstance(event, UsageRecorded | SessionEnded | EndCorrected):
        out["energy_wh"], out["total_cost"] = number(event.energy_wh), event.total_cost
        if event.clock_offset_s != document["clock_offset_s"]:
            out |= _corrected(out, event)
    if isinstance(event, SessionEnded | EndCorrected):
        out["stop_time"], out["stop_meter_value"] = utc_text(event.happened_at), event.meter_stop
        out["reported_stop_time"] = utc_text(event.shown_at)
        out["reason"], out["flags"] = event.reason, [*_list(document["flags"]), *event.flags]
        out["provisional"] = event.provisional if isinstance(event, SessionEnded) else event.assumed
        out["status"] = "completed" if event.status == "COMPLETED" else "faulted"
    if isinstance(event, SessionEnded):
        out["ended_by"], out["end_note"] = event.by or None, event.note or None
    if isinstance(event, ReadingsRefused):
        out["unusable_readings"] = _count(document.get("unusable_readings")) + event.count
    if isinstance(event, CdrWithheld):
        out["cdr"], out["cdr_id"] = "withheld", None
        out["cdr_withheld"] = {"field": event.field, "value": event.value, "reason": event.reason}
    if isinstance(event, CdrIssued) and not event.cdr.get("credit"):
        out["cdr"], out["cdr_id"], out["cdr_withheld"] = "issued", event.cdr_id, None
        if event.was_withheld:
            out["energy_wh"] = number(Decimal(str(event.cdr["total_energy"])) * 1000)
            out["total_cost"], out["stop_time"] = event.cdr["total_cost"], _text(event.cdr["end_date_time"])
            out["currency"] = event.cdr["currency"]
    return out


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _text(moment: str) -> str | None:
    return utc_text(datetime.fromisoformat(moment))


def _corrected(document: Document, event: UsageRecorded | SessionEnded | EndCorrected) -> Document:
    """All times anew, by what is now known of the charge point's clock."""
    return {
        "clock_offset_s": event.clock_offset_s,
        "start_time": _ours(event, document["reported_start_time"]),
        "meter_values": [
            {**value, "timestamp": _ours(event, value["reported_at"])}
            for value in _list(document["meter_values"])
            if isinstance(value, dict)
        ],
    }


def _ours(event: UsageRecorded | SessionEnded | EndCorrected, reported: object) -> str | None:
    return utc_text(event.corrected(datetime.fromisoformat(str(reported))))


def _object(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list:  # type: ignore[type-arg]
    return value if isinstance(value, list) else []


LAST = (SessionEnded, EndCorrected, CdrIssued)
HUB_VIEW = View("hub-sessions", Session.kind, "sessions", hub_target, evolve_hub, dense=True, last=LAST)
TENANT_VIEW = View(
    "tenant-sessions", Session.kind, "sessions", tenant_target, evolve_tenant, dense=True, last=LAST
)


def hub_indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "sessions", "owner", "last_updated"),
        index(HUB, "sessions", "party", "last_updated"),
    )


def tenant_indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "sessions", "-start_time"),
        index(db, "sessions", "status", "-start_time"),
        index(db, "sessions", "charge_point_id", "-start_time"),
        index(db, "sessions", "cdr", "-start_time"),
    )
