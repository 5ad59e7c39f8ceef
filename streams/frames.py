"""The audit of frames: the gateway's calls and answers enter, sealed records on the frames topic leave.

What enters: frames in the clear, from memory only. What leaves: batches on `chargesphere.frames`, and their documents
in the read store. It is never waited for: under pressure, and while the log is away, frames are dropped and counted.
Personal data and secrets leave this process as sealed texts only; what cannot be sealed is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.charge_point import charge_point_key
from domain.charge_point.state import is_secret_key
from projections.frame import FrameRecord, indexes, insert
from projections.store import JSON, ReadStore, StoreError, StoreRejected, StoreUnavailable, tenant_database
from streams.envelope import record as log_record
from streams.follower import TransientError
from streams.log import Listener, Log, LogError, LogUnavailable, Position, Record, Stored, TopicPartition
from streams.public import chunks
from streams.topology import FRAMES, partition_of
from streams.vault import TOKEN_TYPES, DestroyedError, Vault
from streams.writer import StoreWriter

logger = logging.getLogger(__name__)

PORTION = 200
"""Frames that are sealed at a stretch."""
RECORD_SECONDS = 0.5
"""Frames gather for so long: an append for each partition costs as much for one as for a hundred."""
MOST_WAITING = 20_000
GATHER_SECONDS = 0.2
"""How far apart a busy projector of frames takes what has come: each time costs a write a tenant, and a position."""
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
    """`record` from anywhere in the loop's thread, `run` until cancelled. `counts` says what became of the frames."""

    def __init__(self, log: Log, vault: Vault, *, most_waiting: int = MOST_WAITING) -> None:
        self._log = log
        self._vault = vault
        self._most_waiting = most_waiting
        self._waiting: list[Frame] = []
        self._some = asyncio.Event()
        self._dropping = False
        self.counts = {"recorded": 0, "dropped": 0, "unsealed": 0}

    def record(self, frame: Frame) -> None:
        """Take the frame; returns at once, never raises, and drops it when too many wait."""
        if len(self._waiting) >= self._most_waiting:
            self._drop(1, f"{self._most_waiting} wait already")
            return
        self._waiting.append(frame)
        if not self._some.is_set():
            self._some.set()

    async def run(self) -> None:
        """Append what has gathered since the last time; on the way out once more, for at most 2 s."""
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(RECORD_SECONDS)
                await self._append_all()
        finally:
            if self._waiting:
                with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(self._append_all(), 2)

    async def _append_all(self) -> None:
        frames, self._waiting = self._waiting, []
        self._some.clear()
        await self._append(frames)

    async def _append(self, frames: Sequence[Frame]) -> None:
        out: dict[int, list[Record]] = {}
        for number, frame in enumerate(frames, 1):
            key = charge_point_key(frame.tenant, frame.charge_point_id)
            entry = log_record(key, await self._sealed(frame), frame.tenant)
            out.setdefault(partition_of(key), []).append(entry)
            if number % PORTION == 0:
                await asyncio.sleep(0)  # messages are answered meanwhile
        await asyncio.gather(*(self._append_to(partition, records) for partition, records in out.items()))

    async def _append_to(self, partition: int, records: Sequence[Record]) -> None:
        try:
            for chunk in chunks(records):
                await self._log.append(FRAMES, partition, chunk)
        except LogError as error:
            self._drop(len(records), str(error))
        else:
            self.counts["recorded"] += len(records)
            self._dropping = False

    def _drop(self, count: int, why: str) -> None:
        self.counts["dropped"] += count
        if not self._dropping:
            self._dropping = True
            logger.warning("frames are not recorded: %s", why)

    async def _sealed(self, frame: Frame) -> FrameRecord:
        place = f"{frame.tenant}|{frame.charge_point_id}"
        return FrameRecord(
            tenant=frame.tenant,
            charge_point_id=frame.charge_point_id,
            epoch=frame.epoch,
            direction=frame.direction,
            message_id=frame.message_id,
            action=frame.action,
            request=await self._payload(frame.request, frame.action, place),
            response=await self._payload(frame.response, frame.action, place),
            outcome=frame.outcome,
            at=frame.at,
            seconds=frame.seconds,
            command_id=frame.command_id,
        )

    async def _payload(self, payload: bytes, action: str, place: str) -> msgspec.Raw:
        if not payload:
            return msgspec.Raw(b"null")
        try:
            value: JSON = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = await self._seal(self._secret(place), payload)
        else:
            if action == "DataTransfer" or _PERSONAL.search(payload):
                value = await self._clean(value, action, self._secret(place))
        return msgspec.Raw(msgspec.json.encode(value))

    def _secret(self, place: str) -> str:
        """The subject under which a charge point's secrets are sealed."""
        return self._vault.digest("charge_point", place)

    async def _clean(self, value: JSON, action: str, secret: str) -> JSON:
        """The value with every id tag, secret and vendor's data sealed."""
        if isinstance(value, list):
            return [await self._clean(item, action, secret) for item in value]
        if not isinstance(value, dict):
            return value
        is_secret = is_secret_key(str(value.get("key", "")))
        out: dict[str, JSON] = {}
        for name, item in value.items():
            if name in TAGS and isinstance(item, str):
                out[name] = await self._seal(self._vault.token_key(TOKEN_TYPES[0], item), item)
            elif (name == "data" and action == "DataTransfer") or (name == "value" and is_secret):
                text = item if isinstance(item, str) else msgspec.json.encode(item)
                out[name] = None if item is None else await self._seal(secret, text)
            elif name in ADDRESSES and isinstance(item, str) and "@" in item:
                out[name] = await self._seal(secret, item)
            else:
                out[name] = await self._clean(item, action, secret)
        return out

    async def _seal(self, subject: str, plain: str | bytes) -> str | None:
        try:
            return await self._vault.seal(subject, plain)
        except (DestroyedError, StoreError):
            self.counts["unsealed"] += 1
            return None


