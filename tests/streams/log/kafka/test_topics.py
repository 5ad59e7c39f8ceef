"""What a topic on Kafka must be, and how it is said where it is not."""

from __future__ import annotations

import pytest

from streams.log import TopicSpec
from streams.log.kafka.topics import Fault, durable_settings, faults, settings_of
from streams.log.topology import LOG_TIME

EVENTS = TopicSpec("events", 24)
FRAMES = TopicSpec("frames", 24, retention_ms=60_000)
STATE = TopicSpec("state", 24, compacted=True)
COMMANDS = TopicSpec("commands", 24, retention_ms=60_000, settings=LOG_TIME)
LARGEST = {"max.message.bytes": "1048588"}
"""Kafka's own default."""


def good(spec: TopicSpec, replicas: int = 1) -> dict[str, str]:
    return {"min.insync.replicas": "1", **LARGEST, **settings_of(spec), **durable_settings(replicas)}


@pytest.mark.parametrize("spec", [EVENTS, FRAMES, STATE, COMMANDS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_a_topic_as_it_is_made_has_no_fault(spec: TopicSpec, replicas: int) -> None:
    assert list(faults(spec, replicas, good(spec, replicas))) == []


CASES = [
    (EVENTS, 1, {"cleanup.policy": "compact"}, ("cleanup.policy", "delete", True)),
    (EVENTS, 1, {"retention.ms": "604800000"}, ("retention.ms", "-1", True)),
    (EVENTS, 1, {"retention.bytes": "1000"}, ("retention.bytes", "-1", True)),
    (STATE, 1, {"cleanup.policy": "delete"}, ("cleanup.policy", "compact", True)),
    (STATE, 1, {"cleanup.policy": "compact,delete"}, ("cleanup.policy", "compact", True)),
    (FRAMES, 1, {"retention.ms": "59999"}, ("retention.ms", "60000", False)),
    (FRAMES, 1, {"retention.bytes": "1000"}, ("retention.bytes", "-1", False)),
    (
        COMMANDS,
        1,
        {"message.timestamp.type": "CreateTime"},
        ("message.timestamp.type", "LogAppendTime", True),
    ),
    (
        EVENTS,
        1,
        {"unclean.leader.election.enable": "true"},
        ("unclean.leader.election.enable", "false", False),
    ),
    (EVENTS, 3, {"min.insync.replicas": "1"}, ("min.insync.replicas", "2", False)),
    (EVENTS, 3, {"min.insync.replicas": "3"}, ("min.insync.replicas", "2", False)),
    (EVENTS, 1, {"max.message.bytes": "1000000"}, ("max.message.bytes", "1048576", False)),
]


@pytest.mark.parametrize(("spec", "replicas", "other", "expected"), CASES)
def test_a_setting_that_loses_records_or_refuses_them_is_a_fault(
    spec: TopicSpec, replicas: int, other: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    [fault] = faults(spec, replicas, good(spec, replicas) | other)
    assert (fault.setting, fault.needed, fault.fatal) == expected
    assert fault.found == other[fault.setting]


@pytest.mark.parametrize("retention", ["60001", "-1"])
def test_a_longer_retention_is_none(retention: str) -> None:
    assert list(faults(FRAMES, 1, good(FRAMES) | {"retention.ms": retention})) == []


def test_a_fault_names_the_topic_the_value_and_the_way_out() -> None:
    fault = Fault("events", "retention.ms", "1000", "-1", True)
    assert str(fault) == "topic events has retention.ms=1000, this release needs -1"
    assert fault.way_out("kafka:9092") == (
        "kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name events "
        "--add-config retention.ms=-1"
    )
