"""What is sent waits for the read model: all that wait are read together. It says by name what cannot be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from application.vault import StoreKeys, Vault
from domain.delivery import AttemptDue
from domain.values import PartyId
from gateway.ocpi.client import OcpiClient
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.sender import Found, Lookout, OcpiSender, guid_of
from gateway.ocpi.url_policy import UrlPolicy
from projections.store import HUB, Document, Put, Remove, StoreUnavailableError
from projections.store.sqlite import SqliteReadStore
from protocols.ocpi import decode
from streams.effects.deliveries import Outcome

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Counting(SqliteReadStore):
    """Counts what is read, and can be away."""

    reads: int = 0
    away: bool = False

    async def get_many(self, db: str, collection: str, ids: Iterable[str]) -> dict[str, Document]:
        self.reads += 1
        if self.away:
            raise StoreUnavailableError("the store", "away")
        return await super().get_many(db, collection, ids)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Counting]:
    store = Counting(tmp_path / "store")
    yield store
    await store.close()


async def project(store: Counting, collection: str, id: str, version: int) -> None:
    await store.apply([Put(HUB, collection, id, version, {"n": version})])


async def test_what_is_wanted_at_once_is_read_at_once_and_together(store: Counting) -> None:
    for id in ("1", "2", "3"):
        await project(store, "sessions", id, 4)
    await project(store, "cdrs", "1", 1)
    lookout = Lookout(store)
    wanted = [("sessions", "1", 3), ("sessions", "2", 4), ("sessions", "3", 4), ("cdrs", "1", 1)]
    found = await asyncio.gather(*(lookout.find(*one) for one in wanted))
    assert [one.version for one in found if one] == [4, 4, 4, 1]
    assert store.reads == 2


async def test_a_version_that_is_not_there_yet_is_waited_for(store: Counting) -> None:
    await project(store, "sessions", "1", 2)
    lookout = Lookout(store)
    older, newer = asyncio.ensure_future(lookout.find("sessions", "1", 2)), lookout.find("sessions", "1", 3)
    waiting = asyncio.ensure_future(newer)
    assert (await older or Found({}, 0)).version == 2
    assert not waiting.done()
    await project(store, "sessions", "1", 5)
    found = await waiting
    assert found is not None
    assert (found.version, found.document["n"]) == (5, 5)


async def test_what_does_not_come_is_given_up_in_time(store: Counting) -> None:
    assert await Lookout(store, patience_s=0.1).find("sessions", "1", 1) is None
    assert store.reads <= 4


async def test_a_store_that_is_away_is_said_to_each_and_asked_again_later(store: Counting) -> None:
    lookout = Lookout(store)
    store.away = True
    results = await asyncio.gather(
        lookout.find("sessions", "1", 1), lookout.find("sessions", "2", 1), return_exceptions=True
    )
    assert [type(one) for one in results] == [StoreUnavailableError, StoreUnavailableError]
    store.away = False
    await project(store, "sessions", "1", 1)
    assert await lookout.find("sessions", "1", 1) is not None


class Receiver(httpx.AsyncBaseTransport):
    """An eMSP's receiver of CDRs: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return httpx.Response(200, json={"status_code": 1000, "timestamp": "2026-03-01T12:00:00Z"})


def gross_cdr(**changes: Any) -> Document:
    """A CDR that a tariff with taxes in its prices made."""
    component = {"type": "ENERGY", "price": 0.30, "vat": 21, "step_size": 1}
    tariff = {
        "country_code": "DE",
        "party_id": "DEM",
        "id": "GROSS",
        "currency": "EUR",
        "tax_included": "YES",
        "elements": [{"price_components": [component]}],
        "last_updated": "2026-03-01T10:00:00Z",
    }
    return {
        "country_code": "DE",
        "party_id": "DEM",
        "id": "C1",
        "start_date_time": "2026-03-01T11:00:00Z",
        "end_date_time": "2026-03-01T12:00:00Z",
        "session_id": "S1",
        "auth_method": "WHITELIST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Hafenstrasse 1",
            "city": "Kiel",
            "country": "DEU",
            "coordinates": {"latitude": "54.32330", "longitude": "10.12280"},
            "evse_uid": "E1",
            "evse_id": "DE*DEM*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "tariffs": [tariff],
        "charging_periods": [
            {
                "start_date_time": "2026-03-01T11:00:00Z",
                "dimensions": [{"type": "ENERGY", "volume": 10}],
                "tariff_id": "GROSS",
            }
        ],
        "total_cost": {"before_taxes": 2.4793, "taxes": [{"name": "VAT", "amount": 0.5207}]},
        "total_energy": 10,
        "total_time": 1,
        "last_updated": "2026-03-01T12:00:00Z",
        **changes,
    }


