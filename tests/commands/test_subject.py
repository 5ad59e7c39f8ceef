"""Of a subject whose tokens are revoked the latest moment counts."""

from __future__ import annotations

import msgspec
import pytest

from commands.base import Accepted, Refusal
from commands.subject import ROUTES, RevokedReply, RevokeSubject
from domain.subject import AGGREGATE_EVENTS, Subject, SubjectTokensRevoked
from tests.commands.decide import NOON, Decide

REVOKE = RevokeSubject(tenant="demo", subject="ann")


def case() -> Decide:
    return Decide(Subject, AGGREGATE_EVENTS, ROUTES)


def test_tokens_issued_until_now_are_refused() -> None:
    revoked = case().do(REVOKE)
    (event,) = revoked.new
    assert revoked.outcome == Accepted(RevokedReply(before="2026-03-01T12:00:00Z"))
    assert isinstance(event, SubjectTokensRevoked)
    assert (event.tenant, event.subject, event.before) == ("demo", "ann", NOON)


def test_a_later_moment_counts_and_an_earlier_one_that_comes_late_does_not() -> None:
    later = case().do(REVOKE, 60)
    assert (later.do(REVOKE).outcome, later.new) == (
        Accepted(RevokedReply(before="2026-03-01T12:01:00Z")),
        [],
    )
    assert len(later.do(REVOKE, 61).new) == 1


@pytest.mark.parametrize("subject", ["", "x" * 257])
def test_a_subject_has_bounds(subject: str) -> None:
    assert case().do(msgspec.structs.replace(REVOKE, subject=subject)).refusal is Refusal.INVALID


def test_each_subject_is_decided_by_itself() -> None:
    assert REVOKE.group == "subject|demo|ann"
    assert RevokeSubject(subject="ann").aggregate_id == "subject||ann"
