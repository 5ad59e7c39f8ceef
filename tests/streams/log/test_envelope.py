"""Decisions as they are read: which events are decoded, and how often."""

from __future__ import annotations

import msgspec
import pytest

from domain.aggregate import UnknownEventError
from streams.log import Stored
from streams.log.envelope import (
    Claim,
    DamagedRecordError,
    Decision,
    NewerReleaseError,
    decode_command,
    decode_entry,
    encode,
    select_events,
)
from tests.projections.facts import EVENTS, decision, ended, meta, priced, started
from tests.streams.counting import added
from tests.streams.releases import EVENTS as RELEASED
from tests.streams.releases import Added

END = decision(ended(4, 60, 20), priced(5, 60), meta=meta())


def stored(entry: Decision | Claim, offset: int = 7, topic: str = "t") -> Stored:
    return Stored(topic, 3, offset, 0, b"k", encode(entry))


def altered(*events: bytes) -> Decision:
    return msgspec.structs.replace(END, events=[msgspec.Raw(event) for event in events])


def test_the_names_of_events_are_read_without_decoding_them() -> None:
    assert END.event_names == ("session.ended.v1", "session.cdr_issued.v1")


def test_a_name_that_does_not_stand_first_is_found_too() -> None:
    assert altered(b'{"aggregate":"x","type":"session.ended.v1"}').event_names == ("session.ended.v1",)


def test_only_the_events_that_are_asked_for_are_decoded() -> None:
    """The damaged one is nobody's business here."""
    damaged = b'{"type":"session.ended.v1","version":"no number"}'
    good = msgspec.json.encode(priced(5, 60))
    assert select_events(altered(damaged, good), EVENTS, {"session.cdr_issued.v1"}) == [priced(5, 60)]
    with pytest.raises(DamagedRecordError):
        select_events(altered(damaged, good), EVENTS, {"session.ended.v1"})


@pytest.mark.parametrize("event", [b'{"type":"session.teleported.v9"}', b'{"type":"\\u0078"}'])
def test_an_event_of_a_newer_release_halts_whoever_reads_it(event: bytes) -> None:
    with pytest.raises(UnknownEventError):
        select_events(altered(event), EVENTS, {"session.ended.v1"})


@pytest.mark.parametrize("event", [b"{}", b"7", b'{"type":7}'])
def test_an_event_without_a_name_is_damaged(event: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        select_events(altered(event), EVENTS, {"session.ended.v1"})


def test_followers_of_one_process_get_the_same_decision_and_events() -> None:
    one, other = decode_entry(stored(END)), decode_entry(stored(END))
    assert isinstance(one, Decision)
    assert isinstance(other, Decision)
    names = {"session.ended.v1"}
    assert one is other
    assert select_events(one, EVENTS, names)[0] is select_events(other, EVENTS, names)[0]


def test_another_log_with_the_same_place_is_another_record() -> None:
    first = decision(started(), meta=meta())
    assert decode_entry(stored(first, offset=1)) == first
    assert decode_entry(stored(END, offset=1)) == END
    assert decode_entry(stored(Claim(owner="n"), offset=1)) == Claim(owner="n")


def test_what_was_read_long_ago_is_read_anew() -> None:
    first = decode_entry(stored(END, offset=0, topic="long"))
    for offset in range(1, 5000):
        decode_entry(stored(END, offset=offset, topic="long"))
    again = decode_entry(stored(END, offset=0, topic="long"))
    assert again == first
    assert again is not first


def test_an_event_of_an_older_form_is_selected_by_its_current_name() -> None:
    old = added("a", 1, 7)
    [event] = select_events(old, RELEASED, {"counter.added.v2"})
    assert isinstance(event, Added)
    assert event.thousandths == 7000
    assert select_events(old, RELEASED, {"counter.rang.v1"}) == []


@pytest.mark.parametrize(
    "value",
    [
        b'{"v":2,"aggregate":"counter|a","meta":{"command_id":"x","at":"2026-01-01T00:00:00Z"},"command":{}}',
        b'{"v":2,"what":["nobody","knows"]}',
        b'{"kind":"merger","v":3}',
    ],
    ids=["readable", "another form", "another kind"],
)
def test_a_record_of_a_higher_version_is_of_a_newer_release_whatever_it_holds(value: bytes) -> None:
    record = Stored("t", 3, 7, 0, b"k", value)
    for decode in (decode_command, decode_entry):
        with pytest.raises(
            NewerReleaseError, match=r"t\[3\]@7 is of version [23]: written by a newer release"
        ):
            decode(record)


@pytest.mark.parametrize("value", [b"no json", b"{}", b'{"v":"two"}', b'{"v":1,"what":7}'])
def test_a_damaged_record_is_not_said_to_be_of_a_newer_release(value: bytes) -> None:
    record = Stored("t", 3, 7, 0, b"k", value)
    for decode in (decode_command, decode_entry):
        with pytest.raises(DamagedRecordError) as found:
            decode(record)
        assert not isinstance(found.value, NewerReleaseError)
