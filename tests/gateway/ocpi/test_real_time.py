"""What an eMSP says to "may this token charge?", or why it says nothing, over a transport of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from application.authorization import Answer, NoAnswer
from application.roaming import Place
from application.vault import StoreKeys, Vault
from domain.values import PartyId
from gateway.ocpi.client import OcpiClient
from gateway.ocpi.partners import PartnerBook
from gateway.ocpi.real_time import OcpiRealTime
from gateway.ocpi.url_policy import UrlPolicy
from projections.store import HUB, Put
from projections.store.sqlite import SqliteReadStore

EMS, ELC = PartyId(country_code="NL", party_id="EMS"), PartyId(country_code="FR", party_id="ELC")


class Owner(httpx.AsyncBaseTransport):
    """Says what it is told to; an exception is raised."""

    def __init__(self) -> None:
        self.says: httpx.Response | Exception = httpx.Response(500)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[tuple[OcpiRealTime, Owner]]:
    store, owner = SqliteReadStore(tmp_path), Owner()
    vault = Vault(b"m" * 32, StoreKeys(store))
    endpoint = {"identifier": "tokens", "role": "SENDER", "url": "http://ems.test/tokens"}
    document: dict[str, Any] = {
        "parties": ["NL*EMS"],
        "holder": "ems@1",
        "status": "CONNECTED",
        "sealed_b": await vault.seal("partner-ems", "token-b"),
        "endpoints": [endpoint],
    }
    await store.apply([Put(HUB, "partners", "ems", 1, document)])
    client = OcpiClient(UrlPolicy(allow_private_urls=True), transport=owner)
    yield OcpiRealTime(PartnerBook(store, vault), client, ("DE", "HUB")), owner
    await client.aclose()
    await store.close()


def said(http: int = 200, code: int = 1000, **more: Any) -> httpx.Response:
    return httpx.Response(http, json={"status_code": code, "timestamp": "2026-03-01T12:00:00Z", **more})


async def test_an_answer_is_passed_on_whole(asking: tuple[OcpiRealTime, Owner]) -> None:
    real_time, owner = asking
    info: dict[str, Any] = {
        "allowed": "ALLOWED",
        "authorization_reference": "REF-1",
        "info": {"language": "en", "text": "go"},
    }
    owner.says = said(data=info)
    assert await real_time.authorize(EMS, "U1", "RFID", Place(ELC, "GARE")) == Answer(
        "ALLOWED", "REF-1", info
    )
    [request] = owner.asked
    assert str(request.url) == "http://ems.test/tokens/U1/authorize?type=RFID"
    assert (request.headers["OCPI-from-party-id"], request.headers["OCPI-to-party-id"]) == ("ELC", "EMS")


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (said(404, 2004), NoAnswer.UNKNOWN_TOKEN),
        (said(200, 2004), NoAnswer.UNKNOWN_TOKEN),
        (said(200, 2002), NoAnswer.PLACE_NEEDED),
        (said(200, 3000), NoAnswer.UNREACHABLE),
        (said(200, 1000), NoAnswer.UNREACHABLE),
        (httpx.Response(200, text="hello"), NoAnswer.UNREACHABLE),
        (httpx.ReadTimeout("slow"), NoAnswer.TIMEOUT),
        (httpx.ConnectError("away"), NoAnswer.UNREACHABLE),
    ],
)
async def test_why_nothing_is_said_is_told_apart(
    asking: tuple[OcpiRealTime, Owner], says: httpx.Response | Exception, why: NoAnswer
) -> None:
    real_time, owner = asking
    owner.says = says
    assert await real_time.authorize(EMS, "U1", "RFID", Place(ELC)) is why


async def test_who_is_not_connected_cannot_be_asked(asking: tuple[OcpiRealTime, Owner]) -> None:
    real_time, owner = asking
    assert await real_time.authorize(ELC, "U1", "RFID", Place(ELC)) is NoAnswer.UNREACHABLE
    assert owner.asked == []
