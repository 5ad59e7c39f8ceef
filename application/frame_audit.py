"""The audit of frames: the gateway's calls and answers enter, sealed records on the frames topic leave.

What enters: frames in the clear, from memory only. What leaves: batches on `chargesphere.frames`, which
`streams.projecting.frames` makes documents of. It is never waited for: under pressure, beyond a charge point's or a
tenant's bytes, and while the log is away, frames are dropped and counted. One frame never costs another: what cannot
be kept of it is left out. Personal data and secrets leave this process as sealed texts only; what cannot be sealed is
left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from application.allowance import Allowance
from application.vault import TOKEN_TYPES, DestroyedError, Vault
from domain.charge_point import charge_point_key
from domain.charge_point.variable_keys import is_secret_key
from domain.token import owner_text
from projections.frame import FrameRecord
from projections.store import JSON, StoreError
from streams.effects.public import chunks
from streams.log import Log, Record, append_size
from streams.log.envelope import record as log_record
from streams.log.topology import FRAMES

logger = logging.getLogger(__name__)

PORTION = 200
"""Frames that are sealed at a stretch."""
RECORD_SECONDS = 0.5
"""Frames gather for so long: an append for each partition costs as much for one as for a hundred."""
MOST_WAITING = 20_000
MOST_WAITING_BYTES = 64_000_000
LONGEST_TEXT = 100_000
"""Bytes that are kept of a request and of an answer."""
LONGEST_NAME = 200
CHARGE_POINT_BYTES = (1_000, 4_000_000)
"""What one charge point may record: bytes a second over time, and at once. A busy one needs a fifth of it."""
TENANT_BYTES = (500_000, 100_000_000)
"""The same for all charge points of a tenant at this process."""
SAY_SECONDS = 60.0
"""How far apart the lines about frames that are beyond their bytes are."""
ENVELOPE_BYTES = 300
"""About what a frame takes in the log beside its payloads."""
TAGS = frozenset({"idTag", "parentIdTag"})
ADDRESSES = frozenset({"location", "remoteLocation"})
_PERSONAL = re.compile(rb'[iI]dTag"|"key"|@|\\')
"""Without any of these (or an escape that could hide them) a payload has nothing to seal."""


class Frame(Protocol):
    """`gateway.ocpp.ports.Frame`."""

    @property
    def tenant(self) -> str: ...
    @property
    def charge_point_id(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def direction(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def request(self) -> bytes: ...
    @property
    def response(self) -> bytes: ...
    @property
    def outcome(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def seconds(self) -> float: ...
    @property
    def command_id(self) -> str: ...


class FrameRecorder:
    """`record` from anywhere in the loop's thread, `run` until cancelled. `counts` says what became of the frames.

    `refused` were beyond the bytes of their charge point or tenant, and `failed` could not be kept at all.
    """

    def __init__(
        self,
        log: Log,
        vault: Vault,
        *,
        most_waiting: int = MOST_WAITING,
        most_waiting_bytes: int = MOST_WAITING_BYTES,
        charge_point_bytes: tuple[int, int] = CHARGE_POINT_BYTES,
        tenant_bytes: tuple[int, int] = TENANT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._vault = vault
        self._most_waiting = most_waiting
        self._most_waiting_bytes = most_waiting_bytes
        self._clock = clock
        self._charge_points = Allowance(*charge_point_bytes, clock=clock)
        self._tenants = Allowance(*tenant_bytes, clock=clock)
        self._waiting: list[Frame] = []
        self._waiting_bytes = 0
        self._some = asyncio.Event()
        self._appending: asyncio.Task[None] | None = None
        self._dropping = False
        self._say_at = 0.0
        self._unsaid = 0
        self.counts = {"recorded": 0, "dropped": 0, "refused": 0, "failed": 0, "unsealed": 0}

    def record(self, frame: Frame) -> None:
        """Take the frame; returns at once, never raises, and drops it when too many wait or it has no bytes left."""
        size = ENVELOPE_BYTES + len(frame.request) + len(frame.response)
        if len(self._waiting) >= self._most_waiting or self._waiting_bytes + size > self._most_waiting_bytes:
            self._drop(1, f"{len(self._waiting)} wait already")
            return
        if not self._allowed(frame):
            return
        self._waiting.append(frame)
        self._waiting_bytes += size
        if not self._some.is_set():
            self._some.set()

    def _allowed(self, frame: Frame) -> bool:
        size = ENVELOPE_BYTES + min(len(frame.request), LONGEST_TEXT) + min(len(frame.response), LONGEST_TEXT)
        whose = f"charge point {frame.tenant}/{frame.charge_point_id}"
        rate = self._charge_points.rate
        if self._charge_points.take(whose, size):
            if self._tenants.take(frame.tenant, size):
                return True
            whose, rate = f"tenant {frame.tenant}", self._tenants.rate
        self.counts["refused"] += 1
        self._unsaid += 1
        if (now := self._clock()) >= self._say_at:
            logger.warning(
                "%d frames are not recorded, the last one of %s: it sends more than %d bytes a second",
                self._unsaid,
                whose,
                rate,
            )
            self._say_at, self._unsaid = now + SAY_SECONDS, 0
        return False

    async def run(self) -> None:
        """Append what has gathered since the last time; on the way out once more, for at most 2 s."""
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(RECORD_SECONDS)
                self._appending = asyncio.create_task(self._append_all())
                await asyncio.shield(self._appending)
        finally:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(2):
                    await self._finish()

    async def _finish(self) -> None:
        """What an end in the middle found under way, and what came after it."""
        if self._appending is not None:
            await self._appending
        if self._waiting:
            await self._append_all()

    async def _append_all(self) -> None:
        frames, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._some.clear()
        await self._append(frames)

    async def _append(self, frames: Sequence[Frame]) -> None:
        out: dict[int, list[Record]] = {}
        for number, frame in enumerate(frames, 1):
            try:
                key = charge_point_key(frame.tenant, frame.charge_point_id)
                entry = log_record(key, await self._sealed(frame), frame.tenant)
                append_size((entry,))
            except Exception as error:  # whatever it is, the frames beside it are kept
                self._fail(frame, error)
                continue
            out.setdefault(self._log.layout.partition_of(key), []).append(entry)
            if number % PORTION == 0:
                await asyncio.sleep(0)  # messages are answered meanwhile
        await asyncio.gather(*(self._append_to(partition, records) for partition, records in out.items()))

    async def _append_to(self, partition: int, records: Sequence[Record]) -> None:
        for chunk in chunks(records):
            try:
                await self._log.append_patiently(FRAMES, partition, chunk)
            except Exception as error:
                self._drop(len(chunk), str(error) or type(error).__name__)
            else:
                self.counts["recorded"] += len(chunk)
                self._dropping = False

    def _drop(self, count: int, why: str) -> None:
        self.counts["dropped"] += count
        if not self._dropping:
            self._dropping = True
            logger.warning("frames are not recorded: %s", why)

    def _fail(self, frame: Frame, error: Exception) -> None:
        self.counts["failed"] += 1
        if self.counts["failed"] == 1:
            reason = f"{type(error).__name__}: {error}"[:200]
            logger.error(
                "a frame of %r/%r cannot be recorded: %s; further ones are counted only",
                frame.tenant,
                frame.charge_point_id,
                reason,
            )

    async def _sealed(self, frame: Frame) -> FrameRecord:
        place = f"{frame.tenant}|{frame.charge_point_id}"
        request, request_cut = _cut(await self._payload(frame.request, frame.action, place))
        response, response_cut = _cut(await self._payload(frame.response, frame.action, place))
        return FrameRecord(
            tenant=frame.tenant,
            charge_point_id=frame.charge_point_id,
            epoch=frame.epoch,
            direction=frame.direction,
            message_id=frame.message_id[:LONGEST_NAME],
            action=frame.action[:LONGEST_NAME],
            request=request,
            response=response,
            cut=request_cut or response_cut,
            outcome=frame.outcome,
            at=frame.at,
            seconds=frame.seconds,
            command_id=frame.command_id,
        )

    async def _payload(self, payload: bytes, action: str, place: str) -> str:
        """The payload as text with all that is personal sealed; sealed as a whole where it cannot be read."""
        if not payload:
            return ""
        try:
            if action != "DataTransfer" and not _PERSONAL.search(payload):
                msgspec.json.decode(
                    payload, type=msgspec.Raw
                )  # only what is JSON can be known to hold nothing
                return payload.decode()
            value: JSON = msgspec.json.decode(payload)
            owner = owner_text(None, place.partition("|")[0])
            cleaned = await self._clean(value, action, owner, self._secret(place))
            return msgspec.json.encode(cleaned).decode()
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return msgspec.json.encode(await self._seal(self._secret(place), payload)).decode()

    def _secret(self, place: str) -> str:
        """The subject under which a charge point's secrets are sealed."""
        return self._vault.digest("charge_point", place)

    async def _clean(self, value: JSON, action: str, owner: str, secret: str) -> JSON:
        """The value with every id tag, secret and vendor's data sealed."""
        if isinstance(value, list):
            return [await self._clean(item, action, owner, secret) for item in value]
        if not isinstance(value, dict):
            return value
        is_secret = is_secret_key(str(value.get("key", "")))
        out: dict[str, JSON] = {}
        for name, item in value.items():
            if name in TAGS and isinstance(item, str):
                out[name] = await self._seal(
                    self._vault.subject(owner, self._vault.token_key(TOKEN_TYPES[0], item)), item
                )
            elif (name == "data" and action == "DataTransfer") or (name == "value" and is_secret):
                text = item if isinstance(item, str) else msgspec.json.encode(item)
                out[name] = None if item is None else await self._seal(secret, text)
            elif name in ADDRESSES and isinstance(item, str) and "@" in item:
                out[name] = await self._seal(secret, item)
            else:
                out[name] = await self._clean(item, action, owner, secret)
        return out

    async def _seal(self, subject: str, plain: str | bytes) -> str | None:
        try:
            return await self._vault.seal(subject, plain)
        except (DestroyedError, StoreError):
            self.counts["unsealed"] += 1
            return None


def _cut(text: str) -> tuple[str, bool]:
    """The text, at most LONGEST_TEXT bytes of it, and whether something is missing."""
    if len(text) * 4 <= LONGEST_TEXT or len(data := text.encode()) <= LONGEST_TEXT:
        return text, False
    return data[:LONGEST_TEXT].decode(errors="ignore"), True
