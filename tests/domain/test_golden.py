"""Golden files hold the log's format of sessions, tokens, deliveries and remote commands."""

from __future__ import annotations

from typing import Any

import pytest

from domain import delivery, knocking, pushes, remote_command, session, token
from domain.aggregate import Aggregate, Event
from tests.domain.golden import held_by_golden_files


@pytest.mark.parametrize(
    ("aggregate", "events"),
    [
        (session.Session, session.AGGREGATE_EVENTS),
        (token.Token, token.AGGREGATE_EVENTS),
        (delivery.Delivery, delivery.AGGREGATE_EVENTS),
        (pushes.Pushes, pushes.AGGREGATE_EVENTS),
        (knocking.Knocking, knocking.AGGREGATE_EVENTS),
        (remote_command.RemoteCommand, remote_command.AGGREGATE_EVENTS),
    ],
)
def test_every_event_equals_its_golden_file(
    aggregate: type[Aggregate[Any]], events: tuple[type[Event], ...]
) -> None:
    held_by_golden_files(aggregate, events)
