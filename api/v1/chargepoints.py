"""`/chargepoints`: taking charge points in, changing them, their passwords, their OCPP messages."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from urllib.parse import quote
from zoneinfo import available_timezones

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from api.problems import ProblemError, ProblemRoute, invalid, not_found
from api.v1.availability import STATES as AVAILABILITY_STATES
from api.v1.caller import Caller, Operator, TenantAdmin, Viewer, result_of, step_of
from api.v1.configuration import STATES
from api.v1.knocking import PATH as KNOCKING
from api.v1.lists import Page, answer, empty, listed, listed_of_blocks, oldest_first, plain, revealed
from api.v1.locations import NO_PLACES
from application.locations import site_at
from commands.base import Meta
from commands.charge_point import Change, Register, Remove, SetCredentials
from commands.tenant import AskRoom, Room
from domain.charge_point.identity import wrong_id
from domain.charge_point.passwords import hash_password
from domain.values import Connector, Coordinates, Evse, Site
from projections.charge_point import credentials_id
from projections.frame import FRAMES, Frame, by_action, by_charge_point, frames_of, sent_to
from projections.store import HUB, Condition, Document, eq
from protocols.ocpi.types import PRINTABLE, PRINTABLE_ASCII
from protocols.ocpi.v2_3_0.enums import ConnectorFormat, ConnectorType, PowerType

routes = APIRouter(route_class=ProblemRoute, tags=["charge points"])

_ID: Final = r"^[!-.0-~]+$"
"""What one part of a URL can carry as it is: printable ASCII without a slash."""


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _degrees(longest: int, bound: int) -> Any:
    def checked(value: object) -> object:
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise ValueError("must be decimal degrees")
        try:
            number = Decimal(str(value))
            places = -int(number.as_tuple().exponent)
        except (InvalidOperation, TypeError, ValueError):
            raise ValueError("must be decimal degrees") from None
        if abs(number) > bound or places > 7:
            raise ValueError(f"must be between -{bound} and {bound} with at most 7 decimals")
        return f"{number:.{min(max(places, 5), 7)}f}"

    return BeforeValidator(checked)


def _zone(value: str) -> str:
    if value not in _ZONES:
        raise ValueError("must be an IANA name such as Europe/Berlin")
    return value


_ZONES: Final = frozenset(available_timezones())


class CoordinatesInput(_Input):
    """Decimal degrees, WGS 84."""

    latitude: Annotated[str, _degrees(2, 90)]
    longitude: Annotated[str, _degrees(3, 180)]


def _place(id: str) -> str:
    if id.lower() in NO_PLACES:
        raise ValueError(f"{id} is no id: it has a meaning of its own")
    return id


class LocationInput(_Input):
    """The OCPI Location that the charge point stands at; charge points with the same id stand together."""

    id: Annotated[str, Field(min_length=1, max_length=36, pattern=_ID), AfterValidator(_place)]
    name: str = Field(default="", max_length=255, pattern=PRINTABLE)
    address: str = Field(min_length=1, max_length=45, pattern=PRINTABLE)
    city: str = Field(min_length=1, max_length=45, pattern=PRINTABLE)
    postal_code: str = Field(default="", max_length=10, pattern=PRINTABLE)
    country: str = Field(pattern="^[A-Z]{3}$", description="ISO 3166-1 alpha-3")
    coordinates: CoordinatesInput
    time_zone: Annotated[str, AfterValidator(_zone)] | None = None

    def site(self, default_zone: str) -> Site:
        return Site(
            id=self.id,
            name=self.name,
            address=self.address,
            city=self.city,
            postal_code=self.postal_code,
            country=self.country,
            coordinates=Coordinates(latitude=self.coordinates.latitude, longitude=self.coordinates.longitude),
            time_zone=self.time_zone or default_zone,
        )


TariffId = Annotated[str, Field(min_length=1, max_length=36, pattern=PRINTABLE_ASCII)]


class ConnectorInput(_Input):
    """An OCPI Connector; volts and amperes."""

    id: str = Field(min_length=1, max_length=36, pattern=_ID)
    standard: ConnectorType
    format: ConnectorFormat
    power_type: PowerType
    max_voltage: int = Field(gt=0, le=10_000)
    max_amperage: int = Field(gt=0, le=10_000)
    tariff_ids: list[TariffId] = Field(default=[], max_length=50)


class EvseInput(_Input):
    """An OCPI EVSE; OCPP connector n is the n-th."""

    uid: str = Field(min_length=1, max_length=36, pattern=_ID)
    evse_id: str = Field(default="", max_length=48, pattern=PRINTABLE_ASCII)
    connectors: list[ConnectorInput] = Field(min_length=1, max_length=20)

    def evse(self) -> Evse:
        return Evse(
            uid=self.uid,
            evse_id=self.evse_id,
            connectors=tuple(
                Connector(
                    id=one.id,
                    standard=one.standard.value,
                    format=one.format.value,
                    power_type=one.power_type.value,
                    max_voltage=one.max_voltage,
                    max_amperage=one.max_amperage,
                    tariff_ids=tuple(one.tariff_ids),
                )
                for one in self.connectors
            ),
        )


def _once(evses: list[EvseInput]) -> list[EvseInput]:
    uids = [evse.uid.lower() for evse in evses]
    if len(set(uids)) < len(uids):
        raise ValueError("each EVSE needs a uid of its own")
    for evse in evses:
        ids = [connector.id.lower() for connector in evse.connectors]
        if len(set(ids)) < len(ids):
            raise ValueError(f"each connector of EVSE {evse.uid} needs an id of its own")
    return evses


def _named(id: str) -> str:
    if wrong := wrong_id(id):
        raise ValueError(wrong)
    return id


LocationId = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=36,
        description="A location of `/locations`; or `location`, what it is by itself.",
    ),
]
Evses = Annotated[list[EvseInput], Field(min_length=1, max_length=100), AfterValidator(_once)]
Password = Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[!-~]+$")]


def _free(id: str) -> str:
    if id == KNOCKING:
        raise ValueError(f"{KNOCKING} is no id: its path is taken")
    return id


class NewChargePoint(_Input):
    """Without a password one is made; it is shown in this answer and never again."""

    id: Annotated[str, AfterValidator(_named), AfterValidator(_free)]
    password: Password | None = None
    location: LocationInput | None = None
    location_id: LocationId = None
    evses: Evses

    @model_validator(mode="after")
    def _one_place(self) -> NewChargePoint:
        if (self.location is None) == (self.location_id is None):
            raise ValueError("give location_id of a location that is known, or location")
        return self


class ChargePointPatch(_Input):
    """What is given replaces what is known, as a whole."""

    location: LocationInput | None = None
    location_id: LocationId = None
    evses: Evses | None = None

    @model_validator(mode="after")
    def _something(self) -> ChargePointPatch:
        if self.location is None and self.location_id is None and self.evses is None:
            raise ValueError("give location_id, location or evses")
        if self.location is not None and self.location_id is not None:
            raise ValueError("give location_id or location, not both")
        return self


class NewPassword(_Input):
    """Without a password one is made; it is shown in this answer and never again."""

    password: Password | None = None


Id = Annotated[str, Path(max_length=128)]


@routes.post("/chargepoints", status_code=201)
async def create(body: NewChargePoint, caller: TenantAdmin) -> Response:
    """409 where the id exists, or the tenant has as many as it may have."""
    tenant, settings = caller.own_tenant, caller.settings
    meta = await caller.meta()
    room = result_of(await caller.ask(AskRoom(tenant=tenant), step_of(meta, "room")), Room)
    if room.for_operators < 1 and not await _is_known(caller, body.id):
        most = settings.max_charge_points
        raise ProblemError(
            409, f"tenant {tenant} has its {most} charge points (max_charge_points)", code="limit"
        )
    password = body.password or _made(caller, meta)
    site = await _site(caller, body.location, body.location_id)
    assert site is not None
    command = Register(
        tenant=tenant,
        charge_point_id=body.id,
        site=site,
        evses=tuple(evse.evse() for evse in body.evses),
        password_hash=await _hashed(password),
    )
    reply = await caller.ask(command, meta)
    await caller.visible(HUB, "credentials", credentials_id(tenant, body.id), reply)
    document = await caller.visible(caller.database, "charge_points", body.id, reply)
    shown = _shown(document) if document is not None else {"id": body.id, "tenant_id": tenant}
    if body.password is None:
        shown["password"] = password
    return answer(shown, 201, {"Location": f"/api/v1/chargepoints/{quote(body.id)}"})


@routes.get("/chargepoints")
async def list_charge_points(
    caller: Viewer,
    page: Page,
    connected: bool | None = None,
    location_id: Annotated[str | None, Query(max_length=36)] = None,
    availability: Annotated[
        str | None,
        Query(
            pattern=f"^({AVAILABILITY_STATES})$",
            description="the worst state of the availability that is wanted of its connectors",
        ),
    ] = None,
    configuration: Annotated[
        str | None,
        Query(
            pattern=f"^({STATES})$", description="the worst state of what is wanted of it, such as `drift`"
        ),
    ] = None,
) -> Response:
    where: list[Condition] = [*page.within("created_at")]
    if connected is not None:
        where.append(eq("connected", connected))
    if location_id is not None:
        where.append(eq("location_id", location_id))
    if availability is not None:
        where.append(eq("availability_state", availability))
    if configuration is not None:
        where.append(eq("configuration_state", configuration))

    async def show(document: Document) -> Document:
        return _shown(document)

    return await listed(
        caller,
        caller.database,
        "charge_points",
        page,
        where=where,
        sort=oldest_first("created_at"),
        show=show,
    )


@routes.get("/chargepoints/{charge_point_id}")
async def get(charge_point_id: Id, caller: Viewer) -> Response:
    return answer(_shown(await _known(caller, charge_point_id)))


@routes.patch("/chargepoints/{charge_point_id}")
async def change(charge_point_id: Id, body: ChargePointPatch, caller: TenantAdmin) -> Response:
    command = Change(
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        site=await _site(caller, body.location, body.location_id),
        evses=tuple(evse.evse() for evse in body.evses) if body.evses is not None else None,
    )
    reply = await caller.ask(command, await caller.meta())
    document = await caller.visible(caller.database, "charge_points", charge_point_id, reply)
    return answer(_shown(document) if document is not None else {"id": charge_point_id})


@routes.delete("/chargepoints/{charge_point_id}", status_code=204)
async def remove(charge_point_id: Id, caller: TenantAdmin) -> Response:
    """409 while a transaction runs."""
    command = Remove(tenant=caller.own_tenant, charge_point_id=charge_point_id)
    await caller.ask(command, await caller.meta())
    await caller.gone(HUB, "credentials", credentials_id(caller.own_tenant, charge_point_id))
    await caller.gone(caller.database, "charge_points", charge_point_id)
    return empty()


@routes.post("/chargepoints/{charge_point_id}/credentials")
async def set_credentials(charge_point_id: Id, body: NewPassword, caller: TenantAdmin) -> Response:
    """A new password for the next handshake; the connection that is open stays."""
    meta = await caller.meta()
    password = body.password or _made(caller, meta)
    command = SetCredentials(
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        password_hash=await _hashed(password),
    )
    reply = await caller.ask(command, meta)
    await caller.visible(HUB, "credentials", credentials_id(caller.own_tenant, charge_point_id), reply)
    made = {"password": password} if body.password is None else {}
    return answer({"id": charge_point_id, **made})


@routes.get("/chargepoints/{charge_point_id}/messages")
async def messages(
    charge_point_id: Id,
    caller: Operator,
    page: Page,
    action: Annotated[str | None, Query(max_length=64)] = None,
    direction: Annotated[str | None, Query(pattern="^(in|out)$")] = None,
) -> Response:
    """OCPP calls with their answers, newest first."""
    await _known(caller, charge_point_id)

    def wanted(frame: Frame) -> bool:
        record = frame.record
        return (
            record.charge_point_id == charge_point_id
            and action in (None, record.action)
            and direction in (None, record.direction)
        )

    if action is not None:
        key = by_action(charge_point_id, action)
    else:
        key = (sent_to if direction == "out" else by_charge_point)(charge_point_id)
    return await listed_of_blocks(
        caller,
        FRAMES,
        key,
        page,
        decode=frames_of,
        wanted=wanted,
        show=lambda frame: _frame(caller, frame),
    )


async def _frame(caller: Caller, frame: Frame) -> Document:
    """The call with its payloads as JSON, or as they are kept: as text, where they were cut or cannot be read."""
    out = frame.document()
    for name in ("request", "response"):
        with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
            out[name] = await revealed(caller, msgspec.json.decode(str(out.get(name) or "null")))
    return out


async def _site(caller: Caller, location: LocationInput | None, location_id: str | None) -> Site | None:
    """Where it is to stand; None where nothing is said."""
    if location is not None:
        return location.site(caller.settings.time_zone)
    if location_id is None:
        return None
    known = await site_at(caller.services.store, caller.own_tenant, location_id)
    if known is None:
        raise invalid(
            "body", "location_id", f"there is no location {location_id}: PUT /locations/{location_id}"
        )
    return known


async def _is_known(caller: Caller, charge_point_id: str) -> bool:
    return await caller.services.store.get(caller.database, "charge_points", charge_point_id) is not None


async def _known(caller: Caller, charge_point_id: str) -> Document:
    document = await caller.services.store.get(caller.database, "charge_points", charge_point_id)
    if document is None:
        raise not_found(f"charge point {charge_point_id}")
    return document


def _shown(document: Document) -> Document:
    out = plain(document)
    for inside in ("changing", "wanted", "availability"):
        del out[inside]
    return out


def _made(caller: Caller, meta: Meta) -> str:
    """An AuthorizationKey of 16 bytes as hex; the same again for a repeat of the same request."""
    return caller.services.vault.digest("charge_point_password", meta.command_id)


async def _hashed(password: str) -> str:
    """Off the event loop: it is slow on purpose."""
    return await asyncio.to_thread(hash_password, password.encode(), secrets.token_bytes(16))
