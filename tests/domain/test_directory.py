"""The directory: events in the log for ever, who speaks for whom, and whose ids begin with what."""

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


def test_a_prefix_overlaps_whatever_begins_with_it_and_whatever_it_begins_with() -> None:
    state = story(Directory, AGGREGATE_EVENTS, "directory.prefix_claimed.v1").state
    found = [
        state.overlapping(prefix, "tenant:acme") for prefix in ("DEMO-", "DEMO-7", "DE", "ACME-", "demo-")
    ]
    assert found == ["DEMO-", "DEMO-", "DEMO-", "", ""]
    assert state.overlapping("DEMO-7", "tenant:demo") == "", "its own are no others'"


def test_released_prefixes_are_nobodys() -> None:
    names = ("directory.prefix_claimed.v1", "directory.prefixes_released.v1")
    assert story(Directory, AGGREGATE_EVENTS, *names).state.prefixes == {}
