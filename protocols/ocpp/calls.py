"""One outstanding call per direction (OCPP-J 1.6, section 4.1.1; J-09, J-10), as two explicit state machines.

In: calls, answers, the word of a call's timer and the end of the connection. Out: the next state and what to do. It
holds no socket, queue, timer or clock, and every function returns a new state.

Our calls:     IDLE --send--> WAITING --answer or expire--> IDLE;  any --close--> CLOSED
Their calls:   IDLE --receive--> ANSWERING --answered--> ANSWERING or IDLE;  any --close--> CLOSED

The directions do not know of each other: both sides' calls may cross. A charge point should wait for its answer, but
some do not: their calls are then answered in the order of arrival.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from protocols.ocpp.frames import CallError, CallResult

REMEMBERED = 16
"""How many calls that were given up are known, so that their late answers find them."""


class State(StrEnum):
    """The states of both machines."""

    IDLE = "idle"
    WAITING = "waiting"
    ANSWERING = "answering"
    CLOSED = "closed"


class Pending(msgspec.Struct, frozen=True):
    """A call without its answer."""

    id: str
    action: str


class Outgoing(msgspec.Struct, frozen=True):
    """Our side: at most one call waits. `expired` are the newest calls that were given up, oldest first."""

    state: State = State.IDLE
    pending: Pending | None = None
    expired: tuple[Pending, ...] = ()


class Incoming(msgspec.Struct, frozen=True):
    """Their side: the calls to answer, in the order of arrival."""

    state: State = State.IDLE
    pending: tuple[Pending, ...] = ()


class Busy(msgspec.Struct, frozen=True):
    """The call cannot be sent now: another one waits, or the connection is closed."""

    state: State


class Matched(msgspec.Struct, frozen=True):
    """The answer to `call`."""

    call: Pending
    answer: CallResult | CallError


class Late(msgspec.Struct, frozen=True):
    """An answer to a call that had expired. Its outcome was given as unknown; now it is known."""

    call: Pending
    answer: CallResult | CallError


class Unmatched(msgspec.Struct, frozen=True):
    """An answer to nothing that we asked: to be counted and left alone."""

    id: str


class Duplicate(msgspec.Struct, frozen=True):
    """A call whose id is that of a call not yet answered."""

    id: str


def send(outgoing: Outgoing, call: Pending) -> Outgoing | Busy:
    """Begin a call of ours. Only an idle connection takes one."""
    if outgoing.state is not State.IDLE:
        return Busy(outgoing.state)
    return Outgoing(State.WAITING, call, outgoing.expired)


def answer(outgoing: Outgoing, reply: CallResult | CallError) -> tuple[Outgoing, Matched | Late | Unmatched]:
    """An answer arrived: match it by id to the waiting call, else to one that had expired."""
    pending = outgoing.pending
    if pending is not None and pending.id == reply.id:
        return Outgoing(State.IDLE, None, outgoing.expired), Matched(pending, reply)
    for call in outgoing.expired:
        if call.id == reply.id:
            rest = tuple(other for other in outgoing.expired if other is not call)
            return Outgoing(outgoing.state, pending, rest), Late(call, reply)
    return outgoing, Unmatched(reply.id)


def expire(outgoing: Outgoing, message_id: str) -> tuple[Outgoing, Pending | None]:
    """The timer of this call rang: give the call up if it still waits, and return it.

    The timer's word counts: no clock is asked again, as timers may ring a little before their time by the clock.
    """
    pending = outgoing.pending
    if pending is None or pending.id != message_id:
        return outgoing, None
    expired = (*outgoing.expired, pending)[-REMEMBERED:]
    return Outgoing(State.IDLE, None, expired), pending


def close(outgoing: Outgoing) -> tuple[Outgoing, Pending | None]:
    """The connection has ended: the waiting call, if any, fails at once (J-10)."""
    return Outgoing(State.CLOSED), outgoing.pending


def receive(incoming: Incoming, call: Pending) -> Incoming | Busy | Duplicate:
    """Take in a call of theirs."""
    if incoming.state is State.CLOSED:
        return Busy(incoming.state)
    if any(other.id == call.id for other in incoming.pending):
        return Duplicate(call.id)
    return Incoming(State.ANSWERING, (*incoming.pending, call))


def answered(incoming: Incoming, message_id: str) -> Incoming | Unmatched:
    """The call was answered. Only the oldest may be: the next answer belongs to the next call."""
    if not incoming.pending or incoming.pending[0].id != message_id:
        return Unmatched(message_id)
    rest = incoming.pending[1:]
    return Incoming(State.ANSWERING if rest else State.IDLE, rest)


def close_incoming(incoming: Incoming) -> tuple[Incoming, tuple[Pending, ...]]:
    """The connection has ended: the calls that will get no answer."""
    return Incoming(State.CLOSED), incoming.pending
