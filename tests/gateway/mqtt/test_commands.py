"""Commands by MQTT against a real mosquitto: taken once durable, refused with one clear reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from domain.values import JSONObject
from gateway.mqtt import Commands
from projections.store import StoreUnavailableError
from streams.log import LogUnavailableError
from tests.gateway.mqtt.conftest import Choosy, client, eventually, listening, running
from tests.servers import Mosquitto

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Door:
    """Remote commands as the test wants them: refused by reason, or with the log away for some calls."""

    refusal: str | None = None
    away: int = 0
    broken: bool = False
    asked: list[tuple[str, str, str, JSONObject, str, str, str]] = field(default_factory=list)
    wishes: list[tuple[int | None, bool]] = field(default_factory=list)

    async def request(
        self,
        tenant: str,
        charge_point_id: str,
        command_type: str,
        parameters: JSONObject,
        command_id: str,
        principal: str,
        role: str,
        expiry_seconds: int | None,
        override: bool,
    ) -> str | None:
        if self.away:
            self.away -= 1
            raise (
                LogUnavailableError("the log is away")
                if self.away % 2
                else StoreUnavailableError("store", "away")
            )
        if self.broken:
            raise RuntimeError("a mistake of ours")
        self.asked.append((tenant, charge_point_id, command_type, parameters, command_id, principal, role))
        self.wishes.append((expiry_seconds, override))
        return self.refusal


def commands(url: str, door: Door, node: str) -> Commands:
    return Commands(url, door, node, lambda: NOON)


async def say(url: str, topic: str, payload: bytes) -> None:
    async with client(url) as tenant:
        await tenant.publish(topic, payload, qos=1)


def unlock(id: str = "m-1") -> bytes:
    body = {"command_id": id, "command_type": "unlock_connector", "timestamp": "2026-03-01T12:00:00Z"}
    return json.dumps({**body, "parameters": {"connector_id": 1}}).encode()


async def ask(mosquitto: Mosquitto, door: Door, cp: str, payload: bytes) -> dict[str, object]:
    """What is answered on the responses topic."""
    engine = commands(mosquitto.url, door, cp)
    async with (
        listening(mosquitto.url_of("demo"), f"ocpp/responses/demo/{cp}") as ear,
        running(engine.run()),
    ):
        await engine.connection.connected.wait()
        await say(mosquitto.url_of("demo"), f"ocpp/commands/demo/{cp}", payload)
        [seen] = await ear.until(lambda one: True)
    assert isinstance(seen.payload, dict)
    return seen.payload


@pytest.mark.parametrize("depth", [33, 900, 3_000, 30_000])
async def test_a_message_that_nests_too_deep_is_answered_and_done_with(depth: int) -> None:
    """It would come again after each failure, before the commands of all tenants."""
    door, taker = Door(), Choosy()
    engine = commands("mqtt://127.0.0.1:1", door, "one")
    engine.connection._opened(taker)
    deep = b"[" * depth + b"]" * depth
    payload = unlock().replace(b'{"connector_id": 1}', b'{"a": %s}' % deep)
    await engine.connection._handle("ocpp/commands/demo/CP-1", payload)
    [(topic, answer)] = taker.taken
    assert topic == "ocpp/responses/demo/CP-1"
    assert json.loads(answer)["reason"] == "the message nests deeper than 32"
    assert (door.asked, engine.counts["malformed"]) == ([], 1)


async def test_a_message_on_which_we_fail_is_counted_and_done_with(caplog: pytest.LogCaptureFixture) -> None:
    def clock() -> datetime:
        raise RuntimeError("a mistake of ours")

    engine = Commands("mqtt://127.0.0.1:1", Door(refusal="no"), "one", clock)
    engine.connection._opened(Choosy())
    await engine.connection._handle("ocpp/commands/demo/CP-1", unlock())
    assert engine.counts["failed"] == 1
    assert len(caplog.records) == 1


async def test_a_command_is_asked_for_as_its_tenants_operator(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp, door = unique("cp"), Door()
    engine = commands(mosquitto.url, door, cp)
    async with running(engine.run()):
        await engine.connection.connected.wait()
        await say(mosquitto.url_of("demo"), f"ocpp/commands/demo/{cp}%2Fa", unlock())
        await eventually(lambda: engine.counts["taken"] == 1)
    assert door.asked == [
        ("demo", f"{cp}/a", "unlock_connector", {"connector_id": 1}, "m-1", "mqtt:demo", "operator")
    ]


async def test_how_long_it_may_wait_to_be_sent_and_its_override_go_with_it() -> None:
    door = Door()
    engine = commands("mqtt://backend:b@127.0.0.1:1", door, "cp")
    body = {"command_id": "m-1", "command_type": "reset", "parameters": {"type": "Soft"}}
    for more in ({}, {"expiry_seconds": 600, "override": True}):
        await engine._handle("ocpp/commands/demo/CP-1", json.dumps({**body, **more}).encode())
    assert door.wishes == [(None, False), (600, True)]


async def test_a_refusal_is_answered_with_its_reason(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    seen = await ask(mosquitto, Door(refusal="no charge point 'X'"), unique("cp"), unlock("m-2"))
    assert seen == {
        "command_id": "m-2",
        "status": "failed",
        "reason": "no charge point 'X'",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "response": None,
    }


@pytest.mark.parametrize(
    ("payload", "id", "reason"),
    [
        (b"unlock it", None, "the message is not JSON"),
        (b"\xff\xfe", None, "the message is not JSON"),
        (b"[]", None, "the message is no command: Expected `object`, got `array`"),
        (
            b'{"command_id": "m-3"}',
            "m-3",
            "the message is no command: Object missing required field `command_type`",
        ),
        (b'{"command_id": "", "command_type": "reset"}', "", "command_id must have 1 to 128 characters"),
        (b'{"command_id": "m-4", "command_type": ""}', "m-4", "command_type must not be empty"),
        (
            b'{"command_id": "' + b"x" * 70_000 + b'"}',
            None,
            "the message has 70018 bytes; at most 65536 are taken",
        ),
    ],
)
async def test_what_is_no_command_is_answered_with_one_clear_reason(
    mosquitto: Mosquitto, unique: Callable[[str], str], payload: bytes, id: str | None, reason: str
) -> None:
    door = Door()
    seen = await ask(mosquitto, door, unique("cp"), payload)
    assert (seen["command_id"], seen["status"], seen["reason"]) == (id, "failed", reason)
    assert door.asked == []


async def test_a_mistake_of_ours_is_answered_too(mosquitto: Mosquitto, unique: Callable[[str], str]) -> None:
    seen = await ask(mosquitto, Door(broken=True), unique("cp"), unlock())
    assert seen["reason"] == "RuntimeError while taking the command"


async def test_a_command_waits_while_the_log_or_the_store_is_away(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp, door = unique("cp"), Door(away=2)
    engine = commands(mosquitto.url, door, cp)
    async with running(engine.run()):
        await engine.connection.connected.wait()
        await say(mosquitto.url_of("demo"), f"ocpp/commands/demo/{cp}", unlock())
        await eventually(lambda: engine.counts["taken"] == 1)


async def test_a_command_that_was_not_taken_when_we_stopped_comes_again(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp, topic = unique("cp"), "ocpp/commands/demo/"
    away = Door(away=10_000)
    first = commands(mosquitto.url, away, cp)
    async with running(first.run()):
        await first.connection.connected.wait()
        await say(mosquitto.url_of("demo"), topic + cp, unlock("m-5"))
        await eventually(lambda: away.away < 10_000)
    # Said while nobody listens: the broker keeps it for the node.
    await say(mosquitto.url_of("demo"), topic + cp, unlock("m-6"))
    door = Door()
    second = commands(mosquitto.url, door, cp)
    async with running(second.run()):
        await eventually(lambda: second.counts["taken"] >= 2)
    assert [asked[4] for asked in door.asked if asked[1] == cp] == ["m-5", "m-6"]


async def test_a_tenant_cannot_command_another_tenants_charge_point(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    cp, door = unique("cp"), Door()
    engine = commands(mosquitto.url, door, cp)
    async with running(engine.run()):
        await engine.connection.connected.wait()
        async with client(mosquitto.url_of("acme")) as acme:
            await acme.publish(f"ocpp/commands/demo/{cp}", unlock("forged"), qos=1)
            await acme.publish(f"ocpp/commands/acme/{cp}", unlock("marker"), qos=1)
            await eventually(lambda: any(asked[4] == "marker" for asked in door.asked))
    assert "forged" not in {asked[4] for asked in door.asked}


async def test_a_lost_broker_is_found_again_and_the_subscription_with_it(own_mosquitto: Mosquitto) -> None:
    door = Door()
    engine = commands(own_mosquitto.url, door, "node")
    async with running(engine.run()):
        await engine.connection.connected.wait()
        own_mosquitto.kill()
        await eventually(lambda: not engine.connection.connected.is_set())
        own_mosquitto.restart()
        async with asyncio.timeout(20):
            await engine.connection.connected.wait()
        await say(own_mosquitto.url_of("demo"), "ocpp/commands/demo/CP-1", unlock())
        await eventually(lambda: engine.counts["taken"] == 1)
