"""A partner's events stand in the log for ever, and what they make of it."""

from __future__ import annotations

import pytest

from domain.partner import AGGREGATE_EVENTS, Partner, Roles
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


def named(roles: Roles) -> list[tuple[str, str]]:
    return [role.name for role in roles]


TNM, BMW = ("EMSP", "NL*TNM"), ("CPO", "DE*BMW")


@pytest.mark.parametrize(
    ("story", "roles", "granted", "requested"),
    [
        (("created",), [TNM], [TNM], []),
        (("created", "roles_requested"), [TNM], [TNM], [BMW]),
        (("created", "roles_requested", "roles_granted"), [TNM], [TNM, BMW], []),
        (("created", "registered"), [TNM], [TNM], [BMW]),
        (("created", "registered", "roles_granted"), [TNM, BMW], [TNM, BMW], []),
        (("created", "registered", "roles_refused"), [TNM], [TNM], []),
        (("created", "registered", "roles_refused", "roles_granted"), [TNM], [TNM, BMW], []),
        (("created", "registered", "unregistered"), [TNM], [TNM], []),
        (("created", "registered", "removed"), [], [], []),
    ],
)
def test_roles_count_that_are_named_in_the_credentials_and_granted(
    story: tuple[str, ...],
    roles: list[tuple[str, str]],
    granted: list[tuple[str, str]],
    requested: list[tuple[str, str]],
) -> None:
    state = after(*story).state
    assert (named(state.roles), named(state.granted), named(state.requested)) == (roles, granted, requested)


@pytest.mark.parametrize("last", ["unregistered", "removed"])
def test_no_token_outlives_the_connection(last: str) -> None:
    state = after("created", "registered", "credentials_updated", last).state
    assert (state.connection, state.token_a, state.previous_c) == (None, None, None)
