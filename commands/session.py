"""What can be asked of a session of ours: start, usage, connector states, the end.

The end is priced and its CDR issued in the same decision, from the session's own state alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.clock import by_our_clock, shift
from domain.metering import Energy, Reading, session_energy
from domain.metering.reading import REGISTER
from domain.pricing import (
    Cost,
    Interval,
    PricingError,
    Sample,
    Tariff,
    Usage,
    fitting,
    price,
    tariff_from_json,
)
from domain.pricing import to_json as pricing_json
from domain.pricing.cdr import cdr_of
from domain.session import (
    CdrIssued,
    ConnectorChanged,
    End,
    EndCorrected,
    Ended,
    EndHeld,
    Session,
    Started,
    UsageRecorded,
    credit_id,
    replacement_id,
    session_aggregate_id,
)
from domain.values import (
    Authorization,
    Connector,
    JSONObject,
    RegisterSample,
    Settings,
    Site,
    TagRef,
    plain_json,
)

PARKING = frozenset({"SuspendedEV", "Finishing"})


class _OfSession(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.SESSION
    session_id: str

    @property
    def aggregate_id(self) -> str:
        return session_aggregate_id(self.session_id)


class StartSession(_OfSession, frozen=True, kw_only=True, tag="session.start.v1"):
    """A transaction began; `status` is the idTagInfo status that the charge point was answered.

    Here as in every command, times are by the charge point's clock, which runs `clock_offset_s` ahead of ours.
    """

    tenant: str
    charge_point_id: str
    connector_id: int
    transaction_id: int
    evse_uid: str
    evse_id: str = ""
    connector: Connector | None = None
    site: Site
    id_tag: TagRef
    authorization: Authorization
    status: str
    start: datetime
    clock_offset_s: int = 0
    meter_start: int
    settings: Settings
    tariffs: tuple[JSONObject, ...] = ()
    remote_command_id: str = ""
    flags: tuple[str, ...] = ()


class RecordUsage(_OfSession, frozen=True, kw_only=True, tag="session.record_usage.v1"):
    """Register samples that the session was not told yet, oldest first."""

    samples: tuple[RegisterSample, ...]
    clock_offset_s: int = 0


class RecordConnector(_OfSession, frozen=True, kw_only=True, tag="session.record_connector.v1"):
    """The connector's status while the session runs."""

    at: datetime
    status: str
    clock_offset_s: int = 0


class EndSession(_OfSession, frozen=True, kw_only=True, tag="session.end.v1"):
    """The transaction stopped; `samples` are those that the session was not told yet.

    One that the charge point did not report itself is corrected by a surer one, whenever that comes.
    """

    end: End
    samples: tuple[RegisterSample, ...] = ()


def start(session: Session, command: StartSession, meta: Meta) -> Outcome:
    state = session.state
    if state.started:
        return Accepted()
    accepted = command.status == "Accepted"
    session.trigger(
        Started,
        meta.at,
        **_times(command.start, command.clock_offset_s),
        session_id=command.session_id,
        tenant=command.tenant,
        charge_point_id=command.charge_point_id,
        connector_id=command.connector_id,
        transaction_id=command.transaction_id,
        evse_uid=command.evse_uid,
        evse_id=command.evse_id,
        connector=command.connector,
        site=command.site,
        id_tag=command.id_tag,
        authorization=command.authorization,
        status="ACTIVE" if accepted else "INVALID",
        meter_start=command.meter_start,
        settings=command.settings,
        tariffs=command.tariffs,
        remote_command_id=command.remote_command_id,
        flags=command.flags,
    )
    if state.held_end is not None:
        _end(session, state.held_end, meta)
    return Accepted()


def record_usage(session: Session, command: RecordUsage, meta: Meta) -> Outcome:
    state = session.state
    if state.ended_at is not None:
        return Rejected(Refusal.STALE, "the session has ended")
    known = {sample.at for sample in state.samples}
    fresh = tuple(sample for sample in command.samples if sample.at not in known)
    if not fresh:
        return Accepted()
    _record(session, fresh, command.clock_offset_s, meta)
    return Accepted()


