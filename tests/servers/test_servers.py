"""Each real server starts, answers, survives a kill with its data and tells why it could not start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiomqtt
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import AsyncMongoClient
from redis.asyncio import Redis as RedisClient

from tests.servers import Kafka, Mongo, Mosquitto, Redis, Server, ServerFailedError
from tests.servers.kafka import brokers
from tests.servers.ports import take

NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


async def _make_topic(kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def _append(kafka: Kafka, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True
    ) as producer:
        await producer.send_and_wait(topic, value)


async def _values(kafka: Kafka, topic: str, count: int) -> list[bytes]:
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([partition])
        async with asyncio.timeout(30):
            return [bytes((await consumer.getone()).value) for _ in range(count)]
    finally:
        await consumer.stop()


def _mqtt(mosquitto: Mosquitto, user: str, password: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", mosquitto.port, username=user, password=password, socket_options=NODELAY, timeout=10
    )


async def _next(client: aiomqtt.Client) -> tuple[str, bytes]:
    async with asyncio.timeout(10):
        message = await anext(client.messages)
    assert isinstance(message.payload, bytes)
    return message.topic.value, message.payload


async def test_the_shared_kafka_keeps_what_is_sent_to_a_topic_of_the_tests_own(
    kafka: Kafka, unique: Callable[[str], str]
) -> None:
    topic = unique("servers")
    await _make_topic(kafka, topic)
    await _append(kafka, topic, b"one")
    assert await _values(kafka, topic, 1) == [b"one"]


async def test_kafka_makes_no_topic_by_itself(kafka: Kafka, unique: Callable[[str], str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        topic = unique("never-made")
        await admin.describe_topics([topic])
        assert topic not in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.long(10)
@pytest.mark.kill
async def test_a_killed_kafka_comes_back_on_its_port_with_its_records(own_kafka: Kafka) -> None:
    await _make_topic(own_kafka, "kept")
    await _append(own_kafka, "kept", b"before")
    address, first = own_kafka.bootstrap, own_kafka.pid

    own_kafka.kill()
    assert not own_kafka.running
    with pytest.raises(ConnectionRefusedError):
        brokers(own_kafka.port)
    await asyncio.to_thread(own_kafka.start)

    assert (own_kafka.bootstrap, own_kafka.pid != first) == (address, True)
    await _append(own_kafka, "kept", b"after")
    assert await _values(own_kafka, "kept", 2) == [b"before", b"after"]


@pytest.mark.kill
async def test_a_killed_mongod_is_primary_again_with_its_acknowledged_documents(own_mongo: Mongo) -> None:
    async with AsyncMongoClient[dict[str, object]](own_mongo.url) as client:
        await client["kept"]["things"].insert_one({"_id": "before"})
        own_mongo.kill()
        await asyncio.to_thread(own_mongo.start)
        await client["kept"]["things"].insert_one({"_id": "after"})
        found = [thing["_id"] async for thing in client["kept"]["things"].find().sort("_id")]
    assert found == ["after", "before"]


async def test_the_shared_mongod_has_transactions(mongo: Mongo, unique: Callable[[str], str]) -> None:
    async with AsyncMongoClient[dict[str, object]](mongo.url) as client:
        things = client[unique("servers")]["things"]
        await things.insert_one({"_id": "outside"})
        async with client.start_session() as session:
            await session.start_transaction()
            await things.insert_one({"_id": "inside"}, session=session)
            await session.abort_transaction()
        assert await things.count_documents({}) == 1


@pytest.mark.kill
async def test_a_killed_redis_keeps_its_keys(own_redis: Redis) -> None:
    async with RedisClient.from_url(own_redis.url) as client:
        await client.set("kept", "value")
    own_redis.kill()
    own_redis.start()
    async with RedisClient.from_url(own_redis.url) as client:
        assert await client.get("kept") == b"value"


async def test_the_shared_redis_answers(redis_server: Redis, unique: Callable[[str], str]) -> None:
    async with RedisClient.from_url(redis_server.url) as client:
        key = unique("servers")
        assert await client.incr(key) == 1


async def test_a_restarted_mosquitto_keeps_its_retained_messages(own_mosquitto: Mosquitto) -> None:
    async with _mqtt(own_mosquitto, "backend", "backend-secret") as backend:
        await backend.publish("ocpp/status/demo/CP1", b"up", qos=1, retain=True)
    own_mosquitto.restart()
    async with _mqtt(own_mosquitto, "demo", "demo-secret") as tenant:
        await tenant.subscribe("ocpp/status/demo/#", qos=1)
        assert await _next(tenant) == ("ocpp/status/demo/CP1", b"up")


@pytest.mark.parametrize("branch", ["events", "status", "responses"])
async def test_a_tenant_reads_only_its_own_branches(
    mosquitto: Mosquitto, unique: Callable[[str], str], branch: str
) -> None:
    charge_point = unique("CP")
    async with (
        _mqtt(mosquitto, "backend", "backend-secret") as backend,
        _mqtt(mosquitto, "demo", "demo-secret") as tenant,
    ):
        await tenant.subscribe("#", qos=1)
        await backend.publish(f"ocpp/{branch}/acme/{charge_point}", b"foreign", qos=1)
        await backend.publish(f"ocpp/{branch}/demo/{charge_point}", b"own", qos=1)
        seen: list[tuple[str, bytes]] = []
        while not seen or seen[-1] != (f"ocpp/{branch}/demo/{charge_point}", b"own"):
            seen.append(await _next(tenant))
    assert not [topic for topic, _ in seen if "/acme/" in topic]


async def test_a_tenant_commands_only_its_own_charge_points(
    mosquitto: Mosquitto, unique: Callable[[str], str]
) -> None:
    charge_point = unique("CP")
    async with (
        _mqtt(mosquitto, "backend", "backend-secret") as backend,
        _mqtt(mosquitto, "demo", "demo-secret") as tenant,
    ):
        await backend.subscribe(f"ocpp/+/+/{charge_point}", qos=1)
        for topic in ("ocpp/commands/acme", "ocpp/events/demo", "ocpp/commands/demo"):
            await tenant.publish(f"{topic}/{charge_point}", b"do", qos=1)
        assert await _next(backend) == (f"ocpp/commands/demo/{charge_point}", b"do")


async def test_mosquitto_refuses_a_wrong_password(mosquitto: Mosquitto) -> None:
    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        async with _mqtt(mosquitto, "demo", "acme-secret"):
            pass


def test_a_frozen_redis_goes_on_where_it_stood(own_redis: Redis) -> None:
    own_redis.pause()
    with socket.create_connection(("127.0.0.1", own_redis.port), timeout=10) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(64)
        connection.settimeout(10)
        own_redis.resume()
        assert connection.recv(64) == b"+PONG\r\n"


def test_a_frozen_server_can_still_be_stopped(own_redis: Redis) -> None:
    own_redis.pause()
    own_redis.stop()
    assert not own_redis.running


def test_a_shared_server_refuses_to_be_disturbed(redis_server: Redis) -> None:
    acts: list[Callable[[], object]] = [
        redis_server.stop,
        redis_server.kill,
        redis_server.restart,
        redis_server.pause,
        redis_server.start,
    ]
    for act in acts:
        with pytest.raises(ServerFailedError, match="ask for own_redis"):
            act()
    assert redis_server.running


class _Hopeless(Server):
    """A server that says what is wrong and ends, or lives and never answers."""

    name = "hopeless"
    setting = "CHARGESPHERE_HOPELESS_URL"
    script = "echo no licence found; exit 3"

    @classmethod
    def what_is_missing(cls) -> str | None:
        return None

    @property
    def url(self) -> str:
        return f"none://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        return ["sh", "-c", self.script]

    def _answers(self) -> bool:
        return False


def test_a_server_that_ends_at_once_shows_the_last_lines_of_its_log() -> None:
    server = _Hopeless()
    with pytest.raises(
        ServerFailedError, match=r"hopeless ended before it could answer.*\n.*no licence found"
    ):
        server.start()
    server.remove()
    assert not server.folder.exists()


def test_a_server_that_never_answers_is_given_up_within_its_time() -> None:
    class Silent(_Hopeless):
        script = "echo waiting; exec sleep 60"

        def wait_until_it_answers(self, seconds: float = 0.2) -> None:
            super().wait_until_it_answers(seconds)

    server = Silent()
    with pytest.raises(ServerFailedError, match=r"did not answer on 127.0.0.1:\d+ within 0.2 s"):
        server.start()
    assert not server.running
    server.remove()


def test_two_takers_of_a_port_never_get_the_same_one() -> None:
    locks = [take() for _ in range(50)]
    assert len({lock.port for lock in locks}) == 50
    for lock in locks:
        lock.release()


def test_unique_names_differ_and_are_fit_for_topics_and_databases(unique: Callable[[str], str]) -> None:
    first, second = unique("db"), unique("db")
    assert first != second
    assert len(first) < 60
    assert first.replace("-", "").isalnum()
