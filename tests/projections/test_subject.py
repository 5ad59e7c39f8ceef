"""Subjects whose tokens were revoked, as they are read."""

from __future__ import annotations

from domain.subject import AGGREGATE_EVENTS, Subject
from projections.subject import VIEW
from tests.projections.fold import fold


def test_a_subject_is_read_with_the_moment_up_to_which_its_tokens_are_refused() -> None:
    subject = fold(VIEW, Subject, AGGREGATE_EVENTS, "subject.tokens_revoked.v1")
    assert subject is not None
    assert (subject["tenant_id"], subject["subject"], subject["before"]) == (
        "demo",
        "ann",
        "2026-03-01T12:00:00.000Z",
    )