def record_connector(session: Session, command: RecordConnector, meta: Meta) -> Outcome:
    state = session.state
    if state.ended_at is not None:
        return Rejected(Refusal.STALE, "the session has ended")
    if any(change.at == command.at and change.status == command.status for change in state.states):
        return Accepted()
    times = _times(command.at, command.clock_offset_s)
    session.trigger(ConnectorChanged, meta.at, status=command.status, **times)
    return Accepted()


def end(session: Session, command: EndSession, meta: Meta) -> Outcome:
    state = session.state
    held = state.held_end
    if state.ended_at is not None:
        if state.provisional and command.end.certainty > state.assumed:
            _correct(session, command, meta)
        return Accepted()
    if held is not None and command.end.certainty <= held.certainty:
        return Accepted()
    known = {sample.at for sample in state.samples}
    fresh = tuple(sample for sample in command.samples if sample.at not in known)
    if fresh:
        _record(session, fresh, command.end.clock_offset_s, meta)
    if not state.started:
        session.trigger(EndHeld, meta.at, end=command.end)
    else:
        _end(session, command.end, meta)
    return Accepted()


def _times(at: datetime, clock_offset_s: int) -> dict[str, Any]:
    """Of an event: by our clock, and by the charge point's where that differs."""
    ours = by_our_clock(at, clock_offset_s)
    return {
        "occurred_at": ours,
        "reported_at": at if at != ours else None,
        "clock_offset_s": clock_offset_s,
    }


def _record(session: Session, fresh: tuple[RegisterSample, ...], clock_offset_s: int, meta: Meta) -> None:
    state = session.state
    times = _times(fresh[-1].at, clock_offset_s)
    if not state.started or state.start is None:
        session.trigger(UsageRecorded, meta.at, samples=fresh, energy_wh=Decimal(0), early=True, **times)
        return
    samples = [*state.samples, *fresh]
    until = max(state.start, *(sample.at for sample in samples))
    energy = _energy(session, samples, None)
    cost = _price(session, _usage(session, samples, energy, until, shift(clock_offset_s)))
    session.trigger(
        UsageRecorded,
        meta.at,
        **times,
        samples=fresh,
        energy_wh=energy.wh,
        total_cost=_cost_json(cost),
        owner=session.told_to,
    )


class _Sum(NamedTuple):
    """What an end comes to."""

    until: datetime
    status: str
    meter_stop: int
    energy: Energy
    cost: Cost
    shift: timedelta
    flags: list[str]

    @property
    def notes(self) -> list[str]:
        """What the CDR warns of, its reader too; flags are for the tenant alone."""
        return [repair.text for repair in self.energy.repairs]


def _sum(session: Session, end: End, samples: Sequence[RegisterSample]) -> _Sum:
    state = session.state
    assert state.start is not None
    flags = list(end.flags)
    until = end.at
    if until < state.start:
        until = max([state.start, *(sample.at for sample in samples)])
        flags.append("stop_before_start")
    energy = _energy(session, samples, end.meter_stop)
    off = shift(end.clock_offset_s)
    cost = _price(session, _usage(session, samples, energy, until, off))
    status = "INVALID" if state.status == "INVALID" else "COMPLETED"
    stop = end.meter_stop if end.meter_stop is not None else int(state.meter_start + energy.wh)
    return _Sum(until, status, stop, energy, cost, off, flags)


def _end(session: Session, end: End, meta: Meta) -> None:
    sum = _sum(session, end, session.state.samples)
    session.trigger(
        Ended,
        meta.at,
        **_times(sum.until, end.clock_offset_s),
        started_at=_started_at(session, end),
        status=sum.status,
        meter_stop=sum.meter_stop,
        energy_wh=sum.energy.wh,
        reason=end.reason,
        total_cost=_cost_json(sum.cost),
        owner=session.told_to,
        flags=tuple(sum.flags),
        provisional=not end.reported,
        assumed=end.assumed,
        by=end.by,
        note=end.note,
    )
    if sum.status == "COMPLETED":
        _issue(session, _session_id(session), sum, meta)


