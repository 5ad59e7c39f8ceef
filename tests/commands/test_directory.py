"""Who may speak for which party."""

from __future__ import annotations

import pytest

from commands.base import Accepted, Refusal
from commands.directory import ROUTES, ClaimParties, ReleaseParties
from domain.directory import AGGREGATE_EVENTS, Directory, PartyRole
from tests.commands.decide import Decide


def role(party: str, role: str = "EMSP") -> PartyRole:
    country_code, _, party_id = party.partition("*")
    return PartyRole(role=role, country_code=country_code, party_id=party_id)


def case() -> Decide:
    return Decide(Directory, AGGREGATE_EVENTS, ROUTES)


def claim(owner: str, *parties: str, first: bool = False) -> ClaimParties:
    return ClaimParties(owner=owner, roles=tuple(role(party) for party in parties), first=first)


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
