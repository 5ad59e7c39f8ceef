"""The keys of erased personal data go with the fact, whatever else is read of it."""

from __future__ import annotations

from datetime import UTC, datetime

from commands.base import Meta
from domain.token import PersonalDataErased, TokenRemoved
from projections import token as token_view
from projections.erasure import FEED
from projections.store import Remove

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
META = Meta(command_id="c", at=NOON, tenant="demo")
OF = {"originator_id": "token|tenant:demo|0a1b", "timestamp": NOON}


def test_the_key_of_each_subject_is_removed_and_a_tombstone_stays() -> None:
    erased = PersonalDataErased(**OF, originator_version=2, subjects=("a", "b"))  # type: ignore[arg-type]
    assert FEED.writes(erased, META) == [
        Remove("chargesphere_keys", "keys", subject, 1) for subject in ("a", "b")
    ]


def test_a_tag_that_is_only_taken_away_keeps_its_key() -> None:
    assert list(FEED.writes(TokenRemoved(**OF, originator_version=2), META)) == []  # type: ignore[arg-type]


def test_an_erased_token_has_no_document() -> None:
    erased = PersonalDataErased(**OF, originator_version=1, subjects=("a",))  # type: ignore[arg-type]
    assert token_view.evolve(None, erased, META) is None
    assert token_view.evolve({"owner": "tenant:demo"}, erased, META) is None
