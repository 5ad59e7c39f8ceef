"""The directory of parties: events in the log for ever, and who speaks for whom."""

from __future__ import annotations

from domain.directory import AGGREGATE_EVENTS, Directory
from tests.domain.golden import held_by_golden_files, story


def test_every_event_equals_its_golden_file() -> None:
    held_by_golden_files(Directory, AGGREGATE_EVENTS)


def test_a_party_belongs_to_who_claimed_it_until_it_is_released() -> None:
    directory = story(Directory, AGGREGATE_EVENTS, "directory.claimed.v1")
    assert directory.state.owner_of("DE*DEM") == "tenant:demo"
    assert directory.state.owner_of("DE*ABC") == ""
    released = story(Directory, AGGREGATE_EVENTS, "directory.claimed.v1", "directory.released.v1")
    assert released.state.owner_of("DE*DEM") == ""
