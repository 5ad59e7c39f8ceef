"""Lists: pages, filters, order, and who sees what of people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from commands.delivery import Retry
from commands.pushes import RetryPush
from commands.remote_command import RequestRemoteCommand, Status
from domain.intents import RemoteStop
from domain.values import PartyId
from projections.delivery import indexes as delivery_indexes
from projections.frame import FrameRecord, entry
from projections.store import HUB, Document, Put, PutPart, tenant_database
from projections.store.sqlite import SqliteReadStore
from streams.log.envelope import Reply, raw
from tests.api.v1.world import NOW, World, later, problem
from tests.projections.blocks import blocks_of

DEMO_DB = tenant_database("demo")


async def add_session(world: World, number: int, status: str = "active", db: str = DEMO_DB) -> None:
    key = world.vault.token_key("RFID", f"TAG{number}")
    document: dict[str, Any] = {
        "tenant_id": "demo",
        "charge_point_id": "CP1",
        "connector_id": 1,
        "transaction_id": number,
        "id_tag": await world.vault.seal(key, f"TAG{number}"),
        "start_time": f"2026-05-01T1{number}:00:00Z",
        "stop_time": None if status == "active" else "2026-05-01T20:00:00Z",
        "status": status,
    }
    await world.keep(db, "sessions", f"s{number}", document)


async def ids(world: World, path: str, **who: Any) -> list[str]:
    response = await world.call("GET", path, **who)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["items"]]


async def test_pages_follow_each_other_newest_first(world: World) -> None:
    for number in range(5):
        await add_session(world, number)

    first = (await world.call("GET", "/sessions?limit=2")).json()
    second = (await world.call("GET", f"/sessions?limit=2&cursor={first['next_cursor']}")).json()
    third = (await world.call("GET", f"/sessions?limit=2&cursor={second['next_cursor']}")).json()

    pages = [[item["id"] for item in page["items"]] for page in (first, second, third)]
    assert pages == [["s4", "s3"], ["s2", "s1"], ["s0"]]
    assert third["next_cursor"] is None


async def test_sessions_are_filtered_by_state_charge_point_and_time(world: World) -> None:
    await add_session(world, 1)
    await add_session(world, 2, "completed")
    await add_session(world, 3)

    assert await ids(world, "/sessions?status=active") == ["s3", "s1"]
    assert await ids(world, "/sessions?charge_point_id=CP2") == []
    assert await ids(world, "/sessions?from=2026-05-01T12:00:00Z&to=2026-05-01T13:00:00Z") == ["s2"]
    assert await ids(world, "/sessions?from=2026-05-01T14:00:00%2B02:00&to=2026-05-01T13:00:00Z") == ["s2"]


async def test_id_tags_are_shown_to_operators_and_masked_for_viewers(world: World) -> None:
    await add_session(world, 1)

    operator = (await world.call("GET", "/sessions/s1", role="operator")).json()
    viewer = (await world.call("GET", "/sessions/s1", role="viewer")).json()
    await world.vault.destroy(world.vault.token_key("RFID", "TAG1"))
    forgotten = (await world.call("GET", "/sessions/s1", role="operator")).json()

    assert (operator["id_tag"], viewer["id_tag"], forgotten["id_tag"]) == ("TAG1", "***", None)
    assert "version" not in operator


async def test_a_session_of_another_tenant_looks_like_none(world: World) -> None:
    await add_session(world, 1)

    foreign = await world.call("GET", "/sessions/s1", tenant="acme")
    unknown = await world.call("GET", "/sessions/s9", tenant="acme")

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace("s1", "s9") == unknown.text
    assert await ids(world, "/sessions", tenant="acme") == []


async def test_a_forced_stop_is_a_remote_stop_of_the_sessions_transaction(world: World) -> None:
    await world.add_charge_point()
    await add_session(world, 7)
    world.bus.replies.append(Reply(result=raw(Status(command_id="x", status="pending"))))

    response = await world.call(
        "POST", "/sessions/s7/stop", role="operator", headers={"idempotency-key": "x"}
    )

    [(command, meta)] = world.bus.asked
    assert (response.status_code, response.json()) == (202, {"command_id": "x", "status": "pending"})
    assert isinstance(command, RequestRemoteCommand)
    assert command.intent == RemoteStop(transaction_id=7)
    assert command.expires_at == later(120)
    assert meta.tenant == "demo"


class LateStore(SqliteReadStore):
    """Shows a session from the second look on, as a read model does that is a little behind."""

    looks = 0

    async def get(self, db: str, collection: str, id: str) -> Document | None:
        if collection == "sessions":
            self.looks += 1
            if self.looks == 1:
                return None
        return await super().get(db, collection, id)


async def test_a_session_that_began_just_now_can_be_stopped(tmp_path: Path) -> None:
    store = LateStore(tmp_path / "read")
    world = World(store)
    await world.add_tenant("demo")
    await world.add_charge_point()
    await add_session(world, 7)
    world.bus.replies.append(Reply(result=raw(Status(command_id="x", status="pending"))))

    response = await world.call("POST", "/sessions/s7/stop", role="operator")

    assert response.status_code == 202
    assert store.looks > 1
    await world.http.aclose()
    await store.close()


async def test_a_session_that_is_over_is_not_stopped(world: World) -> None:
    await add_session(world, 1, "completed")

    response = await world.call("POST", "/sessions/s1/stop", role="operator")

    assert (response.status_code, problem(response)["code"]) == (409, "not_allowed")
    assert world.bus.asked == []


async def add_cdr(world: World, id: str, tenant: str, owner: str | None) -> None:
    document: Document = {
        "tenant_id": tenant,
        "owner": owner,
        "last_updated": "2026-05-01T12:00:00Z",
        "cdr_token": await world.vault.seal("k", b'{"uid":"TAG1"}'),
        "cdr": {"id": id, "total_energy": 1.5},
    }
    await world.store.apply([Put(HUB, "cdrs", id, 1, document, ("delivery",))])


async def test_cdrs_are_their_tenants_with_their_delivery(world: World) -> None:
    await add_cdr(world, "c1", "demo", "DE*MSP")
    await add_cdr(world, "c2", "acme", "DE*MSP")
    await world.store.apply([PutPart(HUB, "cdrs", "c1", "delivery", 3, {"state": "failed"})])

    [shown] = (await world.call("GET", "/cdrs?state=failed", role="operator")).json()["items"]
    masked = (await world.call("GET", "/cdrs/c1", role="viewer")).json()

    assert shown["cdr"] == {"id": "c1", "total_energy": 1.5, "cdr_token": {"uid": "TAG1"}}
    assert shown["delivery"]["state"] == "failed"
    assert masked["cdr"]["cdr_token"] == "***"
    assert await ids(world, "/cdrs?state=delivered") == []
    assert await ids(world, "/cdrs", role="platform_admin") == ["c2", "c1"]
    assert (await world.call("GET", "/cdrs/c2")).status_code == 404


async def test_a_cdr_is_delivered_again_by_hand(world: World) -> None:
    await add_cdr(world, "c1", "demo", "DE*MSP")

    response = await world.call("POST", "/cdrs/c1/retry", role="operator")

    [(command, _)] = world.bus.asked
    to = PartyId(country_code="DE", party_id="MSP")
    assert command == Retry(to=to, module="cdrs", object_id="c1", by="operator:ann")
    assert (response.status_code, response.json()) == (202, {"id": "DE*MSP|cdrs|c1"})


async def test_a_cdr_that_goes_to_nobody_and_one_of_somebody_else_are_not_delivered(world: World) -> None:
    await add_cdr(world, "c1", "demo", None)
    await add_cdr(world, "c2", "acme", "DE*MSP")

    own = await world.call("POST", "/cdrs/c1/retry", role="operator")
    foreign = await world.call("POST", "/cdrs/c2/retry", role="operator")

    assert (own.status_code, foreign.status_code) == (409, 404)
    assert world.bus.asked == []


async def test_a_cdr_whose_delivery_is_listed_no_more_says_how_it_was_and_is_delivered_again_by_hand(
    world: World,
) -> None:
    made: Document = {"to": "DE*MSP", "module": "cdrs", "object_id": "c1", "tenant_id": "demo"}
    made |= {"state": "delivered", "updated_at": "2026-05-01T12:00:00.000Z"}
    made |= {"over_at": "2026-05-01T12:00:00.000Z"}
    id = "DE*MSP|cdrs|c1"
    await world.store.ensure(delivery_indexes())
    await add_cdr(world, "c1", "demo", "DE*MSP")
    await world.store.apply([PutPart(HUB, "cdrs", "c1", "delivery", 3, {"state": "delivered"})])
    await world.store.apply([Put(HUB, "deliveries", id, 3, made)])
    assert await ids(world, "/deliveries") == [id]

    await world.store.purge(NOW + timedelta(days=730, seconds=2))
    assert await ids(world, "/deliveries") == []
    one = await world.call("POST", f"/deliveries/{quote(id, safe='')}/retry", role="operator")
    assert one.status_code == 404
    assert (await world.call("GET", "/cdrs/c1")).json()["delivery"]["state"] == "delivered"
    again = await world.call("POST", "/cdrs/c1/retry", role="operator")
    assert (again.status_code, again.json()) == (202, {"id": id})


async def test_deliveries_are_filtered(world: World) -> None:
    for id, tenant, state, module in (
        ("1", "demo", "failed", "cdrs"),
        ("2", "demo", "delivered", "sessions"),
        ("3", "acme", "failed", "cdrs"),
    ):
        at = f"2026-05-01T1{id}:00:00Z"
        document: dict[str, Any] = {"tenant_id": tenant, "state": state, "module": module, "to": "DE*MSP"}
        await world.keep(HUB, "deliveries", id, {**document, "updated_at": at})

    assert await ids(world, "/deliveries") == ["2", "1"]
    assert await ids(world, "/deliveries?state=failed") == ["1"]
    assert await ids(world, "/deliveries?module=sessions&partner=DE*MSP") == ["2"]
    assert await ids(world, "/deliveries", role="platform_admin") == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("id", "status", "asked"),
    [
        ("DE*MSP|sessions|s1", 202, RetryPush),
        ("DE*MSP|cdrs|s1", 202, Retry),
        ("DE*MSP|cdrs|FR*CPO|a/1", 202, Retry),
        ("DE*MSP|sessions|behind|7", 404, None),
        ("DE*MSP|sessions|of-acme", 404, None),
    ],
)
async def test_what_was_given_up_is_tried_again_by_hand(
    world: World, id: str, status: int, asked: type[Any] | None
) -> None:
    """A partner that is behind is no tenant's: it goes on by itself. CPOs choose the ids of what they push."""
    to, module, object_id = id.split("|", 2)
    document: dict[str, Any] = {"state": "failed", "module": module, "to": to, "updated_at": "2026-05-01"}
    document |= {"object_id": None if object_id.startswith("behind") else object_id, "partition": 7}
    document |= {"tenant_id": {"behind|7": None, "of-acme": "acme"}.get(object_id, "demo")}
    await world.keep(HUB, "deliveries", id, document)

    response = await world.call("POST", f"/deliveries/{quote(id, safe='')}/retry", role="operator")

    assert response.status_code == status
    assert [type(command) for command, _ in world.bus.asked] == ([asked] if asked else [])
    for command, _ in world.bus.asked:
        assert (command.object_id, command.by) == (object_id, "operator:ann")  # type: ignore[attr-defined]
        if isinstance(command, RetryPush):
            assert command.partition == 7


