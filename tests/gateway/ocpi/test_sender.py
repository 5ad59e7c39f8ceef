"""An object in the partner's version, or by name why it cannot be sent; and what the partner's answer means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from application.vault import StoreKeys, Vault
from domain.values import PartyId
from gateway.ocpi.client import OcpiClient
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.sender import OcpiSender, guid_of
from gateway.ocpi.url_policy import UrlPolicy
from projections.store import HUB, Document, Put
from projections.store.sqlite import SqliteReadStore
from protocols.ocpi import decode
from streams.effects.target import Content, Job, Outcome
from tests.domain.golden import golden

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "store")
    yield store
    await store.close()


class Receiver(httpx.AsyncBaseTransport):
    """An eMSP's receiver of CDRs: keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.busy: dict[str, str] | None = None
        self.plain = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        if self.busy is not None:
            return httpx.Response(429, headers=self.busy)
        if self.plain:
            return httpx.Response(self.plain)
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


JOB = Job(PartyId(country_code="NL", party_id="EMS"), "cdrs", "C1")


class Delivering:
    """A sender with one connected eMSP."""

    def __init__(self, store: SqliteReadStore) -> None:
        self.store = store
        self.vault = Vault(b"m" * 32, StoreKeys(store))
        self.receiver = Receiver()
        client = OcpiClient(UrlPolicy(allow_private_urls=True), transport=self.receiver)
        book = PartnerBook(store, self.vault)
        self.sender = OcpiSender(self.vault, book, client, lambda: NOON)

    async def connect(
        self, id: str = "ems", version: str = "2.2.1", *more: str, scheme: str = "http"
    ) -> None:
        document: Document = {
            "parties": ["NL*EMS"],
            "holder": f"{id}@1",
            "status": "CONNECTED",
            "ocpi_version": version,
            "sealed_b": await self.vault.seal(f"partner-{id}", "token-b"),
            "endpoints": [
                {"identifier": module, "role": "RECEIVER", "url": f"{scheme}://ems.test/{module}"}
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
        letter = await self.sender.prepare(JOB, Content(kept, 1))
        return letter if isinstance(letter, Outcome) else await self.sender.send(letter, correlation_id)


@pytest.fixture
async def delivering(store: SqliteReadStore) -> Delivering:
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


async def test_what_meters_signed_is_sent_though_it_stands_sealed_beside_the_cdr(
    delivering: Delivering,
) -> None:
    await delivering.connect()
    signed = {
        "encoding_method": "OCMF",
        "signed_values": [{"nature": "End", "plain_data": "p", "signed_data": "s"}],
    }
    private = await delivering.vault.seal("alice", msgspec.json.encode({"signed_data": signed}))
    assert (await delivering.send(gross_cdr(), private=private)).outcome == "delivered"
    (request,) = delivering.receiver.asked
    told: Any = decode(request.content)
    assert told["signed_data"] == signed


async def test_an_object_of_another_cpo_is_named_by_its_own_owner_and_id(delivering: Delivering) -> None:
    """Its key here is neither: `FR*CPO|s/1` (chapter Sessions, Receiver Interface, PUT)."""
    await delivering.connect("ems", "2.3.0", "sessions")
    token = {
        "country_code": "NL",
        "party_id": "EMS",
        "uid": "ALICE",
        "type": "RFID",
        "contract_id": "NL-EMS-C1",
    }
    golden_session = decode(golden("foreign_session", "foreign_session.begun.v1"))
    assert isinstance(golden_session, dict) and isinstance(golden_session["session"], dict)
    kept: Document = {
        "holder": "ems@1",
        "cdr_token": await delivering.vault.seal("alice", msgspec.json.encode(token)),
        "session": {**golden_session["session"], "id": "S/1", "kwh": 1},  # type: ignore[dict-item]
    }
    job = Job(JOB.to, "sessions", "FR*CPO|s/1")
    letter = await delivering.sender.prepare(job, Content(kept, 1))
    assert not isinstance(letter, Outcome)
    assert (letter.method, letter.url) == ("PUT", "http://ems.test/sessions/FR/CPO/S%2F1")
    assert (letter.sender.key, letter.to.key) == (("FR", "CPO"), ("NL", "EMS"))


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


async def test_nobody_is_sent_what_is_for_a_party_that_is_not_connected(delivering: Delivering) -> None:
    assert (await delivering.send(gross_cdr())).outcome == "offline"
    assert not await delivering.sender.connected(JOB.to)
    await delivering.connect()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120.0), ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0), ("soon", 0.0)],
)
async def test_a_busy_partner_says_how_long_it_is_to_be_left_alone(
    delivering: Delivering, said: str, seconds: float
) -> None:
    """RFC 9110, 10.2.3: seconds, or a time."""
    await delivering.connect()
    delivering.receiver.busy = {"Retry-After": said}
    outcome = await delivering.send(gross_cdr())
    assert (outcome.outcome, outcome.http_status, outcome.retry_after) == ("refused", 429, seconds)


