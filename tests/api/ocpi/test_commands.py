"""The commands module as its receiver: what a partner is answered at once, and which remote command it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commands.remote_command import RequestRemoteCommand
from commands.session import StartSession
from commands.token import NoteAuthorization
from domain.intents import RemoteStart, RemoteStop, Unlock
from domain.values import UNASSIGNED, Authorization, PartyId, Settings, Site, TagRef
from projections.store import HUB, Document, Put, tenant_database
from tests.api.ocpi.hub import NOON, Hub, checked, token_header
from tests.api.ocpi.test_lists import keep_tenant
from tests.api.ocpi.test_locations import location
from tests.api.ocpi.test_tokens import token

C = token_header("token-c")
URL = "/ocpi/2.3.0/receiver/commands"
RESULT_URL = "https://tnm.example/commands/START_SESSION/77"
PERSON = "012345678"


def charge_point(location_id: str, *evses: str, tenant: str = "demo", **more: Any) -> Document:
    """As `projections.placement` keeps it: connected since its second event, never away."""
    return {
        "tenant_id": tenant,
        "location_id": location_id,
        "id_key": location_id.lower(),
        "removed": False,
        "connected": {"epoch": 1, "event": 2, "at": "2026-03-01T11:00:00Z"},
        "ended": None,
        "evses": [{"uid": uid, "connectors": [{"id": "1"}]} for uid in evses],
        **more,
    }


async def stands(hub: Hub, id: str, document: Document, version: int = 1) -> None:
    key = f"{document['tenant_id']}|{id}"
    await hub.store.apply([Put(HUB, "placements", key, version, {"charge_point_id": id, **document})])


async def charges(hub: Hub, session_id: str, version: int = 1, **more: Any) -> None:
    """A session of a token of NL*TNM at CP-1 of demo, in both read models."""
    document: Document = {
        "tenant_id": "demo",
        "charge_point_id": "CP-1",
        "party": "DE*DEM",
        "owner": "NL*TNM",
        "holder": await hub.holder(),
        "status": "ACTIVE",
        **more,
    }
    own: Document = {"charge_point_id": "CP-1", "transaction_id": 7}
    await hub.store.apply(
        [
            Put(HUB, "sessions", session_id, version, document),
            Put(tenant_database("demo"), "sessions", session_id, version, own),
        ]
    )


@pytest.fixture
async def yard(hub: Hub) -> Hub:
    """The eMSP NL*TNM is connected; demo has the charge points CP-1, with E1 and E2, and CP-2 at LOC1."""
    await hub.connect()
    await keep_tenant(hub)
    await stands(hub, "CP-1", charge_point("LOC1", "E1", "E2", connector_1={"status": "CHARGING"}))
    await stands(hub, "CP-2", charge_point("LOC1", "E3", connector_1={"status": "AVAILABLE"}))
    return hub


def start(**changes: Any) -> dict[str, Any]:
    body = {
        "response_url": RESULT_URL,
        "token": token(),
        "location_id": "LOC1",
        "evse_uid": "E2",
        "connector_id": "1",
        "authorization_reference": "REF-1",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


async def ask(
    hub: Hub, command: str, body: dict[str, Any], code: int = 1000, headers: Mapping[str, str] = C
) -> Any:
    response = await hub.client.post(f"{URL}/{command}", headers={**C, **headers}, json=body)
    return checked(response, 200, code)


def asked(hub: Hub) -> list[RequestRemoteCommand]:
    return [command for command, _ in hub.bus.asked if isinstance(command, RequestRemoteCommand)]


async def test_a_start_is_accepted_once_it_is_a_remote_command_of_the_charge_point_that_has_the_evse(
    yard: Hub,
) -> None:
    """13.2.1; `timeout` is when the result is due: 60 s to be sent, 30 to be answered, 15 to be sure."""
    assert await ask(yard, "START_SESSION", start()) == {"result": "ACCEPTED", "timeout": 105, "message": []}
    [command] = asked(yard)
    assert (command.tenant, command.charge_point_id, command.by) == ("demo", "CP-1", "partner:tnm")
    assert isinstance(command.intent, RemoteStart) and command.intent.connector_id == 2
    assert await yard.vault.open(command.intent.id_tag) == PERSON.encode()
    assert command.expires_at - yard.now == timedelta(seconds=60)
    asker = command.asker
    assert asker is not None
    assert (asker.party, asker.of) == (
        PartyId(country_code="NL", party_id="TNM"),
        PartyId(country_code="DE", party_id="DEM"),
    )
    assert (asker.command, asker.holder) == ("START_SESSION", await yard.holder())
    assert await yard.vault.open(asker.response_url) == RESULT_URL.encode()


async def test_the_session_will_name_the_token_of_the_request_and_its_reference(yard: Hub) -> None:
    """The token of the request is authorized by it: nobody looks whether it is valid (13.3.4)."""
    await ask(yard, "START_SESSION", start(token=token(valid=False, whitelist="NEVER")))
    [command] = asked(yard)
    known = command.authorization
    assert known is not None
    assert (known.status, known.auth_method, known.authorization_reference) == (
        "Accepted",
        "COMMAND",
        "REF-1",
    )
    sealed = await yard.vault.open(known.cdr_token)
    assert sealed is not None
    assert msgspec.json.decode(sealed) == {
        "country_code": "NL",
        "party_id": "TNM",
        "uid": PERSON,
        "type": "RFID",
        "contract_id": "NL-TNM-C12345678-X",
    }


async def test_a_token_that_we_know_is_authorized_at_that_charge_point_before_that_is_told_to_start(
    yard: Hub,
) -> None:
    """13.3.4: its owner is not asked in real time there for 15 minutes."""
    await yard.client.put("/ocpi/2.3.0/receiver/tokens/NL/TNM/012345678", headers=C, json=token())
    await ask(yard, "START_SESSION", start())
    note, command = [command for command, _ in yard.bus.asked][-2:]
    assert isinstance(note, NoteAuthorization) and isinstance(command, RequestRemoteCommand)
    assert (note.allowed, note.commanded) == ("ALLOWED", True)
    assert (note.for_tenant, note.charge_point_id) == ("demo", "CP-1")


async def test_nothing_personal_stands_in_the_log_in_the_clear(yard: Hub) -> None:
    await ask(yard, "START_SESSION", start())
    [command] = asked(yard)
    written = msgspec.json.encode([command, [meta for _, meta in yard.bus.asked]])
    for text in (PERSON, "C12345678", RESULT_URL, "DF000"):
        assert text.encode() not in written, text


async def test_a_uid_that_no_charge_point_can_be_told_gets_a_name_of_its_own(yard: Hub) -> None:
    """OCPP 1.6, 7.28: an id tag has 20 characters; a uid of an app has up to 36."""
    uid = "f3b1d9f0-5a4c-4c6e-9a43-2f6f0a1b2c3d"
    for n in range(2):
        await ask(
            yard,
            "START_SESSION",
            start(token=token(uid=uid, type="APP_USER")),
            headers={"X-Request-ID": f"r{n}"},
        )
    names = []
    for command in asked(yard):
        assert isinstance(command.intent, RemoteStart) and command.id_tag is not None
        name = await yard.vault.open(command.intent.id_tag)
        assert name is not None and len(name) == 20
        assert command.id_tag.key == yard.vault.token_key("RFID", name.decode())
        names.append(name)
    assert len(set(names)) == 1


async def test_the_same_request_again_gets_the_same_answer_and_starts_nothing_twice(yard: Hub) -> None:
    for _ in range(3):
        answer = await ask(yard, "START_SESSION", start(), headers={"X-Request-ID": "r-1"})
        assert answer["result"] == "ACCEPTED"
        # The place may look otherwise by then.
        await stands(yard, "CP-1", charge_point("LOC1", "E1"), 2)
        await stands(yard, "CP-2", charge_point("LOC1", "E3", "E2"), 2)
    ids = {command.command_id for command in asked(yard)}
    found = [await yard.store.get(tenant_database("demo"), "commands", id) for id in ids]
    assert [(one["charge_point_id"], one["version"]) for one in found if one] == [("CP-1", 1)]


async def test_where_no_evse_is_named_it_is_a_charge_point_that_has_a_free_one(yard: Hub) -> None:
    await ask(yard, "START_SESSION", start(evse_uid=..., connector_id=...))
    [command] = asked(yard)
    assert isinstance(command.intent, RemoteStart)
    assert (command.charge_point_id, command.intent.connector_id) == ("CP-2", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"location_id": "LOC9"},
        {"evse_uid": "E9"},
        {"connector_id": "9"},
    ],
)
async def test_what_is_not_there_is_2003_and_rejected(yard: Hub, changes: dict[str, Any]) -> None:
    answer = await ask(yard, "START_SESSION", start(**changes), 2003)
    assert (answer["result"], asked(yard)) == ("REJECTED", [])


async def test_of_two_parties_with_such_a_location_the_one_that_is_named_is_asked(yard: Hub) -> None:
    await keep_tenant(yard, "acme", "ACM")
    await stands(yard, "CP-A", charge_point("LOC1", "E2", tenant="acme"))
    assert (await ask(yard, "START_SESSION", start(), 2001))["result"] == "REJECTED"
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "ACM"}
    assert (await ask(yard, "START_SESSION", start(), headers=to))["result"] == "ACCEPTED"
    assert [command.tenant for command in asked(yard)] == ["acme"]


async def test_where_a_cpo_partner_has_such_a_location_too_the_one_that_is_meant_must_be_named(
    yard: Hub,
) -> None:
    """Ids are a CPO's own (8.3.1): the driver may stand at the other one."""
    await yard.connect("cpo", "cpo-c", parties=("NL*CPO",), role="CPO")
    await yard.connect("msp", "msp-c", parties=("DE*MSP",))
    url, cpo = "/ocpi/2.3.0/receiver/locations/NL/CPO", token_header("cpo-c")
    to_another = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "MSP"}
    checked(await yard.client.put(f"{url}/loc1", headers={**cpo, **to_another}, json=location("loc1")), 201)
    assert (await ask(yard, "START_SESSION", start()))["result"] == "ACCEPTED"
    checked(await yard.client.put(f"{url}/loc1", headers=cpo, json=location("loc1")), 201)
    again = start(evse_uid="E1")
    assert (await ask(yard, "START_SESSION", again, 2001))["result"] == "REJECTED"
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "DEM"}
    assert (await ask(yard, "START_SESSION", again, headers=to))["result"] == "ACCEPTED"
    assert [command.charge_point_id for command in asked(yard)] == ["CP-1", "CP-1"]


