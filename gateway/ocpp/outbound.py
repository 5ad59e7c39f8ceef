"""Our calls to one charge point: a queue by priority, one outstanding call, each told how it ended.

In: downlinks, answers, the end of the connection. Out: frames to send, and one `ConcludeCall` for each call. The rule
of one call at a time is the state machine `protocols.ocpp.calls`; nothing here ever blocks the reader.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import re
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

import msgspec

from commands.base import Downlink, Meta, command_name
from commands.charge_point import ConcludeCall, NoteCallSent, OfferCredentials, SetCredentials
from domain.charge_point.announced import Learned
from domain.charge_point.variable_keys import is_password_key
from domain.intents import (
    CancelReservation,
    ChangeAvailability,
    ClearChargingProfile,
    Intent,
    RemoteStart,
    RemoteStop,
    ReserveNow,
    Reset,
    SetChargingProfile,
    SetVariable,
    Unlock,
    kind_of,
)
from domain.texts import texts, with_texts
from domain.values import JSONObject
from gateway.ocpp import metrics
from gateway.ocpp.background import later
from gateway.ocpp.link import Link
from gateway.ocpp.ports import Frame, opened
from gateway.ocpp.version import WireCall
from protocols.ocpp import calls
from protocols.ocpp.frames import CallError, CallResult, encode_call
from protocols.ocpp.message import WireError
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

PRIORITIES: Final[dict[type[Intent], int]] = {
    RemoteStop: 0,
    Unlock: 0,
    Reset: 0,
    RemoteStart: 1,
    ReserveNow: 1,
    CancelReservation: 1,
    ChangeAvailability: 1,
    SetChargingProfile: 1,
    ClearChargingProfile: 1,
}
"""Lower goes first (J-10): what a driver waits for before configuration, which is 2."""
_REMEMBERED = 64
_RETRIES = (0.2, 1.0, 3.0, 10.0)
_SEALED = "s1."
_LONGEST_TAG = 20
_LONGEST_DESCRIPTION = 255
_NOTHING: Final = Learned()

_Told: TypeAlias = ConcludeCall | NoteCallSent | SetCredentials | OfferCredentials


class _OnWire(NamedTuple):
    """A call that was sent: its message id, how it was said, and the private texts that were opened in it.

    `offered` is the hash of the password that it tells, `sent_at` the loop's time.
    """

    downlink: Downlink
    id: str
    said: WireCall
    private: tuple[str, ...]
    offered: str
    sent_at: float


class Outbound:
    """The calls to one connection; made when the first downlink comes."""

    __slots__ = (
        "_connection",
        "_given_up",
        "_machine",
        "_numbers",
        "_offered",
        "_on_wire",
        "_queue",
        "_seen",
        "_sending",
        "_timer",
    )

    def __init__(self, connection: Link) -> None:
        self._connection = connection
        self._machine = calls.Outgoing()
        self._numbers = itertools.count(1)
        self._queue: list[tuple[int, int, Downlink]] = []
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self._sending: Downlink | None = None
        self._on_wire: _OnWire | None = None
        self._given_up: deque[_OnWire] = deque(maxlen=calls.REMEMBERED)
        self._offered = ""  # the hash of the newest password that was told
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
        heapq.heappush(self._queue, (PRIORITIES.get(type(downlink.intent), 2), next(self._numbers), downlink))
        self.pump()

    def pump(self) -> None:
        """Send the next call if none is outstanding and the socket is open."""
        now = self._connection.services.clock()
        while self._queue and self._sending is None and self._connection.is_open:
            downlink = heapq.heappop(self._queue)[2]
            if downlink.expires_at <= now:
                self._conclude(downlink, "expired", "its time was over before it could be sent")
                continue
            self._sending = downlink
            later(self._send(downlink))

    def answer(self, reply: CallResult | CallError) -> None:
        """A CALLRESULT or CALLERROR came, in time or after its call had been given up."""
        self._machine, outcome = calls.answer(self._machine, reply)
        if isinstance(outcome, calls.Unmatched):
            metrics.FAULTS.labels("answer to nothing").inc()
            return
        late = isinstance(outcome, calls.Late)
        if late:
            metrics.FAULTS.labels("late answer").inc()
            call = next(one for one in self._given_up if one.id == outcome.call.id)
            self._given_up.remove(call)
        else:
            assert self._on_wire is not None
            call = self._on_wire
            self._free()
        if isinstance(reply, CallError):
            code = f"CALLERROR {reply.code[:40]}"
            self._record(call, bytes(reply.details), "late" if late else code)
            reason = _with_description(code, reply.description, call.private)
            self._conclude(call.downlink, "failed", reason, answered=True)
        else:
            judged = self._connection.version.judge(call.downlink.intent, reply.payload)
            if call.offered and call.offered == self._offered:
                later(self._settle(call.offered, judged.status == "accepted"))
            self._record(call, judged.kept, "late" if late else "ok")
            self._conclude(
                call.downlink, judged.status, judged.reason, judged.response, judged.learned, answered=True
            )
        self.pump()

    def close(self, reason: str) -> None:
        """The connection is over: every call fails at once (J-10, J-20)."""
        self._machine, _ = calls.close(self._machine)
        waiting = [item[2] for item in sorted(self._queue, key=lambda item: item[:2])]
        self._queue.clear()
        self._given_up.clear()
        if self._sending is not None:
            waiting.insert(0, self._sending)
            if self._on_wire is not None:
                self._record(self._on_wire, b"", reason)
            self._free()
        for downlink in waiting:
            self._conclude(downlink, "failed", reason)

    # -- inside ------------------------------------------------------------------------------------------------

    async def _send(self, downlink: Downlink) -> None:
        """Whatever goes wrong on the way to the wire fails this call alone: the next one goes on."""
        try:
            await self._put_on_wire(downlink)
        except Exception:
            logger.exception("%s for %s cannot be made", kind_of(downlink.intent), self._connection.prefix)
            if self._sending is downlink and self._on_wire is None:
                self._free()
                self._conclude(downlink, "failed", "the call could not be made")
                self.pump()

    async def _put_on_wire(self, downlink: Downlink) -> None:
        private: list[str] = []
        intent = await self._opened(downlink.intent, private)
        said: WireCall | None = None
        problem, offered = "a sealed text in it cannot be opened", ""
        if intent is not None:
            found = self._connection.version.request(intent)
            if isinstance(found, WireError):
                problem = f"{found.code.value}: {found.description}"
            else:
                said, problem = found, ""
                new_key = _password_in(intent)
                if new_key and self._sending is downlink:
                    private.append(new_key)
                    offered, problem = await self._offer(new_key.encode())
        if self._sending is not downlink:
            return
        late = downlink.expires_at <= self._connection.services.clock()
        if said is None or problem or late:
            self._free()
            self._conclude(
                downlink,
                "failed" if problem else "expired",
                problem or "its time was over before it was sent",
            )
            self.pump()
            return
        message_id = f"{downlink.connection_epoch}-{next(self._numbers)}"
        machine = calls.send(self._machine, calls.Pending(message_id, said.action))
        if isinstance(machine, calls.Busy):
            return
        now = asyncio.get_running_loop().time()
        self._machine = machine
        self._on_wire = _OnWire(downlink, message_id, said, tuple(private), offered, now)
        self._arm(message_id)
        await self._connection.send(encode_call(message_id, said.action, said.payload))
        await self._sent(downlink, message_id)

    async def _sent(self, downlink: Downlink, message_id: str) -> None:
        """The frame is on the wire: from now on its answer is waited for, and whoever asked may know it."""
        pending = self._machine.pending
        if pending is None or pending.id != message_id:
            return  # it has ended already
        seconds = self._arm(message_id)
        if downlink.own:
            return
        command = NoteCallSent(
            tenant=downlink.tenant,
            charge_point_id=downlink.charge_point_id,
            command_id=downlink.command_id,
            answer_by=self._connection.services.clock() + timedelta(seconds=seconds),
        )
        await self._tell(command, f"{downlink.command_id}|sent|{downlink.connection_epoch}")

    def _arm(self, message_id: str) -> float:
        """Give the call up after the tenant's time for an answer, in seconds from now."""
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._connection.tenant.call_timeout
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, message_id)
        return seconds

    async def _opened(self, intent: Intent, private: list[str]) -> Intent | None:
        """The intent with its sealed texts opened; None where one cannot be."""
        clear: dict[str, str] = {}
        for _, text in texts(intent):
            if len(text) > _LONGEST_TAG and text.startswith(_SEALED) and text not in clear:
                clear[text] = await opened(self._connection.services.vault, text)
                if not clear[text]:
                    return None
        private += clear.values()
        return with_texts(intent, lambda _, text: clear.get(text, text)) if clear else intent

    def _expire(self, message_id: str) -> None:
        self._machine, expired = calls.expire(self._machine, message_id)
        call = self._on_wire
        if expired is None or call is None:
            return
        self._given_up.append(call)
        self._record(call, b"", "timed out")
        self._free()
        self._conclude(call.downlink, "timed_out", "no answer in time")
        self.pump()

    def _free(self) -> None:
        self._sending = self._on_wire = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _conclude(
        self,
        downlink: Downlink,
        status: str,
        reason: str,
        response: JSONObject | None = None,
        learned: Learned = _NOTHING,
        *,
        answered: bool = False,
    ) -> None:
        action = self._connection.version.calls.get(type(downlink.intent), "unknown")
        metrics.CALLS.labels(action, status).inc()
        command = ConcludeCall(
            tenant=downlink.tenant,
            charge_point_id=downlink.charge_point_id,
            command_id=downlink.command_id,
            status=status,
            reason=reason,
            response=None if downlink.own else response,
            learned=learned,
            answered=answered,
        )
        step = "conclude" if status != "timed_out" else "give up"  # its answer may come all the same
        later(self._tell(command, f"{downlink.command_id}|{step}|{downlink.connection_epoch}"))

    async def _offer(self, password: bytes) -> tuple[str, str]:
        """Make a new password right beside the old one, before it is told: whatever becomes of the call and
        of this process, the charge point can log in (SEC-03). Its hash, and why it could not be done, or nothing."""
        connection = self._connection
        offered = self._offered = await connection.hash_password(password)
        tenant, charge_point_id = connection.key
        command = OfferCredentials(tenant=tenant, charge_point_id=charge_point_id, password_hash=offered)
        try:
            await connection.services.bus.tell(command, self._meta(command, f"offer|{next(self._numbers)}"))
        except LogUnavailableError:
            return offered, "the log is away: a new key cannot be kept"
        listed = await connection.refreshed()
        connection.learned(msgspec.structs.replace(listed, alternative_hash=offered))
        return offered, ""

    async def _settle(self, offered: str, accepted: bool) -> None:
        """It said whether it took the new key. Where it never says, its next login does."""
        connection = self._connection
        tenant, id = connection.key
        listed = msgspec.structs.replace(connection.listed, alternative_hash="")
        command: SetCredentials | OfferCredentials = OfferCredentials(tenant=tenant, charge_point_id=id)
        if accepted:
            listed = msgspec.structs.replace(listed, password_hash=offered)
            command = SetCredentials(tenant=tenant, charge_point_id=id, password_hash=offered)
        connection.learned(listed)
        await self._tell(command, f"key|{next(self._numbers)}")

    def _meta(self, command: _Told, command_id: str) -> Meta:
        return Meta(
            command_id=f"{self._connection.prefix}|{command_id}",
            at=self._connection.services.clock(),
            tenant=command.tenant,
            correlation_id=command.command_id if isinstance(command, ConcludeCall | NoteCallSent) else "",
            principal=f"charge_point:{command.charge_point_id}",
        )

    async def _tell(self, command: _Told, command_id: str) -> None:
        """Lost only when the log stays away for long; then the call's timer concludes it."""
        services, meta = self._connection.services, self._meta(command, command_id)
        for wait in (*_RETRIES, None):
            try:
                await services.bus.tell(command, meta)
                return
            except LogUnavailableError as error:
                if wait is None:
                    logger.warning("%s could not be told: %s", command_name(command), error)
                    return
                await asyncio.sleep(wait)

    def _record(self, call: _OnWire, response: bytes, outcome: str) -> None:
        services, downlink = self._connection.services, call.downlink
        services.frames.record(
            Frame(
                tenant=downlink.tenant,
                charge_point_id=downlink.charge_point_id,
                epoch=downlink.connection_epoch,
                direction="out",
                message_id=call.id,
                action=call.said.action,
                request=call.said.kept,
                response=response,
                outcome=outcome,
                at=services.clock(),
                seconds=asyncio.get_running_loop().time() - call.sent_at,
                command_id=downlink.command_id,
            )
        )


def _password_in(intent: Intent) -> str:
    """The new password that a call tells; empty for any other call."""
    return intent.value if isinstance(intent, SetVariable) and is_password_key(intent.key) else ""


def _with_description(reason: str, description: str, private: Sequence[str]) -> str:
    """What the charge point says of its refusal, on one line and without what we sent sealed."""
    for text in private:
        description = re.sub(re.escape(text), "***", description, flags=re.IGNORECASE)
    plain = " ".join("".join(c if c.isprintable() else " " for c in description).split())
    return f"{reason}: {plain[:_LONGEST_DESCRIPTION]}" if plain else reason