def outcome_of_a_command(sealed_url: str, **more: Any) -> Document:
    party: Document = {"country_code": "NL", "party_id": "EMS"}
    ours: Document = {"country_code": "DE", "party_id": "DEM"}
    asker: Document = {
        "partner_id": "ems",
        "holder": "ems@1",
        "party": party,
        "of": ours,
        "command": "START_SESSION",
        "response_url": sealed_url,
    }
    return {"holder": "ems@1", "asker": asker, "status": "timed_out", "reason": "no answer in time", **more}


RESULT = Job(PartyId(country_code="NL", party_id="EMS"), "commands", "ocpi-1")


async def test_a_command_result_is_posted_bare_to_its_response_url_from_the_party_that_was_asked(
    delivering: Delivering,
) -> None:
    """13.2.2: the body is a CommandResult, not an envelope."""
    await delivering.connect(version="2.3.0")
    url = await delivering.vault.seal("partner-ems", "http://ems.test/results/77")
    letter = await delivering.sender.prepare(RESULT, Content(outcome_of_a_command(url), 3))
    assert not isinstance(letter, Outcome)
    assert (await delivering.sender.send(letter, "remote|demo|ocpi-1")).outcome == "delivered"
    [request] = delivering.receiver.asked
    assert (request.method, str(request.url)) == ("POST", "http://ems.test/results/77")
    text = {"language": "en", "text": "no answer in time"}
    assert decode(request.content) == {"result": "TIMEOUT", "message": [text]}
    headers = request.headers
    assert (headers["OCPI-from-party-id"], headers["OCPI-to-party-id"]) == ("DEM", "EMS")


@pytest.mark.parametrize(("http", "outcome"), [(204, "delivered"), (200, "delivered"), (404, "refused")])
async def test_an_answer_to_a_command_result_needs_no_envelope(
    delivering: Delivering, http: int, outcome: str
) -> None:
    await delivering.connect(version="2.3.0")
    delivering.receiver.plain = http
    url = await delivering.vault.seal("partner-ems", "http://ems.test/results/77")
    letter = await delivering.sender.prepare(RESULT, Content(outcome_of_a_command(url), 3))
    assert not isinstance(letter, Outcome)
    assert (await delivering.sender.send(letter, "")).outcome == outcome


async def test_a_result_is_told_to_nobody_who_took_the_party_over(delivering: Delivering) -> None:
    await delivering.connect("next", version="2.3.0")
    url = await delivering.vault.seal("partner-ems", "http://ems.test/results/77")
    letter = await delivering.sender.prepare(RESULT, Content(outcome_of_a_command(url), 3))
    assert isinstance(letter, Outcome) and (letter.outcome, letter.for_good) == ("refused", True)


@pytest.mark.parametrize(("url", "asked"), [("http://ems.test/77", 0), ("HTTPS://elsewhere.test/77", 1)])
async def test_our_token_goes_nowhere_in_the_clear_where_the_partner_is_called_by_https(
    delivering: Delivering, url: str, asked: int
) -> None:
    """Also where the partner has changed to https since it asked."""
    await delivering.connect(version="2.3.0", scheme="https")
    sealed = await delivering.vault.seal("partner-ems", url)
    letter = await delivering.sender.prepare(RESULT, Content(outcome_of_a_command(sealed), 3))
    if not isinstance(letter, Outcome):
        await delivering.sender.send(letter, "")
    assert len(delivering.receiver.asked) == asked