@pytest.mark.parametrize("id", ["unassigned", "UNASSIGNED"])
async def test_a_charge_point_without_a_place_is_found_by_no_partner(yard: Hub, id: str) -> None:
    await stands(yard, "CP-9", charge_point(UNASSIGNED, "E2"))
    body = {"response_url": RESULT_URL, "location_id": id, "evse_uid": "E2", "connector_id": "1"}
    await ask(yard, "UNLOCK_CONNECTOR", body, 2003)
    await ask(yard, "START_SESSION", start(location_id=id), 2003)
    assert asked(yard) == []


async def test_a_command_is_not_pushed_to_all(yard: Hub) -> None:
    to = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "HUB"}
    await ask(yard, "START_SESSION", start(), 2001, to)
    assert asked(yard) == []


async def test_a_token_of_somebody_else_starts_nothing(yard: Hub) -> None:
    await yard.connect("other", "other-c", parties=("FR*OTH",))
    answer = await ask(yard, "START_SESSION", start(token=token(country_code="FR", party_id="OTH")), 2001)
    assert (answer["result"], asked(yard)) == ("REJECTED", [])


@pytest.mark.parametrize(
    "url",
    [
        "http://inside.example/x",
        "ftp://tnm.example/x",
        "https://a:b@tnm.example/x",
        "https://tnm..example/x",
        "https://xn--a.example/x",
        "http://tnm.example/x",
    ],
)
async def test_a_result_is_told_to_nobody_inside_our_own_network(yard: Hub, url: str) -> None:
    answer = await ask(yard, "START_SESSION", start(response_url=url), 2001)
    assert (answer["result"], asked(yard)) == ("REJECTED", [])


