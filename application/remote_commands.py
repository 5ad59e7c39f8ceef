"""A remote command that somebody asks for, by REST or by MQTT: checked, sealed, and handed to the log.

What enters: who asks, which charge point, what for. What leaves: the decision's reply, whose `result` is a
`commands.remote_command.Status`, or what is wrong with the request. It waits for no charge point: what became of the
command is read by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from application.ports import Authorizer, Bus
from application.token_store import GROUP
from application.vault import Vault
from commands.base import Meta, Refusal
from commands.charge_point import Find, Found
from commands.remote_command import RequestRemoteCommand, remote_command_story
from commands.remote_command_request import (
    Fits,
    ask,
    private_texts,
    sealed,
    session_to_stop,
    switched_off,
    tells_key,
    with_transaction,
)
from commands.remote_command_rules import ParameterError
from domain.intents import Intent, RemoteStart, ReserveNow
from domain.remote_command import EXPIRY_LONGEST
from domain.tenant import Configuration
from domain.token import owner_text
from domain.values import Authorization, JSONObject, TagRef
from domain.work import is_step_id
from projections.store import HUB, Document, ReadStore, tenant_database
from projections.tenant import configuration_of
from streams.log.envelope import Reply

LONGEST_ID = 128
MAY_TELL_KEYS: Final = frozenset({"tenant_admin", "platform_admin"})
"""Who may set the password of a charge point over OCPP, as over REST."""


@dataclass(frozen=True, slots=True)
class RemoteCommandPorts:
    """What it takes to ask for a remote command. `fits` knows what the version of OCPP can say."""

    store: ReadStore
    bus: Bus
    vault: Vault
    authorizer: Authorizer
    clock: Callable[[], datetime]
    fits: Fits


async def request_remote_command(
    ports: RemoteCommandPorts,
    *,
    tenant: str,
    charge_point_id: str,
    command_type: str,
    parameters: JSONObject,
    command_id: str,
    principal: str,
    role: str,
    expiry_seconds: int | None = None,
    override: bool = False,
) -> Reply | ParameterError:
    """The reply: accepted with the command's status, UNKNOWN for a foreign or unknown charge point, CONFLICT where
    the command id was used for another request, FORBIDDEN where the role may not, NOT_ALLOWED where the tenant has
    switched the feature off. `expiry_seconds` is how long it may wait to be sent, else as the tenant says.

    Raises LogUnavailableError, StoreUnavailableError, DestroyedError."""
    if not 0 < len(command_id) <= LONGEST_ID or not command_id.isprintable():
        return ParameterError("command_id", f"must have 1 to {LONGEST_ID} printable characters")
    if is_step_id(command_id):
        return ParameterError("command_id", "is for an item of a job")
    most = int(EXPIRY_LONGEST.total_seconds())
    if expiry_seconds is not None and not 1 <= expiry_seconds <= most:
        return ParameterError("expiry_seconds", f"must be between 1 and {most}")
    place = Place(ports, tenant, charge_point_id, principal=principal)
    unknown = await place.unknown()
    if unknown is not None:
        return unknown
    intent = await _intent(place, command_type, parameters, ports)
    if isinstance(intent, ParameterError):
        return intent
    if (refused := may_not_tell(intent, role)) is not None:
        return refused
    configuration = await configuration_in(ports.store, tenant)
    if (refused := not_switched_on(intent, command_type, configuration)) is not None:
        return refused
    mark = _canonical(charge_point_id, intent, expiry_seconds, override)
    fingerprint = ports.vault.digest("remote_command", mark)
    tag: TagRef | None = None
    authorization: Authorization | None = None
    warning = ""
    if isinstance(intent, RemoteStart):
        tag, authorization = await ports.authorizer.resolve(tenant, charge_point_id, intent.id_tag, False)
        warning = _warning(authorization)
    elif isinstance(intent, ReserveNow):
        tag, authorization = await ports.authorizer.resolve(tenant, charge_point_id, intent.id_tag, True)
        if intent.parent_id_tag:
            group = ports.vault.token_key(GROUP, intent.parent_id_tag)
            authorization = msgspec.structs.replace(authorization, parent=group)
    kept = await sealed_in(ports.vault, tenant, "charge_point", f"{tenant}|{charge_point_id}", intent)
    now = ports.clock()
    expiry = timedelta(seconds=expiry_seconds or configuration.message_timeouts.expiry_seconds)
    command = RequestRemoteCommand(
        tenant=tenant,
        command_id=command_id,
        charge_point_id=charge_point_id,
        command_type=command_type,
        intent=kept,
        id_tag=tag,
        authorization=authorization,
        fingerprint=fingerprint,
        by=principal,
        expires_at=now + min(expiry, EXPIRY_LONGEST),
        override=override,
        warning=warning,
    )
    # With the fingerprint in it: a repeat gets the stored reply, another body comes to the decision and conflicts.
    meta = Meta(
        command_id=f"remote|{tenant}|{command_id}|{fingerprint}",
        at=now,
        tenant=tenant,
        correlation_id=remote_command_story(tenant, command_id),
        principal=principal,
    )
    return await ports.bus.ask(command, meta)


def may_not_tell(intent: Intent, role: str) -> Reply | None:
    """The refusal where it would set the password of a charge point, and the role may not."""
    if tells_key(intent) and role not in MAY_TELL_KEYS:
        message = f"AuthorizationKey is set by a tenant admin only, not by a {role}"
        return Reply(refusal=Refusal.FORBIDDEN, message=message)
    return None


def not_switched_on(intent: Intent, command_type: str, configuration: Configuration) -> Reply | None:
    """The refusal where the tenant has switched off the feature that it needs."""
    if feature := switched_off(intent, configuration.features):
        message = f"{command_type} is not allowed: the tenant has switched features.{feature} off"
        return Reply(refusal=Refusal.NOT_ALLOWED, message=message)
    return None


class Place:
    """The charge point that is asked: what the read model does not show yet, the log itself is asked for."""

    def __init__(
        self, ports: RemoteCommandPorts, tenant: str, charge_point_id: str, *, principal: str
    ) -> None:
        self._ports = ports
        self._tenant = tenant
        self._charge_point_id = charge_point_id
        self._principal = principal

    async def unknown(self) -> Reply | None:
        """The refusal where nobody knows it."""
        if await self._read("charge_points", self._charge_point_id) is not None:
            return None
        reply = await self._find("")
        return reply if reply.refusal is not None else None

    async def transaction(self, session_id: str) -> int | None:
        """The transaction of one of its sessions, running or over."""
        session = await self._read("sessions", session_id)
        if session is None:
            reply = await self._find(session_id)
            return msgspec.json.decode(reply.result, type=Found).transaction_id if not reply.refusal else None
        number = session.get("transaction_id")
        here = session.get("charge_point_id") == self._charge_point_id
        return number if here and isinstance(number, int) else None

    async def _read(self, collection: str, id: str) -> Document | None:
        return await self._ports.store.get(tenant_database(self._tenant), collection, id)

    async def _find(self, session_id: str) -> Reply:
        command = Find(tenant=self._tenant, charge_point_id=self._charge_point_id, session_id=session_id)
        meta = Meta(
            command_id=f"find|{self._tenant}|{uuid4()}",
            at=self._ports.clock(),
            tenant=self._tenant,
            principal=self._principal,
        )
        return await self._ports.bus.ask(command, meta)


async def _intent(
    place: Place, command_type: str, parameters: JSONObject, ports: RemoteCommandPorts
) -> Intent | ParameterError:
    session_id = session_to_stop(command_type, parameters)
    if isinstance(session_id, ParameterError):
        return session_id
    if session_id:
        transaction = await place.transaction(session_id)
        if transaction is None:
            return ParameterError("parameters.session_id", "no session of this charge point")
        parameters = with_transaction(parameters, transaction)
    return ask(command_type, parameters, ports.clock(), ports.fits)


def _warning(authorization: Authorization) -> str:
    """What to say of a tag that will not charge."""
    if authorization.status == "Accepted":
        return ""
    if authorization.source == "unknown":
        return "the id tag is not known: its charge will be refused as Invalid"
    return f"the id tag is {authorization.status} now: its charge will be refused"


async def sealed_in(vault: Vault, tenant: str, kind: str, owner: str, asked: Intent) -> Intent:
    """The intent with its id tags sealed for whom they name, and its secrets for the owner of this kind."""
    tags: dict[str, str] = {}
    secrets: dict[str, str] = {}
    subject = vault.digest(kind, owner)
    for text, is_tag in private_texts(asked):
        if is_tag:
            whom = vault.subject(owner_text(None, tenant), vault.token_key("RFID", text))
            tags[text] = await vault.seal(whom, text)
        else:
            secrets[text] = await vault.seal(subject, text)
    return sealed(asked, tags, secrets) if tags or secrets else asked


async def configuration_in(store: ReadStore, tenant: str) -> Configuration:
    """The tenant's settings, as the read model has them."""
    document = await store.get(HUB, "tenants", tenant)
    return Configuration() if document is None else configuration_of(document)


def _canonical(charge_point_id: str, asked: Intent, expiry_seconds: int | None, override: bool) -> str:
    request = [charge_point_id, asked, expiry_seconds, override]
    return msgspec.json.encode(request, order="deterministic").decode()
