"""What can be asked of a session of ours: start, usage, connector states, the end.

The end is priced and its CDR issued in the same decision, from the session's own state alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.clock import by_our_clock, shift
from domain.kept import Keeper, Kept, evenly, merged
from domain.metering import Energy, Reading, session_energy
from domain.metering.reading import REGISTER
from domain.parking import parked
from domain.pricing import (
    Amount,
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
from domain.pricing.borders import Borders
from domain.pricing.cdr import cdr_of
from domain.pricing.running import follow
from domain.pricing.selection import Timeline, zone_of
from domain.pricing.usage import whole_second
from domain.session import (
    CdrIssued,
    ConnectorChanged,
    End,
    EndCorrected,
    Ended,
    EndHeld,
    Session,
    Started,
    Tally,
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


class _OfSession(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.SESSION
    recognised: ClassVar[bool] = True  # one start, readings and changes by their times, the surest end
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
    _record(session, command.samples, command.clock_offset_s, meta)
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
    _record(session, command.samples, command.end.clock_offset_s, meta)
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


def _record(session: Session, samples: Sequence[RegisterSample], clock_offset_s: int, meta: Meta) -> None:
    """Take in the samples that are new. A running session's price is provisional: its end prices it anew."""
    state = session.state
    off, rates = shift(clock_offset_s), _rates(session)
    keeper = None if state.start is None else _keeper(session, rates, off)
    fresh = _fresh(state.samples, samples, keeper)
    if not fresh:
        return
    times = _times(fresh[-1].at, clock_offset_s)
    kept = merged(state.samples, fresh)
    if keeper is None or state.start is None:
        less = evenly(kept)
        session.trigger(
            UsageRecorded, meta.at, samples=fresh, energy_wh=Decimal(0), early=True, thinned=less, **times
        )
        return
    tally, total = _follow(session, rates, kept, fresh, off)
    session.trigger(
        UsageRecorded,
        meta.at,
        **times,
        samples=fresh,
        energy_wh=tally.energy_wh,
        total_cost=_price_json(total),
        owner=session.told_to,
        thinned=keeper.thin(kept, fresh, state.judged),
        tally=None if kept[-1].at < state.start else tally,
    )


def _fresh(
    kept: Sequence[Kept], samples: Sequence[RegisterSample], keeper: Keeper | None
) -> tuple[RegisterSample, ...]:
    """Those that the session was not told, in the order of time; of one moment the last one."""
    found: list[RegisterSample] = []
    for at, sample in sorted({sample.at: sample for sample in samples}.items()):
        place = bisect_left(kept, at, key=lambda one: one.at)
        known = place < len(kept) and kept[place].at == at
        if not known and not (keeper is not None and keeper.fits(kept, sample)):
            found.append(sample)
    return tuple(found)


def _follow(
    session: Session, rates: _Rates, kept: Sequence[Kept], fresh: Sequence[RegisterSample], off: timedelta
) -> tuple[Tally, Amount]:
    """The price until the newest sample: of what is new where it goes on from the tally, else of all that is kept."""
    state, tally = session.state, session.state.tally
    if tally is not None and _goes_on(tally, fresh, off):
        running, total = follow(tally.running, _more(session, tally, fresh, off), *rates)
        return msgspec.structs.replace(tally, running=running, register_wh=fresh[-1].energy_wh), total
    assert state.start is not None
    energy, until = _energy(session, kept, None), max(state.start, kept[-1].at)
    running, total = follow(None, _usage(session, kept, energy, until, off), *rates)
    shift_s = round(off.total_seconds())
    found = Tally(running=running, register_wh=kept[-1].energy_wh, until_wh=energy.until_wh, shift_s=shift_s)
    return found, total


def _goes_on(tally: Tally, fresh: Sequence[RegisterSample], off: timedelta) -> bool:
    """Whether the samples are later than all before and change nothing that was counted before."""
    registers = [tally.register_wh, *(sample.energy_wh for sample in fresh)]
    return (
        tally.shift_s == off.total_seconds()
        and tally.second(fresh[0].at) > tally.running.read.at
        and all(a <= b for a, b in pairwise(registers))
        and (tally.until_wh is None or registers[-1] < tally.until_wh)
    )


def _more(session: Session, tally: Tally, fresh: Sequence[RegisterSample], off: timedelta) -> Usage:
    """What is new, from the second on in which the tally stands."""
    state = session.state
    assert state.start is not None
    since, until = tally.running.read.at + off, fresh[-1].at
    return Usage(
        start=state.start - off,
        end=until - off,
        samples=tuple(
            Sample(
                sample.at - off,
                tally.energy_wh + sample.energy_wh - tally.register_wh,
                power_w=sample.power_w,
                current_a=sample.current_a,
            )
            for sample in fresh
        ),
        parking=tuple(Interval(a - off, b - off) for a, b in parked(state.states, since, until)),
    )


class _Rates(NamedTuple):
    """The tariffs of a session, ready to price, and where."""

    timeline: Timeline
    zone: ZoneInfo


def _rates(session: Session) -> _Rates:
    return _Rates(_tariffs(session).timeline, zone_of(_time_zone(session)))


