"""Keys as they are read."""

from __future__ import annotations

from domain.key import AGGREGATE_EVENTS, Key
from projections.key import VIEW
from projections.store import Document
from tests.projections.fold import fold


def read(*names: str) -> Document | None:
    return fold(VIEW, Key, AGGREGATE_EVENTS, *(f"key.{name}.v1" for name in names))


def test_a_key_is_read_with_what_it_allows_and_the_hash_of_its_secret() -> None:
    key = read("created")
    assert key is not None
    assert (key["tenant_id"], key["name"], key["role"], key["state"]) == (
        "demo",
        "Billing",
        "operator",
        "active",
    )
    assert (key["scopes"], key["addresses"]) == (["cdrs:read", "sessions:read"], ["192.0.2.0/24"])
    assert key["expires_at"] == "2027-03-01T12:00:00.000Z"
    assert (key["secret_digest"], key["previous_digest"]) == ("9f2c0000000000000000000000000001", None)


def test_a_rotated_key_has_both_secrets_and_the_end_of_the_first() -> None:
    key = read("created", "rotated")
    assert key is not None
    assert (key["secret_digest"], key["previous_digest"]) == (
        "9f2c0000000000000000000000000002",
        "9f2c0000000000000000000000000001",
    )
    assert key["previous_until"] == "2026-03-01T13:01:00.000Z"


def test_a_revoked_key_stays_to_be_read() -> None:
    key = read("created", "revoked")
    assert key is not None
    assert (key["state"], key["revoked_at"]) == ("revoked", "2026-03-01T12:02:00.000Z")


def test_what_happened_to_a_key_that_was_never_made_is_nothing() -> None:
    assert read("revoked") is None
