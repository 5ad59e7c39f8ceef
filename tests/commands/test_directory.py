"""Who may speak for which party, and whose charge points' ids may begin with what."""

from __future__ import annotations

import pytest

from commands.base import Accepted, Refusal
from commands.directory import (
    ROUTES,
    AskOwner,
    ClaimParties,
    ClaimPrefix,
    OwnerReply,
    PrefixReply,
    ReleaseParties,
    ReleasePrefixes,
)
from domain.directory import AGGREGATE_EVENTS, Directory, PartyRole, PrefixClaimed, PrefixesReleased
from tests.commands.decide import Decide


def role(party: str, role: str = "EMSP") -> PartyRole:
    country_code, _, party_id = party.partition("*")
    return PartyRole(role=role, country_code=country_code, party_id=party_id)


def case() -> Decide:
    return Decide(Directory, AGGREGATE_EVENTS, ROUTES)


def claim(owner: str, *parties: str, first: bool = False) -> ClaimParties:
    return ClaimParties(owner=owner, roles=tuple(role(party) for party in parties), first=first)


def test_who_speaks_for_a_party_is_told_and_noted_nowhere() -> None:
    directory = case()
    for owner, done in (("", claim("tnm", "NL*TNM")), ("tnm", ReleaseParties(owner="tnm")), ("", None)):
        asked = directory.do(AskOwner(party="NL*TNM"))
        assert (asked.outcome, asked.new) == (Accepted(OwnerReply(owner=owner)), [])
        if done is not None:
            directory.do(done)


def test_the_first_platform_that_claims_a_party_has_it() -> None:
    directory = case().do(claim("tnm", "NL*TNM", "DE*TNM"))
    assert directory.outcome == Accepted()
    taken = directory.do(claim("other", "FR*OTH", "DE*TNM"))
    assert (taken.refusal, taken.message) == (
        Refusal.ALREADY_EXISTS,
        "party DE*TNM belongs to another platform",
    )
    assert taken.new == []


def test_a_party_belongs_to_one_platform_whatever_its_role() -> None:
    directory = case().do(claim("tnm", "NL*TNM"))
    other = ClaimParties(owner="other", roles=(role("NL*TNM", "CPO"),))
    assert directory.do(other).refusal is Refusal.ALREADY_EXISTS


def test_a_platform_may_claim_the_same_again_and_others_instead() -> None:
    directory = case().do(claim("tnm", "NL*TNM"))
    assert directory.do(claim("tnm", "NL*TNM")).new == []
    assert len(directory.do(claim("tnm", "NL*TNX")).new) == 1
    assert directory.do(claim("other", "NL*TNM")).outcome == Accepted()


def test_who_makes_a_new_platform_cannot_take_over_an_existing_one() -> None:
    directory = case().do(claim("tnm", "NL*TNM", first=True))
    assert directory.do(claim("tnm", "NL*TNM", first=True)).outcome == Accepted()
    assert directory.do(claim("tnm", "FR*XXX", first=True)).refusal is Refusal.ALREADY_EXISTS


def test_released_parties_are_free() -> None:
    directory = case().do(claim("tnm", "NL*TNM")).do(ReleaseParties(owner="tnm"))
    assert directory.do(ReleaseParties(owner="tnm")).new == []
    assert directory.do(claim("other", "NL*TNM")).outcome == Accepted()


@pytest.mark.parametrize("party", ["nl*TNM", "NLD*TNM", "NL*", "NL*TOOLONG"])
def test_what_is_no_party_is_refused(party: str) -> None:
    assert case().do(claim("tnm", party)).refusal is Refusal.INVALID


def prefix(tenant: str, prefix: str) -> ClaimPrefix:
    return ClaimPrefix(owner=f"tenant:{tenant}", prefix=prefix)


def release(tenant: str, keep: str, upto: int) -> ReleasePrefixes:
    return ReleasePrefixes(owner=f"tenant:{tenant}", keep=keep, upto=upto)


