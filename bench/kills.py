"""Kills under traffic: `chargesphere bench --kills N [--runtime embedded]`.

What enters: how often each part is killed. What leaves: how long each took to recover, what Faust skipped and the
sweeper repaired, and a verdict: every answer equals the decision in the log, nothing acknowledged is lost, every read
model equals a fold of the log, and each charge has one CDR.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench.backend import Backend, more_files
from bench.options import bench_emsp, prepare, run_folder
from bench.system import counts
from bench.tables import machine, print_facts, print_rows, quantiles_ms, write_json
from bench.verify import Findings, check_answers, check_bills, check_read_models, read_history
from bench.witness import Witness
from chargesphere.backbone import open_backbone
from chargesphere.settings import read_settings

SESSION: Final = 6.0
"""Seconds after which a silent decider's partitions go to another (the Kafka log's own default)."""
RECOVERY: Final = 60.0
SETTLE: Final = 120.0
POINTS: Final = 8
MEMBERS: Final = ("decider", "projector", "effects")
"""Roles that share partitions."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kills", type=int, default=0, metavar="N", help="kill each part N times under traffic"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order and the moments of the kills")


def run(options: argparse.Namespace) -> int:
    """Run it; exit status 1 where a promise was broken."""
    console = Console()
    more_files()
    with run_folder(options) as folder:
        deciders = max(2, options.deciders)
        gateways = max(2, options.gateways)
        backend = Backend(options.runtime, folder, gateways, deciders, options.jvm, others=2)
        with backend.running():
            found = report(backend, folder, options.kills, seed=options.seed, console=console)
    show(console, found)
    if options.json is not None:
        write_json(options.json, found)
    return 1 if found["problems"] else 0


def report(backend: Backend, folder: Path, times: int, *, seed: int, console: Console) -> dict[str, Any]:
    """Disturb a running backend, whose data stand in `folder`, and judge it; the backend is stopped afterwards."""
    return asyncio.run(Kills(backend, folder, times, seed, console).run())


