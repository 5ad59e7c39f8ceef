"""What can be asked of a session of ours: start, usage, connector states, the end.

The end is priced and its CDR issued in the same decision, from the session's own state alone. Whatever was read or
said, the session ends: a CDR without a price, or that OCPI does not allow, is withheld until that is mended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from commands.cdr import Priced, cdr_json, obstacle_of, one_line, priced, printable
from domain.clock import by_its_clock, by_our_clock, earlier, later, shift
from domain.kept import Keeper, Kept, Thinned, evenly, merged
from domain.metering import Energy, Reading, session_energy
from domain.metering.reading import REGISTER
from domain.metering.usable import REGISTER_WH, below, brief, priceable, usable
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
from domain.pricing.running import follow
from domain.pricing.selection import Timeline, zone_of
from domain.pricing.usage import EARLIEST, LATEST, whole_second
from domain.session import (
    CdrIssued,
    CdrWithheld,
    ConnectorChanged,
    End,
    EndCorrected,
    Ended,
    EndHeld,
    Mended,
    Obstacle,
    ReadingsRefused,
    Session,
    SessionState,
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

UNPRICED: Final = (ValueError, ArithmeticError)
"""What pricing raises for numbers and times that have no price."""
UNUSABLE_READING: Final = "unusable_reading"
END_BY_HAND: Final = "end_by_hand"


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


class IssueCdr(_OfSession, frozen=True, kw_only=True, tag="session.issue_cdr.v1"):
    """The CDR that was withheld, by the tenant's master data as they are now; asked of us by a person.

    Without `site` the charge point is gone: where it stood and its tariffs are as they were. `energy_wh` (since the
    start) and `ended_at` (by our clock) are what the person says instead of the charge point, `note` is why.
    """

    after_all: ClassVar[bool] = True
    tenant: str
    settings: Settings
    site: Site | None = None
    evse_uid: str = ""
    evse_id: str = ""
    connector: Connector | None = None
    tariffs: tuple[JSONObject, ...] = ()
    energy_wh: int | None = None
    ended_at: datetime | None = None
    by: str
    note: str


class Issuing(msgspec.Struct, frozen=True):
    """What became of it: the CDR's id, and the field that still stands in its way, empty where it is issued."""

    cdr_id: str
    field: str = ""
    value: str = ""
    reason: str = ""


class EndSession(_OfSession, frozen=True, kw_only=True, tag="session.end.v1"):
    """The transaction stopped; `samples` are those that the session was not told yet.

    One that the charge point did not report itself is corrected by a surer one, whenever that comes; `after_all` says
    that it may be one.
    """

    after_all: bool = False  # type: ignore[misc]
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


def issue_cdr(session: Session, command: IssueCdr, meta: Meta) -> Outcome:
    """The CDR once nothing stands in its way; asked again it is the same one."""
    state, withheld = session.state, session.state.withheld
    if not state.started or state.tenant != command.tenant:
        return Rejected(Refusal.UNKNOWN, f"session {command.session_id[:40]} is not known")
    if withheld is None:
        if state.cdr_id:
            return Accepted(Issuing(cdr_id=state.cdr_id))
        return Rejected(
            Refusal.NOT_ALLOWED, "no CDR of it was withheld: it runs, or its token was not accepted"
        )
    if command.energy_wh is not None and not 0 <= command.energy_wh < REGISTER_WH:
        return Rejected(Refusal.INVALID, f"energy_wh: must be from 0 to below {REGISTER_WH}")
    _mend(session, command, meta)
    end = withheld.end
    if state.end_by_hand is not None:
        at = by_its_clock(state.end_by_hand, end.clock_offset_s)
        end = msgspec.structs.replace(end, at=at, flags=(*end.flags, END_BY_HAND))
    made = _made(session, withheld.cdr_id, _sum(session, end, state.samples, state.energy_by_hand_wh), meta)
    if not isinstance(made, Obstacle):
        _issue(session, withheld.cdr_id, made, meta)
        return Accepted(Issuing(cdr_id=withheld.cdr_id))
    if made != withheld.obstacle:
        _withhold(session, withheld.cdr_id, made, withheld.end, meta)
    return Accepted(Issuing(cdr_id=withheld.cdr_id, field=made.field, value=made.value, reason=made.reason))


