"""Real Kafka, MongoDB, Redis and mosquitto, started on loopback without Docker.

What enters: a folder for the data. What leaves: a running server with its address, which can be ended,
killed, frozen and started again on the same port with the same data. These classes never run in the
product, never listen on an address other than 127.0.0.1, and never install anything but Kafka's jars.
"""

from __future__ import annotations

from tests.servers.kafka import Kafka
from tests.servers.mongo import Mongo
from tests.servers.mosquitto import Mosquitto
from tests.servers.process import Server, ServerFailedError
from tests.servers.redis import Redis

SERVERS: dict[str, type[Server]] = {
    "kafka": Kafka,
    "mongo": Mongo,
    "redis": Redis,
    "mosquitto": Mosquitto,
}


def missing() -> dict[str, str]:
    """Names of the servers that cannot start on this machine, each with what to install."""
    found = {name: server.what_is_missing() for name, server in SERVERS.items()}
    return {name: text for name, text in found.items() if text is not None}


__all__ = ["SERVERS", "Kafka", "Mongo", "Mosquitto", "Redis", "Server", "ServerFailedError", "missing"]