@pytest.mark.parametrize("owner", ["NL*TNM", "tenant:demo"])
async def test_a_uid_that_its_person_had_erased_starts_nothing(yard: Hub, owner: str) -> None:
    """By its eMSP, or by the tenant."""
    await ask(yard, "START_SESSION", start(), headers={"X-Request-ID": "r-1"})
    await yard.vault.destroy(yard.vault.subject(owner, yard.vault.token_key("RFID", PERSON)))
    answer = await ask(yard, "START_SESSION", start(), headers={"X-Request-ID": "r-2"})
    assert (answer["result"], len(asked(yard))) == ("REJECTED", 1)


async def test_who_is_called_in_the_clear_hears_its_results_so(yard: Hub) -> None:
    clear: Document = {"identifier": "tokens", "role": "SENDER", "url": "http://tnm.example/tokens"}
    await yard.change_partner(endpoints=[clear])
    answer = await ask(yard, "START_SESSION", start(response_url="http://tnm.example/x"))
    assert answer["result"] == "ACCEPTED"


async def test_a_session_of_the_partners_token_is_stopped_by_its_transaction(yard: Hub) -> None:
    await charges(yard, "s1")
    answer = await ask(yard, "STOP_SESSION", {"response_url": RESULT_URL, "session_id": "s1"})
    [command] = asked(yard)
    assert (answer["result"], command.intent) == ("ACCEPTED", RemoteStop(transaction_id=7))
    assert (command.tenant, command.charge_point_id) == ("demo", "CP-1")