def _mend(session: Session, command: IssueCdr, meta: Meta) -> None:
    """What the CDR is made of becomes what the command says, where that is something else."""
    state = session.state
    assert state.site is not None and state.settings is not None
    stays = command.site is None
    now = {
        "settings": command.settings,
        "site": command.site or state.site,
        "evse_uid": state.evse_uid if stays else command.evse_uid,
        "evse_id": state.evse_id if stays else command.evse_id,
        "connector": state.connector if stays else command.connector,
        "tariffs": tuple(state.tariffs) if stays else command.tariffs,
        "energy_wh": state.energy_by_hand_wh if command.energy_wh is None else command.energy_wh,
        "ended_at": state.end_by_hand if command.ended_at is None else command.ended_at,
    }
    before = {
        "settings": state.settings,
        "site": state.site,
        "evse_uid": state.evse_uid,
        "evse_id": state.evse_id,
        "connector": state.connector,
        "tariffs": tuple(state.tariffs),
        "energy_wh": state.energy_by_hand_wh,
        "ended_at": state.end_by_hand,
    }
    if now != before:
        session.trigger(Mended, meta.at, **now, by=command.by, note=command.note)


def _times(at: datetime, clock_offset_s: int) -> dict[str, Any]:
    """Of an event: by our clock, and by the charge point's where that differs."""
    ours = by_our_clock(at, clock_offset_s)
    return {
        "occurred_at": ours,
        "reported_at": at if at != ours else None,
        "clock_offset_s": clock_offset_s,
    }


def _record(session: Session, samples: Sequence[RegisterSample], clock_offset_s: int, meta: Meta) -> None:
    """Take in the samples that are new and that a meter can hold. A running session's price is provisional, and none
    where it cannot be told: its end prices it anew."""
    state, off = session.state, shift(clock_offset_s)
    held = _usable(session, samples, clock_offset_s, meta)
    rates = _rates(session)
    keeper = _keeper(session, rates, off)
    fresh = _fresh(state.samples, held, keeper)
    if not fresh:
        return
    times = _times(fresh[-1].at, clock_offset_s)
    kept = merged(state.samples, fresh)
    if state.start is None:
        less = evenly(kept)
        session.trigger(
            UsageRecorded, meta.at, samples=fresh, energy_wh=Decimal(0), early=True, thinned=less, **times
        )
        return
    tally, total_cost = _relayed(session, rates if keeper is not None else None, kept, fresh, off)
    session.trigger(
        UsageRecorded,
        meta.at,
        **times,
        samples=fresh,
        energy_wh=_energy(session, kept, None).wh if tally is None else tally.energy_wh,
        total_cost=total_cost,
        owner=session.told_to,
        thinned=_thin(state, keeper, kept, fresh),
        tally=None if kept[-1].at < state.start else tally,
    )


def _usable(
    session: Session, samples: Sequence[RegisterSample], clock_offset_s: int, meta: Meta
) -> tuple[RegisterSample, ...]:
    """Those that can be counted by; of the others it is said that they were refused."""
    found, unusable = usable(samples, shift(clock_offset_s))
    if unusable:
        last = max(sample.at for sample in samples)
        session.trigger(
            ReadingsRefused,
            meta.at,
            **_times(last, clock_offset_s),
            count=len(unusable),
            field=unusable[0].field,
            value=unusable[0].value,
        )
    return found


def _relayed(
    session: Session,
    rates: _Rates | None,
    kept: Sequence[Kept],
    fresh: Sequence[RegisterSample],
    off: timedelta,
) -> tuple[Tally | None, JSONObject | None]:
    """What the charge came to so far; nothing where that has no price."""
    if rates is None:
        return None, None
    try:
        tally, total = _follow(session, rates, kept, fresh, off)
        return tally, _price_json(total)
    except UNPRICED:
        return None, None


def _thin(
    state: SessionState, keeper: Keeper | None, kept: Sequence[Kept], fresh: Sequence[RegisterSample]
) -> Thinned | None:
    return evenly(kept) if keeper is None else keeper.thin(kept, fresh, state.judged)


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
    since, until = later(tally.running.read.at, off), fresh[-1].at
    return Usage(
        start=earlier(state.start, off),
        end=earlier(until, off),
        samples=tuple(
            Sample(
                earlier(sample.at, off),
                tally.energy_wh + sample.energy_wh - tally.register_wh,
                power_w=sample.power_w,
                current_a=sample.current_a,
            )
            for sample in fresh
        ),
        parking=tuple(
            Interval(earlier(a, off), earlier(b, off)) for a, b in parked(state.states, since, until)
        ),
    )


class _Rates(NamedTuple):
    """The tariffs of a session, ready to price, and where."""

    timeline: Timeline
    zone: ZoneInfo


