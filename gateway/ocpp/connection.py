"""One charge point's websocket: frames in, answers in order, our calls beside them.

An idle connection has one task, which waits for its end. Messages are taken as they come; calls of the charge point
are answered one after another by a task that lives while there are any, so that the answers to our own calls are
seen meanwhile (J-09, J-10).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from datetime import datetime
from typing import NamedTuple

from application.ports import RegisteredChargePoint, Tenant
from commands.base import Downlink, Meta
from commands.charge_point import ConnectedReply, Disconnect, See, WantDefaults
from gateway.ocpp import metrics
from gateway.ocpp.background import later
from gateway.ocpp.credentials import Credentials
from gateway.ocpp.inbound_call import InboundCall, LogAwayError, RefusedError
from gateway.ocpp.link import Link
from gateway.ocpp.outbound import Outbound
from gateway.ocpp.ports import Frame
from gateway.ocpp.services import Services
from gateway.ocpp.socket import ChargePointSocket
from gateway.ocpp.version import Version
from protocols.ocpp import calls
from protocols.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    FrameError,
    Ignored,
    encode_error,
    encode_refusal,
    encode_result,
    parse,
)
from protocols.ocpp.message import ErrorCode, Mode, WireError
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

GONE, PROTOCOL_ERROR, POLICY, INTERNAL_ERROR, RESTART, TRY_AGAIN = 1001, 1002, 1008, 1011, 1012, 1013


class _Waiting(NamedTuple):
    """A call that came `at`; `began` and the time from which it may be answered, `due`, are the loop's."""

    call: Call
    at: datetime
    began: float
    due: float