def _keeper(session: Session, rates: _Rates, off: timedelta) -> Keeper:
    state = session.state
    assert state.start is not None
    borders = Borders(*rates, whole_second(state.start - off))
    return Keeper(borders, state.states, off, Decimal(state.meter_start))


class _Sum(NamedTuple):
    """What an end comes to."""

    until: datetime
    status: str
    meter_stop: int
    energy: Energy
    cost: Cost
    shift: timedelta
    flags: list[str]
    thinned: list[str]

    @property
    def notes(self) -> list[str]:
        """What the CDR warns of, its reader too; flags are for the tenant alone."""
        return [repair.text for repair in self.energy.repairs]


def _sum(session: Session, end: End, samples: Sequence[Kept]) -> _Sum:
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
    thinned = _thinned(session, samples, until, energy, off)
    return _Sum(until, status, stop, energy, cost, off, flags, thinned)


def _thinned(
    session: Session, samples: Sequence[Kept], until: datetime, energy: Energy, off: timedelta
) -> list[str]:
    """What is said where not all readings were kept."""
    state = session.state
    if not state.left_out and not state.rough:
        return []
    cut = any(repair.code == "meter_stop_below_samples" for repair in energy.repairs)
    unsure = state.rough or _keeper(session, _rates(session), off).unsure(
        samples, dict(energy.series), until, energy.wh if cut else None
    )
    all = len(samples) + state.left_out
    return [
        f"thinned: {len(samples)} of {all} readings were kept, "
        + ("the price may differ from that of all" if unsure else "the price is that of all")
    ]


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
        total_cost=_price_json(sum.cost.total),
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
    keeper = _keeper(session, _rates(session), shift(end.clock_offset_s))
    fresh = _fresh(state.samples, command.samples, keeper)
    kept = merged(state.samples, fresh)
    sum = _sum(session, end, kept)
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
        total_cost=_price_json(sum.cost.total),
        owner=session.told_to,
        samples=fresh,
        flags=tuple(sum.flags),
        assumed=end.assumed,
        thinned=keeper.thin(kept, fresh, state.judged),
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
    tariffs, problems, _ = _tariffs(session)
    numbers = cdr_of(cost, tariffs)
    used = {tariff.id for tariff in numbers.tariffs or ()}
    warnings = [*sum.thinned, *problems, *numbers.warnings]
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


class _Ready(NamedTuple):
    """The connector's tariffs for this kind of charge, and what was wrong with others."""

    tariffs: tuple[Tariff, ...]
    problems: tuple[str, ...]
    timeline: Timeline


def _tariffs(session: Session) -> _Ready:
    authorization = session.state.authorization
    ad_hoc = authorization is not None and authorization.token_type == "AD_HOC_USER"
    return _ready(msgspec.json.encode(session.state.tariffs), "AD_HOC_PAYMENT" if ad_hoc else "REGULAR")


@lru_cache(maxsize=256)
def _ready(tariffs: bytes, kind: str) -> _Ready:
    """Sessions at one price share what was read of it."""
    found: list[Tariff] = []
    problems: list[str] = []
    for value in msgspec.json.decode(tariffs, type=list[JSONObject]):
        try:
            found.append(tariff_from_json(value))
        except PricingError as error:
            problems.append(str(error))
    fit = fitting(found, kind)
    if found and not fit:
        others = ", ".join(f"{tariff.id} ({tariff.type})" for tariff in found)
        problems.append(f"no tariff of the connector is for a charge of type {kind}: {others}")
    return _Ready(fit, tuple(problems), Timeline(fit))


def _time_zone(session: Session) -> str:
    state = session.state
    if state.site is not None and state.site.time_zone:
        return state.site.time_zone
    return state.settings.time_zone if state.settings is not None else "UTC"


def _usage(
    session: Session, samples: Sequence[Kept], energy: Energy, until: datetime, off: timedelta
) -> Usage:
    """What pricing needs, from the repaired series: Wh since the start, times by our clock."""
    state = session.state
    assert state.start is not None
    known = {sample.at: sample for sample in samples}
    series = [
        Sample(at - off, wh, power_w=known[at].power_w, current_a=known[at].current_a)
        for at, wh in energy.series
        if state.start <= at <= until
    ]
    return Usage(
        start=state.start - off,
        end=until - off,
        samples=tuple(series),
        parking=tuple(Interval(a - off, b - off) for a, b in parked(state.states, state.start, until)),
        meter_start_wh=0,
        meter_stop_wh=energy.wh,
    )


def _energy(session: Session, samples: Sequence[Kept], meter_stop: int | None) -> Energy:
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
    return price(
        usage,
        _tariffs(session).tariffs,
        _time_zone(session),
        currency=settings.currency if settings else None,
    )


def _price_json(amount: Amount) -> JSONObject:
    price: JSONObject = plain_json(pricing_json(amount.as_price()))
    return price


def _z(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


ROUTES: dict[type[Command], Route] = {
    StartSession: Route(Session, start),
    RecordUsage: Route(Session, record_usage),
    RecordConnector: Route(Session, record_connector),
    EndSession: Route(Session, end),
}
