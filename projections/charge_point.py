"""Charge points (`ocpp_{tenant}.charge_points`) and their credentials (`chargesphere.credentials`).

A charge point's document says what it is, where it stands, how it is connected and what its connectors say. Only the
credentials hold a password's hash; no document holds an id tag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from commands.base import Meta
from domain.aggregate import Event
from domain.charge_point import (
    AvailabilityCompared,
    AvailabilityWanted,
    AwaitedConnectionMade,
    CallConcluded,
    CallRequested,
    CallSent,
    ChargePoint,
    ChargePointBooted,
    ChargePointChanged,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    ChargePointRemoved,
    ClockOffsetNoted,
    ConnectionAwaited,
    CredentialsSet,
    DefaultsWanted,
    StatusesLapsed,
    StatusReported,
    VariablesCompared,
    VariablesWanted,
)
from domain.charge_point import availability as availabilities
from domain.charge_point import wanted as wishes
from domain.charge_point.announced import Announced
from domain.charge_point.availability import WantedAvailabilities, WantedAvailability
from domain.charge_point.state import OVERDUE_MOST
from domain.charge_point.variable_keys import folded, is_secret_key
from domain.charge_point.wanted import Wanted
from domain.intents import ChangeAvailability, SetVariable
from domain.remote_command import UNANSWERED
from domain.values import Evse, Site
from projections.base import Feed, Target, View, builtins
from projections.moment import utc_text
from projections.store import (
    HUB,
    JSON,
    Document,
    IndexSpec,
    Put,
    Remove,
    Write,
    index,
    tenant_database,
)

_NO_SIGN_OF_LIFE: Final = (
    ChargePointRegistered,
    ChargePointChanged,
    ChargePointRemoved,
    CredentialsSet,
    ChargePointDisconnected,
    StatusesLapsed,
    CallRequested,
    CallSent,
    CallConcluded,
    ConnectionAwaited,
    AwaitedConnectionMade,
    VariablesWanted,
    DefaultsWanted,
    VariablesCompared,
    AvailabilityWanted,
    AvailabilityCompared,
)


def credentials_id(tenant: str, charge_point_id: str) -> str:
    """Where a charge point's password hash stands."""
    return f"{tenant}|{charge_point_id}"


def _key(event: Event) -> tuple[str, str]:
    """Tenant and charge point."""
    _, tenant, charge_point_id = event.originator_id.split("|", 2)
    return tenant, charge_point_id


def target(event: Event, meta: Meta) -> Target:
    tenant, charge_point_id = _key(event)
    return Target(tenant_database(tenant), charge_point_id)


def evolve(document: Document | None, event: Event, meta: Meta) -> Document | None:
    """`status` is connector 0's, `connectors` those from 1 on; `max_power` in W; `configuration.keys` as known, and
    `wanted` what somebody wants of them, `configuration_state` the worst that there is to say of that."""
    if isinstance(event, ChargePointRemoved):
        return None
    at = utc_text(event.timestamp)
    if isinstance(event, ChargePointRegistered):
        return {
            "tenant_id": event.tenant,
            "vendor": None,
            "model": None,
            "serial_number": None,
            "firmware_version": None,
            "automatic": event.automatic,
            "status": None,
            "error_code": None,
            "connected": False,
            "connection": None,
            "registration": None,
            "configuration": {"heartbeat_interval": None, "meter_values_interval": None, "keys": []},
            "changing": [],
            "wanted": [],
            "configuration_state": None,
            "availability": [],
            "availability_state": None,
            "clock_offset_s": 0,
            "last_seen": None,
            "created_at": at,
            "updated_at": at,
            **_place(event.site, event.evses, []),
        }
    if document is None:
        return None
    out: Document = {**document, "updated_at": at}
    if not isinstance(event, _NO_SIGN_OF_LIFE):
        out["last_seen"] = at
    match event:
        case ChargePointChanged():
            place = _place(event.site, event.evses, _list(document["connectors"]))
            if event.taken_over:
                out["automatic"] = False
            out |= place
        case ChargePointConnected():
            out["connected"] = True
            out["connection"] = {"since": at, "node": event.node, "epoch": event.epoch}
        case ChargePointDisconnected():
            connection = document["connection"]
            if isinstance(connection, dict) and connection["epoch"] == event.epoch:
                out |= {"connected": False, "connection": None}
        case ChargePointBooted():
            out |= {
                "vendor": event.vendor,
                "model": event.model,
                "serial_number": event.charge_point_serial_number or event.charge_box_serial_number or None,
                "firmware_version": event.firmware_version or None,
                "registration": {"status": event.status, "interval": event.interval, "at": at},
            }
            known = document["model"], document["firmware_version"] or ""
            other = known != (event.model, event.firmware_version)
            out |= _wanted(document, lambda wanted: wishes.boot(wanted, other_firmware=other))
            out |= _available(document, lambda wanted: availabilities.boot(wanted, other_firmware=other))
            if event.status == "Accepted":
                out["configuration"] = {
                    **_object(document["configuration"]),
                    "heartbeat_interval": event.interval,
                }
        case StatusReported():
            if not event.stale:
                out |= _reported(document, event)
        case ClockOffsetNoted():
            out["clock_offset_s"] = event.seconds
        case CallRequested(intent=ChangeAvailability(connector_id=connector)) if event.own:
            out |= _available(document, lambda wanted: availabilities.push(wanted, connector))
        case AvailabilityWanted():
            out |= _available(document, lambda wanted: availabilities.wish(wanted, event.wish))
        case AvailabilityCompared():
            out |= _available(document, lambda wanted: event.note(wanted))
        case CallRequested():
            if isinstance(event.intent, SetVariable):
                asked: Document = {
                    "command_id": event.command_id,
                    "key": event.intent.key,
                    "value": event.intent.value,
                }
                out["changing"] = [*_list(document["changing"]), asked]
                key = folded(event.intent.key)
                if event.own:
                    out |= _wanted(document, lambda wanted: wishes.push(wanted, key))
        case VariablesWanted():
            out |= _wanted(document, lambda wanted: wishes.wish(wanted, event.wishes))
        case DefaultsWanted():
            out |= _wanted(document, lambda wanted: wishes.default(wanted, event.wishes))
        case VariablesCompared():
            out |= _wanted(document, lambda wanted: wishes.note(wanted, event.found))
        case CallConcluded():
            out |= _concluded(document, event)
    return out