class FrameProjector(Listener):
    """Frames into `ocpp_{tenant}.frames`, batch by batch, as a member of the group `frames`; `run` until cancelled.

    The position moves after the write; what is written again has the same id and changes nothing.
    """

    def __init__(self, log: Log, store: ReadStore, node: str) -> None:
        self._log = log
        self._store = store
        self._writer = StoreWriter(store)
        self._node = node
        self._ready: set[str] = set()
        self._decoder = msgspec.json.Decoder(FrameRecord)
        self.counts = {"projected": 0, "refused": 0}

    async def run(self) -> None:
        member = self._log.member("frames", [FRAMES], self._node, self)
        try:
            await member.start()
            loop, next_at = asyncio.get_running_loop(), 0.0
            while True:
                try:
                    await asyncio.sleep(max(0.0, next_at - loop.time()))
                    batches = await member.poll(1.0, 2000)
                    if batches:
                        next_at = loop.time() + GATHER_SECONDS
                        await self._project([stored for batch in batches.values() for stored in batch])
                        await member.commit(
                            {
                                place: Position(batch[-1].offset + 1)
                                for place, batch in batches.items()
                                if batch
                            }
                        )
                except LogUnavailable as error:
                    logger.warning("frames: %s", error)
                    await asyncio.sleep(0.5)
        finally:
            await member.close()

    async def gained(self, positions: Mapping[TopicPartition, Position]) -> None:
        """Nothing is kept of a partition."""

    async def lost(self, places: frozenset[TopicPartition]) -> None:
        """What is written after the loss is written once more by the next holder, with the same ids."""

    async def _project(self, batch: Sequence[Stored]) -> None:
        wait = 0.05
        while True:
            try:
                await self._write(batch)
                return
            except (TransientError, StoreUnavailable) as error:
                logger.warning("frames wait: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def _write(self, batch: Sequence[Stored]) -> None:
        records = [
            (self._decoder.decode(stored.value), f"{stored.partition}-{stored.offset}")
            for stored in batch
            if stored.value is not None
        ]
        for tenant in {record.tenant for record, _ in records} - self._ready:
            try:
                await self._store.ensure(indexes(tenant_database(tenant)))
            except StoreRejected as error:
                logger.error("frames of tenant %r have no place: %s", tenant, error)
                self.counts["refused"] += 1
                records = [one for one in records if one[0].tenant != tenant]
            else:
                self._ready.add(tenant)
        await self._writer.apply([insert(record, place) for record, place in records])
        self.counts["projected"] += len(records)
