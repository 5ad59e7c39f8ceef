"""An eMSP keeps its tokens at the hub: PUT, PATCH, GET of the tokens module."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands.base import Command
from commands.directory import ReleaseParties
from commands.partner import Remove
from commands.tenant import CreateTenant
from commands.token import PutToken
from domain.tenant import Configuration, TenantParty
from projections.store import HUB, Query
from tests.api.ocpi.hub import Hub, checked, token_header

C = token_header("token-c")
URL = "/ocpi/2.3.0/receiver/tokens/NL/TNM/012345678"


def token(**changes: Any) -> dict[str, Any]:
    body = {
        "country_code": "NL",
        "party_id": "TNM",
        "uid": "012345678",
        "type": "RFID",
        "contract_id": "NL-TNM-C12345678-X",
        "visual_number": "DF000-2001-8999",
        "issuer": "TheNewMotion",
        "group_id": "DF000-2001-8999",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": "2026-03-01T11:00:00Z",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


async def put(hub: Hub, url: str = URL, **changes: Any) -> Any:
    return await hub.client.put(url, headers=C, json=token(**changes))


async def stored(hub: Hub, url: str = URL) -> Any:
    return checked(await hub.client.get(url, headers=C))


async def test_a_new_token_is_HTTP_201_and_read_back_at_once(hub: Hub) -> None:
    await hub.connect()
    response = await put(hub)
    assert checked(response, 201) is None
    assert await stored(hub) == token()


async def test_a_known_token_is_replaced_as_a_whole_with_HTTP_200(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    checked(await put(hub, visual_number=..., last_updated="2026-03-01T11:30:00Z"), 200)
    assert await stored(hub) == token(visual_number=..., last_updated="2026-03-01T11:30:00Z")


async def test_an_older_token_is_acknowledged_and_not_applied(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    checked(await put(hub, valid=False, last_updated="2026-03-01T10:00:00Z"), 200)
    assert (await stored(hub))["valid"] is True


async def test_ids_are_found_without_case_and_come_back_as_they_were_sent(hub: Hub) -> None:
    await hub.connect()
    checked(await put(hub, "/ocpi/2.3.0/receiver/tokens/nl/tnm/aBc", uid="AbC"), 201)
    assert (await stored(hub, "/ocpi/2.3.0/receiver/tokens/NL/TNM/ABC"))["uid"] == "AbC"


async def test_segments_of_the_path_are_decoded_one_by_one(hub: Hub) -> None:
    await hub.connect()
    checked(await put(hub, "/ocpi/2.3.0/receiver/tokens/NL/TNM/a%2Fb%20c", uid="a/b c"), 201)
    assert (await stored(hub, "/ocpi/2.3.0/receiver/tokens/NL/TNM/a%2Fb%20c/"))["uid"] == "a/b c"


async def test_the_type_is_RFID_unless_it_is_given_and_tells_tokens_apart(hub: Hub) -> None:
    await hub.connect()
    checked(await put(hub, f"{URL}?type=APP_USER", type="APP_USER"), 201)
    checked(await hub.client.get(URL, headers=C), 404, 2004)
    assert (await stored(hub, f"{URL}?type=APP_USER"))["type"] == "APP_USER"
    checked(await put(hub, URL, type="APP_USER"), 200, 2001)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
async def test_a_party_that_is_not_the_partners_is_HTTP_404(hub: Hub, method: str) -> None:
    await hub.connect()
    await hub.connect("other", "other-c", parties=("FR*OTH",))
    await put(hub)
    body = token(country_code="FR", party_id="OTH") if method != "GET" else None
    for party in ("FR/OTH", "DE/HUB", "XX/XXX"):
        response = await hub.client.request(
            method, f"/ocpi/2.3.0/receiver/tokens/{party}/012345678", headers=C, json=body
        )
        checked(response, 404, 2001)
    foreign = await hub.client.get(URL, headers=token_header("other-c"))
    checked(foreign, 404, 2001)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"uid": "other"}, "uid"),
        ({"country_code": "FR"}, "country_code"),
        ({"whitelist": "PERHAPS"}, "whitelist"),
        ({"valid": "yes"}, "valid"),
        ({"last_updated": ...}, "last_updated"),
        ({"issuer": None}, "issuer"),
    ],
)
async def test_what_is_wrong_in_a_token_is_2001_by_its_name(
    hub: Hub, changes: dict[str, Any], named: str
) -> None:
    await hub.connect()
    response = await put(hub, **changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    checked(await hub.client.get(URL, headers=C), 404, 2004)


async def test_unknown_fields_and_types_survive(hub: Hub) -> None:
    await hub.connect()
    checked(await put(hub, f"{URL}?type=PLATE", type="PLATE", extra={"a": [1, 2.5]}), 201)
    found = await stored(hub, f"{URL}?type=PLATE")
    assert (found["type"], found["extra"]) == ("PLATE", {"a": [1, 2.5]})


async def test_a_patch_changes_what_it_names(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    changes = {"valid": False, "visual_number": None, "last_updated": "2026-03-01T11:30:00Z"}
    checked(await hub.client.patch(URL, headers=C, json=changes))
    assert await stored(hub) == token(valid=False, visual_number=..., last_updated="2026-03-01T11:30:00Z")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"valid": False}, "last_updated"),
        ({"issuer": None, "last_updated": "2026-03-01T11:30:00Z"}, "issuer"),
        ({"uid": "other", "last_updated": "2026-03-01T11:30:00Z"}, "uid"),
        ([], ""),
    ],
)
async def test_a_patch_that_cannot_be_is_2001_and_changes_nothing(hub: Hub, changes: Any, named: str) -> None:
    await hub.connect()
    await put(hub)
    response = await hub.client.patch(URL, headers=C, json=changes)
    checked(response, 200, 2001)
    assert named in response.json()["status_message"]
    assert await stored(hub) == token()


async def test_a_patch_of_an_unknown_token_is_HTTP_404(hub: Hub) -> None:
    await hub.connect()
    response = await hub.client.patch(URL, headers=C, json={"last_updated": "2026-03-01T11:30:00Z"})
    checked(response, 404, 2004)


def meanwhile(hub: Hub, times: int, **changes: Any) -> None:
    """Another process puts the token so many times, each time between a PATCH's read and its decision."""

    async def put_it(command: Command) -> None:
        if not isinstance(command, PutToken) or not command.merged_from or len(done) == times:
            return
        done.append(command)
        text = msgspec.json.encode(token(visual_number=f"V{len(done)}", **changes))
        key = hub.vault.token_key("RFID", "012345678")
        await hub.do(
            msgspec.structs.replace(
                command,
                body=await hub.vault.seal(key, text),
                fingerprint=hub.vault.digest("token_body", text.decode()),
                last_updated=datetime.fromisoformat(token(**changes)["last_updated"]),
                merged_from="",
            )
        )

    done: list[PutToken] = []
    hub.bus.meanwhile = put_it


