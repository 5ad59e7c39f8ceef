"""What each call of an OCPP 1.6 charge point becomes: message in, command to the log, confirmation out.

The table is at the foot. No business rule stands here: what is accepted, flagged or counted is decided behind the
log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from commands.charge_point import (
    Authorize,
    Boot,
    BootReply,
    DataReply,
    Notify,
    RecordMeterValues,
    ReportStatus,
    StartReply,
    StartTransaction,
    Stopped,
    StopTransaction,
    TagReply,
    TransferData,
    start_id,
    stop_id,
)
from commands.charge_point.readings import decides_nothing, taken
from commands.charge_point.sizes import fitting
from domain.values import JSONObject, Site
from gateway.ocpp.inbound_call import InboundCall, LogAwayError
from gateway.ocpp.ports import opened
from gateway.ocpp.v16.readings import newest, registers, wire_data, wire_values
from protocols.ocpp.message import Confirmation, Request
from protocols.ocpp.v16.enums import (
    AuthorizationStatus,
    DataTransferStatus,
    GenericStatus,
    RegistrationStatus,
)
from protocols.ocpp.v16.messages import core, firmware, security
from protocols.ocpp.v16.messages.parts import IdTagInfo

Handler = Callable[[InboundCall, Any], Awaitable[Confirmation]]

_TAG_LENGTH = 20
_CONTENT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


async def boot(exchange: InboundCall, message: core.BootNotificationRequest) -> Confirmation:
    """BOOT-1: accepted unless the tenant is suspended."""
    tenant = exchange.tenant
    reply = await exchange.ask(
        Boot(
            tenant=tenant.id,
            charge_point_id=exchange.charge_point_id,
            vendor=message.charge_point_vendor,
            model=message.charge_point_model,
            charge_point_serial_number=message.charge_point_serial_number or "",
            charge_box_serial_number=message.charge_box_serial_number or "",
            firmware_version=message.firmware_version or "",
            iccid=message.iccid or "",
            imsi=message.imsi or "",
            meter_type=message.meter_type or "",
            meter_serial_number=message.meter_serial_number or "",
            status="Accepted" if tenant.active else "Rejected",
            interval=tenant.heartbeat_interval,
            flags=exchange.flags,
        ),
        BootReply,
    )
    exchange.connection.registered(reply.status, reply.interval)
    return core.BootNotificationConfirmation(
        status=RegistrationStatus(reply.status), current_time=exchange.now(), interval=reply.interval
    )


async def heartbeat(exchange: InboundCall, message: core.HeartbeatRequest) -> Confirmation:
    """Answered at once, whatever the log does; the connection tells that it was seen."""
    return core.HeartbeatConfirmation(current_time=exchange.now())


async def authorize(exchange: InboundCall, message: core.AuthorizeRequest) -> Confirmation:
    """While the log is away, what is known of the tag is the answer (architecture, rule 3)."""
    services = exchange.connection.services
    tag, authorization = await services.authorizer.resolve(
        exchange.tenant.id, exchange.charge_point_id, message.id_tag, False
    )
    reply = TagReply(
        status=authorization.status,
        expires_at=authorization.expires_at,
        parent_sealed=authorization.parent_sealed,
    )
    if not services.health.away(asyncio.get_running_loop().time()):
        command = Authorize(
            tenant=exchange.tenant.id,
            charge_point_id=exchange.charge_point_id,
            id_tag=tag,
            authorization=authorization,
            flags=exchange.flags,
        )
        with contextlib.suppress(LogAwayError):
            reply = await exchange.ask(command, TagReply, patience=services.options.authorize_patience)
    return core.AuthorizeConfirmation(
        id_tag_info=await _tag_info(exchange, reply.status, reply.expires_at, reply.parent_sealed)
    )


async def start_transaction(exchange: InboundCall, message: core.StartTransactionRequest) -> Confirmation:
    """Command id by content (START-6)."""
    tenant = exchange.tenant
    (tag, authorization), (site, tariffs) = await asyncio.gather(
        exchange.connection.services.authorizer.resolve(
            tenant.id, exchange.charge_point_id, message.id_tag, True
        ),
        _place(exchange, message.connector_id),
    )
    command = StartTransaction(
        tenant=tenant.id,
        charge_point_id=exchange.charge_point_id,
        connector_id=message.connector_id,
        id_tag=tag,
        meter_start=message.meter_start,
        timestamp=message.timestamp,
        reservation_id=message.reservation_id,
        authorization=authorization,
        settings=tenant.settings,
        tariffs=tuple(tariffs),
        site=site,
        flags=exchange.flags,
    )
    if authorization.status == "Accepted" and not tenant.settings.concurrent_transactions:
        elsewhere = await exchange.claim(tag.key)
        command = msgspec.structs.replace(command, charges_elsewhere=elsewhere)
    reply = await exchange.ask(fitting(command), StartReply, command_id=start_id(command))
    exchange.connection.transactions.started(reply, message.connector_id)
    return core.StartTransactionConfirmation(
        transaction_id=reply.transaction_id,
        id_tag_info=await _tag_info(exchange, reply.status, reply.expires_at, reply.parent_sealed),
    )


async def meter_values(exchange: InboundCall, message: core.MeterValuesRequest) -> Confirmation:
    """MV-2: always an empty answer, once the record is durable: a reading that decides nothing, or else a command,
    which carries the readings of its transaction before it."""
    samples, flags = registers(message.meter_value)
    command = RecordMeterValues(
        tenant=exchange.tenant.id,
        charge_point_id=exchange.charge_point_id,
        connector_id=message.connector_id,
        transaction_id=message.transaction_id,
        values=wire_values(exchange.payload),
        samples=samples,
        timestamp=newest(message.meter_value),
        relay_every=exchange.tenant.relay_every,
        call=exchange.call,
        flags=(*exchange.flags, *flags),
    )
    connection, story = exchange.connection, exchange.story(message.transaction_id)
    transactions, running = connection.transactions, None
    with contextlib.suppress(
        LogAwayError
    ):  # then it is told, and what was left beside is carried by a later one
        patience = connection.services.options.authorize_patience
        running = await exchange.transaction(message.transaction_id or 0, patience)
    contexts = {sample.context for value in message.meter_value for sample in value.sampled_value}
    at, now = exchange.at, exchange.now()
    if decides_nothing(command, running, contexts, at, now, transactions.clock_offset_s):
        reading = taken(command, story, at, transactions.clock_offset_s)
        assert running is not None
        running.add(await exchange.note(reading, correlation_id=story), reading)
        connection.read(at)
        return core.MeterValuesConfirmation()
    command = fitting(command)
    if running is None:
        await exchange.tell(command, correlation_id=story)
        return core.MeterValuesConfirmation()
    carried = await exchange.mark(running)
    command = msgspec.structs.replace(command, gathered=tuple(running.gathered), carried=carried)
    await exchange.tell(command, correlation_id=story)
    running.told(carried)
    connection.told()
    if not await connection.still_listed():
        transactions.doubt()
    return core.MeterValuesConfirmation()


async def stop_transaction(exchange: InboundCall, message: core.StopTransactionRequest) -> Confirmation:
    """Command id by content (STOP-4); idTagInfo only for a tag that was sent (STOP-2)."""
    tag = authorization = None
    if message.id_tag:
        tag, authorization = await exchange.connection.services.authorizer.resolve(
            exchange.tenant.id, exchange.charge_point_id, message.id_tag, True
        )
    running = await exchange.transaction(message.transaction_id)
    samples, flags = registers(message.transaction_data or ())
    command = StopTransaction(
        tenant=exchange.tenant.id,
        charge_point_id=exchange.charge_point_id,
        transaction_id=message.transaction_id,
        meter_stop=message.meter_stop,
        timestamp=message.timestamp,
        id_tag=tag,
        authorization=authorization,
        reason=(message.reason or "Local"),
        samples=samples,
        data=wire_data(exchange.payload),
        flags=(*exchange.flags, *flags),
    )
    if running is not None:
        gathered = tuple(running.gathered)
        command = msgspec.structs.replace(command, gathered=gathered, carried=running.carried)
    reply = await exchange.ask(
        fitting(command),
        Stopped,
        command_id=stop_id(command),
        correlation_id=exchange.story(message.transaction_id),
    )
    exchange.connection.transactions.stopped(message.transaction_id)
    info = (
        await _tag_info(exchange, reply.status, reply.expires_at, reply.parent_sealed)
        if reply.status
        else None
    )
    return core.StopTransactionConfirmation(id_tag_info=info)


async def status_notification(exchange: InboundCall, message: core.StatusNotificationRequest) -> Confirmation:
    await exchange.tell(
        ReportStatus(
            tenant=exchange.tenant.id,
            charge_point_id=exchange.charge_point_id,
            connector_id=message.connector_id,
            status=message.status,
            error_code=message.error_code,
            info=message.info or "",
            vendor_id=message.vendor_id or "",
            vendor_error_code=message.vendor_error_code or "",
            timestamp=message.timestamp,
            call=exchange.call,
            flags=exchange.flags,
        )
    )
    exchange.connection.transactions.doubt()
    return core.StatusNotificationConfirmation()


async def data_transfer(exchange: InboundCall, message: core.DataTransferRequest) -> Confirmation:
    """No vendor is known here: UnknownVendorId, without data."""
    reply = await exchange.ask(
        TransferData(
            tenant=exchange.tenant.id,
            charge_point_id=exchange.charge_point_id,
            vendor_id=message.vendor_id,
            message_id=message.message_id or "",
            status=DataTransferStatus.UNKNOWN_VENDOR_ID,
            size=len(message.data or ""),
        ),
        DataReply,
    )
    return core.DataTransferConfirmation(status=DataTransferStatus(reply.status))


def notification(action: str, answer: Confirmation) -> Handler:
    """A notification that is only noted, content as on the wire."""

    async def handle(exchange: InboundCall, message: Request) -> Confirmation:
        timestamp = getattr(message, "timestamp", None)
        await exchange.tell(
            Notify(
                tenant=exchange.tenant.id,
                charge_point_id=exchange.charge_point_id,
                action=action,
                content=_CONTENT.decode(exchange.payload),
                timestamp=timestamp,
                call=exchange.call,
                flags=exchange.flags,
            )
        )
        return answer

    return handle


async def _tag_info(
    exchange: InboundCall, status: str, expires_at: datetime | None, parent_sealed: str
) -> IdTagInfo:
    """idTagInfo; a parent id tag that does not fit the wire is left out (AUTH-2)."""
    parent = await opened(exchange.connection.services.vault, parent_sealed)
    return IdTagInfo(
        status=AuthorizationStatus(status),
        expiry_date=expires_at,
        parent_id_tag=parent if 0 < len(parent) <= _TAG_LENGTH else None,
    )


async def _place(exchange: InboundCall, connector_id: int) -> tuple[Site | None, list[JSONObject]]:
    """The master data of its Location, and the tariffs of a connector, as they are now."""
    tenant, listed = exchange.tenant, await exchange.connection.refreshed()
    tariff_ids = _tariff_ids(listed.evses, connector_id, tenant.default_tariff_id)
    return listed.site, await exchange.connection.services.tariffs.snapshot(tenant.id, tariff_ids)


def _tariff_ids(evses: tuple[Any, ...], connector_id: int, default: str) -> tuple[str, ...]:
    if 0 < connector_id <= len(evses):
        for connector in evses[connector_id - 1].connectors:
            if connector.tariff_ids:
                return tuple(connector.tariff_ids)
    return (default,) if default else ()


HANDLERS: dict[str, Handler] = {
    "BootNotification": boot,
    "Heartbeat": heartbeat,
    "Authorize": authorize,
    "StartTransaction": start_transaction,
    "MeterValues": meter_values,
    "StopTransaction": stop_transaction,
    "StatusNotification": status_notification,
    "DataTransfer": data_transfer,
    "FirmwareStatusNotification": notification(
        "FirmwareStatusNotification", firmware.FirmwareStatusNotificationConfirmation()
    ),
    "DiagnosticsStatusNotification": notification(
        "DiagnosticsStatusNotification", firmware.DiagnosticsStatusNotificationConfirmation()
    ),
    "LogStatusNotification": notification(
        "LogStatusNotification", security.LogStatusNotificationConfirmation()
    ),
    "SecurityEventNotification": notification(
        "SecurityEventNotification", security.SecurityEventNotificationConfirmation()
    ),
    "SignedFirmwareStatusNotification": notification(
        "SignedFirmwareStatusNotification", security.SignedFirmwareStatusNotificationConfirmation()
    ),
    # There is no certificate authority behind this central system: an operator sees the request and acts.
    "SignCertificate": notification(
        "SignCertificate", security.SignCertificateConfirmation(status=GenericStatus.REJECTED)
    ),
}

BEFORE_ACCEPTED = frozenset(
    {"BootNotification", "StatusNotification", "StartTransaction", "StopTransaction", "MeterValues"}
)
"""What is taken although the last boot was answered Pending or Rejected (BOOT-4, J-15, J-16)."""

SIGNS_OF_LIFE = frozenset({"Heartbeat"})
"""What says nothing but that it is alive."""
