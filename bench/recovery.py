"""How long a decider takes until it decides again: `python -m bench.recovery --tokens 1000000 [--kafka]`.

What enters: a number of tokens, which are written into a new log as the decisions of a decider that is gone. What
leaves: a table and JSON with seconds and memory of fresh processes that claim all partitions of tokens, first by
folding every event, then, once they have written a checkpoint, from the stored states.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
import psutil
from rich.console import Console

from bench.tables import machine, print_rows, write_json
from chargesphere import registry
from chargesphere.tuning import run as run_loop
from chargesphere.tuning import settle
from commands.base import Area, Meta
from commands.token import PutToken
from domain.values import PartyId
from streams.deciding.bus import CommandBus
from streams.deciding.channel import LocalChannel
from streams.deciding.checkpoints import CHECKPOINT_KEY
from streams.deciding.decider import Decider
from streams.deciding.partition import Partition
from streams.log import Log, Record, Stored, TopicPartition
from streams.log.batching import append_all
from streams.log.envelope import Claim, CommandRecord, encode, raw, record
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import commands_topic, events_topic, state_topic, topics
from tests.servers import Kafka

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMSP: Final = PartyId(country_code="NL", party_id="TNM")
MARK: Final = b"@" * 32
"""Stands for a token's key in the decision that all others are copied from; a key has this length."""
SEALED: Final = "s1." + "@" * 32 + "." + "c" * 400
LIMIT: Final = 900.0
"""Seconds for any single process."""


class Start(msgspec.Struct):
    """One start of a decider. Memory in MiB; `pause_ms` is the longest time in which its loop did nothing else."""

    ready_seconds: float
    answer_ms: float
    rss_before: float
    rss_ready: float
    rss_peak: float
    pause_ms: float
    checkpoint_seconds: float | None = None
    checkpoint_pause_ms: float | None = None
    rss_checkpointed: float | None = None


# -- writing ---------------------------------------------------------------------------------------------------


def key_of(number: int) -> str:
    """A token's key, as an HMAC looks."""
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()


def put(key: str) -> PutToken:
    sealed = SEALED.replace(MARK.decode(), key)
    return PutToken(
        owner=EMSP,
        key=key,
        token_type="RFID",
        whitelist="ALLOWED",
        cdr_token=sealed[:200],
        body=sealed,
        last_updated=NOON,
        fingerprint=key,
    )


def pattern() -> Record:
    """A decision on a token as a decider takes it, with `MARK` for the key.

    Its command's offset lies before every partition's beginning: nobody waits for its reply.
    """
    command = put(MARK.decode())
    meta = Meta(command_id=f"ocpi|{MARK.decode()}", at=NOON, correlation_id=MARK.decode(), principal="TNM")
    asked = CommandRecord(aggregate=command.aggregate_id, meta=meta, command=raw(command))
    partition = Partition(registry.RULES)
    partition.epoch, partition.decided_through = 0, -2
    stored = Stored(commands_topic(Area.TOKEN), 0, -1, 0, command.group.encode(), encode(asked))
    decision = partition.decide(stored, NOON)
    if decision is None or not decision.events:
        raise SystemExit("bench.recovery: a new token was not put")
    return record(command.aggregate_id, decision)


async def write(log: Log, tokens: int) -> None:
    """A claim in each partition, then every token's decision in its own."""
    topic = events_topic(Area.TOKEN)
    await log.ensure([spec for spec in topics(log.layout) if spec.name.endswith(f".{Area.TOKEN.value}")])
    for number in range(log.layout.partitions):
        await log.append(topic, number, [Record(None, encode(Claim(owner="bench/gone")))])
    made = pattern()
    assert made.key is not None and made.value is not None
    waiting: list[list[Record]] = [[] for _ in range(log.layout.partitions)]
    for batch in _batches(tokens, 50_000):
        for number in batch:
            key = key_of(number)
            written = key.encode()
            waiting[log.layout.partition_of(key)].append(
                Record(made.key.replace(MARK, written), made.value.replace(MARK, written))
            )
        await asyncio.gather(*(append_all(log, topic, n, records) for n, records in enumerate(waiting)))
        for records in waiting:
            records.clear()


