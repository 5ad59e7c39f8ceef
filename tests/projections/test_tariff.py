"""Tariffs as they are read."""

from __future__ import annotations

from datetime import timedelta

from domain.tariff import AGGREGATE_EVENTS, Tariff
from domain.values import PartyId
from projections.moment import utc_text
from projections.store import Document
from projections.tariff import VIEW, tariff_document_id
from tests.commands.decide import NOON
from tests.projections.fold import fold


def read(*names: str) -> Document | None:
    return fold(VIEW, Tariff, AGGREGATE_EVENTS, *(f"tariff.{name}.v1" for name in names))


def test_a_tariff_is_read_under_its_owner_and_its_id_without_case() -> None:
    tariff = read("put")
    assert tariff is not None
    assert (tariff["owner"], tariff["tenant_id"]) == ("DE*DEM", "demo")
    assert tariff["last_updated"] == utc_text(NOON - timedelta(minutes=1))
    body = tariff["tariff"]
    assert isinstance(body, dict) and body["id"] == "T1"
    assert tariff_document_id(PartyId(country_code="DE", party_id="DEM"), "T1") == "DE*DEM|t1"


def test_a_removed_tariff_is_gone_and_may_come_back() -> None:
    assert read("put", "removed") is None
    assert read("put", "removed", "put") is not None


def test_a_replaced_tariff_keeps_its_place_in_lists() -> None:
    twice = read("put", "put")
    assert twice is not None and twice["created_at"] == utc_text(NOON)