@pytest.mark.parametrize("wanted", ["TA-", "TA-1", "T"])
def test_no_prefix_lies_within_another_tenants_in_either_direction(wanted: str) -> None:
    directory = case().do(prefix("acme", "TA-")).do(prefix("evil", wanted))
    assert (directory.refusal, directory.new) == (Refusal.ALREADY_EXISTS, [])
    assert "TA-" in directory.message


def test_a_tenant_holds_its_old_prefix_until_the_new_one_is_in_use() -> None:
    directory = case().do(prefix("acme", "TA-")).do(prefix("acme", "TB-"))
    assert [type(event) for event in directory.new] == [PrefixClaimed]
    assert directory.do(prefix("evil", "TA-1")).refusal is Refusal.ALREADY_EXISTS
    (released,) = directory.do(release("acme", "TB-", upto=2)).new
    assert isinstance(released, PrefixesReleased) and released.prefixes == ("TA-",)
    assert directory.do(prefix("evil", "TA-1")).refusal is None
    assert directory.do(prefix("evil", "TB-1")).refusal is Refusal.ALREADY_EXISTS


def test_a_release_leaves_a_later_claim_alone() -> None:
    directory = case().do(prefix("acme", "TA-")).do(prefix("acme", "TB-")).do(prefix("acme", "TC-"))
    directory.do(release("acme", "TB-", upto=2))
    assert directory.do(prefix("evil", "TC-")).refusal is Refusal.ALREADY_EXISTS
    assert directory.do(release("acme", "TB-", upto=2)).new == []


def test_a_prefix_that_is_claimed_again_has_the_number_of_the_newest_claim() -> None:
    directory = case().do(prefix("acme", "TA-")).do(prefix("acme", "TB-")).do(prefix("acme", "TA-"))
    directory.do(release("acme", "TB-", upto=2))
    assert directory.do(prefix("evil", "TA-")).refusal is Refusal.ALREADY_EXISTS


def test_a_claim_that_came_to_nothing_is_given_back_and_no_other() -> None:
    directory = case().do(prefix("acme", "TA-")).do(prefix("acme", "TB-"))
    (event,) = directory.do(ReleasePrefixes(owner="tenant:acme", since=2, upto=2)).new
    assert isinstance(event, PrefixesReleased) and event.prefixes == ("TB-",)
    assert directory.do(prefix("evil", "TA-")).refusal is Refusal.ALREADY_EXISTS


def test_who_makes_a_new_tenant_takes_no_prefix_for_an_existing_one() -> None:
    directory = case().do(prefix("acme", "TA-"))
    other = ClaimPrefix(owner="tenant:acme", prefix="TB-", first=True)
    assert directory.do(other).refusal is Refusal.ALREADY_EXISTS


def test_a_first_claim_that_is_made_again_is_the_one_that_was_made() -> None:
    first = ClaimPrefix(owner="tenant:acme", prefix="TA-", first=True)
    directory = case().do(prefix("other", "X-")).do(first)
    assert directory.outcome == Accepted(PrefixReply(number=2))
    again = directory.do(first)
    assert (again.outcome, again.new) == (Accepted(PrefixReply(number=2, new=False)), [])


def test_a_prefix_and_its_owner_must_have_a_name() -> None:
    assert case().do(prefix("acme", "")).refusal is Refusal.INVALID


def test_more_parties_are_claimed_beside_those_that_a_platform_has() -> None:
    directory = case().do(claim("tnm", "NL*TNM")).do(claim("other", "FR*OTH"))
    more = ClaimParties(owner="tnm", roles=(role("BE*TNM"),), more=True)
    assert directory.do(more).refusal is None
    assert directory.aggregate is not None
    held = directory.aggregate.state.claims["tnm"]
    assert [one.party for one in held] == ["NL*TNM", "BE*TNM"]
    assert directory.do(more).new == []
    taken = ClaimParties(owner="tnm", roles=(role("FR*OTH"),), more=True)
    assert directory.do(taken).refusal is Refusal.ALREADY_EXISTS
