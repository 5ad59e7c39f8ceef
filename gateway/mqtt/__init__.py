"""The MQTT edge: events of the log are published, commands come in, their outcomes go back.

What enters: decisions from the log, and messages on `ocpp/commands/…`. What leaves: messages on `ocpp/events/…`,
`ocpp/status/…` and `ocpp/responses/…`, each at least once. While the broker is away nothing else notices: the
publisher's position stands still, and commands wait in the broker's session. It never decides anything.
"""

from gateway.mqtt.commands import Commands, RemoteCommands
from gateway.mqtt.connection import Broker, BrokerAwayError, BrokerConnection
from gateway.mqtt.publisher import Publisher

__all__ = ["Broker", "BrokerAwayError", "BrokerConnection", "Commands", "Publisher", "RemoteCommands"]
