"""Idle charge points on one gateway: `chargesphere bench --idle [--points 10000]`.

What enters: how many. What leaves: the gateway's memory before and after, by connection, and the answer times of a
few active charge points beside them.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import psutil
from rich.console import Console

from bench.backend import Backend, more_files
from bench.clients import Client, Share
from bench.connecting import connect_all
from bench.options import TENANT, bench_emsp, prepare, run_folder
from bench.system import shares, summary
from bench.tables import machine, print_facts, print_rows, write_json

ACTIVE = 20
RATE = 20.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--idle", action="store_true", help="idle charge points instead of the load run")


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 where an active charge point met an error."""
    console = Console()
    more_files()
    with run_folder(options) as folder:
        backend = Backend(options.runtime, folder, 1, options.deciders, options.jvm)
        with backend.running():
            result = asyncio.run(_measure(backend, options, console))
    print_facts(console, "idle charge points", result["memory"])
    print_rows(console, "answer times beside them, ms", result["active"]["answer_ms"], "action")
    if options.json is not None:
        write_json(options.json, result)
    return 1 if result["active"]["errors"] else 0


async def _measure(backend: Backend, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    emsp = bench_emsp()
    name = "serve" if options.runtime == "embedded" else "gateway-1"
    gateway = psutil.Process(backend.children[name].pid)
    options.charging = 0.0
    async with emsp.serving():
        tags = await prepare(backend, emsp, options.points + ACTIVE)
        url = (backend.ocpp_urls[0],)
        active = Client(Share(url, TENANT, "ACTIVE", 0, ACTIVE, 0.5, tags, 20.0, 99))
        clients = [active]
        try:
            await connect_all([active], ACTIVE, options.patience, console)
            await _step(active, 5.0)
            before = gateway.memory_info().rss
            idle = [Client(share) for share in shares(options, url, tags)]
            clients += idle
            console.print(f"connecting {options.points} idle charge points")
            refusals = await connect_all(idle, options.points, options.patience, console)
            await asyncio.sleep(5.0)
            after = gateway.memory_info().rss
            outcome = await _step(active, options.seconds)
            later = gateway.memory_info().rss
        finally:
            for client in clients:
                client.stop()
    return {
        "what": "idle charge points",
        "runtime": options.runtime,
        "machine": machine(),
        "memory": {
            "charge_points": options.points,
            "before_mib": round(before / 2**20, 1),
            "after_mib": round(after / 2**20, 1),
            "at_the_end_mib": round(later / 2**20, 1),
            "kib_each": round((after - before) / 1024 / options.points, 1),
        },
        "refusals": dict(refusals),
        "active": summary([outcome], options.seconds),
    }


async def _step(client: Client, seconds: float) -> Any:
    begin = asyncio.get_running_loop().time()
    client.order("run", RATE, begin, 0.0, seconds)
    return (await asyncio.to_thread(client.answer, seconds + 60))[1]
