"""Fetch sessions (KIP-227): after the first request only what has changed is named; what is in doubt begins anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v4, FetchResponse_v7, FetchResponse_v11

from streams.log.kafka.sessions import LAST_EPOCH, Session, SessionFetch

FULL, SESSIONLESS = 0, -1
NOT_FOUND, INVALID_EPOCH = 70, 71
VERSIONS = {1: (4, 11)}
Positions = Mapping[tuple[str, int], int]


def whole(positions: Positions) -> FetchRequest:
    topics: dict[str, list[tuple[int, int, int]]] = {}
    for (topic, number), offset in positions.items():
        topics.setdefault(topic, []).append((number, offset, 1000))
    return FetchRequest(500, 1, 1000, 0, list(topics.items()))


class Broker:
    """What a broker keeps of a session: the rules of KIP-227 on the side that answers."""

    def __init__(self) -> None:
        self.session = 0
        self.epoch = 0
        self.held: dict[tuple[str, int], int] = {}
        self.named = 0

    def forget(self) -> None:
        self.session = 0

    def take(self, request: SessionFetch) -> int:
        """Its error code; then it knows what is to be fetched."""
        on_wire = request.prepare(VERSIONS)
        named = {
            (topic, partition[0]): partition[2]
            for topic, partitions in on_wire.topics
            for partition in partitions
        }
        self.named = len(named)
        if on_wire.session_epoch == FULL:
            assert on_wire.session_id == 0
            assert on_wire.forgotten_topics_data == []
            self.session, self.epoch, self.held = self.session + 1, 1, named
            error = 0
        elif not on_wire.session_id or on_wire.session_id != self.session:
            error = NOT_FOUND
        elif on_wire.session_epoch != self.epoch:
            error = INVALID_EPOCH
        else:
            self.epoch += 1
            self.held |= named
            for topic, numbers in on_wire.forgotten_topics_data:
                for number in numbers:
                    del self.held[topic, number]
            error = 0
        request.session.answered(FetchResponse_v11(0, error, 0 if error else self.session, []))
        return error


def test_after_the_first_fetch_only_what_has_changed_is_named() -> None:
    broker, session = Broker(), Session()
    positions = {("t", number): 5 for number in range(24)}
    named = []
    for changed in ({}, {("t", 3): 6}, {}, {("t", 3): 7, ("t", 9): 8}):
        positions |= changed
        assert broker.take(SessionFetch(whole(positions), session)) == 0
        named.append(broker.named)
    assert named == [24, 1, 0, 2]
    assert broker.held == positions


def test_what_is_not_fetched_for_a_while_is_forgotten_and_named_again() -> None:
    broker, session = Broker(), Session()
    everything = {("t", 0): 5, ("t", 1): 5, ("u", 0): 5}
    for positions in (everything, {("u", 0): 5}, everything):
        assert broker.take(SessionFetch(whole(positions), session)) == 0
        assert broker.held == positions


@pytest.mark.parametrize(
    "doubt", ["forgotten", "failed before it was written", "failed after it was written"]
)
def test_what_is_in_doubt_begins_anew(doubt: str) -> None:
    broker, session = Broker(), Session()
    positions = {("t", 0): 5, ("t", 1): 5}
    broker.take(SessionFetch(whole(positions), session))
    broker.take(SessionFetch(whole(positions), session))
    positions["t", 1] = 6
    if doubt == "forgotten":
        broker.forget()
        assert broker.take(SessionFetch(whole(positions), session)) == NOT_FOUND
    else:
        if doubt == "failed after it was written":
            SessionFetch(whole(positions), session).prepare(VERSIONS)
        session.begin_anew()
    assert broker.take(SessionFetch(whole(positions), session)) == 0
    assert (broker.named, broker.held) == (2, positions)


def test_one_that_was_written_and_whose_answer_nobody_heard_is_found_out() -> None:
    broker, session = Broker(), Session()
    broker.take(SessionFetch(whole({("t", 0): 5}), session))
    SessionFetch(whole({("t", 0): 6}), session).prepare(VERSIONS)
    assert broker.take(SessionFetch(whole({("t", 0): 6}), session)) == INVALID_EPOCH
    assert broker.take(SessionFetch(whole({("t", 0): 6}), session)) == 0
    assert broker.held == {("t", 0): 6}


def test_a_broker_without_room_or_knowledge_of_sessions_is_told_everything_each_time() -> None:
    session = Session()
    positions = {("t", 0): 5, ("t", 1): 5}
    for response in (FetchResponse_v7(0, 0, 0, []), FetchResponse_v7(0, 0, 0, [])):
        request = SessionFetch(whole(positions), session).prepare(VERSIONS)
        assert (request.session_id, request.session_epoch, len(request.topics[0][1])) == (0, FULL, 2)
        session.answered(response)
    old = SessionFetch(whole(positions), session).prepare({1: (4, 4)})
    assert len(old.topics[0][1]) == 2
    session.answered(FetchResponse_v4(0, []))


def test_epochs_begin_again_at_one_behind_the_last() -> None:
    session = Session()
    session.answered(FetchResponse_v11(0, 0, 7, []))
    session._epoch = LAST_EPOCH
    epochs = [SessionFetch(whole({}), session).prepare(VERSIONS).session_epoch for _ in range(2)]
    assert epochs == [LAST_EPOCH, 1]


@pytest.mark.parametrize("seed", range(50))
def test_whatever_fails_the_broker_fetches_what_is_wanted_or_says_that_it_does_not_know(seed: int) -> None:
    chance = Random(seed)
    broker, session = Broker(), Session()
    places: Sequence[tuple[str, int]] = [(topic, number) for topic in "ab" for number in range(4)]
    positions = dict.fromkeys(places, 0)
    for _ in range(200):
        for place in chance.sample(places, 2):
            positions[place] += 1
        wanted = {place: positions[place] for place in chance.sample(places, chance.randint(1, 8))}
        match chance.randint(0, 9):
            case 0:
                broker.forget()
            case 1:  # the broker has it, and nobody hears the answer
                lost = SessionFetch(whole(wanted), session)
                broker.take(lost)
                session.begin_anew()
            case 2:  # it is written, and never arrives
                SessionFetch(whole(wanted), session).prepare(VERSIONS)
        error = broker.take(SessionFetch(whole(wanted), session))
        assert error or broker.held == wanted