async def test_a_session_that_the_partner_was_told_of_before_it_can_be_read_is_found_in_the_log(
    yard: Hub,
) -> None:
    party = PartyId(country_code="DE", party_id="DEM")
    roaming = Authorization(
        status="Accepted",
        source="stored",
        as_of=NOON,
        owner=PartyId(country_code="NL", party_id="TNM"),
        holder=await yard.holder(),
    )
    await yard.do(
        StartSession(
            session_id="s1",
            tenant="demo",
            charge_point_id="CP-1",
            connector_id=1,
            transaction_id=7,
            evse_uid="E1",
            site=Site(id="LOC1"),
            id_tag=TagRef(key="k"),
            authorization=roaming,
            status="Accepted",
            start=NOON,
            meter_start=0,
            settings=Settings(party=party),
        )
    )
    body = {"response_url": RESULT_URL, "session_id": "s1"}
    assert (await ask(yard, "STOP_SESSION", body))["result"] == "ACCEPTED"
    [command] = asked(yard)
    assert (command.tenant, command.charge_point_id) == ("demo", "CP-1")
    assert command.intent == RemoteStop(transaction_id=7)
    await yard.connect("other", "other-c", parties=("FR*OTH",))
    other = token_header("other-c")
    assert (await ask(yard, "STOP_SESSION", body, headers=other))["result"] == "UNKNOWN_SESSION"