class ChargePointConnection(Link):
    """One charge point's link, with its socket, what it has asked and what it is asked."""

    __slots__ = (
        "_ended",
        "_faults",
        "_incoming",
        "_numbers",
        "_outbound",
        "_queue",
        "_reason",
        "_seen_numbers",
        "_seen_told",
        "_socket",
        "_worker",
        "answers_pings",
        "last_seen",
        "pinged_at",
    )

    def __init__(
        self,
        services: Services,
        credentials: Credentials,
        tenant: Tenant,
        listed: RegisteredChargePoint,
        connected: ConnectedReply,
        version: Version,
    ) -> None:
        super().__init__(services, credentials, tenant, listed, connected, version)
        self.answers_pings = False
        self.last_seen = self.pinged_at = asyncio.get_running_loop().time()
        self._socket: ChargePointSocket | None = None
        self._incoming = calls.Incoming()
        self._queue: deque[_Waiting] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._outbound: Outbound | None = None
        self._numbers = itertools.count(1)
        self._seen_numbers = itertools.count(1)
        self._faults: deque[float] | None = None
        self._reason = ""
        self._ended = False
        self._seen_told = self.last_seen  # its `charge_point.connected` says it

    @property
    def is_open(self) -> bool:
        return self._socket is not None and not self._reason

    @property
    def socket(self) -> ChargePointSocket | None:
        return self._socket

    async def serve(self, socket: ChargePointSocket) -> None:
        """Until the socket is closed; then tell the log, unless another connection has taken its place."""
        self._socket = socket
        try:
            if self._reason:
                await socket.close(POLICY, self._reason)
            else:
                self._go_on()
            await socket.wait_closed()
        finally:
            await self.end(self._reason or f"closed {socket.close_code}")

    def received(self, message: bytes) -> None:
        """A message of the charge point, in the order in which they come."""
        now = self.last_seen = asyncio.get_running_loop().time()
        try:
            frame = parse(message, self.services.options.limits)
            match frame:
                case Call():
                    self._enqueue(frame, now)
                case CallResult() | CallError():
                    if self._outbound is not None:
                        self._outbound.answer(frame)
                    else:
                        metrics.FAULTS.labels("answer to nothing").inc()
                case Ignored():
                    metrics.FAULTS.labels("ignored").inc()
                case FrameError():
                    self._fault(frame, now)
        except Exception:
            logger.exception("the connection of %s/%s failed", *self.key)
            later(self.close(INTERNAL_ERROR, "internal error"))

    async def end(self, reason: str) -> None:
        """Everything that waits is over; the log hears of it, once."""
        if self._ended:
            return
        self._ended = True
        if self._outbound is not None:
            self._outbound.close("replaced" if reason == "replaced" else "disconnected")
        self._incoming, _ = calls.close_incoming(self._incoming)
        if self._worker is not None:
            self._worker.cancel()
        for taking in self.transactions.taking.values():
            taking.cancel()
        metrics.CLOSED.labels(reason if not reason.startswith("closed") else "closed").inc()
        if reason == "replaced":
            return
        tenant, charge_point_id = self.key
        command = Disconnect(tenant=tenant, charge_point_id=charge_point_id, epoch=self.epoch, reason=reason)
        meta = Meta(
            command_id=f"{self.prefix}|end",
            at=self.services.clock(),
            tenant=tenant,
            principal=f"charge_point:{charge_point_id}",
        )
        for wait in (0.5, 2.0, 5.0, None):
            try:
                await self.services.bus.tell(command, meta)
                return
            except LogUnavailableError as error:
                if wait is None:
                    logger.warning("the end of a connection could not be told: %s", error)
                    return
                await asyncio.sleep(wait)

    async def close(self, code: int, reason: str) -> None:
        """Close the socket; what was being answered stays unanswered."""
        if self._reason:
            return
        self._reason = reason
        if self._socket is not None:
            self._socket.go_on()
            await self._socket.close(code, reason)

    def abort(self, reason: str) -> None:
        """Drop the socket without a farewell: nobody is there to hear it."""
        self._reason = self._reason or reason
        if self._socket is not None:
            self._socket.transport.abort()

    def call(self, downlink: Downlink) -> None:
        """A call of ours for this connection."""
        if self._outbound is None:
            self._outbound = Outbound(self)
        self._outbound.add(downlink)

    async def send(self, frame: bytes) -> None:
        if self._socket is not None:
            self._socket.post(frame)
            await self._socket.written()

    # -- inside ------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Begin with what came before the socket was served."""
        if self._outbound is not None:
            self._outbound.pump()
        if self._queue:
            self._worker = asyncio.create_task(self._work(self._queue))

    def _enqueue(self, call: Call, now: float) -> None:
        if self._reason:
            return
        incoming = calls.receive(self._incoming, calls.Pending(call.id, call.action))
        if not isinstance(incoming, calls.Incoming):
            metrics.FAULTS.labels("duplicate id").inc()
            return
        self._incoming = incoming
        services, queue = self.services, self._queue
        if queue is None:
            queue = self._queue = deque()
        bounds = (services.options.charge_point_bytes, services.options.tenant_bytes)
        volume = services.volumes.wait(*self.key, len(call.payload), now, *bounds)
        due = now + max(volume, services.paces.wait(self.tenant, now))
        queue.append(_Waiting(call, services.clock(), now, due))
        if self._socket is None:
            return
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(queue))
        if len(queue) >= services.options.most_inbound:
            self._socket.hold()

    def _fault(self, error: FrameError, now: float) -> None:
        """J-17: answered where it has an id; too many of them end the connection."""
        metrics.FAULTS.labels(error.fault.value).inc()
        if error.answerable and error.id is not None and self._socket is not None:
            self._socket.post(encode_refusal(error.id, error))
        options = self.services.options
        if self._faults is None:
            self._faults = deque(maxlen=options.faults)
        self._faults.append(now)
        if len(self._faults) >= options.faults and now - self._faults[0] <= options.fault_window:
            later(self.close(PROTOCOL_ERROR, "malformed frames"))

    async def _work(self, queue: deque[_Waiting]) -> None:
        """Answer what waits, in order."""
        loop, few = asyncio.get_running_loop(), self.services.options.most_inbound // 2
        try:
            while queue:
                call, at, began, due = queue.popleft()
                if len(queue) == few and self._socket is not None:
                    self._socket.go_on()
                if due > began and due > (now := loop.time()):
                    await asyncio.sleep(due - now)
                await self._answer(call, at, began)
        except LogAwayError:
            await self._abandon(TRY_AGAIN, "log away")
        finally:
            self._worker = None

    async def _answer(self, call: Call, at: datetime, began: float) -> None:
        """Answer one call: with a confirmation, a CALLERROR, or not at all while the log is away."""
        await self.refresh_tenant()
        version = self.version
        lenient = self.tenant.lenient or call.action in version.always_lenient
        mode = Mode.LENIENT if lenient else Mode.STRICT
        decoded = version.decode_request(call.action, call.payload, mode=mode, received_at=at)
        if isinstance(decoded, WireError):
            await self.send(encode_refusal(call.id, decoded))
            self._finish(call, at, began, decoded.code.value, b"", "")
            return
        exchange = InboundCall(self, next(self._numbers), at, decoded.raw, decoded.flags)
        gone, payload = False, b""
        try:
            self._admit(call.action)
            payload = version.encode(await version.handlers[call.action](exchange, decoded.message))
            frame, outcome = encode_result(call.id, payload), "ok"
        except LogAwayError:
            self._finish(call, at, began, "unanswered", b"", exchange.command_id)
            raise
        except RefusedError as refused:
            frame, outcome = encode_error(call.id, refused.code, refused.description), refused.code.value
            gone = refused.gone
        except Exception:
            logger.exception("%s of %s/%s failed", call.action, *self.key)
            code = ErrorCode.INTERNAL_ERROR
            frame, outcome = encode_error(call.id, code, "the message could not be processed"), code.value
        await self.send(frame)
        self._finish(call, at, began, outcome, payload, exchange.command_id)
        if self.tenant.wishes_mark != self.wishes_mark:
            self._begin_wishes(at)
        if call.action in version.signs_of_life:
            self._tell_seen(at, exchange.command_id)
        if gone:
            await self.close(POLICY, "not registered")

    def _admit(self, action: str) -> None:
        """J-16: before the boot was accepted only boots, statuses and what would lose billing data."""
        if self.registration in ("Pending", "Rejected") and action not in self.version.before_accepted:
            raise RefusedError(ErrorCode.SECURITY_ERROR, "the BootNotification was not accepted yet")

    def _finish(
        self, call: Call, at: datetime, began: float, outcome: str, response: bytes, command_id: str
    ) -> None:
        seconds = asyncio.get_running_loop().time() - began
        metrics.answered(self.version.label(call.action), outcome, seconds)
        incoming = calls.answered(self._incoming, call.id)
        if isinstance(incoming, calls.Incoming):
            self._incoming = incoming
        tenant, charge_point_id = self.key
        self.services.frames.record(
            Frame(
                tenant=tenant,
                charge_point_id=charge_point_id,
                epoch=self.epoch,
                direction="in",
                message_id=call.id,
                action=call.action,
                request=bytes(call.payload),
                response=response,
                outcome=outcome,
                at=at,
                seconds=seconds,
                command_id=command_id,
            )
        )

    async def _abandon(self, code: int, reason: str) -> None:
        """No answer to this nor to what waits behind it: the charge point will send it all again."""
        if self._queue is not None:
            self._queue.clear()
        await self.close(code, reason)

    def ponged(self) -> None:
        """It answered a ping: told where its own heartbeats do not tell it, at most once in their interval (J-18)."""
        now = self.last_seen = asyncio.get_running_loop().time()
        self.answers_pings = True
        if now - self._seen_told >= max(self.services.options.seen_every, self.interval):
            self._begin_see(now, self.services.clock(), f"{self.prefix}|seen|{next(self._seen_numbers)}")

    def read(self, at: datetime) -> None:
        self._tell_seen(at, f"{self.prefix}|seen|{next(self._seen_numbers)}")

    def told(self) -> None:
        self._seen_told = asyncio.get_running_loop().time()

    def _tell_seen(self, at: datetime, command_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._seen_told >= self.services.options.seen_every:
            self._begin_see(now, at, command_id)

    def _begin_see(self, now: float, at: datetime, command_id: str) -> None:
        self._seen_told = now
        later(self._see(at, command_id))

    def _begin_wishes(self, at: datetime) -> None:
        """Its tenant wants something else of its charge points than this one was told."""
        self.wishes_mark = self.tenant.wishes_mark
        later(self._tell_wishes(self.tenant, at))

    async def _tell_wishes(self, tenant: Tenant, at: datetime) -> None:
        command = WantDefaults(
            tenant=tenant.id,
            charge_point_id=self.key[1],
            wishes=tenant.wishes,
            revision=tenant.settings.revision,
            mark=tenant.wishes_mark,
        )
        meta = Meta(command_id=f"{self.prefix}|wishes|{next(self._seen_numbers)}", at=at, tenant=tenant.id)
        try:
            await self.services.bus.tell(command, meta)
        except LogUnavailableError:
            self.wishes_mark = None  # told again with its next message

    async def _see(self, at: datetime, command_id: str) -> None:
        tenant, charge_point_id = self.key
        meta = Meta(command_id=command_id, at=at, tenant=tenant)
        try:
            command = See(tenant=tenant, charge_point_id=charge_point_id, epoch=self.epoch)
            await self.services.bus.tell(command, meta)
        except LogUnavailableError:
            self._seen_told = 0.0
