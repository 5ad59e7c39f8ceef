"""The publishing connection against a broker that does what a test says, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from chargesphere.loop import run
from gateway.mqtt.connection import IN_FLIGHT, BrokerAway, Connection
from gateway.mqtt.packets import Outgoing, Packets
from tests.gateway.mqtt.conftest import eventually, running

WELCOME = b"\x20\x03\x00\x00\x00"
PUBLISH, CONNECT = 0x30, 0x10


class Scripted:
    """Accepts connections; acknowledges by itself unless told to wait, and counts what comes."""

    def __init__(self, welcome: bytes = WELCOME) -> None:
        self.welcome = welcome
        self.answers = True
        self.reason = 0
        self.reads = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.mids: list[int] = []
        self.topics: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"mqtt://user:secret@127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = Packets()
        self.writers.append(writer)
        while data := await reader.read(1 << 20):
            self.reads += 1
            for kind, body in packets.feed(data):
                if kind == CONNECT:
                    self.mids.clear()
                    writer.write(self.welcome)
                elif kind == PUBLISH:
                    length = int.from_bytes(body[:2], "big")
                    self.topics.append(body[2 : 2 + length].decode())
                    self.mids.append(int.from_bytes(body[2 + length : 4 + length], "big"))
            if self.answers:
                self.acknowledge()
        writer.close()

    def acknowledge(self) -> None:
        """Whatever is open, in one write."""
        reason = bytes((self.reason,))
        acks = b"".join(b"\x40\x03" + mid.to_bytes(2, "big") + reason for mid in self.mids)
        self.mids.clear()
        if acks:
            self.writers[-1].write(acks)


@asynccontextmanager
async def talking(broker: Scripted) -> AsyncIterator[Connection]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    connection = Connection(broker.url, backoff_s=(0.02, 0.1))
    try:
        async with running(connection.run()):
            yield connection
    finally:
        for writer in broker.writers:
            writer.close()
        server.close()
        await server.wait_closed()


def messages(count: int, first: int = 0) -> Sequence[Outgoing]:
    return [Outgoing(f"t/{number}", b"{}", f"e-{number}") for number in range(first, first + count)]


async def test_messages_that_come_together_go_out_together_and_in_order() -> None:
    broker = Scripted()
    async with talking(broker) as connection:
        await connection.connected.wait()
        before = broker.reads
        done: set[str] = set()
        await asyncio.gather(
            connection.publish(messages(100), done), connection.publish(messages(100, 100), done)
        )
    assert broker.topics == [f"t/{number}" for number in range(200)]
    assert done == {f"e-{number}" for number in range(200)}
    assert broker.reads - before <= 2
    assert connection.counts["published"] == 200


async def test_no_more_are_under_way_than_the_broker_takes() -> None:
    """3.3.4: the Receive Maximum of CONNACK, here 3."""
    broker = Scripted(b"\x20\x06\x00\x00\x03\x21\x00\x03")
    broker.answers = False
    async with talking(broker) as connection:
        await connection.connected.wait()
        publishing = asyncio.ensure_future(connection.publish(messages(7), set()))
        for expected in (3, 6, 7):
            await eventually(lambda expected=expected: len(broker.topics) >= expected)  # type: ignore[misc]
            assert len(broker.topics) == expected
            broker.acknowledge()
        await publishing


async def test_more_messages_than_the_window_all_arrive_in_order() -> None:
    broker = Scripted()
    async with talking(broker) as connection:
        await connection.connected.wait()
        await connection.publish(messages(3 * IN_FLIGHT + 1), set())
    assert broker.topics == [f"t/{number}" for number in range(3 * IN_FLIGHT + 1)]


async def test_what_was_acknowledged_before_the_connection_broke_is_known() -> None:
    broker = Scripted(b"\x20\x06\x00\x00\x03\x21\x00\x03")
    broker.answers = False
    async with talking(broker) as connection:
        await connection.connected.wait()
        done: set[str] = set()
        publishing = asyncio.ensure_future(connection.publish(messages(5), done))
        await eventually(lambda: len(broker.topics) == 3)
        broker.acknowledge()
        await eventually(lambda: len(broker.topics) == 5)
        broker.writers[-1].close()
        with pytest.raises(BrokerAway):
            await publishing
        assert done == {"e-0", "e-1", "e-2"}
        await eventually(lambda: connection.counts["connects"] == 2)
        broker.answers = True
        await connection.publish(messages(2, 3), done)
    assert connection.counts["losses"] == 1


async def test_without_a_connection_nothing_is_kept() -> None:
    connection = Connection("mqtt://127.0.0.1:1")
    with pytest.raises(BrokerAway):
        await connection.publish(messages(1), set())


async def test_a_broker_that_refuses_us_is_said_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = Scripted(b"\x20\x03\x00\x87\x00")
    async with talking(broker) as connection:
        await eventually(lambda: len(broker.writers) >= 2)
        assert not connection.connected.is_set()
    assert [record.getMessage() for record in caplog.records] == [
        f"MQTT broker mqtt://127.0.0.1:{broker.port}: it refuses us with reason 0x87; trying again"
    ]


async def test_a_message_that_the_broker_refuses_for_good_is_said_and_counts_as_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """3.4.2.1: reason 0x99, its format is invalid; sending it again would never end."""
    broker = Scripted()
    broker.reason = 0x99
    async with talking(broker) as connection:
        await connection.connected.wait()
        await connection.publish(messages(1), set())
    assert connection.counts["refused"] == 1
    assert "e-0" in caplog.text


async def test_a_message_over_the_brokers_quota_is_tried_again_later() -> None:
    """3.4.2.1: reason 0x97 passes by itself."""
    broker = Scripted()
    broker.reason = 0x97
    async with talking(broker) as connection:
        await connection.connected.wait()
        done: set[str] = set()
        with pytest.raises(BrokerAway):
            await connection.publish(messages(1), done)
        assert done == set()


async def test_a_message_longer_than_the_broker_takes_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """3.2.2.3.6: Maximum Packet Size, here 200 bytes; sending it would end the connection, again and again."""
    broker = Scripted(b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\xc8")
    long = Outgoing("t/long", bytes(200), "e-long")
    async with talking(broker) as connection:
        await connection.connected.wait()
        await connection.publish([long, *messages(1)], set())
    assert broker.topics == ["t/0"]
    assert "e-long" in caplog.text


async def test_who_gave_up_waiting_has_nothing_more_sent() -> None:
    broker = Scripted(b"\x20\x06\x00\x00\x03\x21\x00\x03")
    broker.answers = False
    async with talking(broker) as connection:
        await connection.connected.wait()
        publishing = asyncio.ensure_future(connection.publish(messages(10), set()))
        await eventually(lambda: len(broker.topics) == 3)
        publishing.cancel()
        await asyncio.wait((publishing,))
        broker.answers = True
        broker.acknowledge()
        await connection.publish(messages(1, 50), set())
    assert broker.topics == ["t/0", "t/1", "t/2", "t/50"]


async def test_what_no_broker_says_to_a_publisher_ends_the_connection() -> None:
    """3.9: a SUBACK answers what was not asked."""
    broker = Scripted(b"\x90\x03\x00\x01\x00")
    async with talking(broker) as connection:
        await eventually(lambda: len(broker.writers) >= 2)
        assert not connection.connected.is_set()


def test_it_works_on_the_loop_that_the_product_runs_on() -> None:
    """uvloop's transports are not asyncio's by their class."""

    async def publish() -> int:
        broker = Scripted()
        async with talking(broker) as connection:
            await connection.connected.wait()
            await connection.publish(messages(3), set())
        return connection.counts["published"]

    assert run(publish()) == 3
