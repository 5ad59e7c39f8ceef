"""One process in this one: when it says that it is ready, and what its edges do while the decider is behind."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from api.auth import issue_token
from application.authorization import TagAuthorizer
from chargesphere.backbone import EFFECTS, Backbone, open_backbone
from chargesphere.http import HttpServer
from chargesphere.process import ALL, Plan, Running, announce, running
from chargesphere.settings import PREFIX, read_settings
from chargesphere.wiring import RemoteCommandDoor
from commands.base import Area, Meta
from commands.charge_point import See
from commands.tenant import CreateTenant
from domain.charge_point import charge_point_key
from gateway.ocpi.client import OcpiClient
from projections.store import HUB, Insert, StoreUnavailableError
from streams.log import LogUnavailableError, Record
from streams.log.layout import Layout
from streams.log.topology import REPLIES
from tests.streams.harness import until


def plan(data: Path, *roles: str) -> Plan:
    return Plan(frozenset(roles), "serve", "127.0.0.1", 0, 0, data)


async def test_requests_under_way_to_partners_are_not_cut_before_effects_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    close = OcpiClient.aclose

    async def closing(client: OcpiClient) -> None:
        order.append("client closed")
        await close(client)

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("effects ended")

    monkeypatch.setattr(OcpiClient, "aclose", closing)
    async with running(plan(tmp_path, "effects"), read_settings({})) as process:
        begun = asyncio.Event()

        async def run() -> None:
            begun.set()
            await work()

        process.backbone.start(EFFECTS, run)
        await begun.wait()
    assert order == ["effects ended", "client closed"]


async def test_while_the_decider_is_behind_new_work_is_put_off_at_every_edge(tmp_path: Path) -> None:
    """Architecture, rule 5. There is no decider at all here, so that one command each is enough."""
    settings = read_settings({PREFIX + "MAX_DECIDER_LAG_SECONDS": "1"})
    async with running(plan(tmp_path, "gateway", "api"), settings) as process, httpx.AsyncClient() as http:
        backbone, now = process.backbone, datetime.now(UTC)
        await backbone.bus.tell(CreateTenant(tenant="acme", name="Acme"), Meta(command_id="1", at=now))
        see = See(tenant="demo", charge_point_id="CP-1")
        await backbone.bus.tell(see, Meta(command_id="2", at=now, tenant="demo"))
        await until(lambda: backbone.lag.behind_seconds(Area.CHARGE_POINT) > 1)
        with pytest.raises(InvalidStatus) as handshake:
            async with connect(f"{process.ocpp_url}/ocpp/demo/CP-1", subprotocols=[Subprotocol("ocpp1.6")]):
                pass
        assert handshake.value.response.status_code == 503
        assert "Retry-After" in handshake.value.response.headers
        other = next(id for n in range(99) if _partition(id := f"CP-{n}") != _partition("CP-1"))
        with pytest.raises(InvalidStatus) as unknown:
            async with connect(
                f"{process.ocpp_url}/ocpp/demo/{other}", subprotocols=[Subprotocol("ocpp1.6")]
            ):
                pass
        assert unknown.value.response.status_code == 404
        bearer = issue_token(backbone.jwt_keys[0], "platform_admin", None, now, subject="ann")
        async with asyncio.timeout(4):
            answer = await http.post(
                f"{process.http_url}/api/v1/tenants",
                json={"id": "acme", "name": "Acme", "configuration": {}},
                headers={"Authorization": f"Bearer {bearer}"},
            )
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        metrics = (await http.get(f"{process.http_url}/metrics")).text
        lag = _numbers(metrics)
        assert lag["chargesphere_decider_lag_records"]["charge-point"] == 1
        assert lag["chargesphere_decider_lag_seconds"]["charge-point"] > 1
        assert lag["chargesphere_decider_lag_seconds"]["token"] == 0


def _partition(charge_point_id: str) -> int:
    return Layout().partition_of(charge_point_key("demo", charge_point_id))


def _numbers(metrics: str) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for line in metrics.splitlines():
        if line.startswith("chargesphere_decider_lag"):
            name, _, rest = line.partition('{area="')
            area, _, value = rest.partition('"} ')
            out.setdefault(name, {})[area] = float(value)
    return out


async def test_strangers_that_hold_http_open_leave_the_charge_points_door_its_descriptors(
    tmp_path: Path,
) -> None:
    """Connections that send half a request were held for ever, until no charge point could connect."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, before[1]))
    held: list[socket.socket] = []
    try:
        told = plan(tmp_path, *ALL)
        async with running(told, read_settings({})) as process:
            await announce(told, process)
            port = int(process.http_url.rpartition(":")[2])
            server = process.backbone.engines["http"]
            assert isinstance(server, HttpServer)
            for _ in range(200):
                stranger = socket.create_connection(("127.0.0.1", port))
                stranger.send(b"POST /api/v1/tenants HTTP/1.1\r\ncontent-length: 9\r\n")
                held.append(stranger)
                await asyncio.sleep(0)
            await until(lambda: server.counts["busy"] >= 100)
            with pytest.raises(InvalidStatus) as answered:
                async with connect(
                    f"{process.ocpp_url}/ocpp/demo/CP-1", subprotocols=[Subprotocol("ocpp1.6")]
                ):
                    pass
            assert answered.value.response.status_code == 404
    finally:
        for stranger in held:
            stranger.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Part:
    """A part of a process that a test lets come."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    async def check(self) -> None:
        if self.reason:
            raise RuntimeError(self.reason)


def process_of(*parts: Part) -> Running:
    checks = {f"part-{number}": part.check for number, part in enumerate(parts)}
    return Running("http://h:1", "ws://h:2", cast(Backbone, None), checks)


async def test_where_it_listens_is_said_once_every_part_is_ready(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parts = Part(), Part("folding")
    saying = asyncio.create_task(announce(plan(tmp_path, "gateway"), process_of(*parts)))
    await asyncio.sleep(0)
    assert capsys.readouterr().out == ""
    parts[1].reason = ""
    await saying
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "charge points: ws://h:2/ocpp/{tenant}/{charge point}",
        "serve is ready: http://h:1",
    ]
    assert said.err == ""


async def test_what_a_process_waits_for_is_one_line_after_a_while_and_it_goes_on_waiting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parts = Part(), Part("folding"), Part("refused")
    saying = asyncio.create_task(announce(plan(tmp_path, "api"), process_of(*parts), soon=0.0))
    err = ""
    while not err:
        await asyncio.sleep(0.01)
        err = capsys.readouterr().err
    assert err == "serve is not ready after 0 s and waits for: part-1 (folding), part-2 (refused)\n"
    parts[1].reason = parts[2].reason = ""
    await saying
    said = capsys.readouterr()
    assert (said.out, said.err) == ("serve is ready: http://h:1\n", "")


async def test_a_process_that_says_it_is_ready_is_so_for_whoever_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = plan(tmp_path, *ALL)
    async with running(told, read_settings({})) as process, httpx.AsyncClient() as http:
        await announce(told, process)
        assert capsys.readouterr().out.endswith(f"serve is ready: {process.http_url}\n")
        answer = await http.get(f"{process.http_url}/ready")
        assert (answer.status_code, answer.json()["checks"]) == (
            200,
            {"log": "ok", "replies": "ok", "decider": "ok", "store": "ok", "keys": "ok"},
        )


@pytest.mark.parametrize(("part", "file"), [("log", "log.db"), ("store", "read/chargesphere.db")])
async def test_a_process_that_cannot_write_is_not_ready_until_it_can(
    tmp_path: Path, part: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a full disk: all can be read, nothing be written. Somebody else holds the file here."""
    told = plan(tmp_path, *ALL)
    async with running(told, read_settings({})) as process, httpx.AsyncClient() as http:
        await announce(told, process)
        backbone = process.backbone

        async def ready() -> tuple[int, str]:
            answer = await http.get(f"{process.http_url}/ready")
            return answer.status_code, answer.json()["checks"][part]

        other = sqlite3.connect(tmp_path / file, isolation_level=None, timeout=20)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises((LogUnavailableError, StoreUnavailableError)):
            if part == "log":
                await backbone.log.append(REPLIES, 0, [Record(None, None)])
            else:
                await backbone.store.apply([Insert(HUB, "x", "1", {})])
        assert await ready() == (503, "away")

        other.execute("ROLLBACK")
        other.close()
        async with asyncio.timeout(20):
            while (now := await ready()) != (200, "ok"):
                assert now == (503, "away")
                await asyncio.sleep(0.05)
    said = [record.message for record in caplog.records if record.name == "chargesphere.writes"]
    assert len(said) == 2
    assert "cannot be written: " in said[0]
    assert said[1].endswith("can be written again")


