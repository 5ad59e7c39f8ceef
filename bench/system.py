"""The whole system under load: `chargesphere bench [--runtime embedded] [--rate 100000] [--points 10000] [--knee]`.

What enters: a runtime, charge points, messages a minute. What leaves: answer times by action from the moment each
message was due, the rate reached, delays from the log to the store and to MQTT, CPU and memory of each process, as a
table and as JSON. The system runs as it does anywhere else, in processes of its own, audit and MQTT on.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.backend import Backend, Usage, more_files
from bench.clients import CallOutcome, Client, Share
from bench.connecting import connect_all
from bench.options import TENANT, bench_emsp, common, prepare, run_folder
from bench.tables import machine, print_facts, print_rows, quantiles_ms, write_json

KNEE_MS = 500.0
Result = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the load run."""
    common(parser)
    parser.add_argument("--points", type=int, default=10_000, help="charge points")
    parser.add_argument("--rate", type=float, default=100_000.0, help="messages a minute")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before anything is counted")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured, at each rate")
    parser.add_argument("--connect-rate", type=float, default=150.0, help="connections a second, all clients")
    parser.add_argument(
        "--patience", type=float, default=900.0, help="seconds within which all must be connected"
    )
    parser.add_argument("--charging", type=float, default=0.5, help="share that charges from the start")
    parser.add_argument("--knee", action="store_true", help="raise the rate until p99 reaches 500 ms")
    parser.add_argument("--knee-step", type=float, default=1.25, help="factor from one rate to the next")


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 where messages failed."""
    console = Console()
    more_files()
    with run_folder(options) as folder:
        backend = Backend(options.runtime, folder, options.gateways, options.deciders, options.jvm)
        with backend.running():
            result = asyncio.run(_measure(backend, options, console, folder))
    show(console, result)
    if options.json is not None:
        write_json(options.json, result)
    return 0 if not any(step["errors"] for step in result["steps"][:1]) else 1


async def _measure(backend: Backend, options: argparse.Namespace, console: Console, folder: Path) -> Result:
    emsp = bench_emsp()
    async with emsp.serving():
        tags = await prepare(backend, emsp, options.points)
        clients = [Client(share) for share in shares(options, backend.ocpp_urls, tags)]
        try:
            console.print(f"{options.runtime}: connecting {options.points} charge points")
            began = time.monotonic()
            refusals = await connect_all(clients, options.points, options.patience, console)
            connecting = time.monotonic() - began
            steps = []
            for rate in rates(options):
                step = await _step(backend, clients, rate, options)
                steps.append(step)
                console.print(line(step), soft_wrap=True)
                if step["answer_ms"]["all"].get("p99", 0.0) >= KNEE_MS or step["reached"] < 0.9 * rate:
                    break
        finally:
            for client in clients:
                client.stop()
    return {
        "what": "bench of the whole system",
        "runtime": options.runtime,
        "machine": machine(),
        "charge_points": options.points,
        "gateways": options.gateways,
        "deciders": options.deciders,
        "connect_seconds": round(connecting, 1),
        "handshakes_refused": refusals.total(),
        "refusals": dict(refusals),
        "cdrs_at_emsp": len(emsp.cdrs),
        "violations": emsp.violations[:20],
        "steps": steps,
    }


async def _answer(client: Client, seconds: float) -> tuple[Any, ...]:
    return await asyncio.to_thread(client.answer, seconds)


def shares(options: argparse.Namespace, urls: Sequence[str], tags: tuple[str, ...]) -> list[Share]:
    """What each client process does."""
    each, rest = divmod(options.points, options.clients)
    found, first = [], 0
    for number in range(options.clients):
        count = each + (number < rest)
        found.append(
            Share(
                urls=tuple(urls),
                tenant=TENANT,
                prefix="CP",
                first=first,
                count=count,
                charging=options.charging,
                tags=tags,
                connect_rate=options.connect_rate / options.clients,
                seed=number,
            )
        )
        first += count
    return found


def rates(options: argparse.Namespace) -> Sequence[float]:
    """Messages a minute, in the order in which they are tried."""
    if not options.knee:
        return (options.rate,)
    return [options.rate * options.knee_step**step for step in range(16)]


async def _step(
    backend: Backend, clients: Sequence[Client], rate: float, options: argparse.Namespace
) -> Result:
    begin = time.monotonic() + 1.0
    for client in clients:
        client.order("run", rate / 60 / len(clients), begin, options.warm_up, options.seconds)
    await asyncio.sleep(1.0 + options.warm_up)
    usage = Usage(backend.processes() | {f"client-{n}": c.pid for n, c in enumerate(clients, 1)})
    usage.start()
    await asyncio.sleep(options.seconds)
    used = usage.report()
    metrics = await asyncio.to_thread(backend.metrics)
    said = await asyncio.gather(*(_answer(client, 60.0) for client in clients))
    outcomes = [one[1] for one in said]
    return {
        "rate": round(rate),
        **summary(outcomes, options.seconds),
        "disconnects": sum(int(one[2]) for one in said),
        "delays_ms": delays(metrics),
        "processes": used,
        "cpu_percent": round(sum(one["cpu_percent"] for one in used.values()), 1),
        "counts": counts(metrics),
    }


def line(step: Result) -> str:
    """A step in one line."""
    times = step["answer_ms"]["all"]
    shown = ", ".join(f"{name} {times[name]:,.1f}" for name in ("p50", "p95", "p99", "max") if name in times)
    reached, wanted = f"{step['reached']:,} a minute", f"{step['rate']:,} wanted"
    return f"{reached} ({wanted}): {shown} ms; CPU of all processes {step['cpu_percent']:,.0f} % of a core"


def summary(outcomes: Sequence[CallOutcome], seconds: float) -> Result:
    """The answer times of all clients, by action and together, and what went wrong."""
    by_action: dict[str, array[float]] = {}
    errors: Counter[str] = Counter()
    for outcome in outcomes:
        errors.update(outcome.errors)
        for action, data in outcome.seconds.items():
            by_action.setdefault(action, array("d")).frombytes(data)
    everything = [value for values in by_action.values() for value in values]
    answered = sum(outcome.answered for outcome in outcomes)
    return {
        "sent": sum(outcome.sent for outcome in outcomes),
        "answered": answered,
        "reached": round(answered / seconds * 60),
        "unanswered": sum(outcome.late for outcome in outcomes),
        "errors": dict(errors.most_common(20)),
        "client_lag_ms": round(max((o.lag for o in outcomes), default=0.0) * 1000, 1),
        "answer_ms": {
            "all": quantiles_ms(everything),
            **{action: quantiles_ms(values) for action, values in sorted(by_action.items())},
        },
    }


def delays(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """From the log to where an event went, by destination, as the processes say."""
    found: dict[str, dict[str, float]] = {}
    for values in metrics.values():
        for name, value in values.items():
            if name.startswith("chargesphere_delay_seconds{"):
                labels = labels_of(name)
                share = f"p{float(labels['quantile']) * 100:g}"
                found.setdefault(labels["to"], {})[share] = round(value * 1000, 1)
    return found


def counts(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What the engines have counted, summed over the processes."""
    found: dict[str, float] = {}
    for values in metrics.values():
        for name, value in values.items():
            if name.startswith("chargesphere_engine{"):
                labels = labels_of(name)
                key = f"{labels['engine']}.{labels['count']}"
                found[key] = found.get(key, 0.0) + value
    return found


