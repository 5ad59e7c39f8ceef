"""Commands by MQTT: messages on `ocpp/commands/{tenant}/{charge point}` become remote commands.

What enters: a message of a tenant, which the broker's access list let through; it has the role operator. What leaves:
a request to the remote commands' door, or one clear answer on `ocpp/responses/…` where the message cannot be one. The
outcome of a taken command is told by the publisher, from the log. A message is acknowledged once that has happened,
so that none is lost while we, the log or the store are away; a repeat has the same command id and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from urllib.parse import unquote
from uuid import uuid4

import msgspec

from domain.values import JSONObject
from gateway.mqtt.connection import BrokerAwayError, Outgoing
from gateway.mqtt.subscription import Subscription
from projections.mqtt import response, response_topic
from projections.store import StoreUnavailableError
from protocols.nesting import DEEPEST, nests_deeper
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

SUBSCRIPTION = "ocpp/commands/+/+"
ROLE = "operator"
MAX_PAYLOAD = 65_536
MAX_ID = 128


class RemoteCommands(Protocol):
    """The door to remote commands, which `/api/v1` uses too."""

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
        """None where the command was taken, else one line that says why not.

        Raises LogUnavailableError and StoreUnavailableError: it is asked again."""
        ...


class _Command(msgspec.Struct, frozen=True, kw_only=True):
    command_id: str
    command_type: str
    timestamp: str | None = None
    parameters: JSONObject = {}
    expiry_seconds: int | None = None
    override: bool = False


class _Id(msgspec.Struct, frozen=True):
    command_id: str | None = None


class Commands:
    """`run` until cancelled. `node` names the durable session that the broker keeps for us."""

    def __init__(
        self, url: str, remote_commands: RemoteCommands, node: str, clock: Callable[[], datetime]
    ) -> None:
        self._remote_commands = remote_commands
        self._clock = clock
        self.connection = Subscription(url, f"chargesphere-commands-{node}", SUBSCRIPTION, self._handle)
        self.outcomes = {"taken": 0, "refused": 0, "malformed": 0, "failed": 0}

    @property
    def counts(self) -> dict[str, int]:
        return {**self.outcomes, **self.connection.counts}

    async def run(self) -> None:
        await self.connection.run()

    async def _handle(self, topic: str, payload: bytes) -> None:
        """A message on which we fail is counted and done with: it would come again for ever, before all others."""
        try:
            await self._take_in(topic, payload)
        except BrokerAwayError:
            raise
        except Exception:
            self.outcomes["failed"] += 1
            logger.exception("a message by MQTT on %s was not taken", topic[:200])

    async def _take_in(self, topic: str, payload: bytes) -> None:
        _, _, tenant, charge_point_id = topic.split("/")
        tenant, charge_point_id = unquote(tenant), unquote(charge_point_id)
        command = _read(payload)
        if isinstance(command, str):
            self.outcomes["malformed"] += 1
            await self._refuse(tenant, charge_point_id, _command_id(payload), command)
            return
        refusal = await self._request(tenant, charge_point_id, command)
        if refusal is None:
            self.outcomes["taken"] += 1
        else:
            self.outcomes["refused"] += 1
            await self._refuse(tenant, charge_point_id, command.command_id, refusal)

    async def _request(self, tenant: str, charge_point_id: str, command: _Command) -> str | None:
        wait, said = 0.1, False
        while True:
            try:
                return await self._remote_commands.request(
                    tenant,
                    charge_point_id,
                    command.command_type,
                    command.parameters,
                    command.command_id,
                    f"mqtt:{tenant}",
                    ROLE,
                    command.expiry_seconds,
                    command.override,
                )
            except (LogUnavailableError, StoreUnavailableError) as error:
                if not said:
                    said = True
                    logger.warning("commands by MQTT wait: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
            except Exception as error:
                logger.exception("a command by MQTT failed")
                return f"{type(error).__name__} while taking the command"

    async def _refuse(self, tenant: str, charge_point_id: str, command_id: str | None, reason: str) -> None:
        body = response(command_id, "failed", reason, self._clock())
        topic = response_topic(tenant, charge_point_id)
        await self.connection.publish([Outgoing(topic, msgspec.json.encode(body), str(uuid4()))], set())


def _read(payload: bytes) -> _Command | str:
    """The command, or what is wrong with it."""
    if len(payload) > MAX_PAYLOAD:
        return f"the message has {len(payload)} bytes; at most {MAX_PAYLOAD} are taken"
    if nests_deeper(payload):
        return f"the message nests deeper than {DEEPEST}"
    try:
        command = msgspec.json.decode(payload, type=_Command)
    except msgspec.ValidationError as error:
        return f"the message is no command: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "the message is not JSON"
    if not 0 < len(command.command_id) <= MAX_ID:
        return f"command_id must have 1 to {MAX_ID} characters"
    if not command.command_type:
        return "command_type must not be empty"
    return command


def _command_id(payload: bytes) -> str | None:
    try:
        id = msgspec.json.decode(payload, type=_Id).command_id if len(payload) <= MAX_PAYLOAD else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return id if id is None or len(id) <= MAX_ID else None