async def test_a_command_by_MQTT_is_asked_again_where_the_store_is_away(tmp_path: Path) -> None:
    """It waits where its door raises; what the door answers is final."""
    backbone = await open_backbone(read_settings({}), "serve", tmp_path)
    door = RemoteCommandDoor(backbone, cast(TagAuthorizer, None))
    await backbone.store.close()
    with pytest.raises(StoreUnavailableError):
        await door.request(
            "demo", "CP-1", "reset", {"type": "Soft"}, "c1", "mqtt:demo", "operator", None, False
        )
    await backbone.close()


@pytest.mark.parametrize(("trusted", "limited"), [("127.0.0.0/8", False), ("192.0.2.1", True), ("", True)])
async def test_only_a_trusted_proxy_says_whose_request_it_is(
    tmp_path: Path, trusted: str, limited: bool
) -> None:
    """Requests with unknown tokens are limited by address; these come from one that names many others."""
    settings = read_settings({PREFIX + "TRUSTED_PROXIES": trusted})
    async with running(plan(tmp_path, "api"), settings) as process, httpx.AsyncClient(timeout=60) as http:

        async def status(number: int) -> int:
            headers = {"Authorization": "Token c3RyYW5nZXI=", "X-Forwarded-For": f"198.51.100.{number}"}
            return (await http.get(f"{process.http_url}/ocpi/versions", headers=headers)).status_code

        statuses = await asyncio.gather(*(status(number) for number in range(200)))
        assert (401 in statuses, 429 in statuses) == (True, limited)


