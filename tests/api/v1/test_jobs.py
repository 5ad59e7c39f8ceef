"""`/jobs`: a remote command to many charge points, from the request to the last item."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from application.read_back import wait_visible
from commands.base import Meta, Refusal
from commands.charge_point import Connect, Register
from commands.job import JobStatus
from commands.remote_command import Conclude
from domain.values import Site
from streams.log.envelope import Reply, raw
from tests.api.v1.world import World, problem

DB = "ocpp_demo"
RESET: dict[str, Any] = {"command_type": "reset", "parameters": {"type": "Soft"}}


@pytest.fixture
async def demo(real: World) -> World:
    """With the tenant demo and five charge points, of which the last is of another model."""
    real.now = datetime.now(UTC)  # that of the log, by which a command was received
    await real.add_tenant("demo")
    for number in range(1, 6):
        command = Register(tenant="demo", charge_point_id=f"CP{number}", site=Site(id="L1"))
        meta = Meta(command_id=f"register-{number}", at=real.now, tenant="demo")
        reply = await real.services.bus.ask(command, meta)
        await wait_visible(real.store, DB, "charge_points", f"CP{number}", reply.version, patience=5)
    return real


async def job(world: World, body: dict[str, Any], **more: Any) -> httpx.Response:
    return await world.call(
        "POST", "/jobs", {**RESET, "job_id": "j1", **body}, **{"role": "operator", **more}
    )


async def until(world: World, path: str, **expected: Any) -> Any:
    """The job once its document says this."""
    async with asyncio.timeout(60):
        while True:
            body = (await world.call("GET", path, role="viewer")).json()
            if all(body["items"][name] == value for name, value in expected.items()):
                return body


async def items(world: World, state: str = "", id: str = "j1") -> list[Any]:
    query = f"?state={state}" if state else ""
    listed: list[Any] = (await world.call("GET", f"/jobs/{id}/items{query}", role="viewer")).json()["items"]
    return listed


async def answers(world: World, command_id: str, status: str, reason: str = "", **more: Any) -> None:
    """What became of a remote command."""
    command = Conclude(tenant="demo", command_id=command_id, status=status, reason=reason, **more)
    meta = Meta(command_id=f"answer|{command_id}", at=world.now, tenant="demo")
    await wait_visible(world.store, DB, "commands", command_id, 1, patience=10)
    assert (await world.services.bus.ask(command, meta)).refusal is None


async def test_a_job_goes_through_its_charge_points_so_many_at_a_time(demo: World) -> None:
    taken = await job(
        demo, {"charge_points": {"ids": ["CP2", "CP1", "CP3"]}, "at_once": 2, "name": "Soft resets"}
    )
    assert taken.status_code == 202, taken.text
    assert taken.headers["location"] == "/api/v1/jobs/j1"
    body = await until(demo, "/jobs/j1", out=2)
    assert body["state"] == "running"
    assert body["requested_by"] == "operator:ann"
    assert (body["command_type"], body["parameters"]) == ("reset", {"type": "Soft"})
    first, second, third = await items(demo)
    assert [one["charge_point_id"] for one in (first, second, third)] == ["CP2", "CP1", "CP3"]
    assert [one["state"] for one in (first, second, third)] == ["out", "out", "pending"]
    assert third["command_id"] is None

    await answers(demo, first["command_id"], "accepted")
    await until(demo, "/jobs/j1", succeeded=1, out=2)
    await answers(demo, second["command_id"], "rejected", "Rejected")
    [last] = [one for one in await items(demo, "out") if one["charge_point_id"] == "CP3"]
    await answers(demo, last["command_id"], "accepted")

    over = await until(demo, "/jobs/j1", succeeded=2, failed=1)
    assert over["state"] == "failed"
    [failed] = await items(demo, "failed")
    assert (failed["charge_point_id"], failed["reason"]) == ("CP1", "rejected: Rejected")
    command = await demo.call("GET", f"/commands/{failed['command_id']}", role="viewer")
    assert command.json()["charge_point_id"] == "CP1"
    assert command.json()["requested_by"] == "operator:ann"
    assert command.json()["correlation_id"] == f"remote|demo|{failed['command_id']}"  # a story of its own

    again = await demo.call("POST", "/jobs/j1/retry", role="operator")
    assert (again.status_code, again.json()["state"]) == (202, "running")
    await until(demo, "/jobs/j1", out=1)
    [out] = await items(demo, "out")
    assert out["attempt"] == 2
    await answers(demo, out["command_id"], "accepted")
    assert (await until(demo, "/jobs/j1", succeeded=3))["state"] == "done"


async def test_the_same_request_again_is_the_same_job_whatever_its_filter_would_find_by_now(
    demo: World,
) -> None:
    body = {"charge_points": {"filter": {"location_id": "L1"}}}
    taken = await job(demo, body)
    assert taken.json()["items"]["total"] == 5
    assert taken.json()["charge_points"] == {"filter": {"location_id": "L1"}}
    command = Register(tenant="demo", charge_point_id="CP6", site=Site(id="L1"))
    reply = await demo.services.bus.ask(command, Meta(command_id="r6", at=demo.now, tenant="demo"))
    await wait_visible(demo.store, DB, "charge_points", "CP6", reply.version, patience=5)

    again = await job(demo, body)
    other = await job(demo, {**body, "at_once": 3})

    assert (again.status_code, again.json()["items"]["total"]) == (202, 5)
    assert other.status_code == 409
    assert len((await demo.call("GET", "/jobs", role="viewer")).json()["items"]) == 1
    audit = (await demo.call("GET", "/audit", role="tenant_admin")).json()["items"]
    assert [(one["command"], one["principal"]) for one in audit] == [("job.request.v1", "operator:ann")]


async def test_what_is_not_connected_is_waited_for_and_goes_on_once_it_connects(demo: World) -> None:
    wait = {"wait_offline_until": (demo.now + timedelta(hours=1)).isoformat()}
    await job(demo, {"charge_points": {"ids": ["CP1", "CP2"]}, "at_once": 1, **wait})
    await until(demo, "/jobs/j1", out=1)
    [first] = await items(demo, "out")
    await answers(demo, first["command_id"], "failed", "charge point CP1 is not connected", unreached=True)
    await until(demo, "/jobs/j1", waiting=1, out=1)
    [second] = await items(demo, "out")
    assert second["charge_point_id"] == "CP2"
    await answers(demo, second["command_id"], "accepted")
    waiting = await until(demo, "/jobs/j1", waiting=1, succeeded=1)
    assert waiting["state"] == "waiting"
    [item] = await items(demo, "waiting")
    assert item["reason"] == "charge point CP1 is not connected"

    connect = Connect(tenant="demo", charge_point_id="CP1", node="n", slot=0, boot="b")
    for number in range(50):  # it may connect before it has heard of who waits
        meta = Meta(command_id=f"connect-{number}", at=demo.now, tenant="demo")
        assert (await demo.services.bus.ask(connect, meta)).refusal is None
        if (await demo.call("GET", "/jobs/j1", role="viewer")).json()["items"]["out"]:
            break
    await until(demo, "/jobs/j1", out=1)
    [again] = await items(demo, "out")
    assert (again["charge_point_id"], again["attempt"]) == ("CP1", 2)
    await answers(demo, again["command_id"], "accepted")
    assert (await until(demo, "/jobs/j1", succeeded=2))["state"] == "done"


async def test_a_job_can_be_paused_resumed_and_cancelled_and_what_is_out_runs_to_its_end(demo: World) -> None:
    await job(demo, {"charge_points": {"filter": {"all": True}}, "at_once": 1})
    paused = await demo.call("POST", "/jobs/j1/pause", role="operator")
    assert (paused.status_code, paused.json()["state"]) == (202, "paused")
    await until(demo, "/jobs/j1", out=1)
    [first] = await items(demo, "out")
    await answers(demo, first["command_id"], "accepted")
    await until(demo, "/jobs/j1", succeeded=1, out=0)
    resumed = await demo.call("POST", "/jobs/j1/resume", role="operator")
    assert resumed.json()["state"] == "running"
    await until(demo, "/jobs/j1", out=1)

    cancelled = await demo.call("POST", "/jobs/j1/cancel", role="operator")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelling")
    assert (await demo.call("POST", "/jobs/j1/cancel", role="operator")).status_code == 202
    [second] = await items(demo, "out")
    await answers(demo, second["command_id"], "accepted")
    over = await until(demo, "/jobs/j1", succeeded=2, cancelled=3)
    assert (over["state"], over["items"]["pending"]) == ("cancelled", 0)
    assert len(await items(demo, "cancelled")) == 3
    assert await items(demo, "pending") == []
    assert (await demo.call("POST", "/jobs/j1/resume", role="operator")).status_code == 409
    found = await demo.call("GET", "/jobs?state=cancelled", role="viewer")
    assert [one["id"] for one in found.json()["items"]] == ["j1"]


async def test_after_too_many_failures_it_pauses_by_itself(demo: World) -> None:
    body = {"charge_points": {"filter": {"all": True}}, "at_once": 1, "stop_after_failures": {"percent": 30}}
    taken = await job(demo, body)
    assert taken.json()["stop_after_failures"] == 2
    for failed in range(2):
        await until(demo, "/jobs/j1", failed=failed, out=1)
        [out] = await items(demo, "out")
        await answers(demo, out["command_id"], "timed_out", "no answer in time")
    stopped = await until(demo, "/jobs/j1", failed=2, out=0)
    assert (stopped["state"], stopped["reason"]) == ("paused", "2 items have failed")


async def test_items_come_in_pages(demo: World) -> None:
    await job(demo, {"charge_points": {"filter": {"all": True}}, "at_once": 1})
    page = (await demo.call("GET", "/jobs/j1/items?limit=3", role="viewer")).json()
    rest = await demo.call("GET", f"/jobs/j1/items?limit=3&cursor={page['next_cursor']}", role="viewer")
    found = [*page["items"], *rest.json()["items"]]
    assert [one["item"] for one in found] == [0, 1, 2, 3, 4]
    assert rest.json()["next_cursor"] is None


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"charge_points": {}}, "charge_points"),
    ({"charge_points": {"ids": ["CP1"], "filter": {"all": True}}}, "charge_points"),
    ({"charge_points": {"filter": {}}}, "charge_points.filter"),
    ({"charge_points": {"filter": {"all": True, "vendor": "Exa"}}}, "charge_points.filter"),
    ({"charge_points": {"filter": {"vendor": "Nobody"}}}, "charge_points.filter"),
    ({"charge_points": {"filter": {"colour": "red"}}}, "charge_points.filter.colour"),
    ({"charge_points": {"ids": []}}, "charge_points.ids"),
    ({"charge_points": {"ids": ["CP1", "CP99"]}}, "charge_points.ids[1]"),
    ({"at_once": 0}, "at_once"),
    ({"at_once": 101}, "at_once"),
    ({"attempts": 11}, "attempts"),
    ({"pause_between": -1}, "pause_between"),
    ({"stop_after_failures": {}}, "stop_after_failures"),
    ({"wait_offline_until": "2026-05-01T12:00:00Z"}, "wait_offline_until"),
    ({"wait_offline_until": "2199-05-15T12:00:01Z"}, "wait_offline_until"),
    ({"parameters": {"type": "Medium"}}, "parameters.type"),
    ({"command_type": "dance"}, "command_type"),
    ({"command_type": "remote_start", "parameters": {"id_tag": "TAG"}}, "command_type"),
    ({"command_type": "remote_stop", "parameters": {"session_id": "s"}}, "parameters.session_id"),
    ({"job_id": "with/slash"}, "job_id"),
    ({"job_id": ".."}, "job_id"),
)


async def test_what_cannot_be_is_422_with_its_path(demo: World) -> None:
    for body, path in WRONG:
        response = await job(demo, {"charge_points": {"ids": ["CP1"]}, **body})
        assert response.status_code == 422, response.text
        [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
        assert error["path"] == path
    assert (await demo.call("GET", "/jobs", role="viewer")).json()["items"] == []


async def test_what_a_tenant_has_switched_off_and_an_operator_may_not_is_refused(demo: World) -> None:
    await demo.add_tenant("off", features={"remote_trigger": False})
    trigger = {
        "command_type": "trigger_message",
        "parameters": {"requested_message": "Heartbeat"},
        "charge_points": {"filter": {"all": True}},
    }
    key = {
        "command_type": "change_configuration",
        "parameters": {"key": "AuthorizationKey", "value": "0" * 32},
        "charge_points": {"ids": ["CP1"]},
    }
    assert (await job(demo, trigger, tenant="off")).status_code == 409
    assert (await job(demo, key)).status_code == 403
    assert (await job(demo, key, role="tenant_admin")).status_code == 202
    shown = (await demo.call("GET", "/jobs/j1", role="tenant_admin")).json()
    assert shown["parameters"] == {"key": "AuthorizationKey", "value": "***"}


async def test_an_idempotency_key_names_the_job_where_no_id_does(demo: World) -> None:
    body = {**RESET, "charge_points": {"ids": ["CP1"]}}
    key = {"idempotency-key": "once"}
    first = await demo.call("POST", "/jobs", body, role="operator", headers=key)
    second = await demo.call("POST", "/jobs", body, role="operator", headers=key)
    other = await demo.call("POST", "/jobs", {**body, "at_once": 7}, role="operator", headers=key)
    assert first.json()["id"] == second.json()["id"]
    assert other.status_code == 409


async def test_while_the_read_model_is_behind_a_job_is_answered_by_its_id_and_state(world: World) -> None:
    await world.add_charge_point("CP1")
    world.bus.refuses(Refusal.UNKNOWN, "no job")
    world.bus.replies += [Reply(), Reply(result=raw(JobStatus(job_id="j1", status="running")), version=9)]
    taken = await job(world, {"charge_points": {"ids": ["CP1"]}})
    assert (taken.status_code, taken.json()) == (202, {"id": "j1", "state": "running"})
