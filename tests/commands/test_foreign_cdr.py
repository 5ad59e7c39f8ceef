"""A CDR that a CPO posts is kept once, and for ever as it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Accepted, Refusal
from commands.foreign_cdr import MOST_BYTES, ROUTES, PostForeignCdr, PostReply
from domain.bearer import Bearer
from domain.foreign_cdr import AGGREGATE_EVENTS, CdrCheck, ForeignCdr, ForeignCdrChecked, ForeignCdrPosted
from domain.values import PartyId
from tests.commands.decide import Decide
from tests.laws import tried

CPO, EMSP = PartyId(country_code="FR", party_id="CPO"), PartyId(country_code="NL", party_id="EMS")
BEARER = Bearer(
    owner=EMSP, holder="ems@1", key="9f2c", token_type="RFID", sealed="s1.9f2c.AAAA", fingerprint="f1"
)


def post(fingerprint: str = "a", **changes: Any) -> PostForeignCdr:
    fields: dict[str, Any] = {
        "owner": CPO,
        "cdr_id": "C1",
        "source": "cpo@1",
        "bearer": BEARER,
        "cdr": {"id": "C1"},
        "fingerprint": fingerprint,
        "check": CdrCheck(outcome="equal"),
        **changes,
    }
    return PostForeignCdr(**fields)


def case() -> Decide:
    return Decide(ForeignCdr, AGGREGATE_EVENTS, ROUTES)


def test_it_is_kept_with_what_it_comes_to_in_one_decision() -> None:
    kept = case().do(post())
    assert [type(event) for event in kept.new] == [ForeignCdrPosted, ForeignCdrChecked]
    assert kept.outcome == Accepted(PostReply(created=True))


def test_again_it_is_known_and_another_content_is_refused() -> None:
    kept = case().do(post()).do(post())
    assert (kept.outcome, kept.new) == (Accepted(PostReply(created=False)), [])
    assert kept.do(post("b")).refusal is Refusal.CONFLICT
    assert kept.do(post(source="next@2")).refusal is Refusal.CONFLICT
    assert "Credit CDR" in kept.message


def test_one_that_the_log_could_not_take_is_refused() -> None:
    assert case().do(post(cdr={"id": "C1", "remark": "x" * MOST_BYTES})).refusal is Refusal.INVALID


def test_what_stays_of_it_does_not_follow_its_length() -> None:
    kept = case().do(post(cdr={"id": "C1", "remark": "x" * 10_000}))
    assert kept.aggregate is not None
    assert (kept.aggregate.state.fingerprint, kept.aggregate.over) == ("a", False)


@settings(deadline=None, max_examples=tried(50))
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=10))
def test_whatever_is_posted_in_whatever_order_the_first_content_is_the_one(contents: list[str]) -> None:
    kept = case()
    for content in contents:
        kept.do(post(content))
        assert (kept.refusal is None) == (content == contents[0])
    assert len(kept.history) == 2
