"""The simulated eMSP and CPO speak OCPI 2.3.0, over HTTP on loopback, with a hub of a few lines."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest

from chargesphere.demo.cpo import Cpo
from chargesphere.demo.emsp import OWNED, Emsp, make_cards
from chargesphere.demo.platform import Answer, Asked, OcpiFailedError, Platform
from protocols.ocpi import dump_json, parse_json
from protocols.ocpi.types import JSON
from protocols.ocpi.v2_3_0 import CDR, Credentials, Session
from tests.protocols.ocpi import examples

Body = dict[str, JSON]


class Hub(Platform):
    """Keeps the tokens that it gets; it names itself, and the CPO that it reaches, as hubs do since 2.3.0."""

    def __init__(self) -> None:
        super().__init__("OTHER", "DE", "HUB", "Hub")
        self.tokens: dict[str, JSON] = {}
        self.open("tokens", "RECEIVER", {OWNED: self._token}, {OWNED: ("GET", "PUT")})

    async def _token(self, asked: Asked) -> Answer:
        if asked.method == "PUT":
            self.tokens[asked.path["id"]] = asked.body
        return Answer(self.tokens[asked.path["id"]])

    def _ours(self, token: str) -> dict[str, JSON]:
        ours = super()._ours(token)
        roles = ours["roles"]
        assert isinstance(roles, list)
        cpo: Body = {
            "role": "CPO",
            "country_code": "DE",
            "party_id": "DEM",
            "business_details": {"name": "Demo"},
        }
        return {**ours, "hub_party_id": "DEHUB", "roles": [*roles, cpo]}

    def _take(self, theirs: Credentials) -> None:
        role = theirs.roles[0]
        super()._take(theirs.model_copy(update={"hub_party_id": role.country_code + role.party_id}))


@dataclass
class Scene:
    hub: Hub = field(default_factory=Hub)
    emsp: Emsp = field(default_factory=lambda: Emsp(make_cards(4)))
    cpo: Cpo = field(default_factory=Cpo)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    async with AsyncExitStack() as stack:
        for platform in (scene.hub, scene.emsp, scene.cpo):
            await stack.enter_async_context(platform.serving())
        yield scene


def cdr(id: str = "S1") -> Body:
    return {**example(CDR), "id": id, "session_id": id, "credit": False}


def example(model: type[CDR] | type[Session]) -> Body:
    return dump_json(parse_json(model, examples.EXAMPLES[model.__name__]))


async def test_the_emsp_registers_at_the_hub_which_calls_back_meanwhile(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)

    assert scene.emsp.registered.is_set() and scene.hub.registered.is_set()
    assert scene.emsp.hub is not None and scene.emsp.hub.key == ("DE", "HUB")
    assert scene.hub.endpoints["cdrs", "RECEIVER"] == scene.emsp.endpoint("cdrs", "RECEIVER")
    assert scene.emsp.violations == scene.hub.violations == []


async def test_the_hub_registers_at_the_cpo(scene: Scene) -> None:
    await scene.hub.register(scene.cpo.versions_url, scene.cpo.token_a)

    assert scene.cpo.registered.is_set()
    assert await scene.cpo.pull_tokens() == 0
    assert scene.hub.violations == scene.cpo.violations == []


async def test_a_dead_token_a_opens_no_door_and_a_second_post_is_405(scene: Scene) -> None:
    await scene.hub.register(scene.cpo.versions_url, scene.cpo.token_a)

    with pytest.raises(OcpiFailedError, match="401"):
        await scene.emsp.ask("GET", scene.cpo.versions_url, token=scene.cpo.token_a, routed=False)
    credentials = scene.hub.endpoints["credentials", "SENDER"]
    response = await scene.hub.send("POST", credentials, scene.hub._ours("x" * 20), routed=False)
    assert response.status_code == 405


async def test_cards_are_put_and_read_back_and_may_charge(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)
    await scene.emsp.push_tokens()

    uids = list(scene.emsp.cards)
    assert list(scene.hub.tokens) == uids
    assert [c.whitelist for c in scene.emsp.cards.values()] == [
        "ALWAYS",
        "ALLOWED",
        "ALLOWED_OFFLINE",
        "NEVER",
    ]
    url = f"{scene.emsp.endpoint('tokens', 'SENDER')}/{uids[3]}/authorize"
    info = await scene.hub.ask("POST", url)
    assert isinstance(info, dict) and info["allowed"] == "ALLOWED"
    unknown = await scene.hub.send("POST", url.replace(uids[3], "FFFF"))
    assert (unknown.status_code, unknown.json()["status_code"]) == (404, 2004)


async def test_every_fifth_cdr_is_refused_by_turns_with_500_and_with_3000(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)
    url = scene.emsp.endpoint("cdrs", "RECEIVER")
    answers = [await scene.hub.send("POST", url, cdr(f"S{number}")) for number in range(10)]

    assert [a.status_code for a in answers] == [*[201] * 4, 500, *[201] * 4, 200]
    assert [a.json()["status_code"] for a in answers] == [*[1000] * 4, 3000, *[1000] * 4, 3000]
    assert "S4" not in scene.emsp.cdrs and len(scene.emsp.cdrs) == 8
    location = answers[0].headers["Location"]
    assert await scene.hub.ask("GET", location) == scene.emsp.cdrs["s0"]


async def test_a_cdr_that_comes_again_must_be_the_same(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)
    url = scene.emsp.endpoint("cdrs", "RECEIVER")
    await scene.hub.ask("POST", url, cdr())
    await scene.hub.ask("POST", url, cdr())
    assert (scene.emsp.repeats, scene.emsp.violations) == (1, [])

    await scene.hub.ask("POST", url, {**cdr(), "remark": "changed"})
    await scene.hub.ask("POST", url, {**cdr(), "id": "S1-again"})
    assert [text.rpartition(": ")[2] for text in scene.emsp.violations] == [
        "the same id came with another body",
        "session S1 has the CDR s1 already",
    ]


async def test_a_session_is_put_patched_and_never_goes_back(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)
    body = {**example(Session), "status": "ACTIVE", "last_updated": "2026-01-01T10:00:00Z"}
    url = f"{scene.emsp.endpoint('sessions', 'RECEIVER')}/{body['country_code']}/{body['party_id']}/{body['id']}"
    missing = await scene.hub.send("PATCH", url, {"kwh": 1, "last_updated": "2026-01-01T10:00:10Z"})
    put = await scene.hub.send("PUT", url, body)
    await scene.hub.ask("PATCH", url, {"status": "COMPLETED", "last_updated": "2026-01-01T10:00:10Z"})
    assert (missing.status_code, put.status_code, scene.emsp.violations) == (404, 201, [])
    assert scene.emsp.sessions[str(body["id"]).lower()].status == "COMPLETED"

    await scene.hub.ask("PUT", url, body)
    assert len(scene.emsp.violations) == 2


async def test_a_request_without_ids_or_routing_is_a_violation(scene: Scene) -> None:
    await scene.emsp.register(scene.hub.versions_url, scene.hub.token_a)
    token = base64.b64encode(str(scene.emsp._granted).encode()).decode()
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(
            scene.emsp.endpoint("tokens", "SENDER"), headers={"Authorization": f"Token {token}"}
        )

    assert answer.json()["status_code"] == 2001
    assert len(scene.emsp.violations) == 3
