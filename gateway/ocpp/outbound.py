"""Our calls to one charge point: a queue by priority, one outstanding call, each told how it ended.

In: downlinks, answers, the end of the connection. Out: frames to send, and one `ConcludeCall` for each call. The rule
of one call at a time is the state machine `protocols.ocpp.calls`; nothing here ever blocks the reader.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from commands.base import Downlink, Meta
from commands.charge_point import ConcludeCall, OfferCredentials, SetCredentials
from domain.charge_point.state import is_secret_key
from domain.values import JSONObject
from gateway.ocpp import metrics
from gateway.ocpp.background import later
from gateway.ocpp.ports import Frame, opened
from protocols.ocpp import calls
from protocols.ocpp.actions import Direction
from protocols.ocpp.frames import CallError, CallResult, encode_call
from protocols.ocpp.message import Mode, WireError
from protocols.ocpp.v16.codec import decode_confirmation, decode_request
from streams.log import LogUnavailable

if TYPE_CHECKING:
    from gateway.ocpp.connection import Connection

logger = logging.getLogger(__name__)

GOOD: Final = frozenset({"Accepted", "Unlocked", "RebootRequired", "Scheduled", "AcceptedCanceled"})
PRIORITIES: Final = {
    "RemoteStopTransaction": 0,
    "UnlockConnector": 0,
    "Reset": 0,
    "RemoteStartTransaction": 1,
    "ReserveNow": 1,
    "CancelReservation": 1,
    "ChangeAvailability": 1,
    "SetChargingProfile": 1,
    "ClearChargingProfile": 1,
}
"""Lower goes first (J-10): what a driver waits for before configuration, which is 2."""
_REMEMBERED = 64
_RETRIES = (0.2, 1.0, 3.0, 10.0)
_SECRET = "authorizationkey"
_SEALED = "s1."
_LONGEST_TAG = 20


class Outbound:
    """The calls to one connection; made when the first downlink comes."""

    __slots__ = (
        "_clear",
        "_connection",
        "_machine",
        "_numbers",
        "_offered",
        "_queue",
        "_seen",
        "_sending",
        "_sent_at",
        "_timer",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._machine = calls.Outgoing()
        self._numbers = itertools.count(1)
        self._queue: list[tuple[int, int, Downlink]] = []
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self._sending: Downlink | None = None
        self._clear: bytes = b""
        self._offered = ""  # the hash of the AuthorizationKey that is being told
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, downlink: Downlink) -> None:
        """Queue a call; the same command id again is nothing new."""
        if downlink.command_id in self._seen:
            metrics.DROPPED.labels("repeat").inc()
            return
        self._seen.append(downlink.command_id)
        if len(self._queue) >= self._connection.services.options.most_outbound:
            self._conclude(downlink, "failed", "too many calls wait for this charge point")
            return
        heapq.heappush(self._queue, (PRIORITIES.get(downlink.action, 2), next(self._numbers), downlink))
        self.pump()

    def pump(self) -> None:
        """Send the next call if none is outstanding and the socket is open."""
        now = self._connection.services.clock.now()
        while self._queue and self._sending is None and self._connection.is_open:
            downlink = heapq.heappop(self._queue)[2]
            if downlink.expires_at <= now:
                self._conclude(downlink, "expired", "its time was over before it could be sent")
                continue
            self._sending = downlink
            later(self._send(downlink))

    def answer(self, reply: CallResult | CallError) -> None:
        """A CALLRESULT or CALLERROR came."""
        self._machine, outcome = calls.answer(self._machine, reply)
        if not isinstance(outcome, calls.Matched):
            metrics.FAULTS.labels(
                "late answer" if isinstance(outcome, calls.Late) else "answer to nothing"
            ).inc()
            return
        downlink, request = self._sending, self._clear
        assert downlink is not None
        self._free()
        if isinstance(reply, CallError):
            self._record(
                downlink, outcome.call.id, request, bytes(reply.details), f"CALLERROR {reply.code[:40]}"
            )
            self._conclude(downlink, "failed", f"CALLERROR {reply.code[:40]}")
        else:
            status, reason, response = judge(downlink.action, reply.payload)
            # What a charge point tells of its secrets is kept nowhere, not even sealed (SEC-04).
            body = (
                msgspec.json.encode(response)
                if response and "configurationKey" in response
                else reply.payload
            )
            self._record(downlink, outcome.call.id, request, bytes(body), "ok")
            if _new_key(downlink.action, request):
                later(self._settle(status == "accepted"))
            self._conclude(downlink, status, reason, response)
        self.pump()

    def close(self, reason: str) -> None:
        """The connection is over: every call fails at once (J-10, J-20)."""
        self._machine, pending = calls.close(self._machine)
        waiting = [item[2] for item in sorted(self._queue, key=lambda item: item[:2])]
        self._queue.clear()
        if self._sending is not None:
            waiting.insert(0, self._sending)
            if pending is not None:
                self._record(self._sending, pending.id, self._clear, b"", reason)
            self._free()
        for downlink in waiting:
            self._conclude(downlink, "failed", reason)

    # -- inside ------------------------------------------------------------------------------------------------

    async def _send(self, downlink: Downlink) -> None:
        try:
            payload, problem = await self._opened(downlink)
        except Exception:
            logger.exception("%s for %s cannot be made", downlink.action, self._connection.prefix)
            payload, problem = b"", "the call could not be made"
        new_key = b"" if problem else _new_key(downlink.action, payload)
        if new_key and self._sending is downlink:
            problem = await self._offer(new_key)
        if self._sending is not downlink:
            return
        loop = asyncio.get_running_loop()
        left = (downlink.expires_at - self._connection.services.clock.now()).total_seconds()
        if problem or left <= 0:
            self._free()
            self._conclude(downlink, "failed" if problem else "expired", problem or "its time is over")
            self.pump()
            return
        deadline = loop.time() + min(left, self._connection.tenant.call_timeout)
        message_id = f"{downlink.connection_epoch}-{next(self._numbers)}"
        machine = calls.send(self._machine, calls.Pending(message_id, downlink.action, deadline))
        if isinstance(machine, calls.Busy):
            return
        self._machine, self._clear, self._sent_at = machine, payload, loop.time()
        self._timer = loop.call_at(deadline, self._expire)
        await self._connection.send(encode_call(message_id, downlink.action, payload))

    async def _opened(self, downlink: Downlink) -> tuple[bytes, str]:
        """The payload with its sealed texts opened, exact by its type; or why it cannot be sent."""
        value: JSONObject = msgspec.json.decode(downlink.payload, type=dict[str, Any])
        try:
            value = await self._open(value)
        except LookupError:
            return b"", "a sealed text in it cannot be opened"
        payload = msgspec.json.encode(value)
        decoded = decode_request(downlink.action, payload, sender=Direction.FROM_CENTRAL_SYSTEM)
        if isinstance(decoded, WireError):
            return b"", f"{decoded.code.value}: {decoded.description}"
        return payload, ""

    async def _open(self, value: Any) -> Any:
        match value:
            case str() if len(value) > _LONGEST_TAG and value.startswith(_SEALED):
                text = await opened(self._connection.services.vault, value)
                if not text:
                    raise LookupError
                return text
            case dict():
                return {key: await self._open(item) for key, item in value.items()}
            case list():
                return [await self._open(item) for item in value]
            case _:
                return value

    def _expire(self) -> None:
        self._machine, call = calls.expire(self._machine, asyncio.get_running_loop().time())
        downlink = self._sending
        if call is None or downlink is None:
            return
        self._record(downlink, call.id, self._clear, b"", "timed out")
        self._free()
        self._conclude(downlink, "timed_out", "no answer in time")
        self.pump()

    def _free(self) -> None:
        self._sending, self._clear = None, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _conclude(
        self, downlink: Downlink, status: str, reason: str, response: JSONObject | None = None
    ) -> None:
        metrics.CALLS.labels(metrics.action_label(downlink.action), status).inc()
        command = ConcludeCall(
            tenant=downlink.tenant,
            charge_point_id=downlink.charge_point_id,
            command_id=downlink.command_id,
            status=status,
            reason=reason,
            response=response,
        )
        later(self._tell(command, f"{downlink.command_id}|conclude|{downlink.connection_epoch}"))

    async def _offer(self, password: bytes) -> str:
        """Make a new AuthorizationKey right beside the old one, before it is told: whatever becomes of the call and
        of this process, the charge point can log in (SEC-03). Why it could not be done, or nothing."""
        connection = self._connection
        self._offered = await connection.hash_password(password)
        tenant, charge_point_id = connection.key
        command = OfferCredentials(
            tenant=tenant, charge_point_id=charge_point_id, password_hash=self._offered
        )
        try:
            await connection.services.bus.tell(command, self._meta(command, f"offer|{next(self._numbers)}"))
        except LogUnavailable:
            return "the log is away: a new key cannot be kept"
        listed = await connection.refreshed()
        connection.learned(msgspec.structs.replace(listed, alternative_hash=self._offered))
        return ""

    async def _settle(self, accepted: bool) -> None:
        """It said whether it took the new key. Where it never says, its next login does."""
        connection, offered = self._connection, self._offered
        tenant, id = connection.key
        listed = msgspec.structs.replace(connection.listed, alternative_hash="")
        command: SetCredentials | OfferCredentials = OfferCredentials(tenant=tenant, charge_point_id=id)
        if accepted:
            listed = msgspec.structs.replace(listed, password_hash=offered)
            command = SetCredentials(tenant=tenant, charge_point_id=id, password_hash=offered)
        connection.learned(listed)
        await self._tell(command, f"key|{next(self._numbers)}")

    def _meta(self, command: ConcludeCall | SetCredentials | OfferCredentials, command_id: str) -> Meta:
        return Meta(
            command_id=f"{self._connection.prefix}|{command_id}",
            at=self._connection.services.clock.now(),
            tenant=command.tenant,
            correlation_id=command.command_id if isinstance(command, ConcludeCall) else "",
            principal=f"charge_point:{command.charge_point_id}",
        )

    async def _tell(self, command: ConcludeCall | SetCredentials | OfferCredentials, command_id: str) -> None:
        """Lost only when the log stays away for long; then the call's timer concludes it."""
        services, meta = self._connection.services, self._meta(command, command_id)
        for wait in (*_RETRIES, None):
            try:
                await services.bus.tell(command, meta)
                return
            except LogUnavailable as error:
                if wait is None:
                    logger.warning("the end of a call could not be told: %s", error)
                    return
                await asyncio.sleep(wait)

    def _record(self, downlink: Downlink, id: str, request: bytes, response: bytes, outcome: str) -> None:
        services = self._connection.services
        services.frames.record(
            Frame(
                tenant=downlink.tenant,
                charge_point_id=downlink.charge_point_id,
                epoch=downlink.connection_epoch,
                direction="out",
                message_id=id,
                action=downlink.action,
                request=_without_key(downlink.action, request),
                response=response,
                outcome=outcome,
                at=services.clock.now(),
                seconds=asyncio.get_running_loop().time() - self._sent_at,
                command_id=downlink.command_id,
            )
        )