async def test_who_is_refused_at_the_charge_points_door_is_listed_at_the_other(tmp_path: Path) -> None:
    settings = read_settings({PREFIX + "TRUSTED_PROXIES": "127.0.0.0/8"})
    async with running(plan(tmp_path, *ALL), settings) as process, httpx.AsyncClient() as http:
        backbone, now = process.backbone, datetime.now(UTC)
        await backbone.bus.ask(CreateTenant(tenant="demo", name="Demo"), Meta(command_id="1", at=now), 20)
        bearer = issue_token(backbone.jwt_keys[0], "operator", "demo", now, subject="ann")
        url, headers = f"{process.http_url}/api/v1/chargepoints", {"Authorization": f"Bearer {bearer}"}
        async with asyncio.timeout(20):
            while (await http.get(url, headers=headers)).status_code != 200:  # noqa: ASYNC110 - a read model
                await asyncio.sleep(0.02)
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                f"{process.ocpp_url}/ocpp/demo/CP-9",
                subprotocols=[Subprotocol("ocpp1.6")],
                additional_headers={"X-Forwarded-For": "203.0.113.9"},
            ):
                pass
        assert refused.value.response.status_code == 404
        items: list[dict[str, object]] = []
        async with asyncio.timeout(20):
            while not items:
                await asyncio.sleep(0.05)
                items = (await http.get(f"{url}/knocking", headers=headers)).json()["items"]
        (knock,) = items
        assert (knock["id"], knock["reason"], knock["address"]) == ("CP-9", "unknown", "203.0.113.9")
