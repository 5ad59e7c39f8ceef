"""The tokens module as its sender: what CPOs of other platforms are listed and told of eMSPs' tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from application.authorization import Answer, NoAnswer
from application.partner_authorization import UNKNOWN_AT_ONCE
from application.roaming import Place
from commands.token import NoteAuthorization
from domain.values import PartyId
from tests.api.ocpi.hub import Hub, checked, token_header
from tests.api.ocpi.test_lists import keep_tenant
from tests.api.ocpi.test_tokens import C, token

CPO = token_header("cpo-c")
LIST = "/ocpi/2.3.0/sender/tokens"
TO_DEM = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "DEM"}
TO_TNM = {"OCPI-to-country-code": "NL", "OCPI-to-party-id": "TNM"}
NOBODY: Mapping[str, str] = {}
ELC = PartyId(country_code="FR", party_id="ELC")


@pytest.fixture
async def roaming(hub: Hub) -> Hub:
    """The eMSP NL*TNM and the CPO FR*ELC are connected; demo is the CPO DE*DEM."""
    await hub.connect()
    await hub.connect("elc", "cpo-c", parties=("FR*ELC",), role="CPO")
    await keep_tenant(hub)
    return hub


async def put(hub: Hub, uid: str, headers: Mapping[str, str] = NOBODY, **changes: Any) -> None:
    url = f"/ocpi/2.3.0/receiver/tokens/NL/TNM/{uid}"
    response = await hub.client.put(url, headers={**C, **headers}, json=token(uid=uid, **changes))
    assert response.json()["status_code"] == 1000, response.text


async def uids(hub: Hub, query: str = "", headers: Mapping[str, str] = NOBODY) -> list[str]:
    return [one["uid"] for one in checked(await hub.client.get(LIST + query, headers={**CPO, **headers}))]


async def ask(
    hub: Hub,
    uid: str,
    http: int = 200,
    code: int = 1000,
    body: Any = None,
    headers: Mapping[str, str] = NOBODY,
    query: str = "",
) -> Any:
    url = f"{LIST}/{uid}/authorize{query}"
    response = await hub.client.post(url, headers={**CPO, **headers}, json=body)
    return checked(response, http, code)


def noted(hub: Hub) -> list[NoteAuthorization]:
    return [command for command, _ in hub.bus.asked if isinstance(command, NoteAuthorization)]


async def test_a_cpo_is_listed_the_tokens_as_they_were_pushed_for_all(roaming: Hub) -> None:
    await put(roaming, "U1")
    assert checked(await roaming.client.get(LIST, headers=CPO)) == [token(uid="U1")]


async def test_what_was_pushed_to_one_party_of_ours_is_for_that_alone(roaming: Hub) -> None:
    """Hub, GET All: a push to a named party is not shown to others."""
    await put(roaming, "U1", TO_DEM)
    await put(roaming, "U2")
    assert await uids(roaming) == ["U2"]
    await put(roaming, "U2", TO_DEM)
    assert await uids(roaming) == ["U2"]  # its content is known to all already
    await put(roaming, "U2", TO_DEM, visual_number="for one alone", last_updated="2026-03-01T11:30:00Z")
    assert await uids(roaming) == []
    await put(roaming, "U1")
    assert await uids(roaming) == ["U1"]


async def test_tokens_are_listed_by_pages_and_by_when_they_were_changed(roaming: Hub) -> None:
    for n in range(5):
        roaming.later(1)
        await put(roaming, f"U{n}", last_updated=f"2026-03-01T11:0{n}:00Z")
    assert await uids(roaming, "?limit=2&offset=1") == ["U1", "U2"]
    assert await uids(roaming, "?date_from=2026-03-01T11:03:00Z") == ["U3", "U4"]
    assert await uids(roaming, "?date_to=2026-03-01T11:02:00Z") == ["U0", "U1"]
    response = await roaming.client.get(f"{LIST}?limit=2", headers=CPO)
    assert (response.headers["X-Total-Count"], response.headers["X-Limit"]) == ("5", "100")
    assert response.headers["Link"].startswith(f"<http://hub.test{LIST}?")


async def test_tokens_of_one_emsp_are_listed_for_who_names_it_and_none_of_our_tenants(roaming: Hub) -> None:
    await put(roaming, "U1")
    assert await uids(roaming, headers=TO_TNM) == ["U1"]
    assert await uids(roaming, headers=TO_DEM) == []


async def test_a_token_of_a_party_that_has_changed_hands_is_nobodys(roaming: Hub) -> None:
    await put(roaming, "U1")
    await roaming.change_partner(holder="tnm@9")
    assert await uids(roaming) == []
    await ask(roaming, "U1", 404, 2004)


async def test_an_emsp_is_listed_nobodys_tokens(roaming: Hub) -> None:
    checked(await roaming.client.get(LIST, headers=C), 200, 2000)


async def test_a_token_of_which_the_key_was_destroyed_is_not_listed(roaming: Hub) -> None:
    await put(roaming, "U1")
    await put(roaming, "U2")
    vault = roaming.vault
    await vault.destroy(vault.subject("NL*TNM", vault.token_key("RFID", "U1")))
    assert await uids(roaming) == ["U2"]
    await ask(roaming, "U1", 404, 2004)


@pytest.mark.parametrize(
    ("whitelist", "valid", "allowed"),
    [("ALWAYS", True, "ALLOWED"), ("ALWAYS", False, "BLOCKED"), ("ALLOWED", True, "ALLOWED")],
)
async def test_what_the_whitelist_allows_is_answered_from_what_is_stored_and_is_a_fact(
    roaming: Hub, whitelist: str, valid: bool, allowed: str
) -> None:
    await put(roaming, "U1", whitelist=whitelist, valid=valid)
    place = {"location_id": "GARE", "evse_uids": ["E1"]}
    said = await ask(roaming, "U1", body=place)
    assert (said["allowed"], said["location"]) == (allowed, place)
    assert said["token"] == token(uid="U1", whitelist=whitelist, valid=valid)
    [note] = noted(roaming)
    assert (note.allowed, note.stored, note.for_party, note.location_id) == (allowed, True, ELC, "GARE")
    assert roaming.owners.asked == []


@pytest.mark.parametrize(
    ("whitelist", "valid"), [("NEVER", True), ("ALLOWED_OFFLINE", True), ("ALLOWED", False)]
)
async def test_else_its_owner_is_asked_by_the_cpo_with_the_place_and_its_answer_is_passed_on_whole(
    roaming: Hub, whitelist: str, valid: bool
) -> None:
    await put(roaming, "U1", whitelist=whitelist, valid=valid)
    answer: dict[str, Any] = {
        "allowed": "NO_CREDIT",
        "token": token(uid="U1", whitelist=whitelist),
        "authorization_reference": "REF-7",
        "info": {"language": "en", "text": "top up"},
    }
    roaming.owners.answer = Answer("NO_CREDIT", "REF-7", answer)
    said = await ask(roaming, "u1", body={"location_id": "GARE", "evse_uids": ["E1", "E2"]})
    assert said == answer
    assert roaming.owners.asked == [("NL*TNM", "U1", "RFID", Place(ELC, "GARE", ("E1", "E2")))]
    [note] = noted(roaming)
    assert (note.allowed, note.authorization_reference, note.stored) == ("NO_CREDIT", "REF-7", False)


async def test_another_answer_to_the_same_request_is_a_fact_too(roaming: Hub) -> None:
    await put(roaming, "U1", whitelist="NEVER")
    key = roaming.vault.token_key("RFID", "U1")
    versions = []
    for allowed in ("ALLOWED", "ALLOWED", "BLOCKED"):
        roaming.owners.answer = Answer(allowed, "", {"allowed": allowed, "token": token(uid="U1")})
        assert (await ask(roaming, "U1", headers={"X-Request-ID": "r-1"}))["allowed"] == allowed
        document = await roaming.store.get("chargesphere", "tokens", f"NL*TNM|{key}")
        assert document is not None
        versions.append(document["version"])
    assert versions == [2, 2, 3]


async def test_what_a_foreign_cpo_was_told_is_no_word_on_our_own_charge_points(roaming: Hub) -> None:
    await put(roaming, "U1", whitelist="NEVER")
    roaming.owners.answer = Answer("ALLOWED", "REF-7", {"allowed": "ALLOWED", "token": token(uid="U1")})
    await ask(roaming, "U1")
    key = roaming.vault.token_key("RFID", "U1")
    document = await roaming.store.get("chargesphere", "tokens", f"NL*TNM|{key}")
    assert document is not None and (document["version"], document["authorization"]) == (2, None)


@pytest.mark.parametrize(
    ("why", "http", "code"),
    [
        (NoAnswer.UNKNOWN_TOKEN, 404, 2004),
        (NoAnswer.PLACE_NEEDED, 200, 2002),
        (NoAnswer.TIMEOUT, 200, 4002),
        (NoAnswer.UNREACHABLE, 200, 4003),
    ],
)
async def test_an_owner_that_says_nothing_of_it_is_said_so(
    roaming: Hub, why: NoAnswer, http: int, code: int
) -> None:
    """Tokens, 12.2.1.2: an unknown one is HTTP 404 with 2004, too little information 2002."""
    await put(roaming, "U1", whitelist="NEVER")
    roaming.owners.answer = why
    await ask(roaming, "U1", http, code)
    assert noted(roaming) == []


async def test_what_is_stored_serves_while_the_owner_is_away_where_its_whitelist_says_so(
    roaming: Hub,
) -> None:
    await put(roaming, "U1", whitelist="ALLOWED_OFFLINE")
    assert (await ask(roaming, "U1"))["allowed"] == "ALLOWED"
    assert noted(roaming)[0].stored
    roaming.owners.answer = NoAnswer.UNKNOWN_TOKEN
    await ask(roaming, "U1", 404, 2004)


async def test_a_token_that_nobody_told_to_all_is_unknown_but_its_owner_can_be_named(roaming: Hub) -> None:
    await put(roaming, "U1", TO_DEM)
    await ask(roaming, "U1", 404, 2004)
    assert roaming.owners.asked == []
    roaming.owners.answer = Answer("ALLOWED", "", {"allowed": "ALLOWED", "token": token(uid="U9")})
    assert (await ask(roaming, "U9", headers=TO_TNM))["allowed"] == "ALLOWED"
    await ask(roaming, "U9", 404, 2004, headers=TO_DEM)
    assert roaming.owners.asked == [("NL*TNM", "U9", "RFID", Place(ELC))]


async def test_tokens_of_the_same_uid_are_told_apart_by_their_type(roaming: Hub) -> None:
    url = "/ocpi/2.3.0/receiver/tokens/NL/TNM/U1?type=APP_USER"
    await roaming.client.put(url, headers=C, json=token(uid="U1", type="APP_USER"))
    await ask(roaming, "U1", 404, 2004)
    assert (await ask(roaming, "U1", query="?type=APP_USER"))["token"]["type"] == "APP_USER"


async def test_nobody_learns_which_cards_there_are_by_trying(roaming: Hub) -> None:
    """Beyond the unknown ones that a partner may ask for, known and unknown tokens get one answer."""
    await put(roaming, "U1")
    for n in range(int(UNKNOWN_AT_ONCE)):
        await ask(roaming, f"X{n}", 404, 2004)
    unknown = await roaming.client.post(f"{LIST}/X/authorize", headers=CPO)
    known = await roaming.client.post(f"{LIST}/U1/authorize", headers=CPO)
    assert checked(unknown, 429, 2000) is checked(known, 429, 2000) is None
    assert known.headers["Retry-After"] == unknown.headers["Retry-After"] == "1"
    roaming.now += timedelta(seconds=2)
    assert (await ask(roaming, "U1"))["allowed"] == "ALLOWED"


async def test_nor_by_asking_for_many_at_once_or_through_another_process(roaming: Hub) -> None:
    """Where no room is left for an unknown one, the first known one is refused too; known ones take none."""
    await put(roaming, "U1")
    for _ in range(int(UNKNOWN_AT_ONCE) + 1):
        await ask(roaming, "U1")
    for n in range(int(UNKNOWN_AT_ONCE)):
        await ask(roaming, f"X{n}", 404, 2004)
    told = len(noted(roaming))
    await ask(roaming, "U1", 429, 2000)
    assert len(noted(roaming)) == told


async def test_a_uid_that_cannot_be_and_a_place_that_is_none_are_2001(roaming: Hub) -> None:
    await ask(roaming, "U" * 37, 200, 2001)
    await put(roaming, "U1")
    await ask(roaming, "U1", 200, 2001, body={"evse_uids": ["E1"]})


async def test_an_answer_in_2_2_1_is_as_2_2_1_has_it(roaming: Hub) -> None:
    await put(roaming, "U1")
    response = await roaming.client.post("/ocpi/2.2.1/sender/tokens/U1/authorize", headers=CPO)
    assert checked(response)["allowed"] == "ALLOWED"