def judge(action: str, payload: msgspec.Raw) -> tuple[str, str, JSONObject | None]:
    """Status, reason and response of an answered call: `accepted` when the charge point does what was asked."""
    decoded = decode_confirmation(action, payload, mode=Mode.LENIENT)
    if isinstance(decoded, WireError):
        return "failed", f"the answer cannot be understood: {decoded.description}", None
    response: JSONObject = (
        msgspec.json.decode(decoded.raw, type=dict[str, Any]) if decoded.raw != b"null" else {}
    )
    for entry in response.get("configurationKey") or ():
        if isinstance(entry, dict) and is_secret_key(str(entry.get("key", ""))):
            entry.pop("value", None)  # SEC-04: write-only
    status = getattr(decoded.message, "status", None)
    if status is None:
        return "accepted", "", response
    return ("accepted" if status in GOOD else "rejected"), str(status), response


def _new_key(action: str, request: bytes) -> bytes:
    """The AuthorizationKey that a ChangeConfiguration tells; empty for any other call."""
    if action != "ChangeConfiguration":
        return b""
    content: JSONObject = msgspec.json.decode(request)
    is_key = str(content.get("key", "")).lower() == _SECRET
    return str(content.get("value", "")).encode() if is_key else b""


def _without_key(action: str, request: bytes) -> bytes:
    if action != "ChangeConfiguration" or _SECRET not in request.decode(errors="replace").lower():
        return request
    return b'{"key":"AuthorizationKey"}'
