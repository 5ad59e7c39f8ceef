"""One handler for each command of a session, and the routing table."""

from __future__ import annotations

import msgspec

from commands.base import Accepted, Command, Meta, Outcome, Refusal, Rejected, Route
from commands.session.ending import cdr_made, correct, end_session, issue, summed, withhold
from commands.session.models import (
    END_BY_HAND,
    EndSession,
    FindSession,
    FoundSession,
    IssueCdr,
    Issuing,
    RecordConnector,
    RecordUsage,
    StartSession,
)
from commands.session.usage import record, times_of
from domain.clock import by_its_clock
from domain.metering.usable import REGISTER_WH
from domain.session import (
    ConnectorChanged,
    EndHeld,
    Obstacle,
    Session,
    SessionMended,
    SessionStarted,
)


def find(session: Session, command: FindSession, meta: Meta) -> Outcome:
    """Decides nothing."""
    state = session.state
    if state.settings is None or state.authorization is None or state.ended_at is not None:
        return Rejected(Refusal.UNKNOWN, f"session {command.session_id[:40]} does not run")
    return Accepted(
        FoundSession(
            tenant=state.tenant,
            charge_point_id=state.charge_point_id,
            transaction_id=state.transaction_id,
            party=state.settings.party,
            owner=state.authorization.owner,
            holder=state.authorization.holder,
        )
    )


def start(session: Session, command: StartSession, meta: Meta) -> Outcome:
    """It runs from now on; said again it is the same one."""
    state = session.state
    if state.started:
        return Accepted()
    accepted = command.status == "Accepted"
    session.trigger(
        SessionStarted,
        meta.at,
        **times_of(command.start, command.clock_offset_s),
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
        end_session(session, state.held_end, meta)
    return Accepted()


def record_usage(session: Session, command: RecordUsage, meta: Meta) -> Outcome:
    """Take in samples of a session that runs."""
    state = session.state
    if state.ended_at is not None:
        return Rejected(Refusal.STALE, "the session has ended")
    record(session, command.samples, command.clock_offset_s, meta)
    return Accepted()


def record_connector(session: Session, command: RecordConnector, meta: Meta) -> Outcome:
    """Take in what the connector said, by which parking is told from charging."""
    state = session.state
    if state.ended_at is not None:
        return Rejected(Refusal.STALE, "the session has ended")
    if any(change.at == command.at and change.status == command.status for change in state.states):
        return Accepted()
    times = times_of(command.at, command.clock_offset_s)
    session.trigger(ConnectorChanged, meta.at, status=command.status, **times)
    return Accepted()


def end(session: Session, command: EndSession, meta: Meta) -> Outcome:
    """It ends, or its end is corrected where a surer one comes."""
    state = session.state
    held = state.held_end
    if state.ended_at is not None:
        if state.provisional and command.end.certainty > state.assumed:
            correct(session, command, meta)
        return Accepted()
    if held is not None and command.end.certainty <= held.certainty:
        return Accepted()
    record(session, command.samples, command.end.clock_offset_s, meta)
    if not state.started:
        session.trigger(EndHeld, meta.at, end=command.end)
    else:
        end_session(session, command.end, meta)
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
    made = cdr_made(
        session, withheld.cdr_id, summed(session, end, state.samples, state.energy_by_hand_wh), meta
    )
    if not isinstance(made, Obstacle):
        issue(session, withheld.cdr_id, made, meta)
        return Accepted(Issuing(cdr_id=withheld.cdr_id))
    if made != withheld.obstacle:
        withhold(session, withheld.cdr_id, made, withheld.end, meta)
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
        session.trigger(SessionMended, meta.at, **now, by=command.by, note=command.note)


ROUTES: dict[type[Command], Route] = {
    FindSession: Route(Session, find),
    StartSession: Route(Session, start),
    RecordUsage: Route(Session, record_usage),
    RecordConnector: Route(Session, record_connector),
    EndSession: Route(Session, end),
    IssueCdr: Route(Session, issue_cdr),
}
