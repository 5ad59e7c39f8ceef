"""What the product uses of private parts of libraries: in one place each, and still there.

A release of a library that takes one away fails here, by its name, before anything else behaves oddly.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import aiokafka
import aiomqtt
import faust
import httpcore
import httpx
import ocpp.messages
import paho.mqtt.client
import pytest
import uvicorn
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator, NoGroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.protocol.fetch import FetchRequest_v7, FetchRequest_v9, FetchRequest_v11
from eventsourcing.domain import BaseAggregate
from faust.tables.recovery import Recovery
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from websockets.asyncio.server import ServerConnection

from streams.faust.transport import has_failed
from streams.log.kafka.clients import Chores, Clients
from streams.log.kafka.private import network, rest, spare_fetches, tasks_behind
from tests.streams.kafka_fake import FakeBroker

ROOT = Path(__file__).parents[1]
ROOMS = ("domain", "protocols", "commands", "projections", "streams", "api", "gateway", "chargesphere")
PLACES = {
    "streams/log/kafka/private.py": "aiokafka",
    "streams/faust/transport.py": "faust",
    "gateway/mqtt/subscription.py": "aiomqtt",
    "gateway/ocpi/url_policy.py": "httpx",
}
"""Where a private part of a library may be named, and of which."""


def foreign_parts(path: Path) -> set[str]:
    """Private attributes that a module reads or sets of anything but itself, and that it does not define."""
    tree = ast.parse(path.read_text())
    own = {"_replace"}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                own.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                own.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                own.add(name)
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in own
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and not isinstance(node.value, ast.Call)  # super()
    }


def test_private_parts_of_libraries_are_used_in_their_places_only() -> None:
    found = {
        str(path.relative_to(ROOT)): parts
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if (parts := foreign_parts(path))
    }
    assert found.keys() <= PLACES.keys(), found


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    async with FakeBroker().serving() as broker:
        chores = Chores()
        clients = Clients(broker.url, 5.0, chores)
        yield clients
        await clients.close()
        await chores.finish()


async def test_aiokafka_the_tasks_behind_a_consumer(clients: Clients) -> None:
    alone = await clients.consumer()
    grouped = await clients.consumer(group_id="g")
    for consumer, coordinator in ((alone, NoGroupCoordinator), (grouped, GroupCoordinator)):
        assert isinstance(consumer._coordinator, coordinator)
        tasks = tasks_behind(consumer)
        assert len(set(tasks)) == 3
        assert all(isinstance(task, asyncio.Task) for task in tasks)
    assert "self._coordination_task" in inspect.getsource(GroupCoordinator)
    assert "self._reset_committed_task" in inspect.getsource(NoGroupCoordinator)


async def test_aiokafka_the_plan_of_a_fetch(clients: Clients) -> None:
    assert "self._get_actions_per_node(assignment)" in inspect.getsource(Fetcher._fetch_requests_routine)
    consumer = await clients.consumer()
    consumer.assign([aiokafka.TopicPartition("a", 0)])
    assignment = consumer._subscription.subscription.assignment
    requests, resets, wait, invalid, resumed = consumer._fetcher._get_actions_per_node(assignment)
    assert isinstance(requests, list) and isinstance(resets, dict) and isinstance(resumed, list)
    assert wait is None or wait >= 0
    assert isinstance(invalid, bool)
    before = consumer._fetcher._get_actions_per_node
    spare_fetches(consumer, 10.0)
    assert consumer._fetcher._get_actions_per_node != before


async def test_aiokafka_how_often_a_fetcher_looks_for_work(clients: Clients) -> None:
    assert "backoff = self._fetcher_timeout" in inspect.getsource(Fetcher._get_actions_per_node)
    consumer = await clients.consumer()
    before = consumer._fetcher._fetcher_timeout
    rest(consumer)
    assert consumer._fetcher._fetcher_timeout > before


async def test_aiokafka_a_fetch_goes_through_its_client_and_is_prepared_as_it_is_written(
    clients: Clients,
) -> None:
    assert "await self._client.send(node_id, request)" in inspect.getsource(Fetcher._proc_fetch_request)
    assert "in request.topics" in inspect.getsource(Fetcher._proc_fetch_request)
    sending = inspect.getsource(AIOKafkaConnection.send)
    assert sending.index("request.prepare(self._versions)") < sending.index("self._writer.write(")
    assert "await" not in sending[: sending.index("self._writer.write(")]
    [names] = {
        tuple(version.SCHEMA.names)[5:9] for version in (FetchRequest_v7, FetchRequest_v9, FetchRequest_v11)
    }
    assert names == ("session_id", "session_epoch", "topics", "forgotten_topics_data")


async def test_aiokafka_the_connections_of_a_client_and_the_metadata_that_it_promises(
    clients: Clients,
) -> None:
    for client in (await clients.consumer(), await clients.producer(), await clients.admin()):
        inside = network(client)
        assert isinstance(inside, AIOKafkaClient)
        assert await inside.ready(1)
        [connection] = inside._conns.values()
        assert isinstance(connection, AIOKafkaConnection)
        assert callable(connection._protocol._transport.abort)
        waiting = asyncio.ensure_future(inside.force_metadata_update())
        assert isinstance(inside._md_update_fut, asyncio.Future)
        await waiting


def test_aiokafka_the_connection_of_a_bootstrap() -> None:
    assert "bootstrap_conn" in AIOKafkaClient.bootstrap.__code__.co_varnames


async def test_aiokafka_the_sender_of_a_producer(clients: Clients) -> None:
    producer = await clients.producer()
    assert producer._closed is False
    assert isinstance(producer._sender, Sender)
    assert isinstance(producer._sender.sender_task, asyncio.Task)


def test_faust_the_thread_that_reads() -> None:
    assert "self._new_consumer_thread()" in inspect.getsource(ThreadDelegateConsumer)
    assert issubclass(Consumer, ThreadDelegateConsumer)
    assert Transport.Consumer is Consumer
    assert callable(AIOKafkaConsumerThread._ensure_consumer)
    for name in ("getmany", "seek_to_committed", "seek_to_beginning"):
        assert inspect.iscoroutinefunction(getattr(AIOKafkaConsumerThread, name)), name
    assert "self._consumer = self._create_consumer(" in inspect.getsource(AIOKafkaConsumerThread.on_start)


def test_faust_how_a_recovery_ends_and_how_partitions_are_read() -> None:
    recovered = inspect.getsource(Recovery.on_recovery_completed)
    steps = ("resume_partitions(", "perform_seek()", "flow_control.resume()", "resume_flow()")
    places = [recovered.index(f".{step}") for step in steps]
    assert places == sorted(places)
    assert "await self._getmany(" in inspect.getsource(Consumer._wait_next_records)
    assert "self._read_offset\n" in inspect.getsource(Consumer.perform_seek)
    assert "self._buffered_partitions" in inspect.getsource(Consumer.on_buffer_drop)
    assert callable(Consumer._is_changelog_tp)


def test_faust_what_an_agent_takes_by_itself() -> None:
    app = faust.App("hooks", broker="kafka://127.0.0.1:1")
    assert not has_failed(app.FlowControlQueue(maxsize=1))
    assert callable(app.flow_control.is_active)
    assert hasattr(app, "consumer_generation_id")
    assert callable(Consumer.track_message)


def test_websockets_what_a_socket_takes_over() -> None:
    for name in ("process_event", "send_data", "drain", "connection_lost"):
        assert callable(getattr(ServerConnection, name)), name
    source = inspect.getsource(ServerConnection.__mro__[1])
    for name in ("self.process_event(", "self.paused", "self.transport", "self.protocol"):
        assert name in source, name


async def test_aiomqtt_the_client_that_acknowledges() -> None:
    client = aiomqtt.Client("127.0.0.1")
    assert isinstance(client._client, paho.mqtt.client.Client)
    assert callable(client._client.manual_ack_set)
    assert callable(client._client.ack)
    assert isinstance(client.pending_calls_threshold, int)


async def test_httpx_the_pool_of_a_transport() -> None:
    transport = httpx.AsyncHTTPTransport()
    assert isinstance(transport._pool, httpcore.AsyncConnectionPool)
    assert "self._pool.handle_async_request" in inspect.getsource(
        httpx.AsyncHTTPTransport.handle_async_request
    )
    await transport.aclose()


def test_uvicorn_signals_and_the_flags_of_a_server() -> None:
    server = uvicorn.Server(uvicorn.Config(lambda: None))
    assert (server.started, server.should_exit) == (False, False)
    assert "with self.capture_signals()" in inspect.getsource(uvicorn.Server)


def test_eventsourcing_an_aggregate_without_an_event() -> None:
    assert callable(BaseAggregate.__base_init__)


def test_ocpp_validation_without_a_thread() -> None:
    assert isinstance(ocpp.messages.ASYNC_VALIDATION, bool)