async def test_a_partner_that_is_behind_goes_on_by_itself(world: World) -> None:
    document: dict[str, Any] = {"state": "behind", "module": "sessions", "to": "DE*MSP", "object_id": None}
    await world.keep(HUB, "deliveries", "DE*MSP|sessions|behind|7", {**document, "tenant_id": None})
    path = f"/deliveries/{quote('DE*MSP|sessions|behind|7', safe='')}/retry"
    response = await world.call("POST", path, role="platform_admin")
    assert (response.status_code, world.bus.asked) == (409, [])


async def keep_frame(world: World, number: int, **fields: Any) -> None:
    """A frame of CP1 at this second of noon; its id is the number."""
    record = FrameRecord(
        **{
            "tenant": "demo",
            "charge_point_id": "CP1",
            "epoch": 1,
            "direction": "in",
            "message_id": str(number),
            "action": "Heartbeat",
            "outcome": "ok",
            "at": datetime(2026, 5, 1, 12, 0, number, tzinfo=UTC),
            "seconds": 0.01,
            **fields,
        }
    )
    one = entry(record, msgspec.json.encode(record), str(number))
    await world.store.apply(blocks_of([(number, one)], f"frames-{number}"))


async def test_messages_are_newest_first_and_only_for_operators(world: World) -> None:
    await world.add_charge_point()
    sealed = await world.vault.seal("k", "TAG1")
    for number, action in ((1, "Authorize"), (2, "Heartbeat")):
        request = f'{{"idTag":"{sealed}"}}'
        await keep_frame(world, number, action=action, request=request, response="{}")

    items = (await world.call("GET", "/chargepoints/CP1/messages", role="operator")).json()["items"]

    assert [item["action"] for item in items] == ["Heartbeat", "Authorize"]
    assert items[0]["request"] == {"idTag": "TAG1"}
    assert await ids(world, "/chargepoints/CP1/messages?action=Authorize") == ["1"]
    assert (await world.call("GET", "/chargepoints/CP1/messages", role="viewer")).status_code == 403
    assert (await world.call("GET", "/chargepoints/CP1/messages", tenant="acme")).status_code == 404


