"""A hundred and twenty days in minutes: ``python -m bench.endings [--charges N] [--transactions N]``.

Charges that are asked for from afar, run, end and are delivered go through one partition of each area, with commands
that bear the times of 120 days up to now; each day ends with a checkpoint into an embedded log. Prints, at a quarter,
a half and the end, what there is in memory and in the state topic, what a start takes to load it from the file, and
what a decision took since the line before. Times are of the CPU, and garbage is collected as in our processes. Beside
them one charge point has `--transactions` transactions, and one tag as many authorizations.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.leftovers import EMSP, START, starting
from chargesphere import registry
from chargesphere.tuning import settle
from commands.base import Area, Command, Meta
from commands.charge_point import Register, StartTransaction, StopTransaction
from commands.delivery import ReportAttempt, Want
from commands.remote_command import Conclude, RequestRemoteCommand
from commands.session import EndSession, RecordUsage
from commands.token import NoteAuthorization, PutToken
from domain.charge_point import charge_point_key
from domain.intents import RemoteStart
from domain.session import End
from domain.token import token_aggregate_id
from domain.values import Authorization, PartyId, RegisterSample, Settings, Site, TagRef
from streams.deciding.checkpoints import CHECKPOINT_KEY, Saver
from streams.deciding.claims import Claims, Places
from streams.deciding.partition import Partition
from streams.log import Stored
from streams.log.envelope import CommandRecord, Decision, ReplyTo, encode, raw, record
from streams.log.ranges import newest
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics

DAYS = 120
ENDING = (Area.SESSION, Area.DELIVERY, Area.REMOTE_COMMAND)
HEAD = "charges  days  in memory  states stored    bytes stored  start, s of CPU  a decision, µs of CPU"
TAG = TagRef(key="0f1e2d3c4b5a69788796a5b4c3d2e1f0")
POINT: dict[str, Any] = {"tenant": "demo", "charge_point_id": "DE-DMO-CP0001"}
SITE = Site(id="L1", name="Depot", address="Weg 1", city="Berlin", country="DEU", time_zone="Europe/Berlin")
SETTINGS = Settings(party=PartyId(country_code="DE", party_id="DMO"))


class Lane:
    """One partition in the hands of a decider, with its checkpoints."""

    log: SqliteLog
    saver: Saver

    def __init__(self, area: Area) -> None:
        self.places = Places(area, 0)
        self.partition = Partition(registry.RULES)
        self.decided = 0
        self._last: Decision | None = None

    async def begin(self, log: SqliteLog) -> None:
        """A decider takes the partition: what was in memory is loaded anew."""
        self.log = log
        self.saver = Saver(log, self.places.states, 0.0, lambda: None, asyncio.Semaphore(1))
        claimed = await Claims(log, registry.RULES, "bench", 2_000).claim(self.places, 0)
        self.partition, self.saver.since = claimed.partition, claimed.states_since

    def decide(self, command: Command, id: str, at: datetime) -> None:
        """One that is not known by what it says has somebody who waits for it."""
        self.decided += 1
        value = CommandRecord(
            aggregate=command.aggregate_id,
            meta=Meta(command_id=id, at=at, tenant="demo"),
            reply_to=None if command.recognised else ReplyTo(1, "boot", 1),
            command=raw(command),
        )
        taken = int(at.timestamp() * 1000)
        decision = self.partition.decide(Stored("commands", 0, self.decided, taken, b"", encode(value)), at)
        assert decision is not None
        assert decision.reply.refusal is None, (id, decision.reply)
        self._last = decision
        self.partition.states.shrink()

    async def save(self) -> None:
        """A checkpoint, once a decision of the day stands in the log."""
        if self._last is not None:
            one = record(self._last.reply.aggregate, self._last)
            [offset] = await self.log.append(*self.places.events, [one])
            self.partition.folded = offset + 1
        self.partition.decided.clear()  # the commands themselves are not in this log
        self.saver.begin()
        self.saver.go_on(self.partition)
        while (writing := self.saver.writing) is not None:
            await asyncio.wait([writing])
            self.saver.go_on(self.partition)

    async def stored(self) -> tuple[int, int]:
        """How many states the state topic holds, and their bytes."""
        found = await newest(self.log, self.places.states)
        found.pop(CHECKPOINT_KEY, None)
        states = [stored.value for stored in found.values() if stored.value is not None]
        return len(states), sum(map(len, states))


def charge(number: int, at: datetime) -> Iterator[tuple[Area, Command]]:
    """All that is decided of one charge of an hour."""
    id, end = f"00000000-0000-4000-8000-{number:012d}", at + timedelta(hours=1)
    who: dict[str, Any] = {"tenant": "demo", "command_id": f"c-{number}"}
    yield (
        Area.REMOTE_COMMAND,
        RequestRemoteCommand(
            **who,
            charge_point_id="DE-DMO-CP0001",
            command_type="remote_start",
            intent=RemoteStart(id_tag="s1.k.c2VhbGVk"),
            fingerprint="5f2b8c1d9e3a7f60",
            by="operator:ann",
            expires_at=at + timedelta(minutes=2),
        ),
    )
    yield Area.REMOTE_COMMAND, Conclude(**who, status="accepted", reason="Accepted")
    yield Area.SESSION, msgspec.structs.replace(starting(), session_id=id, start=at, tariffs=())
    sample = RegisterSample(at=at + timedelta(minutes=30), energy_wh=Decimal(5_000))
    yield Area.SESSION, RecordUsage(session_id=id, samples=(sample,))
    yield Area.SESSION, EndSession(session_id=id, end=End(at=end, meter_stop=9_000))
    to: dict[str, Any] = {"to": EMSP, "module": "cdrs", "object_id": id}
    yield Area.DELIVERY, Want(**to, tenant="demo", version=4, partition=0, offset=number)
    yield (
        Area.DELIVERY,
        ReportAttempt(**to, attempt=1, begun=2, outcome="delivered", sent=4, http_status=201),
    )


class Row(NamedTuple):
    """Where things stand after so many charges; times in seconds of the CPU."""

    charges: int
    days: int
    in_memory: int
    stored: int
    stored_bytes: int
    start: float
    decision: float

    def __str__(self) -> str:
        return (
            f"{self.charges:7,}{self.days:6}{self.in_memory:11,}{self.stored:15,}{self.stored_bytes:16,}"
            f"{self.start:17.2f}{self.decision * 1e6:23.0f}"
        )


async def opened(path: Path) -> SqliteLog:
    """The log in this file, with every topic."""
    log = SqliteLog(path)
    await log.start()
    await log.ensure(topics(log.layout))
    return log


async def months(path: Path, charges: int) -> AsyncIterator[Row]:
    """Of a quarter, a half and all of the charges.

    The log is opened anew before each start: what it still had in memory of what was written last, it would not read.
    """
    log = await opened(path)
    try:
        lanes = {area: Lane(area) for area in ENDING}
        for lane in lanes.values():
            await lane.begin(log)
        begin, step = datetime.now(UTC) - timedelta(days=DAYS), timedelta(days=DAYS) / charges
        decided, busy, day = 0, 0.0, 0
        for number in range(1, charges + 1):
            at = begin + number * step
            began = time.process_time()
            for count, (area, command) in enumerate(charge(number, at)):
                lanes[area].decide(command, f"{number}|{count}", at)
                decided += 1
            busy += time.process_time() - began
            last = number in (charges // 4, charges // 2, charges)
            if (at - begin).days > day or last:
                day = (at - begin).days
                for lane in lanes.values():
                    await lane.save()
            if last:
                known = sum(len(lane.partition.states) for lane in lanes.values())
                stored = [await lane.stored() for lane in lanes.values()]
                await log.close()
                log = await opened(path)
                began = time.process_time()
                for lane in lanes.values():
                    await lane.begin(log)
                start = time.process_time() - began
                count, size = map(sum, zip(*stored, strict=True))
                yield Row(number, day, known, count, size, start, busy / decided)
                decided, busy = 0, 0.0
    finally:
        await log.close()


def one_of_each(count: int) -> None:
    """A charge point with so many transactions, and a tag with so many authorizations."""
    points, tags = Lane(Area.CHARGE_POINT), Lane(Area.TOKEN)
    at = datetime.now(UTC) - timedelta(minutes=10) * count
    accepted = Authorization(status="Accepted", source="stored", as_of=START)
    points.decide(Register(**POINT, site=SITE), "register", at)
    put = PutToken(tenant="demo", key=TAG.key, token_type="RFID", body="s1.k.c2VhbGVk", last_updated=at)
    tags.decide(put, "put", at)
    ids = (
        charge_point_key(POINT["tenant"], POINT["charge_point_id"]),
        token_aggregate_id(None, "demo", TAG.key),
    )
    print("transactions and authorizations  bytes of the charge point  bytes of the tag")
    for number in range(1, count + 1):
        at += timedelta(minutes=10)
        tags.decide(NoteAuthorization(tenant="demo", key=TAG.key, allowed="ALLOWED"), f"a{number}", at)
        start = StartTransaction(
            **POINT,
            connector_id=1,
            id_tag=TAG,
            meter_start=100 * number,
            timestamp=at,
            authorization=accepted,
            settings=SETTINGS,
        )
        points.decide(start, f"start{number}", at)
        stop = StopTransaction(
            **POINT,
            transaction_id=number,
            meter_stop=100 * number + 50,
            timestamp=at + timedelta(minutes=5),
        )
        points.decide(stop, f"stop{number}", at + timedelta(minutes=5))
        if number in (count // 100, count // 10, count):
            sizes = [
                len(lane.partition.states.frozen(id, 0) or b"")
                for lane, id in zip((points, tags), ids, strict=True)
            ]
            print(f"{number:31,}{sizes[0]:27,}{sizes[1]:18,}")


async def measure(charges: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(HEAD)
        async for row in months(Path(folder) / "log.db", charges):
            print(row, flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.endings")
    parser.add_argument("--charges", type=int, default=200_000)
    parser.add_argument("--transactions", type=int, default=100_000)
    options = parser.parse_args()
    settle(follows=False)
    if options.charges:
        asyncio.run(measure(options.charges))
    if options.transactions:
        one_of_each(options.transactions)


if __name__ == "__main__":
    main()