def _wanted(document: Document, change: Callable[[dict[str, Wanted]], None]) -> Document:
    """What is wanted, after this change: folded as its aggregate folds it."""
    wanted = wanted_of(document)
    change(wanted)
    worst = wishes.worst(wanted.values())
    return {
        "wanted": [_plain(wanted[key]) for key in sorted(wanted)],
        "configuration_state": worst.value if worst is not None else None,
    }


def _available(document: Document, change: Callable[[WantedAvailabilities], None]) -> Document:
    """What is wanted of its connectors, after this change: folded as its aggregate folds it."""
    wanted = availability_of(document)
    change(wanted)
    worst = availabilities.worst(wanted.values())
    listed: list[JSON] = [{"connector_id": id, **_plain(wanted[id])} for id in sorted(wanted)]
    return {"availability": listed, "availability_state": worst.value if worst is not None else None}


def availability_of(document: Document) -> WantedAvailabilities:
    """What is wanted of the connectors in a charge point's document, by their numbers."""
    found = [one for one in _list(document["availability"]) if isinstance(one, dict)]
    numbers = msgspec.convert([one["connector_id"] for one in found], list[int])
    return dict(zip(numbers, msgspec.convert(found, list[WantedAvailability]), strict=True))


def wanted_of(document: Document) -> dict[str, Wanted]:
    """The wishes in a charge point's document, by their folded keys."""
    found = msgspec.convert(document["wanted"], list[Wanted])
    return {folded(one.key): one for one in found}


def _place(site: Site, evses: tuple[Evse, ...], known: list[JSON]) -> Document:
    connectors = {one["id"]: one for one in known if isinstance(one, dict)}
    merged = []
    for number in sorted({*range(1, len(evses) + 1), *(id for id in connectors if isinstance(id, int))}):
        evse = evses[number - 1] if number <= len(evses) else None
        connector = evse.connectors[0] if evse is not None and evse.connectors else None
        merged.append(
            {
                **_blank(number),
                **connectors.get(number, {}),
                "evse_uid": evse.uid if evse is not None else None,
                "type": connector.standard if connector is not None else None,
                "max_power": connector.max_power if connector is not None else None,
            }
        )
    return {
        "location_id": site.id,
        "location": {**_plain(site), "coordinates": _plain(site.coordinates) if site.coordinates else None},
        "evses": [
            {
                **_plain(evse),
                "connectors": [
                    {**_plain(one), "tariff_ids": list(one.tariff_ids)} for one in evse.connectors
                ],
            }
            for evse in evses
        ],
        "connectors": list(merged),
    }


def _blank(number: int) -> Document:
    names = (
        "evse_uid",
        "type",
        "max_power",
        "status",
        "error_code",
        "info",
        "vendor_error_code",
        "last_update",
    )
    return {"id": number, **dict.fromkeys(names)}


def _plain(value: msgspec.Struct) -> Document:
    """Every field with its value, defaults included."""
    return {name: builtins(item) for name, item in msgspec.structs.asdict(value).items()}