async def test_a_message_that_is_no_readable_JSON_is_shown_as_its_text(world: World) -> None:
    await world.add_charge_point()
    deep = "[" * 600 + "]" * 600
    huge = '{"a":' + "1" * 40 + "}"
    for number, text in enumerate(('{"cut off', deep, huge, "")):
        await keep_frame(world, number, request=text)

    items = (await world.call("GET", "/chargepoints/CP1/messages", role="operator")).json()["items"]

    assert items[3]["request"] == '{"cut off'
    assert items[2]["request"] in (deep, json.loads(deep))
    assert items[1]["request"] == {"a": int("1" * 40)}
    assert items[0]["request"] is None


async def test_a_story_is_told_in_order_of_time_to_its_own_tenant(world: World) -> None:
    for number, at in ((1, "13"), (2, "12")):
        line: dict[str, Any] = {
            "correlation_id": "start|demo|CP/1",
            "tenant_id": "demo",
            "command": str(number),
        }
        await world.keep(HUB, "stories", str(number), {**line, "at": f"2026-05-01T{at}:00:00Z"})

    own = await world.call("GET", "/stories/start|demo|CP/1", role="viewer")
    foreign = await world.call("GET", "/stories/start|demo|CP/1", role="viewer", tenant="acme")
    admin = await world.call("GET", "/stories/start|demo|CP/1", role="platform_admin")

    assert [item["command"] for item in own.json()["items"]] == ["2", "1"]
    assert admin.json() == own.json()
    assert foreign.status_code == 404


async def test_the_audit_is_for_admins_newest_first(world: World) -> None:
    for number, who in ((1, "operator:ann"), (2, "operator:bob")):
        line = {"at": f"2026-05-01T12:00:0{number}Z", "principal": who}
        await world.keep(DEMO_DB, "audit", str(number), msgspec.to_builtins(line))

    assert await ids(world, "/audit") == ["2", "1"]
    assert await ids(world, "/audit?principal=operator:ann") == ["1"]
    assert (await world.call("GET", "/audit", role="operator")).status_code == 403


async def test_charge_points_are_filtered_by_connection(world: World) -> None:
    await world.add_charge_point("CP1", connected=False)
    await world.add_charge_point("CP2")

    assert await ids(world, "/chargepoints?connected=true", role="viewer") == ["CP2"]
    assert await ids(world, "/chargepoints", role="viewer") == ["CP1", "CP2"]