@dataclass
class Kills:
    """One run: traffic, disturbances in random order, then the verdict."""

    backend: Backend
    folder: Path
    times: int
    seed: int
    console: Console
    points: int = POINTS
    answers: dict[str, list[float]] = field(default_factory=dict)
    pushes: dict[str, list[float]] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    async def run(self) -> dict[str, Any]:
        """The report."""
        chance = random.Random(self.seed)
        emsp = bench_emsp()
        began = time.monotonic()
        async with emsp.serving():
            tags = await prepare(self.backend, emsp, self.points + 10)
            cards = list(emsp.cards)
            witness = Witness(self.backend.ocpp_urls, emsp, cards, self.points)
            async with witness.running():
                await witness.answered_after(asyncio.get_running_loop().time(), RECOVERY)
                plan = self.plan()
                chance.shuffle(plan)
                for number, (what, disturb) in enumerate(plan, 1):
                    await asyncio.sleep(chance.uniform(0.3, 2.5))
                    self.console.print(f"{number}/{len(plan)} {what}")
                    await self._disturb(what, disturb, witness)
                await self._settle(witness)
        await self._verify(witness)
        return {
            "what": "kills under traffic",
            "runtime": self.backend.runtime,
            "machine": machine(),
            "seconds": round(time.monotonic() - began),
            "disturbances": len(plan),
            "tags": len(tags),
            "answers_again_ms": {what: quantiles_ms(values) for what, values in self.answers.items()},
            "pushes_again_ms": {what: quantiles_ms(values) for what, values in self.pushes.items()},
            "counts": dict(self.findings.counts),
            "engines": dict(self.tally),
            "problems": self.findings.problems,
        }

    # -- disturbances ------------------------------------------------------------------------------------------

    def plan(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Each disturbance with its name, as often as it is to happen.

        On Kafka members freeze, come and go once in five kills.
        """
        fewer = self.times // 5
        if self.backend.runtime == "embedded":
            return [
                *[("serve killed", lambda: self._kill("serve"))] * self.times,
                *[("serve frozen", lambda: self._freeze("serve", 3.0))] * max(1, fewer),
            ]
        kills = ["decider-1", "projector-1", "effects-1", "gateway-1", "api"]
        return [
            *[(f"{name} killed", self._killer(name)) for name in kills for _ in range(self.times)],
            *[
                (f"{name} killed", self._server_killer(name))
                for name in ("kafka", "mongo")
                for _ in range(self.times)
            ],
            *[
                (f"{role}-2 frozen past its session", self._freezer(f"{role}-2"))
                for role in MEMBERS
                for _ in range(fewer)
            ],
            *[(f"a third {role} came and went", self._guest(role)) for role in MEMBERS for _ in range(fewer)],
        ]

    def _killer(self, name: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._kill(name)

    def _freezer(self, name: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._freeze(name, SESSION + 3)

    def _guest(self, role: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._third(role)

    def _server_killer(self, name: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._kill_server(name)

    async def _disturb(self, what: str, disturb: Callable[[], Awaitable[None]], witness: Witness) -> None:
        moment = asyncio.get_running_loop().time()
        pushed = asyncio.create_task(witness.pushed_after(moment, RECOVERY))
        await disturb()
        answer, push = await asyncio.gather(witness.answered_after(moment, RECOVERY), pushed)
        for found, kept, kind in ((answer, self.answers, "answer"), (push, self.pushes, "push")):
            if found is None:
                self.findings.problem(f"no {kind} within {RECOVERY:g} s", what)
            else:
                kept.setdefault(what, []).append(found)

    async def _kill(self, name: str) -> None:
        child = self.backend.children[name]
        await self._scrape(name)
        await asyncio.to_thread(child.kill)
        await asyncio.sleep(random.uniform(0.0, 1.0))
        child.start()
        await asyncio.to_thread(child.wait_until_ready)

    async def _kill_server(self, name: str) -> None:
        server = self.backend.servers[name]
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(random.uniform(0.0, 1.0))
        await asyncio.to_thread(server.start)

    async def _freeze(self, name: str, seconds: float) -> None:
        child = self.backend.children[name]
        child.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        child.send(signal.SIGCONT)

    async def _third(self, role: str) -> None:
        name = f"{role}-3"
        child = await asyncio.to_thread(self.backend.add, name, role)
        await asyncio.sleep(3.0)
        await self._scrape(name)
        await asyncio.to_thread(child.stop)
        child.release()
        del self.backend.children[name]

    async def _scrape(self, name: str) -> None:
        """Keep what a process has counted before it goes."""
        values = await asyncio.to_thread(self.backend.children[name].metrics)
        for key, value in counts({name: values}).items():
            if not key.endswith("lag_seconds"):
                self.tally[key] += int(value)

    # -- the verdict -------------------------------------------------------------------------------------------

    async def _settle(self, witness: Witness) -> None:
        """No new charges; wait until every one has ended and its CDR has arrived."""
        if not await witness.finish(SETTLE):
            self.findings.problem("charges that did not end", f"within {SETTLE:g} s")
        await witness.billed(SETTLE)
        # The sweeper stays some seconds behind.
        await asyncio.sleep(8.0)
        for name, child in self.backend.children.items():
            if child.running:
                await self._scrape(name)

    async def _verify(self, witness: Witness) -> None:
        for child in reversed(self.backend.children.values()):
            await asyncio.to_thread(child.stop)
        settings = read_settings(self.backend.environ)
        data = self.folder / "data"
        backbone = await open_backbone(settings, "verify", data, create_topics=False)
        try:
            history = await read_history(backbone.log, self.findings)
            check_answers(witness.heard, history, self.findings)
            check_bills(witness, history, self.findings)
            await check_read_models(backbone.log, backbone.store, self.folder, self.findings)
        finally:
            await backbone.close()


def show(console: Console, report: dict[str, Any]) -> None:
    """Tables of the recovery times and the counts, then the problems."""
    print_rows(
        console,
        "every charge point is answered again after, ms (they ask about once a second)",
        report["answers_again_ms"],
        "what",
    )
    print_rows(console, "the eMSP is told again after, ms", report["pushes_again_ms"], "what")
    print_facts(console, "counted", report["counts"])
    print_facts(console, "engines", report["engines"])
    for problem in report["problems"]:
        console.print(f"- {problem}", markup=False)
    kept = "every promise was kept" if not report["problems"] else "promises were broken"
    console.print(f"{report['disturbances']} disturbances in {report['seconds']} s: {kept}")