def _rates(session: Session) -> _Rates | None:
    """None where the site's time zone is none."""
    try:
        return _Rates(_tariffs(session).timeline, zone_of(_time_zone(session)))
    except PricingError:
        return None


def _keeper(session: Session, rates: _Rates | None, off: timedelta) -> Keeper | None:
    """None where nothing is known to judge readings by: no start yet, no zone, a start that is not priced."""
    state = session.state
    if state.start is None or rates is None:
        return None
    try:
        borders = Borders(*rates, whole_second(earlier(state.start, off)))
    except PricingError:
        return None
    return Keeper(borders, state.states, off, Decimal(state.meter_start))


class _Sum(NamedTuple):
    """What an end comes to."""

    until: datetime
    status: str
    meter_stop: int
    energy: Energy
    cost: Priced | Obstacle
    shift: timedelta
    flags: list[str]
    thinned: list[str]
    said: tuple[str, ...]

    @property
    def notes(self) -> list[str]:
        """What the CDR warns of, its reader too; flags are for the tenant alone."""
        return [*self.said, *(repair.text for repair in self.energy.repairs)]

    @property
    def total_cost(self) -> JSONObject | None:
        """OCPI's Price; None where there is none."""
        return None if isinstance(self.cost, Obstacle) else self.cost.total


def _sum(session: Session, end: End, samples: Sequence[Kept], by_hand: int | None = None) -> _Sum:
    """Whatever the end says it comes to something. `by_hand`: Wh since the start, as a person says."""
    state = session.state
    assert state.start is not None
    flags = list(end.flags)
    until = end.at
    if until < state.start:
        until = max([state.start, *(sample.at for sample in samples)])
        flags.append("stop_before_start")
    if state.unusable:
        flags.append(UNUSABLE_READING)
    energy, obstacle = _counted(session, samples, end, by_hand)
    off = shift(end.clock_offset_s)
    obstacle = obstacle or _not_priceable(session, until, off)
    cost, thinned = _priced(session, samples, energy, until, off) if obstacle is None else (obstacle, [])
    status = "INVALID" if state.status == "INVALID" else "COMPLETED"
    stop = end.meter_stop if end.meter_stop is not None else int(state.meter_start + energy.wh)
    said = () if by_hand is None else (f"the energy of {by_hand} Wh was given by hand",)
    return _Sum(until, status, stop, energy, cost, off, flags, thinned, said)


def _counted(
    session: Session, samples: Sequence[Kept], end: End, by_hand: int | None
) -> tuple[Energy, Obstacle | None]:
    """The energy as far as it is known, and why it is not the whole."""
    start, stop = session.state.meter_start, end.meter_stop
    if by_hand is not None:
        total = Decimal(by_hand)
        known = _energy(session, samples, None)
        return Energy(total, tuple((at, min(wh, total)) for at, wh in known.series)), None
    for name, value in (("meter_start", start), ("meter_stop", stop)):
        if value is not None and not below(value, REGISTER_WH):
            return _energy(session, samples, None), Obstacle(
                field=name, value=brief(value), reason="no meter holds so many Wh"
            )
    energy = _energy(session, samples, stop)
    if not below(energy.wh, REGISTER_WH):
        return energy, Obstacle(
            field="total_energy", value=brief(energy.wh), reason="no charge takes so many Wh"
        )
    return energy, None


def _not_priceable(session: Session, until: datetime, off: timedelta) -> Obstacle | None:
    """Whether the time zone or a time of the charge is none that anything can be priced by."""
    state = session.state
    assert state.start is not None
    try:
        zone_of(_time_zone(session))
    except PricingError as error:
        name = printable(_time_zone(session))[:40]
        return Obstacle(field="time_zone", value=name, reason=one_line(str(error)))
    for field, at in (("start_date_time", state.start), ("end_date_time", until)):
        if not priceable(earlier(at, off)):
            return Obstacle(
                field=field,
                value=earlier(at, off).isoformat()[:40],
                reason=f"lies outside of the years {EARLIEST} to {LATEST}",
            )
    return None


def _priced(
    session: Session, samples: Sequence[Kept], energy: Energy, until: datetime, off: timedelta
) -> tuple[Priced | Obstacle, list[str]]:
    try:
        cost = _price(session, _usage(session, samples, energy, until, off))
        thinned = _thinned(session, samples, until, energy, off)
        return priced(cost, _tariffs(session).tariffs), thinned
    except UNPRICED as error:
        return Obstacle(field="total_cost", reason=one_line(str(error) or type(error).__name__)), []