def _reported(document: Document, event: StatusReported) -> Document:
    if event.connector_id == 0:
        return {"status": event.status, "error_code": event.error_code}
    now: Document = {
        "status": event.status,
        "error_code": event.error_code,
        "info": event.info or None,
        "vendor_error_code": event.vendor_error_code or None,
        "last_update": utc_text(min(event.happened_at, event.timestamp)),
    }
    connectors = {one["id"]: one for one in _list(document["connectors"]) if isinstance(one, dict)}
    number = event.connector_id
    connectors[number] = {**_blank(number), **connectors.get(number, {}), **now}
    return {"connectors": [connectors[id] for id in sorted(id for id in connectors if isinstance(id, int))]}


def _concluded(document: Document, event: CallConcluded) -> Document:
    changing = [one for one in _list(document["changing"]) if isinstance(one, dict)]
    asked = next((one for one in changing if one["command_id"] == event.command_id), None)
    if event.status in UNANSWERED:
        return {"changing": list(changing[-OVERDUE_MOST:])}  # its answer may come all the same
    others: list[JSON] = [one for one in changing if one is not asked]
    configuration, learned = _object(document["configuration"]), event.learned
    if event.status == "accepted" and asked is not None:
        key, value = str(asked["key"]), str(asked["value"])
        if learned.after_reboot:
            configuration = _noted(configuration, key, after_reboot=value)
        else:
            configuration = _noted(configuration, key, value=value, after_reboot=None)
    for one in learned.variables:
        configuration = _noted(configuration, one.key, value=one.value, readonly=one.readonly)
    return {"changing": others, "configuration": configuration | _intervals(learned.announced)}


def _intervals(announced: Announced | None) -> Document:
    """Those that it said, in seconds."""
    if announced is None:
        return {}
    said = {
        "meter_values_interval": announced.meter_interval,
        "heartbeat_interval": announced.heartbeat_interval,
    }
    return {name: value for name, value in said.items() if value is not None}


def _noted(configuration: Document, key: str, **news: JSON) -> Document:
    """With what is new of a configuration key that is no secret.

    `value` is what it has, null where it never said; `after_reboot` what it took for then, null once it has it.
    """
    name = folded(key)
    sealed = any(isinstance(one, str) and one.startswith("s1.") for one in news.values())
    if not key or is_secret_key(key) or sealed:
        return configuration
    known = [one for one in _list(configuration["keys"]) if isinstance(one, dict)]
    before = next((one for one in known if folded(str(one["key"])) == name), {})
    others = [one for one in known if one is not before]
    noted: Document = {"key": key, "value": None, "readonly": None, "after_reboot": None, **before, **news}
    if noted["after_reboot"] == noted["value"]:
        noted["after_reboot"] = None
    keys = sorted([*others, noted], key=lambda one: str(one["key"]))
    return {**configuration, "keys": list(keys)}


def credentials(event: Event, meta: Meta) -> Sequence[Write]:
    """An empty hash: no password is asked for (SEC-00)."""
    if not isinstance(event, ChargePointRegistered | CredentialsSet | ChargePointRemoved):
        return ()
    tenant, charge_point_id = _key(event)
    id, version = credentials_id(tenant, charge_point_id), event.originator_version
    if isinstance(event, ChargePointRemoved):
        return (Remove(HUB, "credentials", id, version),)
    document: Document = {
        "tenant_id": tenant,
        "charge_point_id": charge_point_id,
        "password_hash": event.password_hash if isinstance(event, CredentialsSet) else "",
        "alternative_hash": event.alternative_hash if isinstance(event, CredentialsSet) else "",
        "updated_at": utc_text(event.timestamp),
    }
    return (Put(HUB, "credentials", id, version, document),)


def _object(value: JSON) -> Document:
    return dict(value) if isinstance(value, dict) else {}


def _list(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


VIEW = View("charge-points", ChargePoint.kind, "charge_points", target, evolve, dense=True)
CREDENTIALS = Feed("credentials", ChargePoint.kind, credentials)


def hub_indexes() -> tuple[IndexSpec, ...]:
    return (
        index(HUB, "credentials", "tenant_id", "charge_point_id"),
        index(HUB, "credentials", "charge_point_id"),
    )


def tenant_indexes(db: str) -> tuple[IndexSpec, ...]:
    return (
        index(db, "charge_points", "created_at"),
        index(db, "charge_points", "connected", "created_at"),
        index(db, "charge_points", "location_id", "created_at"),
        index(db, "charge_points", "configuration_state", "created_at"),
        index(db, "charge_points", "availability_state", "created_at"),
    )