@pytest.mark.parametrize(
    "whose",
    [{"owner": "FR*OTH"}, {"owner": None}, {"holder": "tnm@0"}, None],
    ids=["another", "a local tag", "before the party changed hands", "nobody"],
)
async def test_any_other_session_is_unknown(yard: Hub, whose: dict[str, Any] | None) -> None:
    if whose is not None:
        await charges(yard, "s1", **whose)
    answer = await ask(yard, "STOP_SESSION", {"response_url": RESULT_URL, "session_id": "s1"})
    assert (answer["result"], asked(yard)) == ("UNKNOWN_SESSION", [])


async def test_a_session_is_named_in_any_case_of_letters(yard: Hub) -> None:
    """`session_id` is a CiString (13.3.5)."""
    id = "0b5c6d1e-93f1-5a52-8a7e-0d9c3f1a2b4c"
    await charges(yard, id)
    answer = await ask(yard, "STOP_SESSION", {"response_url": RESULT_URL, "session_id": id.upper()})
    assert answer["result"] == "ACCEPTED"


async def test_a_session_that_a_cpo_pushed_is_no_session_of_ours(yard: Hub) -> None:
    document: Document = {"tenant_id": None, "party": "FR*ELC", "owner": "NL*TNM", "holder": "x"}
    await yard.store.apply([Put(HUB, "sessions", "FR*ELC|s1", 1, document)])
    body = {"response_url": RESULT_URL, "session_id": "FR*ELC|s1"}
    assert (await ask(yard, "STOP_SESSION", body))["result"] == "UNKNOWN_SESSION"
    assert asked(yard) == []


async def test_a_stop_that_comes_again_behind_its_end_gets_the_answer_of_the_first(yard: Hub) -> None:
    body = {"response_url": RESULT_URL, "session_id": "s1"}
    for version, status in enumerate(("ACTIVE", "COMPLETED"), 1):
        await charges(yard, "s1", version, status=status)
        answer = await ask(yard, "STOP_SESSION", body, headers={"X-Request-ID": "r-1"})
        assert answer["result"] == "ACCEPTED"
    assert len({command.command_id for command in asked(yard)}) == 1


async def test_a_connector_is_unlocked_by_the_charge_point_that_has_it(yard: Hub) -> None:
    body = {"response_url": RESULT_URL, "location_id": "LOC1", "evse_uid": "E3", "connector_id": "1"}
    assert (await ask(yard, "UNLOCK_CONNECTOR", body))["result"] == "ACCEPTED"
    [command] = asked(yard)
    assert (command.charge_point_id, command.intent) == ("CP-2", Unlock(connector_id=1))


async def test_reservations_are_not_supported_yet(yard: Hub) -> None:
    reserve = start(expiry_date="2026-03-01T13:00:00Z", reservation_id="R1", connector_id=...)
    cancel = {"response_url": RESULT_URL, "reservation_id": "R1"}
    for command, body in (("RESERVE_NOW", reserve), ("CANCEL_RESERVATION", cancel)):
        assert (await ask(yard, command, body))["result"] == "NOT_SUPPORTED"
    assert asked(yard) == []


async def test_a_command_that_is_none_is_HTTP_404_and_a_body_that_lacks_something_2001(yard: Hub) -> None:
    response = await yard.client.post(f"{URL}/SELF_DESTRUCT", headers=C, json=start())
    checked(response, 404, 2001)
    await ask(yard, "START_SESSION", start(location_id=...), 2001)


async def test_who_is_no_emsp_asks_for_nothing(yard: Hub) -> None:
    await yard.connect("cpo", "cpo-c", parties=("FR*CPO",), role="CPO")
    response = await yard.client.post(f"{URL}/START_SESSION", headers=token_header("cpo-c"), json=start())
    checked(response, 200, 2000)
    assert asked(yard) == []


async def test_while_the_log_is_away_it_is_HTTP_503_and_no_promise(yard: Hub) -> None:
    yard.bus.away = True
    response = await yard.client.post(f"{URL}/START_SESSION", headers=C, json=start())
    checked(response, 503, 3000)
