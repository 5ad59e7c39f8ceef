"""A closed loop: `chargesphere bench --closed [--runtime embedded] [--points 100]`.

What enters: charge points that charge without a pause, each message following on the answer to the one before. What
leaves: messages a second of a bare server and of the whole system, on the same machine in the same run, answer times
by action, and the CPU that a message costs each process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console

from bench.backend import Backend, Usage, more_files
from bench.bound import bound
from bench.clients import Client
from bench.connecting import connect_all
from bench.options import bench_emsp, prepare, run_folder
from bench.system import Result, delays, shares, summary
from bench.tables import machine, print_facts, print_rows, write_json

MOST_POINTS: Final = 100
"""As many as there are tags: none charges twice at once."""
BARE_TAGS: Final = ("BARE",)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--closed", action="store_true", help=f"a loop without pauses, of at most {MOST_POINTS} charge points"
    )


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 where messages failed."""
    console = Console()
    more_files()
    options.points = min(options.points, MOST_POINTS)
    options.charging = 0.0
    with run_folder(options) as folder:
        with bare_server() as url:
            bare = asyncio.run(_loop([url], BARE_TAGS, {}, options, console))
        backend = Backend(options.runtime, folder, options.gateways, options.deciders, options.jvm)
        with backend.running():
            result = asyncio.run(_measure(backend, options, console))
    result["bare"] = bare
    result["share_of_bare_percent"] = round(100 * result["a_second"] / bare["a_second"], 1)
    _show(console, result)
    if options.json is not None:
        write_json(options.json, result)
    return 1 if result["errors"] or bare["errors"] else 0


async def _measure(backend: Backend, options: argparse.Namespace, console: Console) -> Result:
    emsp = bench_emsp()
    async with emsp.serving():
        tags = await prepare(backend, emsp, options.points)
        result = await _loop(backend.ocpp_urls, tags, backend.processes(), options, console)
        result["delays_ms"] = delays(await asyncio.to_thread(backend.metrics))
    return {"what": "closed loop", "runtime": options.runtime, "machine": machine(), **result}


async def _loop(
    urls: Sequence[str],
    tags: tuple[str, ...],
    processes: dict[str, int],
    options: argparse.Namespace,
    console: Console,
) -> Result:
    clients = [Client(share) for share in shares(options, urls, tags)]
    try:
        await connect_all(clients, options.points, options.patience, console)
        begin = asyncio.get_running_loop().time() + 1.0
        for client in clients:
            client.order("closed", begin, options.warm_up, options.seconds)
        await asyncio.sleep(1.0 + options.warm_up)
        usage = Usage(processes | {f"client-{n}": c.pid for n, c in enumerate(clients, 1)})
        usage.start()
        await asyncio.sleep(options.seconds)
        used: dict[str, dict[str, float]] = usage.report()
        said: list[tuple[Any, ...]] = await asyncio.gather(
            *(asyncio.to_thread(client.answer, 60.0) for client in clients)
        )
    finally:
        for client in clients:
            client.stop()
    found = summary([one[1] for one in said], options.seconds)
    rate = found["answered"] / options.seconds
    for name, one in used.items():
        if not name.startswith("client-"):
            one["ms_a_message"] = round(one["cpu_percent"] * 10 / max(rate, 1.0), 3)
    return {
        **found,
        "charge_points": options.points,
        "a_second": round(rate),
        "processes": used,
        "ms_a_message": round(sum(one.get("ms_a_message", 0.0) for one in used.values()), 2),
    }


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    """Its address."""
    command = [*bound(), sys.executable, "-m", "bench.bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _show(console: Console, result: Result) -> None:
    print_rows(console, "answer times, ms", result["answer_ms"], "action")
    if result["delays_ms"]:
        print_rows(console, "from the log, ms", result["delays_ms"], "to")
    print_rows(console, "processes", result["processes"], "process")
    facts = {
        "bare server, messages a second": result["bare"]["a_second"],
        "the whole system, messages a second": result["a_second"],
        "share of the bare server, %": result["share_of_bare_percent"],
        "CPU a message, ms": result["ms_a_message"],
    }
    facts |= {f"error: {what[:60]}": count for what, count in result["errors"].items()}
    print_facts(console, f"closed loop, {result['runtime']}, {result['charge_points']} charge points", facts)
