"""What is wanted of a charge point's configuration, and what its answers say of that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from commands.base import Accepted, Meta, Outcome, Refusal, Rejected
from commands.charge_point.models import ConcludeCall, WantDefaults, WantVariables
from commands.charge_point.provisioning import unknown
from domain.charge_point import ChargePoint, DefaultsWanted, VariablesCompared, VariablesWanted
from domain.charge_point.state import BROKEN, OpenCall
from domain.charge_point.variable_keys import folded, is_heartbeat_key
from domain.charge_point.wanted import (
    PUSHES_MOST,
    REASON_MOST,
    WISHES_BYTES_MOST,
    WISHES_MOST,
    Compared,
    VariableState,
    Wanted,
    compared,
    size_of,
    untold,
    wrong_in,
)
from domain.tenant import HEARTBEAT_LEAST_S, HEARTBEAT_MOST_S
from domain.texts import shortened


def want_variables(charge_point: ChargePoint, command: WantVariables, meta: Meta) -> Outcome:
    """Noted for whenever it is there; the same wish again is tried anew."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    for one in command.wishes:
        if wrong := wrong_in(one.key, one.value):
            return Rejected(Refusal.INVALID, f"{one.key[:50]}: {wrong}")
    own = {key: one.own for key, one in state.wanted.items() if one.own is not None}
    for one in command.wishes:
        if one.value is None:
            own.pop(folded(one.key), None)
        else:
            own[folded(one.key)] = one.value
    if len(own) > WISHES_MOST or size_of(own.items()) > WISHES_BYTES_MOST:
        most = f"{WISHES_MOST} wishes of its own, {WISHES_BYTES_MOST} bytes together"
        return Rejected(Refusal.NOT_ALLOWED, f"charge point {command.charge_point_id} may have {most}")
    charge_point.trigger(VariablesWanted, meta.at, wishes=command.wishes, by=meta.principal)
    return Accepted()


def want_defaults(charge_point: ChargePoint, command: WantDefaults, meta: Meta) -> Outcome:
    """Those of older settings than it was told change nothing."""
    state = charge_point.state
    if not state.provisioned:
        return unknown(command.charge_point_id)
    if command.revision >= state.defaults_revision and command.mark != state.defaults_mark:
        charge_point.trigger(
            DefaultsWanted, meta.at, wishes=command.wishes, revision=command.revision, mark=command.mark
        )
    return Accepted()


def wanted_interval(charge_point: ChargePoint, interval: int) -> int:
    """The heartbeat interval (s) that its boot is answered: its own where one is wanted, else the tenant's."""
    own = next((one.own for key, one in charge_point.state.wanted.items() if is_heartbeat_key(key)), None)
    if own is None or not (own.isascii() and own.isdigit()) or len(own) > 9:
        return interval
    return int(own) if HEARTBEAT_LEAST_S <= int(own) <= HEARTBEAT_MOST_S else interval


def compare(charge_point: ChargePoint, call: OpenCall | None, command: ConcludeCall, at: datetime) -> None:
    """What the answer to this call says of wanted variables, where it says something new."""
    if call is None or not charge_point.state.wanted:
        return
    found = tuple(_found(charge_point, call, command))
    if found:
        charge_point.trigger(VariablesCompared, at, found=found)


def _found(charge_point: ChargePoint, call: OpenCall, command: ConcludeCall) -> Iterator[Compared]:
    wanted, learned = charge_point.state.wanted, command.learned
    pushed = wanted.get(call.sets) if call.own else None
    told = {folded(one.key): one for one in learned.variables}
    missing = {folded(key) for key in learned.unknown}
    # It may tell fewer at once than it was asked for: what it left out is asked for again.
    partly = any(key in told or key in missing for key in call.reads)
    for key, one in wanted.items():
        if one is pushed:
            if (result := _pushed(one, key in missing, command)) is not None:
                yield result
        elif key in told:
            yield from _news(one, compared(one, told[key]))
        elif key in missing:
            yield from _news(one, _given(one, VariableState.UNKNOWN, "it has no such variable"))
        elif command.answered and key in call.reads and not partly:
            yield untold(one)


def _news(one: Wanted, found: Compared) -> Iterator[Compared]:
    """It was asked for, or something is new."""
    known = (one.state, one.told, one.readonly, one.reason)
    if one.unread or known != (found.state, found.told, found.readonly, found.reason):
        yield found


def _pushed(one: Wanted, missing: bool, command: ConcludeCall) -> Compared | None:
    """It was told the value. Taken, it is asked what it has; a broken connection says nothing (J-10)."""
    if command.status == "accepted" and command.learned.after_reboot:
        return _given(one, VariableState.REBOOT_REQUIRED, "")
    if command.status == "accepted":
        return _given(one, VariableState.PENDING, "", taken=True)
    if missing:
        return _given(one, VariableState.UNKNOWN, "it has no such variable")
    if command.status == "rejected":
        return _given(one, VariableState.REFUSED, command.reason)
    if command.status == "failed" and command.reason not in BROKEN:
        state = VariableState.DRIFT if one.pushes >= PUSHES_MOST else VariableState.PENDING
        return _given(one, state, command.reason)
    return None


def _given(one: Wanted, state: VariableState, reason: str, *, taken: bool = False) -> Compared:
    return Compared(
        key=one.key,
        state=state,
        told=one.told,
        readonly=one.readonly,
        taken=taken,
        reason=shortened(reason, REASON_MOST),
    )
