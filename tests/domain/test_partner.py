"""A partner's events stand in the log for ever, and what they make of it."""

from __future__ import annotations

import pytest

from domain.partner import AGGREGATE_EVENTS, Partner
from tests.domain.golden import held_by_golden_files, story


def after(*names: str) -> Partner:
    return story(Partner, AGGREGATE_EVENTS, *(f"partner.{name}.v1" for name in names))


def test_every_event_equals_its_golden_file() -> None:
    held_by_golden_files(Partner, AGGREGATE_EVENTS)


@pytest.mark.parametrize(
    ("story", "status"),
    [
        (("created",), "PLANNED"),
        (("created", "registered"), "CONNECTED"),
        (("created", "registered", "credentials_updated"), "CONNECTED"),
        (("created", "registered", "unregistered"), "OFFLINE"),
        (("created", "registered", "unregistered", "token_a_reissued"), "PLANNED"),
        (("created", "suspended"), "SUSPENDED"),
        (("created", "suspended", "registered"), "SUSPENDED"),
        (("created", "suspended", "registered", "resumed"), "CONNECTED"),
        (("created", "suspended", "resumed"), "PLANNED"),
        (("created", "registered", "suspended", "unregistered", "resumed"), "OFFLINE"),
        (("created", "registered", "removed"), "REMOVED"),
    ],
)
def test_the_status_follows_from_the_story(story: tuple[str, ...], status: str) -> None:
    assert after(*story).state.status == status


def test_token_a_dies_with_the_registration() -> None:
    state = after("created", "registered").state
    assert (state.token_a, state.their_token_a) == (None, "")


def test_the_old_token_c_is_kept_for_a_grace_after_new_credentials() -> None:
    state = after("created", "registered", "credentials_updated").state
    assert state.previous_c is not None and state.connection is not None
    assert (state.previous_c.digest, state.connection.token_c.digest) == ("cc11", "cc22")


@pytest.mark.parametrize("last", ["unregistered", "removed"])
def test_no_token_outlives_the_connection(last: str) -> None:
    state = after("created", "registered", "credentials_updated", last).state
    assert (state.connection, state.token_a, state.previous_c) == (None, None, None)