def job(wanted: int = 1, attempt: int = 1) -> AttemptDue:
    return AttemptDue(
        originator_id="delivery|NL*EMS|cdrs|C1",
        originator_version=2,
        timestamp=NOON,
        to=PartyId(country_code="NL", party_id="EMS"),
        module="cdrs",
        object_id="C1",
        tenant="demo",
        attempt=attempt,
        wanted=wanted,
        lease=NOON + timedelta(seconds=60),
    )


class Delivering:
    """A sender with one connected eMSP."""

    def __init__(self, store: Counting) -> None:
        self.store = store
        self.vault = Vault(b"m" * 32, StoreKeys(store))
        self.receiver = Receiver()
        client = OcpiClient(UrlPolicy(allow_private_urls=True), transport=self.receiver)
        book = PartnerBook(store, self.vault)
        self.sender = OcpiSender(store, self.vault, book, client, lambda: NOON)

    async def connect(self, id: str = "ems", version: str = "2.2.1", *more: str) -> None:
        document: Document = {
            "parties": ["NL*EMS"],
            "holder": f"{id}@1",
            "status": "CONNECTED",
            "ocpi_version": version,
            "sealed_b": await self.vault.seal(f"partner-{id}", "token-b"),
            "endpoints": [
                {"identifier": module, "role": "RECEIVER", "url": f"http://ems.test/{module}"}
                for module in ("cdrs", *more)
            ],
        }
        await self.store.apply([Put(HUB, "partners", id, 1, document)])

    async def send(self, cdr: Document, correlation_id: str = "", **document: Any) -> Outcome:
        token = {
            "country_code": "NL",
            "party_id": "EMS",
            "uid": "ALICE",
            "type": "RFID",
            "contract_id": "NL-EMS-C1",
        }
        sealed = await self.vault.seal("alice", msgspec.json.encode(token))
        kept = {
            "owner": "NL*EMS",
            "holder": "ems@1",
            "party": "DE*DEM",
            "cdr_token": sealed,
            "cdr": cdr,
            **document,
        }
        return await self.sender.send(job(), Found(kept, 1), correlation_id)


@pytest.fixture
async def delivering(store: Counting) -> Delivering:
    return Delivering(store)


async def test_a_cdr_of_a_gross_tariff_reaches_an_emsp_that_speaks_2_2_1(delivering: Delivering) -> None:
    """0.30 with 21 % in it is 0.2479 before taxes, as 2.2.1 states prices."""
    await delivering.connect()
    assert (await delivering.send(gross_cdr())).outcome == "delivered"
    (request,) = delivering.receiver.asked
    told: Any = decode(request.content)
    (component,) = told["tariffs"][0]["elements"][0]["price_components"]
    assert (str(component["price"]), "tax_included" in told["tariffs"][0]) == ("0.2479", False)
    assert (str(told["total_cost"]["excl_vat"]), str(told["total_cost"]["incl_vat"])) == ("2.4793", "3.0000")


async def test_what_has_no_place_in_the_partners_version_is_refused_by_its_name_and_with_the_reason(
    delivering: Delivering,
) -> None:
    await delivering.connect()
    overtime = {"type": "RESERVATION_OVERTIME", "volume": 1}
    period = {"start_date_time": "2026-03-01T11:00:00Z", "dimensions": [overtime]}
    outcome = await delivering.send(gross_cdr(charging_periods=[period]))
    assert outcome.outcome == "refused"
    assert outcome.reason.startswith("cdr C1 cannot be said in 2.2.1: ")
    assert "RESERVATION_OVERTIME" in outcome.reason and "destroyed" not in outcome.reason
    assert delivering.receiver.asked == []


