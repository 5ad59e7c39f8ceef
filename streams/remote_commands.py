"""A remote command that somebody asks for, by REST or by MQTT: checked, sealed, and handed to the log.

What enters: who asks, which charge point, what for. What leaves: the decision's reply, whose `result` is a
`commands.remote_command.Status`, or what is wrong with the request. It waits for no charge point: what became of the
command is read by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from commands.base import Command, Meta, Refusal
from commands.remote_command import RequestRemoteCommand
from commands.remote_command_request import (
    REMOTE_START,
    AskedCommand,
    ParameterError,
    ask,
    private_texts,
    sealed,
    session_to_stop,
    with_transaction,
)
from domain.tenant import Configuration
from domain.values import Authorization, JSONObject, TagRef
from projections.store import HUB, ReadStore, tenant_database
from projections.tenant import configuration_of
from streams.envelope import Reply
from streams.vault import Vault

__all__ = [
    "Authorizer",
    "ParameterError",
    "RemoteCommandPorts",
    "request_remote_command",
]

LONGEST_ID = 128


class Authorizer(Protocol):
    """What is known of an id tag now."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        """The tag's reference and its authorization; never raises."""
        ...


class Asker(Protocol):
    """The way into the log; `streams.bus.CommandBus`."""

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply: ...


@dataclass(frozen=True, slots=True)
class RemoteCommandPorts:
    """What it takes to ask for a remote command."""

    store: ReadStore
    bus: Asker
    vault: Vault
    authorizer: Authorizer
    clock: Callable[[], datetime]


async def request_remote_command(
    ports: RemoteCommandPorts,
    *,
    tenant: str,
    charge_point_id: str,
    command_type: str,
    parameters: JSONObject,
    command_id: str,
    principal: str,
    role: str = "operator",
) -> Reply | ParameterError:
    """The reply: accepted with the command's status, UNKNOWN for a foreign or unknown charge point, CONFLICT where
    the command id was used for another request. Raises LogUnavailable, StoreUnavailable, DestroyedError."""
    if not 0 < len(command_id) <= LONGEST_ID or not command_id.isprintable():
        return ParameterError("command_id", f"must have 1 to {LONGEST_ID} printable characters")
    database = tenant_database(tenant)
    if await ports.store.get(database, "charge_points", charge_point_id) is None:
        return Reply(refusal=Refusal.UNKNOWN, message=f"charge point {charge_point_id} is not known")
    exact = await _exact(ports.store, database, charge_point_id, command_type, parameters)
    if isinstance(exact, ParameterError):
        return exact
    fingerprint = ports.vault.digest("remote_command", _canonical(charge_point_id, exact))
    tag: TagRef | None = None
    authorization: Authorization | None = None
    if exact.action == REMOTE_START:
        tag, authorization = await ports.authorizer.resolve(
            tenant, charge_point_id, exact.payload["idTag"], False
        )
    kept = await _sealed(ports.vault, tenant, charge_point_id, exact)
    now = ports.clock()
    command = RequestRemoteCommand(
        tenant=tenant,
        command_id=command_id,
        charge_point_id=charge_point_id,
        command_type=command_type,
        parameters=kept.parameters,
        action=kept.action,
        payload=kept.payload,
        id_tag=tag,
        authorization=authorization,
        fingerprint=fingerprint,
        by=f"{role}:{principal}",
        expires_at=now + await _patience(ports.store, tenant),
    )
    # With the fingerprint in it: a repeat gets the stored reply, another body comes to the decision and conflicts.
    meta = Meta(
        command_id=f"remote|{tenant}|{command_id}|{fingerprint}",
        at=now,
        tenant=tenant,
        correlation_id=f"remote|{tenant}|{command_id}",
        principal=f"{role}:{principal}",
    )
    return await ports.bus.ask(command, meta)


async def _exact(
    store: ReadStore, database: str, charge_point_id: str, command_type: str, parameters: JSONObject
) -> AskedCommand | ParameterError:
    session_id = session_to_stop(command_type, parameters)
    if isinstance(session_id, ParameterError):
        return session_id
    if session_id:
        session = await store.get(database, "sessions", session_id)
        transaction = session.get("transaction_id") if session else None
        if session is None or session.get("charge_point_id") != charge_point_id:
            return ParameterError("parameters.session_id", "no session of this charge point")
        if not isinstance(transaction, int):
            return ParameterError("parameters.session_id", "the session has no transaction")
        parameters = with_transaction(parameters, transaction)
    return ask(command_type, parameters)


async def _sealed(vault: Vault, tenant: str, charge_point_id: str, asked: AskedCommand) -> AskedCommand:
    tags: dict[str, str] = {}
    secrets: dict[str, str] = {}
    subject = vault.digest("charge_point", f"{tenant}|{charge_point_id}")
    for text, is_tag in private_texts(asked):
        if is_tag:
            tags[text] = await vault.seal(vault.token_key("RFID", text), text)
        else:
            secrets[text] = await vault.seal(subject, text)
    return sealed(asked, tags, secrets) if tags or secrets else asked


async def _patience(store: ReadStore, tenant: str) -> timedelta:
    """How long the answer may take: the tenant's `message_timeouts.call_seconds`."""
    document = await store.get(HUB, "tenants", tenant)
    configuration = Configuration() if document is None else configuration_of(document)
    return timedelta(seconds=configuration.message_timeouts.call_seconds)


def _canonical(charge_point_id: str, asked: AskedCommand) -> str:
    return msgspec.json.encode([charge_point_id, asked.action, asked.payload], order="deterministic").decode()