def labels_of(name: str) -> dict[str, str]:
    """The labels in `name{a="b",c="d"}`."""
    inside = name.partition("{")[2].rstrip("}")
    pairs = (part.split("=", 1) for part in inside.split(",") if "=" in part)
    return {key: value.strip('"') for key, value in pairs}


def show(console: Console, result: Result) -> None:
    """Tables of the last step, and of all steps where there were several."""
    for step in result["steps"][-1:]:
        print_rows(console, "answer times from when a message was due, ms", step["answer_ms"], "action")
        print_rows(console, "from the log to, ms", step["delays_ms"], "to")
        print_rows(console, "processes", step["processes"], "process")
        facts = {name: step[name] for name in ("rate", "reached", "sent", "unanswered", "disconnects")}
        facts |= {"client lag, ms": step["client_lag_ms"], "CPU of all, % of a core": step["cpu_percent"]}
        facts |= {f"error: {what[:60]}": count for what, count in step["errors"].items()}
        facts |= {name: result[name] for name in ("connect_seconds", "handshakes_refused", "cdrs_at_emsp")}
        print_facts(console, f"{result['runtime']}, {result['charge_points']} charge points", facts)
    if len(result["steps"]) > 1:
        rows = {
            f"{s['rate']:,}": {"reached": s["reached"], **s["answer_ms"]["all"], "CPU, %": s["cpu_percent"]}
            for s in result["steps"]
        }
        print_rows(console, "up to the knee", rows, "messages a minute")
