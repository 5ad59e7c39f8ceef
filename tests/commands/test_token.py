"""A token is what its owner last said, and no change to it is lost where two come at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from commands.base import Accepted, Refusal
from commands.token import (
    ROUTES,
    ErasePersonalData,
    NoteAuthorization,
    NoteConflict,
    PutToken,
    RemoveToken,
    TokenReply,
)
from domain.token import AGGREGATE_EVENTS, PersonalDataErased, Token, TokenContested, TokenPut, TokenRemoved
from domain.values import PartyId
from tests.commands.decide import NOON, Decide

OWNER = PartyId(country_code="NL", party_id="TNM")
KEY = "k" * 32


def case() -> Decide:
    return Decide(Token, AGGREGATE_EVENTS, ROUTES)


def put(minute: int = 0, fingerprint: str = "f0", **more: Any) -> PutToken:
    at = NOON + timedelta(minutes=minute)
    command = PutToken(
        owner=OWNER,
        key=KEY,
        token_type="RFID",
        body=f"s1.sealed.{fingerprint}",
        last_updated=at,
        fingerprint=fingerprint,
    )
    return msgspec.structs.replace(command, **more)


def test_a_token_is_created_and_then_replaced() -> None:
    made = case().do(put())
    assert made.outcome == Accepted(TokenReply(created=True))
    assert made.do(put(1, "f1")).outcome == Accepted(TokenReply())
    assert [type(event) for event in made.history] == [TokenPut, TokenPut]


ERASE = ErasePersonalData(owner=OWNER, key=KEY, subjects=("s1", "s2"))


def test_a_token_whose_personal_data_is_erased_is_removed_and_is_never_put_again() -> None:
    made = case().do(put()).do(ERASE)
    assert [type(event) for event in made.new] == [TokenRemoved, PersonalDataErased]
    assert made.new[-1].subjects == ("s1", "s2")  # type: ignore[attr-defined]
    again = made.do(put(5, "f5"))
    assert (again.refusal, again.new) == (Refusal.NOT_ALLOWED, [])


def test_the_personal_data_of_a_uid_that_was_never_put_is_erased_too_and_once() -> None:
    made = case().do(ERASE)
    assert [type(event) for event in made.new] == [PersonalDataErased]
    again = made.do(ERASE)
    assert (again.outcome, again.new) == (Accepted(TokenReply(applied=False)), [])
    more = again.do(msgspec.structs.replace(ERASE, subjects=("s2", "s3")))
    assert [type(event) for event in more.new] == [PersonalDataErased]


def test_an_older_token_and_the_same_one_again_are_not_applied() -> None:
    made = case().do(put(5))
    for command in (put(4, "f1"), put(5)):
        assert made.do(command).outcome == Accepted(TokenReply(applied=False))
        assert made.new == []


def test_changes_merged_into_the_token_as_it_is_are_applied() -> None:
    made = case().do(put()).do(put(1, "f1", merged_from="f0"))
    assert made.outcome == Accepted(TokenReply())
    assert made.history[-1].fingerprint == "f1"  # type: ignore[attr-defined]


def test_changes_merged_into_a_token_that_has_become_another_are_a_conflict() -> None:
    """The second of two PATCHes that were merged into the same token, and a PATCH that a PUT overtook."""
    made = case().do(put()).do(put(1, "f1", merged_from="f0")).do(put(1, "f2", merged_from="f0"))
    assert (made.refusal, made.new) == (Refusal.CONFLICT, [])
    made.do(put(2, "f3")).do(put(3, "f4", merged_from="f1"))
    assert (made.refusal, made.new) == (Refusal.CONFLICT, [])


def test_changes_of_a_token_that_is_not_there_are_a_conflict() -> None:
    assert case().do(put(1, "f1", merged_from="f0")).refusal is Refusal.CONFLICT
    tag = put(0, "f0", owner=None, tenant="demo")
    made = case().do(tag).do(RemoveToken(tenant="demo", key=KEY))
    assert made.do(msgspec.structs.replace(tag, merged_from="f0")).refusal is Refusal.CONFLICT


def test_an_older_change_is_acknowledged_whatever_it_was_merged_from() -> None:
    made = case().do(put(5)).do(put(4, "f1", merged_from="other"))
    assert made.outcome == Accepted(TokenReply(applied=False))


def test_an_authorization_is_no_change_of_the_token() -> None:
    made = case().do(put()).do(NoteAuthorization(owner=OWNER, key=KEY, allowed="ALLOWED"))
    assert made.do(put(1, "f1", merged_from="f0")).outcome == Accepted(TokenReply())


def test_what_another_platform_put_for_the_party_counts_for_nothing() -> None:
    """The party has changed hands: an older date, the same content and a merge are those of another token."""
    made = case().do(put(5, "f0", holder="before@1"))
    assert made.do(put(4, "f0", holder="next@1")).outcome == Accepted(TokenReply(created=True))
    made = case().do(put(5, "f0", holder="before@1"))
    assert made.do(put(6, "f1", holder="next@1", merged_from="f0")).refusal is Refusal.CONFLICT


def test_a_conflict_is_a_fact_once_for_each_of_the_others() -> None:
    aaa, bbb = (PartyId(country_code="AT", party_id=id) for id in ("AAA", "BBB"))

    def conflict(*others: PartyId) -> NoteConflict:
        return NoteConflict(owner=OWNER, key=KEY, others=others)

    assert case().do(conflict(aaa)).refusal is Refusal.UNKNOWN
    made = case().do(put()).do(conflict(aaa)).do(conflict(aaa)).do(conflict(bbb, aaa))
    assert [e.others for e in made.history if isinstance(e, TokenContested)] == [(aaa,), (aaa, bbb)]
    assert [type(event) for event in made.do(put(1, "f1")).do(conflict(bbb)).new] == []
    made.do(put(2, "f2", holder="next@1")).do(conflict(bbb))
    assert [type(event) for event in made.new] == [TokenContested]
