"""Golden files hold the log's format of sessions, tokens, tags, deliveries, remote commands and what is beside."""

from __future__ import annotations

from typing import Any

import pytest

from domain import (
    delivery,
    fleet,
    foreign_cdr,
    foreign_session,
    job,
    job_items,
    key,
    knocking,
    location,
    pushes,
    remote_command,
    session,
    subject,
    tag,
    token,
)
from domain.aggregate import Aggregate, Event
from tests.domain.golden import held_by_golden_files


@pytest.mark.parametrize(
    ("aggregate", "events"),
    [
        (session.Session, session.AGGREGATE_EVENTS),
        (foreign_session.ForeignSession, foreign_session.AGGREGATE_EVENTS),
        (foreign_cdr.ForeignCdr, foreign_cdr.AGGREGATE_EVENTS),
        (token.Token, token.AGGREGATE_EVENTS),
        (delivery.Delivery, delivery.AGGREGATE_EVENTS),
        (pushes.Pushes, pushes.AGGREGATE_EVENTS),
        (knocking.Knocking, knocking.AGGREGATE_EVENTS),
        (tag.Tag, tag.AGGREGATE_EVENTS),
        (fleet.Fleet, fleet.AGGREGATE_EVENTS),
        (key.Key, key.AGGREGATE_EVENTS),
        (subject.Subject, subject.AGGREGATE_EVENTS),
        (job.Job, job.AGGREGATE_EVENTS),
        (job_items.JobItems, job_items.AGGREGATE_EVENTS),
        (location.Location, location.AGGREGATE_EVENTS),
        (remote_command.RemoteCommand, remote_command.AGGREGATE_EVENTS),
    ],
)
def test_every_event_equals_its_golden_file(
    aggregate: type[Aggregate[Any]], events: tuple[type[Event], ...]
) -> None:
    held_by_golden_files(aggregate, events)
