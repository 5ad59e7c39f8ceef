"""What facts cost `effects` on a real Kafka: `python -m tests.gateway.mqtt.on_kafka [--facts N] [--rate N]`.

A process of its own appends the facts of `test_costs.facts_of` at a steady rate; MQTT's broker, partners and the bus
take everything at once. It says the CPU time of the process that follows, its fetches and what it decoded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from rich.console import Console

from domain import delivery, remote_command, session, token
from domain.charge_point import AGGREGATE_EVENTS, ChargePoint
from gateway.mqtt.publisher import Teller, sink_of
from streams.effects.deliveries import Deliveries
from streams.effects.gate import LocalGate
from streams.effects.public import PublicTopics
from streams.following.group import Group
from streams.log import envelope
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.topology import events_topic, topics
from tests.gateway.mqtt.test_costs import Registry, Reports, Store, Taking, facts_of
from tests.projections.facts import AREAS as AREA_OF
from tests.projections.facts import NOON, decision, meta
from tests.servers import Kafka
from tests.streams.harness import until
from tests.streams.receiver import Receiver, original

say = Console(soft_wrap=True, highlight=False, markup=False).print
STEPS = 40
"""Facts of a charge."""
TOGETHER = 0.02
"""Seconds of facts that are appended at once, as a busy decider does."""


async def write(bootstrap: str, count: int, rate: int) -> None:
    """Append so many facts: charges that begin one after another and overlap."""
    log = KafkaLog(bootstrap)
    await log.start()
    charges = count // STEPS
    facts = [
        events
        for _, events in sorted(
            (
                (number + step * charges / STEPS, events)
                for number in range(charges)
                for step, events in enumerate(facts_of(number))
            ),
            key=lambda one: one[0],
        )
    ]
    loop = asyncio.get_running_loop()
    begun, step = loop.time(), max(1, round(rate * TOGETHER))
    for number in range(0, count, step):
        out: dict[tuple[str, int], list[Any]] = {}
        for events in facts[number : number + step]:
            id = events[0].originator_id
            place = events_topic(AREA_OF[id.partition("|")[0]]), Layout().partition_of(id)
            out.setdefault(place, []).append(envelope.record(id, decision(*events, meta=meta()), "demo"))
        await asyncio.gather(*(log.append(*place, records) for place, records in out.items()))
        await asyncio.sleep(begun + number / rate - loop.time())
    await log.close()


def counted() -> dict[str, int]:
    """Counts fetches and decoded records from now on."""
    counts = {"fetches": 0, "decoded": 0}
    fetch, decoder = Fetcher._proc_fetch_request, envelope._entries

    async def proc_fetch(self: Any, *arguments: Any) -> Any:
        counts["fetches"] += 1
        return await fetch(self, *arguments)

    class Decoder:
        def decode(self, data: bytes) -> object:
            counts["decoded"] += 1
            return decoder.decode(data)

    Fetcher._proc_fetch_request = proc_fetch
    envelope._entries = Decoder()  # type: ignore[assignment]
    return counts


async def follow(bootstrap: str, count: int, folder: Path) -> dict[str, object]:
    """Take so many facts; what that cost."""
    log, store, counts = KafkaLog(bootstrap), Store(folder / "store"), counted()
    await log.start()
    registry = Registry(
        {
            ChargePoint: AGGREGATE_EVENTS,
            session.Session: session.AGGREGATE_EVENTS,
            token.Token: token.AGGREGATE_EVENTS,
            remote_command.RemoteCommand: remote_command.AGGREGATE_EVENTS,
            delivery.Delivery: delivery.AGGREGATE_EVENTS,
        }
    )
    reports, teller = Reports(log), Teller(store, registry, Taking())  # type: ignore[arg-type]
    deliveries = Deliveries(log, reports, registry, original, Receiver(), LocalGate(), lambda: NOON)
    sinks = [deliveries.sink, PublicTopics(log, registry).sink, sink_of(log, teller, teller.handle)]
    running = asyncio.create_task(Group(log, "effects", "one", sinks).run())
    await until(lambda: all(len(sink.lanes) == Layout().partitions * len(sink.topics) for sink in sinks), 60)
    await asyncio.sleep(2)
    for name in counts:
        counts[name] = 0
    say("ready")
    before = resource.getrusage(resource.RUSAGE_SELF)
    sent, public, mqtt = sinks
    await until(lambda: sent.handled + public.handled == count and mqtt.handled == public.handled, 600)
    after = resource.getrusage(resource.RUSAGE_SELF)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await log.close()
    await store.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu, 2), **counts, "reports": reports.told}


async def _topics(bootstrap: str) -> None:
    log = KafkaLog(bootstrap)
    await log.start()
    await log.ensure(topics(Layout()))
    await log.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.mqtt.on_kafka")
    parser.add_argument("--facts", type=int, default=10_000, help="a multiple of 40")
    parser.add_argument("--rate", type=int, default=500, help="facts a second")
    parser.add_argument("--follow", nargs=2, metavar=("BOOTSTRAP", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--write", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        bootstrap, folder = options.follow
        say(json.dumps(asyncio.run(follow(bootstrap, options.facts, Path(folder)))))
        return
    if options.write:
        asyncio.run(write(options.write, options.facts, options.rate))
        return
    with tempfile.TemporaryDirectory() as folder:
        kafka = Kafka(Path(folder) / "kafka")
        kafka.start()
        try:
            asyncio.run(_topics(kafka.url))
            itself = [sys.executable, "-m", "tests.gateway.mqtt.on_kafka", "--facts", str(options.facts)]
            following = subprocess.Popen(
                [*itself, "--follow", kafka.url, folder], stdout=subprocess.PIPE, text=True
            )
            assert following.stdout is not None
            assert following.stdout.readline() == "ready\n"
            writing = [*itself, "--rate", str(options.rate), "--write", kafka.url]
            subprocess.run(writing, check=True)
            say(following.stdout.read().strip())
            following.wait()
        finally:
            kafka.kill()


if __name__ == "__main__":
    main()
