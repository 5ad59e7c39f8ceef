"""A hostile day: `chargesphere bench --hostile [--runtime embedded] [--points 100] [--rate 6000]`.

What enters: charge points of one tenant at a steady rate, and an attacker beside them with one flood after another
(`bench.attacker`), bound to half a core. What leaves: the answer times of those charge points while it is quiet and
during each flood, and the attacker's rate. A flood is survived where their p99 stays below twice the quiet one, or
below 200 ms where that is more, and no message failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, Final

import msgspec
from rich.console import Console

from bench.attacker import FLOODS, FOE, FOE_POINT, GUESSED
from bench.backend import Backend, more_files
from bench.bound import bound
from bench.clients import Client
from bench.connecting import connect_all
from bench.options import TENANT, bench_emsp, prepare, run_folder, tenant_body
from bench.sockets import HandshakeRefusedError, open_socket
from bench.system import Result, shares, summary
from bench.tables import machine, print_facts, print_rows, write_json
from chargesphere.demo.api_client import ApiClient

LEAST_MS: Final = 200.0
FACTOR: Final = 2.0
EVSE: Final[dict[str, Any]] = {
    "uid": "E1",
    "connectors": [
        {
            "id": "1",
            "standard": "IEC_62196_T2",
            "format": "SOCKET",
            "power_type": "AC_3_PHASE",
            "max_voltage": 230,
            "max_amperage": 32,
        }
    ],
}
AROUND: Final = 2.0
"""Seconds for which a flood goes on before and after what is measured."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hostile",
        action="store_true",
        help="one flood after another beside charge points of another tenant",
    )
    parser.add_argument(
        "--flood", choices=tuple(FLOODS), action="append", help="only this one; may be repeated"
    )


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 where a flood was not survived."""
    console = Console()
    more_files()
    with run_folder(options) as folder:
        backend = Backend(options.runtime, folder, options.gateways, options.deciders, options.jvm)
        with backend.running():
            result = asyncio.run(_measure(backend, options, console))
    _show(console, result)
    if options.json is not None:
        write_json(options.json, result)
    return 1 if any(result["failed"].values()) else 0


async def _measure(backend: Backend, options: argparse.Namespace, console: Console) -> Result:
    emsp = bench_emsp()
    async with emsp.serving():
        tags = await prepare(backend, emsp, options.points)
        await _admit_the_foe(backend)
        clients = [Client(share) for share in shares(options, backend.ocpp_urls, tags)]
        try:
            await connect_all(clients, options.points, options.patience, console)
            quiet = await _stretch(clients, options, options.warm_up)
            floods: dict[str, Result] = {}
            for flood in options.flood or FLOODS:
                console.print(flood)
                floods[flood] = await _under(flood, backend, clients, options)
        finally:
            for client in clients:
                client.stop()
    return {
        "what": "hostile day",
        "runtime": options.runtime,
        "machine": machine(),
        "charge_points": options.points,
        "quiet": quiet,
        "floods": floods,
        "failed": {flood: verdict(quiet, found) for flood, found in floods.items()},
    }


async def _admit_the_foe(backend: Backend) -> None:
    """The attacker's own tenant, with the limits of any tenant and one charge point; and those of the other tenant at
    which passwords are guessed."""
    body = tenant_body(0)
    configuration = {name: body["configuration"][name] for name in ("auto_register", "default_location")} | {
        "max_auto_registered": 1
    }
    api = ApiClient(backend.api_url, backend.token)
    try:
        await api.ask("POST", "/tenants", {"id": FOE, "name": "Foe", "configuration": configuration})
        place = {"location": body["configuration"]["default_location"], "evses": [EVSE]}
        for number in range(GUESSED):
            await api.ask("POST", "/chargepoints", {"id": f"LOCKED-{number}", **place}, tenant=TENANT)
    finally:
        await api.close()
    # Before a storm of others takes its place; a gateway knows a tenant some moments after it was made.
    async with asyncio.timeout(60.0):
        while True:
            try:
                url = f"{backend.ocpp_urls[0]}/ocpp/{FOE}/{FOE_POINT}"
                socket = await open_socket(url, lambda text: None, lambda: None)
            except HandshakeRefusedError:
                await asyncio.sleep(0.5)
            else:
                socket.close()
                return


async def _under(flood: str, backend: Backend, clients: list[Client], options: argparse.Namespace) -> Result:
    """A stretch during the flood, and what the attacker says of it."""
    seconds = options.seconds + 2 * AROUND
    attacker = await asyncio.create_subprocess_exec(
        *(*bound(), sys.executable, "-m", "bench.attacker", flood),
        *(backend.ocpp_urls[0], backend.api_url, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    found = await _stretch(clients, options, AROUND)
    told, _ = await attacker.communicate()
    return {**found, "attacker": msgspec.json.decode(told or b"{}")}


async def _stretch(clients: list[Client], options: argparse.Namespace, warm_up: float) -> Result:
    """Answer times of so many seconds."""
    begin = asyncio.get_running_loop().time() + 1.0
    for client in clients:
        client.order("run", options.rate / 60 / len(clients), begin, warm_up, options.seconds)
    await asyncio.sleep(1.0 + warm_up + options.seconds)
    said: list[tuple[Any, ...]] = await asyncio.gather(
        *(asyncio.to_thread(client.answer, 60.0) for client in clients)
    )
    disconnects = sum(int(one[2]) for one in said)
    return {**summary([one[1] for one in said], options.seconds), "disconnects": disconnects}


def verdict(quiet: Result, found: Result) -> str:
    """Why the flood was not survived; empty where it was."""
    most = max(FACTOR * quiet["answer_ms"]["all"].get("p99", 0.0), LEAST_MS)
    p99 = found["answer_ms"]["all"].get("p99")
    if p99 is None:
        return "nobody was answered"
    if p99 >= most:
        return f"p99 is {p99:,.1f} ms, below {most:,.1f} is wanted"
    if found["errors"] or found["unanswered"]:
        return f"{found['unanswered']} messages unanswered, errors: {found['errors']}"
    if not found.get("attacker", {}).get("done"):
        return "the attacker did nothing"
    return ""


def _show(console: Console, result: Result) -> None:
    times = {"quiet": result["quiet"]["answer_ms"]["all"]}
    times |= {flood: found["answer_ms"]["all"] for flood, found in result["floods"].items()}
    print_rows(console, f"answer times of {TENANT}'s charge points, ms", times, "flood")
    attacks = {
        flood: {name: found["attacker"].get(name, 0.0) for name in ("done", "a_second", "cpu_percent")}
        for flood, found in result["floods"].items()
    }
    print_rows(console, "the attacker", attacks, "flood")
    facts = {flood: why or "survived" for flood, why in result["failed"].items()}
    facts |= {
        f"{flood}: answers": str(found["attacker"].get("answers", {}))
        for flood, found in result["floods"].items()
    }
    print_facts(console, f"hostile day, {result['runtime']}, {result['charge_points']} charge points", facts)