def _batches(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


# -- one start, in a process of its own --------------------------------------------------------------------------


async def start(log: Log, tokens: int, *, checkpoint: bool) -> Start:
    """Start a decider, wait until it is ready, ask it about two tokens; perhaps wait for its checkpoints."""
    before = _rss()
    channel = LocalChannel("bench")
    decider = Decider(
        log, registry.RULES, channel, "bench", lambda: NOON, areas=[Area.TOKEN], checkpoint_every=LIMIT
    )
    pauses = [0.0]
    watch = asyncio.create_task(_watch(pauses))
    began = time.perf_counter()
    running = asyncio.create_task(decider.run())
    try:
        await _until(lambda: decider.held == log.layout.partitions and decider.ready, running)
        ready, memory = time.perf_counter() - began, _rss()
        pause = max(pauses)
        asked = time.perf_counter()
        bus = CommandBus(log, channel)
        for number in (0, tokens - 1):
            meta = Meta(command_id=f"again-{time.time_ns()}", at=NOON)
            reply = await bus.ask(put(key_of(number)), meta)
            if msgspec.json.decode(reply.result) != {"applied": False}:
                raise SystemExit(f"bench.recovery: token {number} is not known after the start: {reply}")
        result = Start(
            ready_seconds=round(ready, 2),
            answer_ms=round((time.perf_counter() - asked) * 500, 1),
            rss_before=before,
            rss_ready=memory,
            rss_peak=_peak(),
            pause_ms=round(pause * 1000, 1),
        )
        if checkpoint:
            pauses[0], asked = 0.0, time.perf_counter()
            decider.checkpoint()
            await _checkpointed(log)
            result.checkpoint_seconds = round(time.perf_counter() - asked, 2)
            result.checkpoint_pause_ms = round(pauses[0] * 1000, 1)
            result.rss_checkpointed = _rss()
            result.rss_peak = _peak()
        return result
    finally:
        for task in (running, watch):
            task.cancel()
        await asyncio.gather(running, watch, return_exceptions=True)


async def _checkpointed(log: Log) -> None:
    """Until every partition's states end with a mark."""
    places = log.places(state_topic(Area.TOKEN))
    deadline = time.monotonic() + LIMIT
    marked: set[TopicPartition] = set()
    while len(marked) < log.layout.partitions:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench.recovery: no checkpoints within {LIMIT:g} s")
        await asyncio.sleep(0.1)
        ends = await log.ends(places)
        reader = log.reader()
        await reader.assign({place: end - 1 for place, end in ends.items() if end and place not in marked})
        for place, batch in (await reader.poll(0.1)).items():
            if batch[-1].key == CHECKPOINT_KEY and batch[-1].offset == ends[place] - 1:
                marked.add(place)
        await reader.close()


async def _until(condition: Callable[[], bool], running: asyncio.Task[None]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if running.done():
            running.result()
        if time.monotonic() > deadline:
            raise SystemExit(f"bench.recovery: not ready within {LIMIT:g} s")
        await asyncio.sleep(0.005)


async def _watch(pauses: list[float]) -> None:
    while True:
        at = time.perf_counter()
        await asyncio.sleep(0.005)
        pauses[0] = max(pauses[0], time.perf_counter() - at - 0.005)


def _rss() -> float:
    return round(psutil.Process().memory_info().rss / 2**20, 1)


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


# -- the run -----------------------------------------------------------------------------------------------------


def open_log(where: str, kafka: bool) -> Log:
    return KafkaLog(where) if kafka else SqliteLog(Path(where))


async def one(where: str, kafka: bool, tokens: int, stage: str) -> Start | None:
    log = open_log(where, kafka)
    await log.start()
    try:
        if stage == "write":
            await write(log, tokens)
            return None
        await log.ensure([spec for spec in topics(log.layout) if spec.name.endswith(f".{Area.TOKEN.value}")])
        return await start(log, tokens, checkpoint=stage == "events")
    finally:
        await log.close()


def stage_in_process(name: str, options: argparse.Namespace, where: str) -> dict[str, object]:
    """Run a stage as a process of its own; what it measured."""
    command = [sys.executable, "-m", "bench.recovery", "--stage", name, "--where", where]
    command += ["--tokens", str(options.tokens), *(["--kafka"] if options.kafka else [])]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=LIMIT)
    if done.returncode:
        raise SystemExit(f"bench.recovery: the stage {name} ended with status {done.returncode}")
    if name == "write":
        return {"seconds": round(time.perf_counter() - began, 2)}
    found: dict[str, object] = json.loads(done.stdout)
    return found


def run(options: argparse.Namespace) -> dict[str, object]:
    """Write, start from the events, start from the states."""
    with (
        tempfile.TemporaryDirectory(dir=options.data, prefix="bench-recovery-") as folder,
        Kafka(Path(folder) / "kafka") if options.kafka else nullcontext() as kafka,
    ):
        where = kafka.bootstrap if kafka is not None else str(Path(folder) / "log.db")
        written = stage_in_process("write", options, where)
        starts = {name: stage_in_process(name, options, where) for name in ("events", "states")}
    return {
        "machine": machine(),
        "log": "kafka" if options.kafka else "sqlite",
        "tokens": options.tokens,
        "written": written,
        "starts": starts,
    }


def _told(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--kafka", action="store_true", help="on a broker of its own, not on a SQLite file")
    parser.add_argument("--data", type=Path, help="parent folder of the log (default: the system's own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--stage", choices=("write", "events", "states"), help=argparse.SUPPRESS)
    parser.add_argument("--where", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        settle(follows=False)
        found = run_loop(one(options.where, options.kafka, options.tokens, options.stage))
        print(msgspec.json.encode(found).decode())
        return
    signal.signal(signal.SIGTERM, _told)  # so that the stage under way and the folder go too
    result = run(options)
    console = Console()
    starts: dict[str, dict[str, object]] = result["starts"]  # type: ignore[assignment]
    rows = {name: {stage: found[name] for stage, found in starts.items()} for name in Start.__struct_fields__}
    print_rows(console, f"{options.tokens:,} tokens in {result['log']}, start from", rows, "")
    console.print_json(data=result)
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
