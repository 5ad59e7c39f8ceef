"""A tariff is what its owner last said."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from commands.base import Accepted, Refusal
from commands.tariff import ROUTES, PutReply, PutTariff, RemoveTariff, put_tariff
from domain.tariff import AGGREGATE_EVENTS, Tariff, TariffPut
from domain.values import PartyId
from protocols.ocpi import parse, v2_3_0
from tests.commands.decide import Decide

OWNER = PartyId(country_code="DE", party_id="DEM")
BODY = (
    b'{"country_code":"DE","party_id":"DEM","id":"T1","currency":"EUR","elements":[{"price_components":['
    b'{"type":"ENERGY","price":0.25,"step_size":1}]}],"tax_included":"NO","last_updated":"2026-03-01T11:00:00Z"}'
)


def case() -> Decide:
    return Decide(Tariff, AGGREGATE_EVENTS, ROUTES)


def command(**changes: Any) -> PutTariff:
    made = put_tariff(parse(v2_3_0.Tariff, BODY), "demo")
    return PutTariff(owner=OWNER, tariff_id="T1", tenant="demo", tariff={**made.tariff, **changes})


def test_a_typed_tariff_becomes_the_command_that_puts_it() -> None:
    made = put_tariff(parse(v2_3_0.Tariff, BODY), "demo")
    assert (made.owner, made.tariff_id, made.aggregate_id) == (OWNER, "T1", "tariff|DE*DEM|t1")
    assert made.tariff["elements"] == [
        {"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}
    ]


def test_a_tariff_is_created_and_then_replaced() -> None:
    made = case().do(command())
    assert made.outcome == Accepted(PutReply(created=True))
    newer = made.do(command(currency="SEK", last_updated="2026-03-01T11:30:00Z"))
    (event,) = newer.new
    assert newer.outcome == Accepted(PutReply(created=False))
    assert isinstance(event, TariffPut) and event.tariff["currency"] == "SEK"


def test_the_same_tariff_again_is_no_fact() -> None:
    again = case().do(command()).do(command())
    assert (again.outcome, again.new) == (Accepted(PutReply(created=False)), [])


def test_an_older_tariff_changes_nothing() -> None:
    late = case().do(command()).do(command(currency="SEK", last_updated="2026-03-01T10:59:59.5Z"))
    assert (late.refusal, late.new) == (Refusal.STALE, [])


def test_the_owner_and_the_id_in_the_body_are_those_that_were_named() -> None:
    assert case().do(command(party_id="OTH")).refusal is Refusal.INVALID
    assert case().do(command(id="T2")).refusal is Refusal.INVALID
    assert case().do(command(id="t1", country_code="de")).refusal is None


def test_a_removed_tariff_is_unknown_and_can_come_back() -> None:
    remove = RemoveTariff(owner=OWNER, tariff_id="T1")
    gone = case().do(command()).do(remove)
    assert len(gone.new) == 1
    assert gone.do(remove).refusal is Refusal.UNKNOWN
    assert gone.do(command()).outcome == Accepted(PutReply(created=True))


def test_each_tariff_of_a_party_is_decided_by_itself() -> None:
    assert command().group == RemoveTariff(owner=OWNER, tariff_id="T1").group == "tariff|DE*DEM|t1"
    assert RemoveTariff(owner=OWNER, tariff_id="T9").group == "tariff|DE*DEM|t9"


def test_a_tariff_without_a_time_that_exists_is_refused() -> None:
    for wrong in (None, 7, "2026-02-30T00:00:00Z"):
        made = case().do(command(last_updated=wrong))
        assert (made.refusal, made.new) == (Refusal.INVALID, [])
        assert made.message.startswith("last_updated: ")


def test_what_a_platform_put_before_is_not_the_next_ones() -> None:
    """When a party changes hands, the tariff is new, however old it says that it is."""
    before = case().do(command()).do(replace(command(), holder="one@2026"))
    assert before.outcome == Accepted(PutReply(created=True))
    older = command(last_updated="2026-02-01T11:00:00Z")
    assert before.do(replace(older, holder="two@2026")).outcome == Accepted(PutReply(created=True))
    gone = before.do(RemoveTariff(owner=OWNER, tariff_id="T1", holder="one@2026"))
    assert gone.refusal is Refusal.UNKNOWN
