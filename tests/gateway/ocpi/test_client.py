"""Our requests to partners: what is sent, and what their outcomes are called."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.ocpi import (
    NotOcpiError,
    OcpiClient,
    PeerBrokenError,
    PeerTimedOutError,
    PeerUnreachableError,
    UrlPolicy,
    UrlRefusedError,
)
from gateway.ocpi.client import Peer, PeerRefusedError
from protocols.ocpi.envelope import PartyId

OK = {"data": {"a": 1}, "status_code": 1000, "timestamp": "2026-03-01T12:00:00Z"}
URL = "http://peer.test/ocpi/x"
PEER = Peer("token-b")


class Wire(httpx.AsyncBaseTransport):
    """Keeps requests and answers as it is told."""

    def __init__(self, answer: Callable[[httpx.Request], Any]) -> None:
        self.answer = answer
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answer(request)
        if isinstance(answer, Exception):
            raise answer
        if asyncio.iscoroutine(answer):
            return await answer  # type: ignore[no-any-return]
        assert isinstance(answer, httpx.Response)
        return answer


def client(answer: Callable[[httpx.Request], Any], **settings: Any) -> tuple[OcpiClient, Wire]:
    wire = Wire(answer)
    return OcpiClient(UrlPolicy(), transport=wire, **settings), wire


def says(http: int = 200, body: Any = OK, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(http, json=body, headers=headers)


async def test_a_request_carries_token_ids_routing_and_its_body() -> None:
    ocpi, wire = client(says())
    answer = await ocpi.request(
        "PUT",
        URL,
        PEER,
        body=b'{"x":1}',
        query={"type": "RFID"},
        to=PartyId("NL", "TNM"),
        sender=PartyId("DE", "HUB"),
        correlation_id="c-1",
    )
    (request,) = wire.seen
    assert str(request.url) == f"{URL}?type=RFID"
    assert request.headers["Authorization"] == "Token " + base64.b64encode(b"token-b").decode()
    assert request.headers["X-Correlation-ID"] == "c-1" and request.headers["X-Request-ID"]
    assert request.headers["OCPI-to-party-id"] == "TNM" and request.headers["OCPI-from-party-id"] == "HUB"
    assert request.headers["Content-Type"] == "application/json" and request.content == b'{"x":1}'
    assert (answer.ok, answer.http_status, answer.status_code, answer.data) == (True, 200, 1000, {"a": 1})


async def test_a_partner_that_wants_its_token_raw_gets_it_raw() -> None:
    ocpi, wire = client(says())
    await ocpi.request("GET", URL, Peer("token-b", token_raw=True))
    assert wire.seen[0].headers["Authorization"] == "Token token-b"


async def test_each_request_has_an_id_of_its_own_and_configuration_modules_no_routing() -> None:
    ocpi, wire = client(says())
    await ocpi.request("GET", URL, PEER)
    await ocpi.request("GET", URL, PEER)
    first, second = wire.seen
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]
    assert not [name for name in first.headers if name.startswith("ocpi-")]
    assert "Content-Type" not in first.headers


@pytest.mark.parametrize(
    ("http", "body", "summary"),
    [
        (200, {**OK, "status_code": 2001, "status_message": "no"}, "HTTP 200, OCPI 2001: no"),
        (404, {"status_code": 2004, "timestamp": "x"}, "HTTP 404, OCPI 2004"),
        (401, {"detail": "no"}, "HTTP 401, no OCPI envelope"),
        (503, None, "HTTP 503, no OCPI envelope"),
        (302, None, "HTTP 302, no OCPI envelope"),
        (500, {**OK}, "HTTP 500, OCPI 1000"),
    ],
)
async def test_an_answer_that_is_no_success_is_an_answer(http: int, body: Any, summary: str) -> None:
    ocpi, _ = client(says(http, body))
    answer = await ocpi.request("GET", URL, PEER)
    assert (answer.ok, answer.summary) == (False, summary)
    with pytest.raises(PeerRefusedError, match=summary):
        answer.expect()


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"status_code": "1000"}),
        httpx.Response(204),
    ],
)
async def test_a_2xx_without_an_envelope_is_not_OCPI(response: httpx.Response) -> None:
    ocpi, _ = client(lambda request: response)
    with pytest.raises(NotOcpiError):
        await ocpi.request("GET", URL, PEER)


async def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    ocpi, _ = client(says(body={**OK, "data": "x" * 2000}), max_bytes=1000)
    with pytest.raises(NotOcpiError, match="longer than 1000"):
        await ocpi.request("GET", URL, PEER)


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (httpx.ConnectError("refused"), PeerUnreachableError),
        (httpx.ConnectTimeout("slow"), PeerUnreachableError),
        (httpx.ReadTimeout("slow"), PeerTimedOutError),
        (httpx.WriteTimeout("slow"), PeerTimedOutError),
        (httpx.ReadError("gone"), PeerBrokenError),
        (httpx.RemoteProtocolError("gone"), PeerBrokenError),
    ],
)
async def test_errors_say_what_is_known_of_the_outcome(raised: Exception, named: type[Exception]) -> None:
    ocpi, _ = client(lambda request: raised)
    with pytest.raises(named, match=r"peer\.test") as caught:
        await ocpi.request("GET", URL, PEER)
    assert "token-b" not in str(caught.value)


async def test_a_silent_partner_is_given_up_after_the_whole_time() -> None:
    async def never() -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    ocpi, _ = client(lambda request: never())
    with pytest.raises(PeerTimedOutError, match=r"did not answer in 0\.05 s"):
        await ocpi.request("GET", URL, PEER, timeout=0.05)


async def test_a_redirect_is_not_followed() -> None:
    ocpi, wire = client(says(307, None, Location="http://elsewhere.test/"))
    assert not (await ocpi.request("GET", URL, PEER)).ok
    assert len(wire.seen) == 1


def test_a_token_is_not_shown_by_what_holds_it() -> None:
    assert "token-b" not in repr(PEER)


async def pages_of(ocpi: OcpiClient) -> list[Any]:
    return [page async for page in ocpi.pages(URL, PEER, query={"limit": "2"})]


async def test_a_list_is_read_page_by_page_following_its_links() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", "0"))
        headers = {"Link": f'<{URL}?offset={offset + 2}>; rel="next"'} if offset < 4 else {}
        return httpx.Response(200, json={**OK, "data": [offset]}, headers=headers)

    ocpi, wire = client(answer)
    assert await pages_of(ocpi) == [[0], [2], [4]]
    assert str(wire.seen[0].url) == f"{URL}?limit=2"


async def test_a_link_that_leads_elsewhere_does_not_get_our_token() -> None:
    ocpi, wire = client(says(body={**OK, "data": []}, Link='<http://elsewhere.test/>; rel="next"'))
    with pytest.raises(UrlRefusedError, match=r"elsewhere\.test"):
        await pages_of(ocpi)
    assert len(wire.seen) == 1


async def test_a_page_that_is_an_error_ends_the_list_with_it() -> None:
    ocpi, _ = client(says(body={**OK, "status_code": 3000}))
    with pytest.raises(PeerRefusedError):
        await pages_of(ocpi)


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and closes them without an answer."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()
    await server.wait_closed()


async def test_over_a_real_connection_the_errors_have_the_same_names(silent: str) -> None:
    ocpi = OcpiClient(UrlPolicy(allow_private_urls=True), timeout=5)
    with pytest.raises(PeerBrokenError):
        await ocpi.request("GET", silent, PEER)
    with pytest.raises(PeerUnreachableError):
        await ocpi.request("GET", "http://127.0.0.1:1/", PEER)
    await ocpi.aclose()