PATCH = {"issuer": "Other", "last_updated": "2026-03-01T11:30:00Z"}


async def test_a_patch_loses_no_change_that_was_made_between_its_read_and_its_decision(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    meanwhile(hub, 2)
    headers = {**C, "X-Request-ID": "r-1"}
    checked(await hub.client.patch(URL, headers=headers, json=PATCH))
    assert await stored(hub) == token(visual_number="V2", **PATCH)
    version = (await hub.store.find(Query(HUB, "tokens"))).items[0]["version"]
    # The same request again goes the same way and changes nothing.
    checked(await hub.client.patch(URL, headers=headers, json=PATCH))
    assert (await hub.store.find(Query(HUB, "tokens"))).items[0]["version"] == version == 4


async def test_a_patch_older_than_what_was_put_meanwhile_is_acknowledged_and_not_applied(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    meanwhile(hub, 1, last_updated="2026-03-01T11:45:00Z")
    checked(await hub.client.patch(URL, headers=C, json=PATCH))
    assert await stored(hub) == token(visual_number="V1", last_updated="2026-03-01T11:45:00Z")


async def test_a_patch_of_a_token_that_never_stands_still_is_refused_and_changes_nothing(hub: Hub) -> None:
    """The partner then GETs and PUTs (chapter Transport and format, PATCH)."""
    await hub.connect()
    await put(hub)
    meanwhile(hub, 1000)
    response = await hub.client.patch(URL, headers=C, json=PATCH)
    checked(response, 200, 3000)
    assert "PUT" in response.json()["status_message"]
    assert (await stored(hub))["issuer"] == "TheNewMotion"


async def test_the_same_request_again_is_decided_once(hub: Hub) -> None:
    await hub.connect()
    headers = {**C, "X-Request-ID": "r-1"}
    first = await hub.client.put(URL, headers=headers, json=token())
    again = await hub.client.put(URL, headers=headers, json=token())
    other = await hub.client.put(URL, headers={**C, "X-Request-ID": "r-2"}, json=token())
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 200)
    ids = [meta.command_id for command, meta in hub.bus.asked if isinstance(command, PutToken)]
    assert len(ids) == 3 and ids[0] == ids[1] != ids[2]


async def test_the_log_and_the_read_model_hold_nothing_of_a_person_in_the_clear(hub: Hub) -> None:
    await hub.connect()
    await put(hub)
    documents = (await hub.store.find(Query(HUB, "tokens"))).items
    written = repr([c for c in hub.bus.asked if isinstance(c[0], PutToken)]) + repr(documents)
    for text in ("012345678", "C12345678", "DF000"):
        assert text not in written


async def test_a_token_of_2_2_1_and_of_2_3_0_is_the_same(hub: Hub) -> None:
    await hub.connect(version="2.2.1")
    checked(await put(hub, "/ocpi/2.2.1/receiver/tokens/NL/TNM/012345678"), 201)
    assert await stored(hub, "/ocpi/2.2.1/receiver/tokens/NL/TNM/012345678") == token()
    assert await stored(hub) == token()


@pytest.mark.parametrize("party", ["DE*HUB", "DE*DEM"])
async def test_tokens_for_the_hub_and_for_a_tenant_are_kept_here(hub: Hub, party: str) -> None:
    await hub.connect()
    configuration = Configuration(ocpi=TenantParty(country_code="DE", party_id="DEM"))
    await hub.do(CreateTenant(tenant="demo", name="Demo", configuration=configuration))
    headers = {**C, "OCPI-to-country-code": party[:2], "OCPI-to-party-id": party[3:]}
    checked(await hub.client.put(URL, headers=headers, json=token()), 201)


async def test_while_the_log_is_away_a_token_is_not_acknowledged(hub: Hub, tmp_path: Path) -> None:
    await hub.connect()
    hub.bus.away = True
    checked(await put(hub), 503, 3000)
    hub.bus.away = False
    checked(await hub.client.get(URL, headers=C), 404, 2004)


async def test_who_takes_a_party_over_has_none_of_its_tokens(hub: Hub) -> None:
    """A token is that of the platform which put it: the next one neither reads nor changes it, and begins anew."""
    await hub.connect()
    await put(hub)
    await hub.do(Remove(partner_id="tnm"))
    await hub.do(ReleaseParties(owner="tnm"))
    hub.later(60)
    await hub.connect("next", "token-d")
    theirs = token_header("token-d")
    checked(await hub.client.get(URL, headers=theirs), 404, 2004)
    change = {"valid": False, "last_updated": "2026-03-01T12:00:00Z"}
    checked(await hub.client.patch(URL, headers=theirs, json=change), 404, 2004)
    older = token(last_updated="2026-02-01T00:00:00Z", visual_number="new")
    checked(await hub.client.put(URL, headers=theirs, json=older), 201)
    assert checked(await hub.client.get(URL, headers=theirs)) == older


async def test_a_uid_that_another_emsp_has_put_is_taken_and_the_conflict_is_a_fact(hub: Hub) -> None:
    """Tokens are unique per owner, so that it is no error; the token of the first one holds it, whatever the type."""
    await hub.connect()
    await hub.connect("aaa", "token-d", parties=("AT*AAA",))
    await put(hub)
    hub.later(1)
    url = URL.replace("NL/TNM", "AT/AAA")
    again = token(country_code="AT", party_id="AAA", type="OTHER")
    for _ in range(2):
        response = await hub.client.put(f"{url}?type=OTHER", headers=token_header("token-d"), json=again)
        assert response.json()["status_code"] == 1000
    contested = {d["owner"]: d["contested_by"] for d in (await hub.store.find(Query(HUB, "tokens"))).items}
    assert contested == {"NL*TNM": ["AT*AAA"], "AT*AAA": []}