async def test_a_destroyed_key_and_a_wrong_object_are_told_apart(delivering: Delivering) -> None:
    await delivering.connect()
    wrong = await delivering.send(gross_cdr(currency=7))
    assert wrong.reason.startswith("cdr C1: our own object is wrong at currency")
    gone = await delivering.send(gross_cdr(), cdr_token="")
    assert gone.reason == "cdr C1: the key of its token was destroyed: nobody can be told any more"


async def test_the_correlation_id_that_a_partner_sees_is_a_guid_and_the_same_each_time(
    delivering: Delivering,
) -> None:
    """Transport, message ids: X-Correlation-ID is a GUID; ids of ours name tenants and charge points."""
    await delivering.connect()
    for _ in range(2):
        await delivering.send(gross_cdr(), "demo|CP-1|meter|7")
    first, second = (request.headers["X-Correlation-ID"] for request in delivering.receiver.asked)
    assert str(UUID(first)) == first == second
    id = str(uuid4())
    assert guid_of(id) == id


async def test_what_came_about_before_a_party_changed_hands_is_not_told_to_the_next_one(
    delivering: Delivering,
) -> None:
    await delivering.connect("next")
    outcome = await delivering.send(gross_cdr())
    assert (outcome.outcome, delivering.receiver.asked) == ("refused", [])
    assert outcome.reason == "cdr C1: NL*EMS has changed hands since it came about"


async def kept_cdr(delivering: Delivering, version: int, **changes: Any) -> None:
    await delivering.store.apply([Put(HUB, "cdrs", "C1", version, {"cdr": gross_cdr(**changes)})])


async def session_delivery(delivering: Delivering, version: int, **state: Any) -> None:
    await delivering.store.apply([Put(HUB, "deliveries", "NL*EMS|sessions|S1", version, state)])


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ({"wanted": 5, "sent": 5, "last_error": None}, {"id": "S1"}),
        ({"wanted": 5, "sent": 4, "last_error": "HTTP 500"}, {"id": "S1"}),
        ({"wanted": 4, "sent": 4, "last_error": None}, {"id": "REPLACEMENT"}),
        ({"wanted": 5, "sent": 5, "last_error": None}, {"id": "S1-C1", "credit": True}),
    ],
    ids=["told", "tried in vain", "told before the credit and this one", "told before the credit"],
)
async def test_a_cdr_goes_once_the_end_of_its_session_was_told_or_tried(
    delivering: Delivering, state: dict[str, Any], changes: dict[str, Any]
) -> None:
    """First the Session's COMPLETED, then its CDR: who reads a CDR knows its session as ended."""
    await delivering.connect("ems", "2.3.0", "sessions")
    await kept_cdr(delivering, 6, **changes)
    await session_delivery(delivering, 1, wanted=3, sent=3, last_error=None)
    finding = asyncio.ensure_future(delivering.sender.find(job(wanted=6)))
    reads = delivering.store.reads
    while delivering.store.reads < reads + 6:  # noqa: ASYNC110  # it looks on and on
        await asyncio.sleep(0)
    assert not finding.done()
    await session_delivery(delivering, 2, **state)
    assert (await finding or Found({}, 0)).version == 6


async def test_a_cdr_waits_for_no_session_that_the_partner_does_not_take_nor_at_a_repeat(
    delivering: Delivering,
) -> None:
    await kept_cdr(delivering, 6)
    await delivering.connect("ems", "2.3.0", "sessions")
    assert await delivering.sender.find(job(wanted=6, attempt=2)) is not None
    delivering = Delivering(delivering.store)
    await delivering.store.apply([Remove(HUB, "partners", "ems", 2)])
    await delivering.connect("other", "2.3.0")
    assert await delivering.sender.find(job(wanted=6)) is not None
    assert delivering.store.reads <= 4