def _correct(session: Session, command: EndSession, meta: Meta) -> None:
    """The true end of a session that had to be ended without it. A CDR never changes: it is credited, and one more
    is issued."""
    state, end = session.state, command.end
    known = {sample.at for sample in state.samples}
    fresh = tuple(sample for sample in command.samples if sample.at not in known)
    sum = _sum(session, end, [*state.samples, *fresh])
    credited = state.cdr
    session.trigger(
        EndCorrected,
        meta.at,
        **_times(sum.until, end.clock_offset_s),
        charge_point_id=state.charge_point_id,
        connector_id=state.connector_id,
        started_at=_started_at(session, end),
        status=sum.status,
        meter_stop=sum.meter_stop,
        energy_wh=sum.energy.wh,
        reason=end.reason,
        total_cost=_cost_json(sum.cost),
        owner=session.told_to,
        samples=fresh,
        flags=tuple(sum.flags),
        assumed=end.assumed,
    )
    if credited is not None:
        _credit(session, credited, meta)
        _issue(session, replacement_id(credited["id"]), sum, meta)


def _started_at(session: Session, end: End) -> datetime:
    assert session.state.start is not None
    return by_our_clock(session.state.start, end.clock_offset_s)


def _token(session: Session) -> dict[str, str]:
    tag, authorization = session.state.tag, session.state.authorization
    assert tag is not None and authorization is not None
    return {"token_key": tag.key, "token_type": authorization.token_type}


def _credit(session: Session, cdr: JSONObject, meta: Meta) -> None:
    """OCPI 2.3.0, CDRs, credit CDR: everything as it was, only the total negated."""
    authorization = session.state.authorization
    assert authorization is not None
    id, why = credit_id(cdr["id"]), f"credit of {cdr['id']}: the charge point reported its end late"
    credit: JSONObject = {
        **cdr,
        "id": id,
        "credit": True,
        "credit_reference_id": cdr["id"],
        "total_cost": _negated(cdr["total_cost"]),
        "remark": why,
        "last_updated": _z(meta.at),
    }
    session.trigger(
        CdrIssued,
        meta.at,
        cdr_id=id,
        cdr=credit,
        cdr_token=authorization.cdr_token,
        **_token(session),
        owner=session.told_to,
        holder=authorization.holder,
        explanation=(why,),
    )


def _negated(price: JSONObject) -> JSONObject:
    negated = {key: -value for key, value in price.items() if isinstance(value, int | float)}
    taxes = [{**tax, "amount": -tax["amount"]} for tax in price.get("taxes") or ()]
    return {**price, **negated, **({"taxes": taxes} if taxes else {})}


def _session_id(session: Session) -> str:
    return session.id.partition("|")[2]


def _issue(session: Session, id: str, sum: _Sum, meta: Meta) -> None:
    state, cost, off = session.state, sum.cost, sum.shift
    site, authorization, settings = state.site, state.authorization, state.settings
    assert site is not None and authorization is not None and settings is not None and state.start is not None
    tariffs, problems = _tariffs(session)
    numbers = cdr_of(cost, tariffs)
    used = {tariff.id for tariff in numbers.tariffs or ()}
    warnings = [*problems, *numbers.warnings]
    if off:
        warnings.append(
            f"the charge point's clock was {off.total_seconds():+.0f} s off: times are corrected by it"
        )
    warnings.extend(sum.notes)
    connector = state.connector
    coordinates = site.coordinates
    cdr: JSONObject = {
        **plain_json(pricing_json(numbers)),
        "country_code": settings.party.country_code,
        "party_id": settings.party.party_id,
        "id": id,
        "session_id": _session_id(session),
        "auth_method": authorization.auth_method or "WHITELIST",
        "cdr_location": {
            "id": site.id,
            "name": site.name or None,
            "address": site.address[:45] or "#NA",
            "city": site.city[:45] or "#NA",
            "postal_code": site.postal_code or None,
            "country": site.country or "#NA",
            "coordinates": {
                "latitude": coordinates.latitude if coordinates else "0.00000",
                "longitude": coordinates.longitude if coordinates else "0.00000",
            },
            "evse_uid": state.evse_uid,
            "evse_id": state.evse_id or "#NA",
            "connector_id": connector.id if connector else str(state.connector_id),
            "connector_standard": connector.standard if connector else "IEC_62196_T2",
            "connector_format": connector.format if connector else "SOCKET",
            "connector_power_type": connector.power_type if connector else "AC_3_PHASE",
        },
        "last_updated": _z(meta.at),
    }
    if used:
        cdr["tariffs"] = [value for value in state.tariffs if value["id"] in used]
    if authorization.authorization_reference:
        cdr["authorization_reference"] = authorization.authorization_reference
    if warnings:
        cdr["remark"] = "; ".join(warnings)[:255]
    location = cdr["cdr_location"]
    cdr["cdr_location"] = {key: value for key, value in location.items() if value is not None}
    session.trigger(
        CdrIssued,
        meta.at,
        cdr_id=id,
        cdr=cdr,
        cdr_token=authorization.cdr_token,
        **_token(session),
        owner=session.told_to,
        holder=authorization.holder,
        explanation=cost.explain(),
        warnings=(*warnings, *(f"flagged: {flag}" for flag in sum.flags)),
    )


