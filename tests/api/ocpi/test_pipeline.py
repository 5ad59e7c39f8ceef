"""What all OCPI requests have in common: the envelope, ids, authorization, limits, errors."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.api.ocpi.hub import Hub, checked, token_header

C = token_header("token-c")


async def test_every_answer_is_an_envelope_with_the_ids_of_the_request(hub: Hub) -> None:
    await hub.connect()
    response = await hub.client.get(
        "/ocpi/versions", headers={**C, "X-Request-ID": "r-1", "X-Correlation-ID": "c-1"}
    )
    assert checked(response) == [
        {"version": "2.3.0", "url": "http://hub.test/ocpi/2.3.0"},
        {"version": "2.2.1", "url": "http://hub.test/ocpi/2.2.1"},
    ]
    assert (response.headers["X-Request-ID"], response.headers["X-Correlation-ID"]) == ("r-1", "c-1")
    assert response.json()["timestamp"] == "2026-03-01T12:00:00Z"


async def test_ids_that_are_missing_are_made(hub: Hub) -> None:
    await hub.connect()
    first = await hub.client.get("/ocpi/versions", headers=C)
    second = await hub.client.get("/ocpi/versions", headers=C)
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Token",
        "Bearer dG9rZW4tYw==",
        "Token dW5rbm93bg==",
        "Token token-x",
        "Basic dG9rZW4tYzp4",
        "Token \x7f",
    ],
)
async def test_no_token_or_an_unknown_one_is_HTTP_401(hub: Hub, header: str | None) -> None:
    await hub.connect()
    headers = {} if header is None else {"Authorization": header}
    for path in ("versions", "2.3.0/sender/sessions", "nothing/here"):
        checked(await hub.client.get(f"/ocpi/{path}", headers=headers), 401, 2000)


@pytest.mark.parametrize(
    "written",
    ["dG9rZW4tYw==", base64.b64encode(b"token-c\n").decode(), "token-c"],
    ids=["Base64", "Base64 with the newline of the standard's own example", "raw"],
)
async def test_a_token_is_known_in_Base64_and_raw(hub: Hub, written: str) -> None:
    await hub.connect()
    checked(await hub.client.get("/ocpi/versions", headers={"Authorization": f"Token {written}"}))


async def test_base64_for_URLs_and_without_padding_is_known_too(hub: Hub) -> None:
    """Neither is what the standard has (RFC 4648, section 4); libraries make both."""
    await hub.connect(c="~~?>token-c")
    usual = base64.b64encode(b"~~?>token-c").decode()
    for written in (usual, usual.rstrip("="), base64.urlsafe_b64encode(b"~~?>token-c").decode().rstrip("=")):
        checked(await hub.client.get("/ocpi/versions", headers={"Authorization": f"Token {written}"}))
    checked(await hub.client.get("/ocpi/versions", headers={"Authorization": f"Token {usual}x"}), 401, 2000)


async def test_a_token_a_opens_versions_and_credentials_and_nothing_else_HTTP_401(hub: Hub) -> None:
    await hub.plan()
    a = token_header("token-a")
    for path in ("versions", "2.3.0", "2.2.1", "2.3.0/credentials"):
        checked(await hub.client.get(f"/ocpi/{path}", headers=a))
    for path in ("2.3.0/sender/sessions", "2.3.0/receiver/tokens/NL/TNM/1", "2.3.0/nothing"):
        checked(await hub.client.get(f"/ocpi/{path}", headers=a), 401, 2000)


@pytest.mark.parametrize("path", ["versions", "2.3.0", "2.3", "2.3.0/credentials", "2.3.0/sender/cdrs"])
async def test_a_slash_at_the_end_changes_nothing_and_nothing_is_redirected(hub: Hub, path: str) -> None:
    await hub.connect()
    without = await hub.client.get(f"/ocpi/{path}", headers=C)
    with_one = await hub.client.get(f"/ocpi/{path}/", headers=C)
    assert checked(without) == checked(with_one)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/2.1.1", "/versions/x", "/2.3.0/sender", "/2.3.0/sender/bookings", "/2.3.0/x/y/z", "/%FF"],
)
async def test_what_is_not_there_is_HTTP_404_in_an_envelope(hub: Hub, path: str) -> None:
    await hub.connect()
    checked(await hub.client.get(f"/ocpi{path}", headers=C), 404, 2001)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "versions", "GET"),
        ("PATCH", "2.3.0/credentials", "DELETE, GET, POST, PUT"),
        ("DELETE", "2.3.0/receiver/tokens/NL/TNM/1", "GET, PATCH, PUT"),
        ("POST", "2.3.0/sender/cdrs", "GET"),
        ("OPTIONS", "2.3.0", "GET"),
    ],
)
async def test_another_method_is_HTTP_405_in_an_envelope(
    hub: Hub, method: str, path: str, allowed: str
) -> None:
    await hub.connect()
    response = await hub.client.request(method, f"/ocpi/{path}", headers=C)
    checked(response, 405, 2000)
    assert response.headers["Allow"] == allowed


async def test_details_list_the_endpoints_that_work_with_their_roles(hub: Hub) -> None:
    await hub.connect()
    for version in ("2.3.0", "2.2.1"):
        details = checked(await hub.client.get(f"/ocpi/{version}", headers=C))
        assert details["version"] == version
        for endpoint in details["endpoints"]:
            assert endpoint["url"].startswith(f"http://hub.test/ocpi/{version}/")
        roles = {(e["identifier"], e["role"]) for e in details["endpoints"]}
        assert roles == {
            ("credentials", "SENDER"),
            *((module, "RECEIVER") for module in ("tokens", "sessions", "cdrs", "tariffs")),
            ("sessions", "SENDER"),
            ("cdrs", "SENDER"),
            ("tariffs", "SENDER"),
        }
        for endpoint in details["endpoints"]:
            if endpoint["role"] == "SENDER":
                url = f"{endpoint['url']}?date_from=2026-01-01T00:00:00Z"
                checked(await hub.client.get(url, headers=C))


async def test_the_alias_of_2_3_0_says_2_3_0(hub: Hub) -> None:
    await hub.connect()
    assert checked(await hub.client.get("/ocpi/2.3", headers=C))["version"] == "2.3.0"


async def test_a_body_that_is_no_JSON_is_HTTP_400(hub: Hub) -> None:
    await hub.connect()
    for body in (b"", b"{", b"\xff\xfe", b'{"a":NaN}'):
        response = await hub.client.put("/ocpi/2.3.0/receiver/tokens/NL/TNM/1", headers=C, content=body)
        checked(response, 400, 2000)


async def test_a_body_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    hub = Hub(tmp_path, max_body=1000)
    await hub.connect()
    response = await hub.client.put(
        "/ocpi/2.3.0/receiver/tokens/NL/TNM/1", headers=C, content=b'"' + b"x" * 1000 + b'"'
    )
    checked(response, 413, 2000)
    await hub.close()


async def test_too_many_requests_of_one_partner_to_one_module_are_HTTP_429(tmp_path: Path) -> None:
    hub = Hub(tmp_path, rate=0.1, burst=2)
    await hub.connect()
    await hub.connect("other", "other-c", parties=("FR*OTH",))
    for _ in range(2):
        checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=C))
    refused = await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=C)
    checked(refused, 429, 2000)
    assert 1 <= int(refused.headers["Retry-After"]) <= 10
    checked(await hub.client.get("/ocpi/2.3.0/sender/tariffs", headers=C))
    checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=token_header("other-c")))
    await hub.close()


async def test_while_the_log_is_away_a_write_is_HTTP_503_with_Retry_After(hub: Hub) -> None:
    await hub.connect()
    hub.bus.away = True
    response = await hub.client.delete("/ocpi/2.3.0/credentials", headers=C)
    checked(response, 503, 3000)
    assert int(response.headers["Retry-After"]) > 0


async def test_while_the_read_store_is_away_nothing_can_be_said_HTTP_503(hub: Hub) -> None:
    await hub.connect()
    await hub.store.close()
    response = await hub.client.get("/ocpi/versions", headers=C)
    checked(response, 503, 3000)


async def test_a_partner_that_goes_away_in_the_middle_of_its_body_breaks_nothing(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.connect()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/ocpi/2.3.0/receiver/tokens/NL/TNM/1"
    headers = [(b"authorization", C["Authorization"].encode())]
    scope = {"type": "http", "method": "PUT", "path": path, "headers": headers, "query_string": b""}
    await hub.app({**scope, "raw_path": path.encode(), "client": None}, receive, send)
    assert sent[0]["status"] == 400
    assert caplog.records == []


async def test_the_uid_of_a_token_does_not_get_into_our_logs(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.connect()
    hub.bus.away = True
    body = (
        b'{"country_code":"NL","party_id":"TNM","uid":"S3CRET","type":"RFID","contract_id":"C","issuer":"I",'
    )
    body += b'"valid":true,"whitelist":"ALWAYS","last_updated":"2026-03-01T11:00:00Z"}'
    for ask in (None, hub.bus.ask):
        hub.bus.ask = ask  # type: ignore[assignment, method-assign]
        await hub.client.put("/ocpi/2.3.0/receiver/tokens/NL/TNM/S3CRET", headers=C, content=body)
    ours = [record for record in caplog.records if record.name.startswith("api.")]
    assert len(ours) == 2
    assert not [record for record in ours if "S3CRET" in record.getMessage()]


async def test_an_error_of_ours_is_an_envelope_too_and_tells_nothing(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.connect()
    hub.bus.ask = None  # type: ignore[assignment, method-assign]
    response = await hub.client.delete("/ocpi/2.3.0/credentials", headers=C)
    checked(response, 500, 3000)
    assert "NoneType" not in response.text


async def test_an_answer_of_a_functional_module_goes_back_to_who_asked(hub: Hub) -> None:
    await hub.connect(parties=("NL*TNM", "BE*TNM"))
    asked = {
        **C,
        "OCPI-from-country-code": "be",
        "OCPI-from-party-id": "tnm",
        "OCPI-to-country-code": "DE",
        "OCPI-to-party-id": "HUB",
    }
    response = await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=asked)
    checked(response)
    assert (response.headers["OCPI-to-country-code"], response.headers["OCPI-to-party-id"]) == ("be", "tnm")
    assert (response.headers["OCPI-from-country-code"], response.headers["OCPI-from-party-id"]) == (
        "DE",
        "HUB",
    )


async def test_an_answer_of_a_configuration_module_carries_no_routing_headers(hub: Hub) -> None:
    await hub.connect()
    response = await hub.client.get("/ocpi/2.3.0/credentials", headers=C)
    assert not [name for name in response.headers if name.lower().startswith("ocpi-")]


@pytest.mark.parametrize(
    ("headers", "status_code"),
    [
        ({"OCPI-from-country-code": "FR", "OCPI-from-party-id": "XXX"}, 2001),
        ({"OCPI-from-country-code": "NL"}, 2001),
        ({"OCPI-to-country-code": "FR", "OCPI-to-party-id": "XXX"}, 4001),
    ],
    ids=["from a party of somebody else", "half a pair", "to an unknown party"],
)
async def test_wrong_routing_headers_are_told_with_HTTP_200(
    hub: Hub, headers: dict[str, str], status_code: int
) -> None:
    await hub.connect()
    checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers={**C, **headers}), 200, status_code)
