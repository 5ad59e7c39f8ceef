"""A key is made once, has one secret that counts and for a while the one before, and ends for good."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from commands.base import Accepted, Refusal
from commands.key import ROUTES, CreateKey, RevokeKey, RotateKey
from domain.access import Grant
from domain.key import AGGREGATE_EVENTS, Key, KeyCreated, KeyRevoked, KeyRotated
from tests.commands.decide import NOON, Decide

GRANT = Grant(role="operator", scopes=("cdrs:read",))
CREATE = CreateKey(tenant="demo", key_id="K1", name="Billing", grant=GRANT, secret_digest="d1")
ROTATE = RotateKey(tenant="demo", key_id="K1", secret_digest="d2")
REVOKE = RevokeKey(tenant="demo", key_id="K1")


def case() -> Decide:
    return Decide(Key, AGGREGATE_EVENTS, ROUTES)


def test_a_key_is_made_with_what_it_allows_and_the_hash_of_its_secret() -> None:
    made = case().do(CREATE)
    (event,) = made.new
    assert made.outcome == Accepted()
    assert isinstance(event, KeyCreated)
    assert (event.tenant, event.name, event.grant, event.secret_digest) == ("demo", "Billing", GRANT, "d1")


def test_a_key_that_is_made_again_is_the_same_or_another_ones() -> None:
    made = case().do(CREATE)
    assert (made.do(CREATE).outcome, made.new) == (Accepted(), [])
    other = made.do(msgspec.structs.replace(CREATE, grant=Grant(role="tenant_admin")))
    assert (other.refusal, other.new) == (Refusal.ALREADY_EXISTS, [])


def test_a_revoked_key_is_not_made_again() -> None:
    gone = case().do(CREATE).do(REVOKE).do(CREATE)
    assert (gone.refusal, gone.new) == (Refusal.ALREADY_EXISTS, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"grant": Grant(role="root")},
        {"grant": Grant(role="platform_admin")},
        {"grant": Grant(role="viewer", scopes=("nothing:read",))},
        {"grant": Grant(role="viewer", expires_at=NOON)},
    ],
)
def test_a_key_that_cannot_be_is_not_made(wrong: dict[str, object]) -> None:
    refused = case().do(msgspec.structs.replace(CREATE, **wrong))
    assert (refused.refusal, refused.new) == (Refusal.INVALID, [])


def test_another_secret_leaves_the_one_before_for_as_long_as_was_said() -> None:
    rotated = case().do(CREATE).do(msgspec.structs.replace(ROTATE, overlap_seconds=60), 10)
    (event,) = rotated.new
    assert isinstance(event, KeyRotated)
    assert (event.secret_digest, event.previous_digest) == ("d2", "d1")
    assert event.previous_until == NOON + timedelta(seconds=70)


def test_a_rotation_said_again_is_no_fact_and_one_that_was_replaced_does_not_come_back() -> None:
    rotated = case().do(CREATE).do(ROTATE)
    assert (rotated.do(ROTATE).outcome, rotated.new) == (Accepted(), [])
    third = msgspec.structs.replace(ROTATE, secret_digest="d3")
    late = rotated.do(third).do(ROTATE)
    assert (late.refusal, late.new) == (Refusal.CONFLICT, [])


@pytest.mark.parametrize("seconds", [-1, 7 * 86_400 + 1])
def test_an_overlap_has_bounds(seconds: int) -> None:
    assert (
        case().do(CREATE).do(msgspec.structs.replace(ROTATE, overlap_seconds=seconds)).refusal
        is Refusal.INVALID
    )


def test_a_revoked_key_gets_no_other_secret() -> None:
    gone = case().do(CREATE).do(REVOKE)
    assert [type(event) for event in gone.new] == [KeyRevoked]
    assert gone.do(ROTATE).refusal is Refusal.NOT_ALLOWED


def test_an_expired_key_gets_no_other_secret() -> None:
    ends = msgspec.structs.replace(CREATE, grant=Grant(role="viewer", expires_at=NOON + timedelta(hours=1)))
    assert case().do(ends).do(ROTATE, 3600).refusal is Refusal.NOT_ALLOWED
    assert case().do(ends).do(ROTATE, 3599).refusal is None


def test_a_revocation_said_again_is_as_true_and_no_fact() -> None:
    again = case().do(CREATE).do(REVOKE).do(REVOKE)
    assert (again.outcome, again.new) == (Accepted(), [])


def test_of_a_key_that_was_never_made_nothing_can_be_asked() -> None:
    assert case().do(ROTATE).refusal is Refusal.UNKNOWN
    assert case().do(REVOKE).refusal is Refusal.UNKNOWN


def test_each_key_is_decided_by_itself_and_a_tenants_apart_from_the_platforms() -> None:
    assert CREATE.group == ROTATE.group == REVOKE.group == "key|demo|K1"
    assert RevokeKey(key_id="K1").aggregate_id == "key||K1"
