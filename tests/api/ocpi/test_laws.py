"""Whatever is sent, an envelope comes back: never another form, never an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_cdrs import cdr
from tests.api.ocpi.test_sessions import session
from tests.api.ocpi.test_tariffs import CPO, EMSP, connected, tariff, to
from tests.api.ocpi.test_tokens import token
from tests.laws import tried

METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
WORDS = (
    *("versions", "2.3.0", "2.2.1", "2.3", "credentials", "sender", "receiver"),
    *("tokens", "sessions", "cdrs", "tariffs", "NL", "TNM", "012345678"),
    *("%2F", "%FF", "%00", "%20", "%2E%2E"),
)
SEGMENTS = st.sampled_from(WORDS) | st.text(max_size=8).map(lambda text: quote(text, safe=""))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
BODIES = (
    st.binary(max_size=50)
    | JSON.map(msgspec.json.encode)
    | st.tuples(st.sampled_from(sorted(token())), JSON).map(
        lambda change: msgspec.json.encode({**token(), change[0]: change[1]})
    )
)
QUERIES = st.dictionaries(
    st.sampled_from(["type", "limit", "offset", "date_from", "date_to", "x"]),
    st.text(max_size=12),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-Request-ID", "OCPI-to-country-code", "OCPI-to-party-id", "OCPI-from-country-code"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=8),
    max_size=3,
)
CODES = {2000, 2001, 2004, 4001}


PATHS = st.lists(SEGMENTS, max_size=7).map("/".join) | st.sampled_from(
    [
        "2.3.0/receiver/tokens/NL/TNM/012345678",
        "2.2.1/receiver/tokens/nl/tnm/012345678/",
        "2.3.0/credentials",
        "2.2.1/sender/tariffs",
    ]
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Hub]]:
    with asyncio.Runner() as runner:
        hub = runner.run(_connected(tmp_path_factory.mktemp("hub")))
        yield runner, hub
        runner.run(hub.close())


async def _connected(folder: Path) -> Hub:
    hub = Hub(folder, burst=1e9)
    await hub.connect()
    return hub


@settings(deadline=None, max_examples=tried(300), suppress_health_check=[HealthCheck.too_slow])
@given(METHODS, PATHS, QUERIES, HEADERS, BODIES)
def test_every_request_is_answered_with_an_envelope(
    hub: tuple[asyncio.Runner, Hub],
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    runner, doors = hub
    assume(not (method == "DELETE" and "credentials" in path))  # it ends the registration, as it should
    request = doors.client.request(
        method,
        f"/ocpi/{path}",
        params=query,
        headers={**token_header("token-c"), **_latin(headers)},
        content=body,
    )
    response = runner.run(_awaited(request))
    code = response.json()["status_code"]
    assert response.status_code in (200, 201, 400, 404, 405), response.text
    assert code in CODES | {1000}
    checked(response, response.status_code, code)


async def _awaited(request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    return await request


def _latin(headers: dict[str, str]) -> Any:
    return {name: value.encode("latin-1") for name, value in headers.items()}


STRANGERS = (
    ("EMSP", "BE*EMS"),
    ("CPO", "BE*CPO"),
    ("NSP", "BE*NSP"),
    ("NAP", "BE*NAP"),
    ("SCSP", "BE*SCS"),
    ("OTHER", "BE*OTH"),
)
PLACES = (
    *(f"sender/{module}" for module in ("sessions", "cdrs", "tariffs")),
    *(f"receiver/{module}/FR/CPO/{id}" for module, id in (("sessions", "S1"), ("tariffs", "T1"))),
    "receiver/cdrs/FR*CPO*C1",
)


async def test_who_is_not_party_to_an_object_never_sees_it(tmp_path: Path) -> None:
    """Every way to read × every wrong party × every routing × both versions, and every way to write over it."""
    hub = Hub(tmp_path, burst=1e9)
    await connected(hub)
    for n, (role, party) in enumerate(STRANGERS):
        await hub.connect(f"s{n}", f"stranger-{n}", parties=(party,), role=role)
    base = "/ocpi/2.3.0/receiver"
    for_tnm = to("NL*TNM")
    checked(await hub.client.put(f"{base}/sessions/FR/CPO/S1", headers=CPO, json=session()), 201)
    checked(await hub.client.put(f"{base}/tariffs/FR/CPO/T1", headers=for_tnm, json=tariff()), 201)
    checked(await hub.client.post(f"{base}/cdrs", headers=CPO, json=cdr()), 201)
    seen = 0
    for version in ("2.3.0", "2.2.1"):
        for place in PLACES:
            for n in range(len(STRANGERS)):
                who = token_header(f"stranger-{n}")
                for headers in (who, *(to(party, who) for party in ("FR*CPO", "NL*TNM", "DE*HUB", "DE*DEM"))):
                    text = (await hub.client.get(f"/ocpi/{version}/{place}", headers=headers)).text
                    assert not any(word in text for word in ("012345678", "LOC1", "elements")), (place, n)
                    seen += 1
                for method, body in (("PUT", session(kwh=99)), ("PATCH", {"kwh": 99}), ("DELETE", None)):
                    said = await hub.client.request(
                        method, f"/ocpi/{version}/{place}", headers=who, json=body
                    )
                    assert said.json()["status_code"] >= 2000
    assert seen == 2 * len(PLACES) * len(STRANGERS) * 5
    assert checked(await hub.client.get("/ocpi/2.3.0/sender/sessions", headers=EMSP)) == [session()]
    assert checked(await hub.client.get("/ocpi/2.3.0/sender/cdrs", headers=EMSP)) == [cdr()]
    assert checked(await hub.client.get("/ocpi/2.3.0/sender/tariffs", headers=EMSP)) == [tariff()]
    await hub.close()
