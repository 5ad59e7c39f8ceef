"""One call at a time in each direction, and each answer to its call (J-09, J-10)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from protocols.ocpp.calls import (
    Busy,
    Duplicate,
    Incoming,
    Late,
    Matched,
    Outgoing,
    Pending,
    State,
    Unmatched,
    answer,
    answered,
    close,
    close_incoming,
    expire,
    receive,
    send,
)
from protocols.ocpp.frames import CallError, CallResult
from tests.laws import tried

RESET = Pending("1", "Reset")
UNLOCK = Pending("2", "UnlockConnector")


def result(message_id: str) -> CallResult:
    return CallResult(message_id, Raw(b"{}"))


def waiting(call: Pending = RESET) -> Outgoing:
    outgoing = send(Outgoing(), call)
    assert isinstance(outgoing, Outgoing)
    return outgoing


def test_an_idle_connection_takes_a_call() -> None:
    assert waiting() == Outgoing(State.WAITING, RESET)


def test_a_second_call_must_wait_for_the_first_j09() -> None:
    assert send(waiting(), UNLOCK) == Busy(State.WAITING)


def test_the_answer_with_the_same_id_ends_the_call() -> None:
    reply = result("1")
    assert answer(waiting(), reply) == (Outgoing(), Matched(RESET, reply))


def test_a_refusal_ends_the_call_too() -> None:
    refusal = CallError("1", "NotSupported")
    assert answer(waiting(), refusal) == (Outgoing(), Matched(RESET, refusal))


def test_an_answer_with_another_id_changes_nothing() -> None:
    assert answer(waiting(), result("9")) == (waiting(), Unmatched("9"))
    assert answer(Outgoing(), result("1")) == (Outgoing(), Unmatched("1"))


def test_a_call_is_given_up_when_its_timer_says_so_whatever_a_clock_would_say() -> None:
    after, expired = expire(waiting(), "1")
    assert (after.state, expired) == (State.IDLE, RESET)


def test_the_timer_of_a_call_that_has_ended_gives_up_nothing() -> None:
    assert expire(waiting(UNLOCK), "1") == (waiting(UNLOCK), None)
    assert expire(Outgoing(), "1") == (Outgoing(), None)


def test_an_answer_after_the_deadline_is_late_and_leaves_the_next_call_waiting() -> None:
    after, _ = expire(waiting(), "1")
    second = send(after, UNLOCK)
    assert isinstance(second, Outgoing)
    reply = result("1")
    assert answer(second, reply) == (Outgoing(State.WAITING, UNLOCK), Late(RESET, reply))


def test_a_late_answer_counts_once() -> None:
    after, _ = expire(waiting(), "1")
    after, _ = answer(after, result("1"))
    assert answer(after, result("1"))[1] == Unmatched("1")


def test_the_end_of_the_connection_fails_the_waiting_call_at_once_j10() -> None:
    closed, lost = close(waiting())
    assert (closed.state, lost) == (State.CLOSED, RESET)
    assert send(closed, UNLOCK) == Busy(State.CLOSED)


def test_their_calls_are_answered_in_order_j10() -> None:
    first, second = Pending("a", "Heartbeat"), Pending("b", "StatusNotification")
    one = receive(Incoming(), first)
    assert one == Incoming(State.ANSWERING, (first,))
    assert isinstance(one, Incoming)
    two = receive(one, second)
    assert isinstance(two, Incoming)
    assert answered(two, "b") == Unmatched("b")
    rest = answered(two, "a")
    assert rest == Incoming(State.ANSWERING, (second,))
    assert isinstance(rest, Incoming)
    assert answered(rest, "b") == Incoming()


def test_a_call_with_the_id_of_one_unanswered_is_a_duplicate_j07() -> None:
    one = receive(Incoming(), Pending("a", "Heartbeat"))
    assert isinstance(one, Incoming)
    assert receive(one, Pending("a", "Heartbeat")) == Duplicate("a")


def test_an_id_may_come_again_once_answered_j08() -> None:
    one = receive(Incoming(), Pending("a", "Heartbeat"))
    assert isinstance(one, Incoming)
    idle = answered(one, "a")
    assert isinstance(idle, Incoming)
    assert isinstance(receive(idle, Pending("a", "Heartbeat")), Incoming)


def test_a_closed_connection_takes_no_calls_and_names_the_unanswered() -> None:
    call = Pending("a", "Heartbeat")
    one = receive(Incoming(), call)
    assert isinstance(one, Incoming)
    closed, lost = close_incoming(one)
    assert lost == (call,)
    assert receive(closed, call) == Busy(State.CLOSED)


@given(st.lists(st.sampled_from(["send", "answer", "wrong", "expire"]), max_size=60))
@settings(deadline=None, max_examples=tried(100))
def test_whatever_happens_each_call_ends_at_most_once_and_one_waits_at_most(steps: list[str]) -> None:
    outgoing, sent, ended = Outgoing(), 0, []
    for step in steps:
        if step == "send":
            following = send(outgoing, Pending(str(sent), "Reset"))
            if isinstance(following, Outgoing):
                outgoing, sent = following, sent + 1
            else:
                assert outgoing.state is State.WAITING
        elif step == "expire":
            outgoing, expired = expire(outgoing, str(sent - 1))
            ended += [expired.id] if expired else []
        else:
            outgoing, outcome = answer(outgoing, result(str(sent - 1) if step == "answer" else "none"))
            ended += [outcome.call.id] if isinstance(outcome, Matched) else []
        assert (outgoing.pending is not None) is (outgoing.state is State.WAITING)
    assert len(ended) == len(set(ended))
    assert len(ended) + (outgoing.state is State.WAITING) == sent
