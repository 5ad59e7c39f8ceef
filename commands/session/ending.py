"""Ends a session: sums, CDR and credit, or why the CDR is withheld; whatever was read, the session ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from commands.base import Meta
from commands.cdr import Priced, cdr_json, obstacle_of, one_line, priced, printable
from commands.session.models import UNUSABLE_READING, EndSession
from commands.session.pricing import (
    UNPRICED,
    energy_of,
    priced_usage,
    started_at,
    tariffs_of,
    time_zone_of,
    usage_of,
    utc_text,
)
from commands.session.usage import keeper_of, new_of, rates_of, thinned_of, times_of, usable_of
from domain.clock import earlier, shift
from domain.kept import Kept, merged
from domain.metering import Energy
from domain.metering.usable import REGISTER_WH, below, brief, priceable
from domain.pricing import (
    PricingError,
)
from domain.pricing.selection import zone_of
from domain.pricing.usage import EARLIEST, LATEST
from domain.session import (
    CdrIssued,
    CdrWithheld,
    End,
    EndCorrected,
    Obstacle,
    Session,
    SessionEnded,
    credit_id,
    replacement_id,
)
from domain.values import (
    JSONObject,
)


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


def summed(session: Session, end: End, samples: Sequence[Kept], by_hand: int | None = None) -> _Sum:
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
        known = energy_of(session, samples, None)
        return Energy(total, tuple((at, min(wh, total)) for at, wh in known.series)), None
    for name, value in (("meter_start", start), ("meter_stop", stop)):
        if value is not None and not below(value, REGISTER_WH):
            return energy_of(session, samples, None), Obstacle(
                field=name, value=brief(value), reason="no meter holds so many Wh"
            )
    energy = energy_of(session, samples, stop)
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
        zone_of(time_zone_of(session))
    except PricingError as error:
        name = printable(time_zone_of(session))[:40]
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
        cost = priced_usage(session, usage_of(session, samples, energy, until, off))
        thinned = _thinned(session, samples, until, energy, off)
        return priced(cost, tariffs_of(session).tariffs), thinned
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
    keeper = keeper_of(session, rates_of(session), off)
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


def _result(session: Session, end: End, sum: _Sum) -> dict[str, Any]:
    """What an end and its correction say alike."""
    return {
        **times_of(sum.until, end.clock_offset_s),
        "charge_point_id": session.state.charge_point_id,
        "started_at": started_at(session, end),
        "status": sum.status,
        "meter_stop": sum.meter_stop,
        "energy_wh": sum.energy.wh,
        "reason": end.reason,
        "total_cost": sum.total_cost,
        "owner": session.told_to,
        "flags": tuple(sum.flags),
    }


def end_session(session: Session, end: End, meta: Meta) -> None:
    """Price what it kept, and issue its CDR or say why it is withheld."""
    sum = summed(session, end, session.state.samples)
    session.trigger(
        SessionEnded,
        meta.at,
        **_result(session, end, sum),
        provisional=not end.reported,
        assumed=end.assumed,
        by=end.by,
        note=end.note,
    )
    if sum.status == "COMPLETED":
        _settle(session, _session_id(session), sum, end, meta)


def correct(session: Session, command: EndSession, meta: Meta) -> None:
    """The true end of a session that had to be ended without it. A CDR never changes: it is credited, and one more
    is issued."""
    state, end = session.state, command.end
    held = usable_of(session, command.samples, end.clock_offset_s, meta)
    keeper = keeper_of(session, rates_of(session), shift(end.clock_offset_s))
    fresh = new_of(state.samples, held, keeper)
    kept = merged(state.samples, fresh)
    sum = summed(session, end, kept)
    credited, withheld = state.cdr, state.withheld
    session.trigger(
        EndCorrected,
        meta.at,
        **_result(session, end, sum),
        connector_id=state.connector_id,
        samples=fresh,
        assumed=end.assumed,
        thinned=thinned_of(state, keeper, kept, fresh),
    )
    if credited is not None:
        _credit(session, credited, meta)
        _settle(session, replacement_id(credited["id"]), sum, end, meta)
    elif withheld is not None:
        _settle(session, withheld.cdr_id, sum, end, meta)


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
        "last_updated": utc_text(meta.at),
    }
    session.trigger(
        CdrIssued,
        meta.at,
        charge_point_id=session.state.charge_point_id,
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
    made = cdr_made(session, id, sum, meta)
    if isinstance(made, Obstacle):
        withhold(session, id, made, end, meta)
    else:
        issue(session, id, made, meta)


class _Made(NamedTuple):
    cdr: JSONObject
    explanation: tuple[str, ...]
    warnings: tuple[str, ...]


def cdr_made(session: Session, id: str, sum: _Sum, meta: Meta) -> _Made | Obstacle:
    """The CDR that OCPI allows, or what stands in its way."""
    cost = sum.cost
    if isinstance(cost, Obstacle):
        return cost
    off = sum.shift
    warnings = [*sum.thinned, *tariffs_of(session).problems, *cost.warnings]
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


def withhold(session: Session, id: str, obstacle: Obstacle, end: End, meta: Meta) -> None:
    """The end stands, its CDR does not; what is in the way is told once."""
    session.trigger(
        CdrWithheld,
        meta.at,
        charge_point_id=session.state.charge_point_id,
        cdr_id=id,
        field=obstacle.field,
        value=obstacle.value,
        reason=obstacle.reason,
        end=end,
    )


def issue(session: Session, id: str, made: _Made, meta: Meta) -> None:
    """The CDR is the session's from now on."""
    state = session.state
    assert state.authorization is not None
    session.trigger(
        CdrIssued,
        meta.at,
        charge_point_id=session.state.charge_point_id,
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