def _thinned(
    session: Session, samples: Sequence[Kept], until: datetime, energy: Energy, off: timedelta
) -> list[str]:
    """What is said where not all readings were kept."""
    state = session.state
    if not state.left_out and not state.rough:
        return []
    cut = any(repair.code == "meter_stop_below_samples" for repair in energy.repairs)
    keeper = _keeper(session, _rates(session), off)
    unsure = (
        state.rough
        or keeper is None
        or keeper.unsure(samples, dict(energy.series), until, energy.wh if cut else None)
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
        total_cost=sum.total_cost,
        owner=session.told_to,
        flags=tuple(sum.flags),
        provisional=not end.reported,
        assumed=end.assumed,
        by=end.by,
        note=end.note,
    )
    if sum.status == "COMPLETED":
        _settle(session, _session_id(session), sum, end, meta)


def _correct(session: Session, command: EndSession, meta: Meta) -> None:
    """The true end of a session that had to be ended without it. A CDR never changes: it is credited, and one more
    is issued."""
    state, end = session.state, command.end
    held = _usable(session, command.samples, end.clock_offset_s, meta)
    keeper = _keeper(session, _rates(session), shift(end.clock_offset_s))
    fresh = _fresh(state.samples, held, keeper)
    kept = merged(state.samples, fresh)
    sum = _sum(session, end, kept)
    credited, withheld = state.cdr, state.withheld
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
        total_cost=sum.total_cost,
        owner=session.told_to,
        samples=fresh,
        flags=tuple(sum.flags),
        assumed=end.assumed,
        thinned=_thin(state, keeper, kept, fresh),
    )
    if credited is not None:
        _credit(session, credited, meta)
        _settle(session, replacement_id(credited["id"]), sum, end, meta)
    elif withheld is not None:
        _settle(session, withheld.cdr_id, sum, end, meta)


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


def _settle(session: Session, id: str, sum: _Sum, end: End, meta: Meta) -> None:
    """The CDR of an end, or why there is none."""
    made = _made(session, id, sum, meta)
    if isinstance(made, Obstacle):
        _withhold(session, id, made, end, meta)
    else:
        _issue(session, id, made, meta)


class _Made(NamedTuple):
    cdr: JSONObject
    explanation: tuple[str, ...]
    warnings: tuple[str, ...]


def _made(session: Session, id: str, sum: _Sum, meta: Meta) -> _Made | Obstacle:
    cost = sum.cost
    if isinstance(cost, Obstacle):
        return cost
    off = sum.shift
    warnings = [*sum.thinned, *_tariffs(session).problems, *cost.warnings]
    if off:
        warnings.append(
            f"the charge point's clock was {off.total_seconds():+.0f} s off: times are corrected by it"
        )
    warnings.extend(sum.notes)
    cdr = cdr_json(session.state, _session_id(session), id, cost, warnings, meta.at)
    obstacle = obstacle_of(cdr)
    if obstacle is not None:
        return obstacle
    return _Made(cdr, cost.explanation, (*warnings, *(f"flagged: {flag}" for flag in sum.flags)))


def _withhold(session: Session, id: str, obstacle: Obstacle, end: End, meta: Meta) -> None:
    session.trigger(
        CdrWithheld,
        meta.at,
        cdr_id=id,
        field=obstacle.field,
        value=obstacle.value,
        reason=obstacle.reason,
        end=end,
    )


def _issue(session: Session, id: str, made: _Made, meta: Meta) -> None:
    state = session.state
    assert state.authorization is not None
    session.trigger(
        CdrIssued,
        meta.at,
        cdr_id=id,
        cdr=made.cdr,
        cdr_token=state.authorization.cdr_token,
        **_token(session),
        owner=session.told_to,
        holder=state.authorization.holder,
        explanation=made.explanation,
        warnings=made.warnings,
        was_withheld=state.withheld is not None,
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
        Sample(earlier(at, off), wh, power_w=known[at].power_w, current_a=known[at].current_a)
        for at, wh in energy.series
        if state.start <= at <= until
    ]
    return Usage(
        start=earlier(state.start, off),
        end=earlier(until, off),
        samples=tuple(series),
        parking=tuple(
            Interval(earlier(a, off), earlier(b, off)) for a, b in parked(state.states, state.start, until)
        ),
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
    start = session.state.meter_start
    if not below(start, REGISTER_WH):
        start = int(samples[0].energy_wh) if samples else 0
    return session_energy(start, readings, meter_stop)


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
    IssueCdr: Route(Session, issue_cdr),
}
