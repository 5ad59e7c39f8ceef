"""Appends a second and latency of both logs, and from append to read: `python -m bench.logs [--kafka BOOTSTRAP]`.

What enters: a duration, a record size, numbers of concurrent writers. What leaves: one line a case, or JSON. The
SQLite file lies in `--data`: a disk, not a memory file system, or the figures say nothing about durability.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import msgspec

from streams.log import Log, Record, TopicPartition, TopicSpec
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.log import SqliteLog

PARTITIONS = 24
CASES = ((1, False), (1, True), (32, False), (1000, False), (1000, True))


class Result(msgspec.Struct):
    """`busiest_ms`: the longest time for which the event loop answered nothing else."""

    log: str
    topic: str
    writers: int
    appends_per_second: int
    p50_ms: float
    p99_ms: float
    read_p50_ms: float
    read_p99_ms: float
    busiest_ms: float


def quantile(values: list[float], share: float) -> float:
    """In milliseconds; 0 without values."""
    ordered = sorted(values)
    return round(ordered[int(share * (len(ordered) - 1))] * 1000, 2) if ordered else 0.0


async def measure(name: str, log: Log, writers: int, compacted: bool, seconds: float, size: int) -> Result:
    topic = f"bench-{uuid4().hex[:8]}"
    await log.ensure([TopicSpec(topic, PARTITIONS, compacted=compacted)])
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    reader = log.reader()
    await reader.assign(dict.fromkeys(places, 0))
    appends: list[float] = []
    reads: list[float] = []
    pauses: list[float] = []
    stop = time.perf_counter() + seconds
    padding = b"v" * size

    async def write(writer: int) -> None:
        partition = writer % PARTITIONS
        number = 0
        while (at := time.perf_counter()) < stop:
            number += 1
            record = Record(b"%d/%d" % (writer, number % 100), b"%.9f " % at + padding)
            await log.append(topic, partition, [record])
            appends.append(time.perf_counter() - at)

    async def read() -> None:
        while time.perf_counter() < stop:
            for records in (await reader.poll(0.1)).values():
                now = time.perf_counter()
                reads.extend(now - float((record.value or b"0").split(b" ", 1)[0]) for record in records)

    async def watch() -> None:
        while (at := time.perf_counter()) < stop:
            await asyncio.sleep(0.005)
            pauses.append(max(0.0, time.perf_counter() - at - 0.005))

    await asyncio.gather(read(), watch(), *(write(writer) for writer in range(writers)))
    await reader.close()
    return Result(
        log=name,
        topic="compacted" if compacted else "kept",
        writers=writers,
        appends_per_second=round(len(appends) / seconds),
        p50_ms=quantile(appends, 0.5),
        p99_ms=quantile(appends, 0.99),
        read_p50_ms=quantile(reads, 0.5),
        read_p99_ms=quantile(reads, 0.99),
        busiest_ms=quantile(pauses, 1.0),
    )


async def run(kafka: str | None, data: Path, seconds: float, size: int) -> list[Result]:
    results: list[Result] = []
    with tempfile.TemporaryDirectory(dir=data, prefix="bench-log-") as folder:
        logs: list[tuple[str, Log]] = [("sqlite", SqliteLog(Path(folder) / "log.db"))]
        if kafka is not None:
            logs.append(("kafka", KafkaLog(kafka)))
        for name, log in logs:
            await log.start()
            try:
                for writers, compacted in CASES:
                    results.append(await measure(name, log, writers, compacted, seconds, size))
            finally:
                await log.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.logs", description=__doc__)
    parser.add_argument("--kafka", metavar="BOOTSTRAP", help="measure this broker too, host:port")
    parser.add_argument(
        "--data", type=Path, default=Path(), help="where the SQLite file goes (default: here)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case")
    parser.add_argument("--size", type=int, default=500, help="bytes of a value")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = asyncio.run(run(options.kafka, options.data, options.seconds, options.size))
    if options.json:
        print(json.dumps([msgspec.to_builtins(result) for result in results], indent=2))
        return
    columns = Result.__struct_fields__
    print("  ".join(f"{column:>18}" for column in columns))
    for result in results:
        print("  ".join(f"{getattr(result, column):>18}" for column in columns))


if __name__ == "__main__":
    main()