def _tariffs(session: Session) -> tuple[tuple[Tariff, ...], list[str]]:
    """The connector's tariffs for this kind of charge, and what was wrong with others."""
    tariffs: list[Tariff] = []
    problems: list[str] = []
    for value in session.state.tariffs:
        try:
            tariffs.append(tariff_from_json(value))
        except PricingError as error:
            problems.append(str(error))
    authorization = session.state.authorization
    ad_hoc = authorization is not None and authorization.token_type == "AD_HOC_USER"
    kind = "AD_HOC_PAYMENT" if ad_hoc else "REGULAR"
    found = fitting(tariffs, kind)
    if tariffs and not found:
        others = ", ".join(f"{tariff.id} ({tariff.type})" for tariff in tariffs)
        problems.append(f"no tariff of the connector is for a charge of type {kind}: {others}")
    return found, problems


def _time_zone(session: Session) -> str:
    state = session.state
    if state.site is not None and state.site.time_zone:
        return state.site.time_zone
    return state.settings.time_zone if state.settings is not None else "UTC"


def _usage(
    session: Session,
    samples: Sequence[RegisterSample],
    energy: Energy,
    until: datetime,
    off: timedelta,
) -> Usage:
    """What pricing needs, from the repaired series: Wh since the start, times by our clock."""
    state = session.state
    assert state.start is not None
    known = {sample.at: sample for sample in samples}
    series = [
        Sample(
            at - off,
            wh,
            power_w=known[at].power_w if at in known else None,
            current_a=known[at].current_a if at in known else None,
        )
        for at, wh in energy.series
        if state.start <= at <= until
    ]
    return Usage(
        start=state.start - off,
        end=until - off,
        samples=tuple(series),
        parking=tuple(_parking(session, until, off)),
        meter_start_wh=0,
        meter_stop_wh=energy.wh,
    )


def _parking(session: Session, until: datetime, off: timedelta) -> list[Interval]:
    """While the vehicle asked for no power: from SuspendedEV or Finishing to the next status or the end."""
    state = session.state
    assert state.start is not None
    out: list[Interval] = []
    since: datetime | None = None
    for change in sorted(state.states, key=lambda change: change.at):
        at = min(max(change.at, state.start), until)
        if change.status in PARKING:
            since = since if since is not None else at
        elif since is not None:
            if at > since:
                out.append(Interval(since - off, at - off))
            since = None
    if since is not None and until > since:
        out.append(Interval(since - off, until - off))
    return out


def _energy(session: Session, samples: Sequence[RegisterSample], meter_stop: int | None) -> Energy:
    readings = [
        Reading(
            at=sample.at,
            measurand=REGISTER,
            context="Sample.Periodic",
            location="Outlet",
            unit="Wh",
            value=sample.energy_wh,
        )
        for sample in samples
    ]
    return session_energy(session.state.meter_start, readings, meter_stop)


def _price(session: Session, usage: Usage) -> Cost:
    settings = session.state.settings
    tariffs, _ = _tariffs(session)
    return price(usage, tariffs, _time_zone(session), currency=settings.currency if settings else None)


def _cost_json(cost: Cost) -> JSONObject:
    price: JSONObject = plain_json(pricing_json(cost.total.as_price()))
    return price


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


ROUTES: dict[type[Command], Route] = {
    StartSession: Route(Session, start),
    RecordUsage: Route(Session, record_usage),
    RecordConnector: Route(Session, record_connector),
    EndSession: Route(Session, end),
}
