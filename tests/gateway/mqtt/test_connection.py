"""The publishing connection against a real mosquitto: batches, order, and a broker that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from chargesphere.tuning import run
from gateway.mqtt.connection import IN_FLIGHT, BrokerAwayError, BrokerConnection, Outgoing
from tests.gateway.mqtt.conftest import Choosy, eventually, listening, running
from tests.servers import Mosquitto

QUICK = (0.02, 0.1)


def messages(topic: str, count: int, first: int = 0) -> Sequence[Outgoing]:
    return [Outgoing(topic, b"{}", f"e-{number}") for number in range(first, first + count)]


async def test_a_batch_arrives_whole_and_in_order(mosquitto: Mosquitto, unique: Callable[[str], str]) -> None:
    topic = f"ocpp/events/demo/{unique('cp')}/x"
    count = 3 * IN_FLIGHT + 1
    connection = BrokerConnection(mosquitto.url, backoff_s=QUICK)
    async with listening(mosquitto.url_of("demo"), topic) as ear, running(connection.run()):
        await connection.connected.wait()
        done: set[str] = set()
        await connection.publish(messages(topic, count), done)
        seen = await ear.until(lambda one: one.event_id == f"e-{count - 1}")
    assert [one.event_id for one in seen] == [f"e-{number}" for number in range(count)]
    assert done == {f"e-{number}" for number in range(count)}
    assert connection.counts["published"] == count


async def test_without_a_connection_nothing_is_kept() -> None:
    connection = BrokerConnection("mqtt://127.0.0.1:1")
    with pytest.raises(BrokerAwayError):
        await connection.publish(messages("t", 1), set())


async def test_a_message_that_no_broker_can_take_costs_no_other_one() -> None:
    connection, taker = BrokerConnection("mqtt://127.0.0.1:1"), Choosy()
    connection._opened(taker)
    done: set[str] = set()
    bad = Outgoing("ocpp/events/demo/+/x", b"{}", "bad")
    await connection.publish([*messages("a", 2), bad, *messages("b", 1, 2)], done)
    assert [topic for topic, _ in taker.taken] == ["a", "a", "b"]
    assert done == {"e-0", "e-1", "e-2", "bad"}
    assert (connection.counts["published"], connection.counts["refused"]) == (3, 1)


async def test_what_was_acknowledged_before_the_connection_broke_is_known(own_mosquitto: Mosquitto) -> None:
    connection = BrokerConnection(own_mosquitto.url, backoff_s=QUICK)
    topic = "ocpp/events/demo/CP-1/x"
    done: set[str] = set()
    async with running(connection.run()):
        await connection.connected.wait()
        publishing = asyncio.ensure_future(connection.publish(messages(topic, 5000), done))
        await eventually(lambda: len(done) > 100)
        own_mosquitto.kill()
        with pytest.raises(BrokerAwayError):
            await publishing
        left = [message for message in messages(topic, 5000) if message.event_id not in done]
        assert 0 < len(left) < 4900
        own_mosquitto.restart()
        await eventually(connection.connected.is_set)
        await connection.publish(left, done)
    assert len(done) == 5000
    assert connection.counts["losses"] == 1


def test_it_works_on_the_loop_that_the_product_runs_on(mosquitto: Mosquitto) -> None:
    async def publish() -> int:
        connection = BrokerConnection(mosquitto.url, backoff_s=QUICK)
        async with running(connection.run()):
            await connection.connected.wait()
            await connection.publish(messages("ocpp/events/demo/CP-1/x", 3), set())
        return connection.counts["published"]

    assert run(publish()) == 3
