"""The topics on Kafka: made where they are missing, and compared with what this release needs.

What enters: the shapes of topics. What leaves: topics, and a line for each setting that is wrong, with the way out.
What it never does: change a topic that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from streams.log import LogError, TopicSpec, TopologyMismatchError

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.2",
}
UNCLEAN, INSYNC, LARGEST = "unclean.leader.election.enable", "min.insync.replicas", "max.message.bytes"
MESSAGE_BYTES = 1024 * 1024
"""What a broker must take at once: an append of `streams.log.MAX_APPEND_BYTES` with what Kafka adds to it."""


class Shape(NamedTuple):
    """A topic as it is: `replicas` are the fewest that any of its partitions has."""

    partitions: int
    replicas: int


class Fault(NamedTuple):
    """A setting of a topic that is not as it must be. `fatal`: records would be lost, or lists miss some."""

    topic: str
    setting: str
    found: str | None
    needed: str
    fatal: bool

    def __str__(self) -> str:
        return f"topic {self.topic} has {self.setting}={self.found}, this release needs {self.needed}"

    def way_out(self, bootstrap: str) -> str:
        """The line that mends it."""
        return (
            f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics "
            f"--entity-name {self.topic} --add-config {self.setting}={self.needed}"
        )


def settings_of(spec: TopicSpec) -> dict[str, str]:
    """What a topic must have, however many replicas it has."""
    if spec.compacted:
        return {**COMPACTED, **spec.settings}
    retention = -1 if spec.retention_ms is None else spec.retention_ms
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention), "retention.bytes": "-1"}
    return {**kept, **spec.settings}


def durable_settings(replicas: int) -> dict[str, str]:
    """What keeps an acknowledged record: no leader that lacks it, and with three replicas two that have it."""
    return {UNCLEAN: "false", **({INSYNC: "2"} if replicas >= 3 else {})}


def faults(spec: TopicSpec, replicas: int, found: Mapping[str, str]) -> Iterator[Fault]:
    """What is wrong with a topic whose settings are `found`."""
    wanted = settings_of(spec)

    def fault(name: str, needed: str, *, fatal: bool) -> Fault:
        return Fault(spec.name, name, found.get(name), needed, fatal)

    for name in ("cleanup.policy", *spec.settings):
        if found.get(name) != wanted[name]:
            yield fault(name, wanted[name], fatal=True)
    if not spec.compacted:
        for name in ("retention.ms", "retention.bytes"):
            if not _kept(found.get(name), wanted[name]):
                yield fault(name, wanted[name], fatal=spec.retention_ms is None)
    if found.get(UNCLEAN) != "false":
        yield fault(UNCLEAN, "false", fatal=False)
    if replicas >= 3 and not 2 <= _number(found.get(INSYNC)) < replicas:
        yield fault(INSYNC, "2", fatal=False)
    if _number(found.get(LARGEST)) < MESSAGE_BYTES:
        yield fault(LARGEST, str(MESSAGE_BYTES), fatal=False)


def _kept(found: str | None, needed: str) -> bool:
    """Whether a retention is as long as it is needed; -1 is for ever."""
    if found == needed or found == "-1":
        return True
    return needed != "-1" and _number(found) >= int(needed)


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Shape]:
    """The topics of these that exist."""
    found: dict[str, Shape] = {}
    for topic in await admin.describe_topics(list(names)):
        if topic["error_code"] == 3:  # unknown topic
            continue
        if topic["error_code"]:
            raise for_code(topic["error_code"])(topic["topic"])
        partitions = topic["partitions"]
        if any(partition["error_code"] for partition in partitions):
            raise for_code(5)(topic["topic"])  # a partition without a leader yet
        replicas = min(len(partition["replicas"]) for partition in partitions)
        found[topic["topic"]] = Shape(len(partitions), replicas)
    return found


async def describe_all(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Shape]:
    """These topics; a Kafka error, to be tried again, while one is not there yet."""
    found = await describe(admin, names)
    if missing := set(names) - found.keys():
        raise for_code(3)(", ".join(sorted(missing)))
    return found


async def create(
    admin: AIOKafkaAdminClient, bootstrap: str, specs: Iterable[TopicSpec], replication: int | None
) -> None:
    """Make them. Raises TopologyMismatchError where the broker refuses, a Kafka error where it may be tried again."""
    replicas = replication or await _default_replication(admin)
    new = [
        NewTopic(
            spec.name,
            spec.partitions,
            replicas,
            topic_configs={**durable_settings(replicas), **settings_of(spec)},
        )
        for spec in specs
    ]
    response = await admin.create_topics(new)
    for name, code, *message in response.topic_errors:
        if code in (0, 36):  # made, or made meanwhile by another process
            continue
        error = for_code(code)
        if not error.retriable:
            raise LogError(
                f"Kafka at {bootstrap} refused to create topic {name}: {message or error.description}"
            )
        raise error(name)


async def find_faults(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], shapes: Mapping[str, Shape]
) -> list[Fault]:
    """What is wrong with the settings of topics that are there."""
    if not specs:
        return []
    asked = {
        name: ""
        for spec in specs
        for name in (
            *("cleanup.policy", "retention.ms", "retention.bytes", UNCLEAN, INSYNC, LARGEST),
            *spec.settings,
        )
    }
    resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name, asked) for spec in specs]
    entries: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.resources:
            if resource[0]:
                raise for_code(resource[0])(resource[1])
            entries[resource[3]] = _entries(resource)
    return [fault for spec in specs for fault in faults(spec, shapes[spec.name].replicas, entries[spec.name])]


def check_partitions(bootstrap: str, specs: Iterable[TopicSpec], shapes: Mapping[str, Shape]) -> None:
    """Raises TopologyMismatchError: a count of partitions is for ever."""
    for spec in specs:
        if shapes[spec.name].partitions != spec.partitions:
            raise TopologyMismatchError(
                f"topic {spec.name} has {shapes[spec.name].partitions} partitions on Kafka at {bootstrap}, "
                f"this release needs {spec.partitions}"
            )


async def _default_replication(admin: AIOKafkaAdminClient) -> int:
    [node, *_] = (await admin.describe_cluster())["brokers"]
    broker = ConfigResource(
        ConfigResourceType.BROKER, str(node["node_id"]), {"default.replication.factor": ""}
    )
    [response] = await admin.describe_configs([broker])
    return int(_entries(response.resources[0])["default.replication.factor"])


def _entries(resource: Sequence[Any]) -> dict[str, str]:
    return {entry[0]: entry[1] for entry in resource[4]}
