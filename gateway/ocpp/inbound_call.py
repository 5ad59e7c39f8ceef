"""One call of a charge point on its way to an answer: what its handler may use.

A handler asks or tells commands through it. The log being away is waited out for `patience` seconds under the same
command id; then `LogAwayError` ends the connection without an answer, so that the charge point sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import TypeVar

import msgspec

from application.ports import RegisteredChargePoint, Tenant
from commands.base import Meta, Refusal
from commands.charge_point import ChargePointCommand, TakenOver, TakeOver
from commands.charge_point.readings import Running
from commands.tag import ClaimTag, TagClaimReply
from domain.aggregate import UnknownEventError
from domain.charge_point import ReadingTaken, charge_point_key, session_id
from domain.errors import ChargeSphereError
from domain.values import CallNumber, Carried
from gateway.ocpp.link import Link
from gateway.ocpp.transactions import mark
from protocols.ocpp.message import ErrorCode
from streams.log import LogError, LogUnavailableError

_R = TypeVar("_R")
_S = TypeVar("_S", bound=msgspec.Struct)
logger = logging.getLogger(__name__)

_session_id = lru_cache(maxsize=50_000)(session_id)  # each message of a transaction asks for it


class LogAwayError(ChargeSphereError):
    """The log did not take the message in time: no answer, and the socket is closed with 1013."""


class RefusedError(ChargeSphereError):
    """The call gets a CALLERROR; `gone` closes the socket after it."""

    def __init__(self, code: ErrorCode, description: str, *, gone: bool = False) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.gone = gone


class InboundCall:
    """The call being answered, and its number on this connection.

    `at` is when it was received, `payload` its bytes, `flags` what was odd about it.
    """

    __slots__ = ("_began", "at", "call", "command_id", "connection", "flags", "payload")

    def __init__(
        self,
        connection: Link,
        number: int,
        at: datetime,
        payload: bytes,
        flags: tuple[str, ...],
    ) -> None:
        self.connection = connection
        self.call = CallNumber(epoch=connection.epoch, number=number)
        self.command_id = f"{connection.prefix}|{number}"
        self.at = at
        self.payload = payload
        self.flags = flags
        self._began = asyncio.get_running_loop().time()

    @property
    def tenant(self) -> Tenant:
        return self.connection.tenant

    @property
    def charge_point_id(self) -> str:
        return self.connection.listed.charge_point_id

    @property
    def listed(self) -> RegisteredChargePoint:
        return self.connection.listed

    def now(self) -> datetime:
        return self.connection.services.clock()

    def meta(self, correlation_id: str = "") -> Meta:
        return Meta(
            command_id=self.command_id,
            at=self.at,
            tenant=self.tenant.id,
            correlation_id=correlation_id or self.command_id,
            principal=f"charge_point:{self.charge_point_id}",
        )

    def story(self, transaction_id: int | None) -> str:
        """The correlation id of messages that name a transaction: its session's id."""
        if transaction_id is None or transaction_id <= 0:
            return ""
        return _session_id(self.tenant.id, self.charge_point_id, transaction_id)

    async def ask(
        self,
        command: ChargePointCommand,
        reply: type[_S],
        *,
        command_id: str = "",
        correlation_id: str = "",
        patience: float | None = None,
    ) -> _S:
        """The decision's reply. Raises LogAwayError, or RefusedError where the decision was a refusal.

        With a `patience` of its own it is answered without the log after that, so it is not decided later either.
        """
        self.command_id = command_id or self.command_id
        meta = self.meta(correlation_id)
        if patience is not None:
            meta = msgspec.structs.replace(meta, deadline=self.at + timedelta(seconds=patience))
        bus = self.connection.services.bus
        found = await self._patiently(lambda left: bus.ask(command, meta, left), patience)
        if found.refusal is Refusal.UNKNOWN:
            raise RefusedError(ErrorCode.SECURITY_ERROR, "the charge point is not registered here", gone=True)
        if found.refusal is Refusal.EXPIRED and patience is not None:
            raise LogAwayError
        if found.refusal is not None:
            raise RefusedError(ErrorCode.INTERNAL_ERROR, "the message could not be processed")
        return msgspec.json.decode(found.result, type=reply)

    async def claim(self, tag: str) -> bool:
        """Whether another charge point of the tenant has the tag; else this one has. Raises LogAwayError."""
        command = ClaimTag(tenant=self.tenant.id, key=tag, charge_point_id=self.charge_point_id)
        meta = msgspec.structs.replace(self.meta(), command_id=f"{self.command_id}|tag")
        bus = self.connection.services.bus
        reply = await self._patiently(lambda left: bus.ask(command, meta, left), None)
        return reply.refusal is None and msgspec.json.decode(reply.result, type=TagClaimReply).elsewhere

    async def tell(self, command: ChargePointCommand, *, correlation_id: str = "") -> None:
        """Returns once the command is durable. Raises LogAwayError."""
        meta = self.meta(correlation_id)
        bus = self.connection.services.bus

        await self._patiently(lambda left: bus.tell(command, meta), None)

    async def note(self, reading: ReadingTaken, *, correlation_id: str = "") -> int:
        """The offset of the reading once it is durable; no decision follows. Raises LogAwayError."""
        meta = self.meta(correlation_id)
        readings = self.connection.services.readings
        return await self._patiently(lambda left: readings.append(reading, meta), None)

    async def transaction(self, number: int, patience: float | None = None) -> Running | None:
        """What is known of a transaction; of one that began on a connection before, the log is asked once, and what
        earlier edges left beside the events is read. Who has no patience for that leaves it to whoever names the
        transaction next. Raises LogAwayError, also where that cannot be read: it is damaged, or an edge of a newer
        release has written it.
        """
        transactions = self.connection.transactions
        if transactions.is_older(number):
            taking = transactions.taking.get(number)
            if taking is None:
                taking = asyncio.create_task(self._take_over(number))
                transactions.take(number, taking)
            try:
                async with asyncio.timeout_at(self._deadline(patience)):
                    await asyncio.shield(taking)
            except TimeoutError:
                raise LogAwayError from None
        return transactions.known.get(number)

    async def _take_over(self, number: int) -> None:
        transactions, services = self.connection.transactions, self.connection.services
        began = transactions.next
        command = TakeOver(tenant=self.tenant.id, charge_point_id=self.charge_point_id, transaction_id=number)
        meta = msgspec.structs.replace(self.meta(), command_id=f"{self.command_id}|transaction")
        reply = await self._patiently(lambda left: services.bus.ask(command, meta, left), None)
        if reply.refusal is not None:
            return
        taken = msgspec.json.decode(reply.result, type=TakenOver)
        found: Sequence[tuple[int, ReadingTaken]] = ()
        if taken.carried is not None:
            look = partial(services.readings.behind, command.aggregate_id, number, taken.carried)
            try:
                found = await self._patiently(lambda left: look(), None, reads=True)
            except (LogError, UnknownEventError) as error:
                who = self.connection.key
                logger.error("what was read beside transaction %d of %s/%s: %s", number, *who, error)
                raise LogAwayError from error
        if transactions.next == began:  # else what has begun since may have ended it
            transactions.taken_over(number, taken, found)

    async def mark(self, running: Running) -> Carried:
        """Behind which readings of the transaction will stand from now on. Raises LogAwayError."""
        known = running.carried
        if known is None:
            charge_point = charge_point_key(self.tenant.id, self.charge_point_id)
            readings = self.connection.services.readings
            end = await self._patiently(lambda left: readings.end(charge_point), None)
            return mark(end - 1, None, self.at, self.tenant.relay_every)
        return mark(known.offset, known.call, self.at, self.tenant.relay_every)

    def _deadline(self, patience: float | None) -> float:
        return self._began + (self.connection.services.options.patience if patience is None else patience)

    async def _patiently(
        self, attempt: Callable[[float], Awaitable[_R]], patience: float | None, *, reads: bool = False
    ) -> _R:
        """Again while the log is away. What only `reads` takes no place from its tenant's messages."""
        services = self.connection.services
        loop, deadline = asyncio.get_running_loop(), self._deadline(patience)
        while (left := deadline - loop.time()) > 0:
            try:
                share = contextlib.nullcontext() if reads else services.shares.of(self.tenant)
                async with asyncio.timeout(left), share:
                    result = await attempt(deadline - loop.time())
                services.health.answered()
                return result
            except (LogUnavailableError, TimeoutError):
                if patience is None:
                    services.health.failed(loop.time())
                await asyncio.sleep(min(0.1, max(0.0, deadline - loop.time())))
        raise LogAwayError
