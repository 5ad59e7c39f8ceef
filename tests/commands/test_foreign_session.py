"""A session that a CPO pushes is what it said last, in whatever order that came."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from commands.base import Accepted, Refusal
from commands.foreign_session import (
    MOST_BYTES,
    ROUTES,
    PatchForeignSession,
    PushReply,
    PutForeignSession,
)
from domain.bearer import Bearer
from domain.foreign_session import (
    AGGREGATE_EVENTS,
    ForeignSession,
    ForeignSessionBegun,
    ForeignSessionEnded,
    ForeignSessionPatched,
    ForeignSessionPut,
)
from domain.values import JSONObject, PartyId
from protocols.ocpi.types import to_date_time
from tests.commands.decide import Decide
from tests.laws import tried

CPO, EMSP = PartyId(country_code="FR", party_id="CPO"), PartyId(country_code="NL", party_id="EMS")
BEARER = Bearer(
    owner=EMSP, holder="ems@1", key="9f2c", token_type="RFID", sealed="s1.9f2c.AAAA", fingerprint="f1"
)
SOURCE = "cpo@1"


def at(minute: int) -> str:
    return f"2026-03-01T11:{minute:02}:00Z"


def period(minute: int) -> JSONObject:
    return {"start_date_time": at(minute), "dimensions": [{"type": "ENERGY", "volume": minute}]}


def session(minute: int = 0, **changes: Any) -> JSONObject:
    body = {
        "country_code": "FR",
        "party_id": "CPO",
        "id": "S1",
        "start_date_time": at(0),
        "kwh": minute,
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": at(minute),
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


def put(minute: int = 0, **changes: Any) -> PutForeignSession:
    return PutForeignSession(
        owner=CPO,
        session_id="S1",
        source=SOURCE,
        last_updated=to_date_time(at(minute)),
        bearer=BEARER,
        session=session(minute, **changes),
    )


def patch(minute: int, digest: str = "", version: str = "2.3.0", **changes: Any) -> PatchForeignSession:
    return PatchForeignSession(
        owner=CPO,
        session_id="S1",
        source=SOURCE,
        last_updated=to_date_time(at(minute)),
        version=version,
        changes={"last_updated": at(minute), **changes},
        fingerprint=digest or f"{minute}{changes}",
    )


def case() -> Decide:
    return Decide(ForeignSession, AGGREGATE_EVENTS, ROUTES)


def stands(case: Decide) -> Any:
    assert case.aggregate is not None
    return case.aggregate.state.session


def applied(case: Decide) -> PushReply:
    assert isinstance(case.outcome, Accepted) and isinstance(case.outcome.reply, PushReply)
    return case.outcome.reply


def test_it_is_begun_patched_and_ended() -> None:
    charge = case().do(put(0, charging_periods=[period(0)]))
    assert [type(event) for event in charge.new] == [ForeignSessionBegun]
    assert applied(charge) == PushReply(created=True)
    charge.do(patch(1, kwh=1.5, charging_periods=[period(1)]))
    (event,) = charge.new
    assert isinstance(event, ForeignSessionPatched)
    assert (event.changed, event.periods) == ({"kwh": 1.5, "last_updated": at(1)}, (period(1),))
    assert stands(charge)["charging_periods"] == [period(0), period(1)]
    charge.do(patch(2, status="COMPLETED", end_date_time=at(2)))
    assert [type(event) for event in charge.new] == [ForeignSessionPatched, ForeignSessionEnded]
    charge.do(patch(3, kwh=2))
    assert [type(event) for event in charge.new] == [ForeignSessionPatched]


def test_a_put_replaces_all() -> None:
    charge = case().do(put(0, meter_id="M1", charging_periods=[period(0)])).do(put(1))
    assert [type(event) for event in charge.new] == [ForeignSessionPut]
    assert stands(charge) == session(1)


def test_a_patch_clears_an_optional_field_and_no_required_one() -> None:
    charge = case().do(put(0, meter_id="M1"))
    assert "meter_id" not in stands(charge.do(patch(1, meter_id=None)))
    assert charge.do(patch(2, kwh=None)).refusal is Refusal.INVALID
    assert "kwh" in charge.message
    assert stands(charge)["last_updated"] == at(1)


@pytest.mark.parametrize("version", ["2.3.0", "2.2.1"])
def test_a_patch_is_merged_in_the_version_in_which_it_came(version: str) -> None:
    price = {"before_taxes": 2, "taxes": [{"name": "VAT", "amount": 0.4}]}
    changes: Any = {"total_cost": {"before_taxes": 3}}
    after: JSONObject = {"before_taxes": 3, "taxes": [{"name": "VAT", "amount": 0.4}]}
    if version == "2.2.1":
        changes = {"total_cost": {"incl_vat": 3}}
        after = {"before_taxes": 2, "taxes": [{"name": "VAT", "amount": 1}]}
    charge = (
        case().do(put(0, total_cost=price, unknown={"a": [1, 2.5]})).do(patch(1, version=version, **changes))
    )
    assert stands(charge) == session(0, total_cost=after, unknown={"a": [1, 2.5]}, last_updated=at(1))


def test_a_patch_in_2_2_1_leaves_what_it_does_not_name_as_it_is() -> None:
    """2.2.1 knows one tax alone."""
    total = {"before_taxes": 2, "taxes": [{"name": "VAT", "amount": 0.1}, {"name": "city", "amount": 0.2}]}
    charge = case().do(replace(put(0), session=session(0, total_cost=total)))
    charge.do(replace(patch(1, kwh=7), version="2.2.1"))
    assert (stands(charge)["kwh"], stands(charge)["total_cost"]) == (7, total)


def test_what_is_older_is_acknowledged_and_not_applied() -> None:
    charge = case().do(put(5))
    for older in (put(4), patch(4, kwh=99)):
        assert applied(charge.do(older)) == PushReply(applied=False)
        assert charge.new == []


def test_what_was_said_already_is_known_and_appends_nothing_twice() -> None:
    charge = case().do(put(0))
    for _ in range(3):
        charge.do(patch(1, "a", charging_periods=[period(1)])).do(patch(1, "b", charging_periods=[period(2)]))
    assert stands(charge)["charging_periods"] == [period(1), period(2)]
    assert applied(charge) == PushReply(applied=False)
    assert charge.do(put(1, kwh=0, charging_periods=[period(1), period(2)])).new == []


def test_at_the_same_second_the_order_of_the_log_decides() -> None:
    assert stands(case().do(put(1)).do(put(1, kwh=7)))["kwh"] == 7


def test_a_patch_of_what_is_not_there_is_unknown() -> None:
    assert case().do(patch(1, kwh=1)).refusal is Refusal.UNKNOWN


def test_what_another_platform_pushed_for_the_party_is_not_the_next_ones() -> None:
    charge = case().do(put(5))
    assert charge.do(replace(patch(6, kwh=6), source="next@2")).refusal is Refusal.UNKNOWN
    assert applied(charge.do(replace(put(1), source="next@2"))) == PushReply(created=True)
    assert stands(charge) == session(1)


def test_a_patch_that_is_for_another_party_than_its_tokens_is_invalid() -> None:
    charge = case().do(put(0))
    assert charge.do(replace(patch(1, kwh=1), addressed=CPO)).refusal is Refusal.INVALID
    assert charge.do(replace(patch(1, kwh=1), addressed=EMSP)).refusal is None
    other = PartyId(country_code="FR", party_id="OTH")
    its = replace(patch(2, kwh=2), bearer=replace(BEARER, owner=other, holder="oth@1", key="77aa"))
    assert charge.do(replace(its, addressed=EMSP)).refusal is Refusal.INVALID
    assert charge.do(replace(its, addressed=other)).refusal is None


def test_a_patch_moves_no_session_to_another_id() -> None:
    assert case().do(put(0)).do(patch(1, id="S2")).refusal is Refusal.INVALID
    assert case().do(put(0)).do(patch(1, country_code="DE")).refusal is Refusal.INVALID


def test_no_session_grows_beyond_what_the_log_takes() -> None:
    long = case().do(put(0, charging_periods=[period(1)] * 3_000))
    assert long.refusal is None
    for minute in range(1, 5):
        long.do(patch(minute, charging_periods=[period(1)] * 1_000))
    assert long.message == f"a session may have {MOST_BYTES} bytes"


def test_another_token_is_a_fact_and_the_same_one_sealed_anew_is_none() -> None:
    charge = case().do(put(0))
    assert charge.do(replace(put(0), bearer=replace(BEARER, sealed="s1.9f2c.CCCC"))).new == []
    other = replace(BEARER, fingerprint="f2", sealed="s1.77.DDDD", key="77")
    charge.do(replace(patch(1), bearer=other))
    (event,) = charge.new
    assert isinstance(event, ForeignSessionPatched) and event.bearer == other


WRITES = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from(["put", "patch"]), st.integers(0, 50)),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=tried(200))
@given(WRITES, st.randoms(use_true_random=False))
def test_whatever_order_two_processes_bring_it_in_the_newest_stands(
    writes: list[tuple[int, str, int]], chance: Any
) -> None:
    """What was acknowledged as applied, or as older, ends in the newest `last_updated` with its value; each one is
    sent a second time, by another process, at any later place."""
    arriving = [*writes, *writes]
    chance.shuffle(arriving)
    charge, newest, value = case(), -1, None
    for minute, kind, kwh in arriving:
        charge.do(put(minute, kwh=kwh) if kind == "put" else patch(minute, kwh=kwh))
        if charge.refusal is not None:
            assert (charge.refusal, newest) == (Refusal.UNKNOWN, -1)
            continue
        if minute > newest or (minute == newest and applied(charge).applied):
            newest, value = minute, kwh
        elif minute < newest:
            assert not applied(charge).applied
    if newest >= 0:
        assert (stands(charge)["last_updated"], stands(charge)["kwh"]) == (at(newest), value)
